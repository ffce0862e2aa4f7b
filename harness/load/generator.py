"""Load on a detector: who sends how many images when, and one record per request.

Closed loop: each caller sends its next batch when the last came back. Open loop: requests are due at random times of a
given rate, whatever the detector does, and their latency counts from then on, so that a stall is charged to the
detector and not hidden by callers that wait (MLPerf's Server scenario; "coordinated omission").
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, repeat
from math import inf
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Callable, NamedTuple

import numpy as np

DEADLINE = 60.0  # seconds
WATCH_SECONDS = 0.05  # how often requests are looked after
ARRIVALS = 4096  # times of arrival that are drawn at once
SHORTEST = 1e-9  # seconds

Detect = Callable[[Sequence[bytes]], list]


@dataclass(frozen=True)
class Shape:
    """`callers` that send batches of `batch_size`; with `rate`, requests a second on average, an open loop."""

    callers: int
    batch_size: int
    rate: float | None = None

    def __post_init__(self):
        for name in ("callers", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ValueError(f"rate must be above 0 requests a second, not {self.rate:g}")

    def __str__(self) -> str:
        callers = f"{self.callers} caller{'s' if self.callers > 1 else ''}"
        arrivals = f", {self.rate:g} requests/s at random times" if self.rate else ""
        return f"{callers} × batch {self.batch_size}{arrivals}"


class Request(NamedTuple):
    """One call of the detector; times are seconds of time.perf_counter, error is '' when it answered.

    `due` is when it was to be sent: in a closed loop when it was. `answered` counts the images whose own answer carries
    no error.
    """

    caller: int
    image_ids: tuple[int, ...]
    due: float
    start: float
    end: float
    answered: int
    error: str

    @property
    def latency(self) -> float:
        """Seconds of the whole request from when it was due, never divided by the batch size."""
        return self.end - self.due


@dataclass(frozen=True)
class Load:
    """What one run sent and got back; `answers` holds each image's first answer.

    `warm_up` are the requests before the clock started; they count only in `failed`.
    """

    requests: list[Request]
    warm_up: list[Request]
    answers: dict[int, Any]

    @property
    def failed(self) -> list[Request]:
        """Requests, warm-up included, that raised, broke the contract of the call or missed the deadline."""
        return [request for request in self.warm_up + self.requests if request.error]

    @cached_property
    def seconds(self) -> float:
        """Wall clock from the first start to the last end."""
        return max(r.end for r in self.requests) - min(r.start for r in self.requests)

    @cached_property
    def loaded(self) -> tuple[float, float]:
        """The times of time.perf_counter between which every caller was at work; of the whole run where there are none.

        From when each has its first response, because a detector that starts empty is faster, to when the first of them
        has its last, because a detector whose callers run out of images is not under this load any more.
        """
        first, last = {}, {}
        for request in sorted(self.requests, key=lambda request: request.start):
            first.setdefault(request.caller, request.end)
            last[request.caller] = request.end
        start, end = max(first.values()), min(last.values())
        if start < end:
            return start, end
        return min(r.start for r in self.requests), max(r.end for r in self.requests)

    @property
    def latencies(self) -> list[float]:
        """Seconds of each request that did not fail."""
        return [request.latency for request in self.requests if not request.error]

    @property
    def driver_share(self) -> float:
        """The share of the callers' time, from the first start to the last end of each, that was not the detector's."""
        spans: dict[int, list[float]] = {}
        for caller, _, _, start, end, _, _ in self.requests:
            span = spans.setdefault(caller, [start, end, 0.0])
            span[0], span[1], span[2] = min(span[0], start), max(span[1], end), span[2] + end - start
        total = sum(last - first for first, last, _ in spans.values())
        return 1 - sum(busy for _, _, busy in spans.values()) / total if total else 0.0


def drive(
    detect: Detect, samples, shape: Shape, *, seconds: float | None = None, first: int = 0, warm_up: int = 1,
    deadline: float = DEADLINE, observe: Callable[[Request], Any] | None = None, seed: int = 0,
) -> Load:
    """Send every sample once, the short last batch included; or with `seconds` again and again for so long.

    `samples` is a list of (image id, bytes), which stays in memory, or a `Dataset`, which reads each image when it is
    due, outside the timed call. With `seconds` the first batch is number `first`, and none is sent after their end.
    Before the clock starts the first batch is sent `warm_up` times per caller. `observe` gets each request as it ends,
    from the caller's thread, but none that is given up. What `detect` raises becomes that request's error; one that is
    not back by `deadline` seconds gets that as its error, ends the run and is left to itself. An unreadable sample and
    KeyboardInterrupt end the run. Raises ValueError for a bad argument.
    """
    if warm_up < 0:
        raise ValueError(f"warm_up must be at least 0, not {warm_up}")
    for name, value in (("seconds", inf if seconds is None else seconds), ("deadline", deadline)):
        if not value > 0:  # NaN too, with which a run would never end
            raise ValueError(f"{name} must be above 0, not {value:g}")
    batches = _Batches(samples, shape.batch_size)
    warmed = _Run(detect, batches, deadline).drive(shape.callers, _turns(repeat(first, warm_up * shape.callers)))
    answers: dict[int, Any] = {}
    if any(request.error for request in warmed):
        return Load([], warmed, answers)  # what fails already has no speed
    until = inf if seconds is None else perf_counter() + seconds
    run = _Run(detect, batches, deadline, answers, observe, until)
    numbers = range(len(batches)) if seconds is None else count(first)
    return Load(run.drive(shape.callers, _turns(iter(numbers), shape.rate, seed)), warmed, answers)


def images_per_second(loads: Sequence[Load]) -> float:
    """Answered images a second of one or more runs while every caller was at work, stalls included (`Load.loaded`)."""
    spans = [load.loaded for load in loads]
    answered = sum(rates(load.requests, span)[0] * (span[1] - span[0]) for load, span in zip(loads, spans))
    return answered / sum(end - start for start, end in spans)


def rates(requests: Sequence[Request], edges: Sequence[float]) -> list[float]:
    """Answered images a second between neighbouring times of time.perf_counter.

    A request that is under way at one of them counts on both sides, by its time there.
    """
    start, end, answered = np.array([(r.start, r.end, r.answered) for r in requests], np.float64).reshape(-1, 3).T
    done = [answered @ ((edge - start) / np.maximum(end - start, SHORTEST)).clip(0, 1) for edge in edges]
    return (np.diff(done) / np.diff(edges)).tolist()


def window_rates(loads: Sequence[Load], windows: int) -> list[float]:
    """As `rates`, in `windows` windows of equal length of each run while every caller was at work."""
    return [rate for load in loads for rate in rates(load.requests, np.linspace(*load.loaded, windows + 1))]


def latencies_in_turn(loads: Sequence[Load], parts: int) -> list[list[float]]:
    """Seconds of each request that did not fail, in `parts` equal times of each run by when it was sent."""
    found: list[list[float]] = []
    for load in loads:
        starts = [request.start for request in load.requests]
        first, length = min(starts), max(max(starts) - min(starts), SHORTEST)
        found += ([] for _ in range(parts))
        for request in load.requests:
            if not request.error:
                place = int((request.start - first) / length * parts)
                found[len(found) - parts + min(place, parts - 1)].append(request.latency)
    return found


class _Batches:
    """Samples as numbered batches (image ids, encoded images), again from the first after the last."""

    def __init__(self, samples, size: int):
        if not hasattr(samples, "__len__"):
            raise ValueError("samples can be read only once; give a list or a Dataset: the warm-up reads from it too")
        if not len(samples):
            raise ValueError("samples is empty; give at least one image")
        self._read = getattr(samples, "image_bytes", None)
        whole = samples.image_ids if self._read else samples
        parts = [whole[place:place + size] for place in range(0, len(whole), size)]
        self._batches = [tuple(part) if self._read else tuple(zip(*part)) for part in parts]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> tuple:
        batch = self._batches[number % len(self._batches)]
        return (batch, tuple(map(self._read, batch))) if self._read else batch


def _turns(numbers: Iterator[int], rate: float | None = None, seed: int = 0) -> Iterator[tuple]:
    """(number of a batch, when it is due or None), each for exactly one of several callers.

    Of C iterators alone, whose next cannot be interrupted by another thread: no lock for which callers would wait.
    """
    return _Locked(zip(numbers, _arrivals(rate, seed))) if rate else zip(numbers, repeat(None))


def _arrivals(rate: float, seed: int) -> Iterator[float]:
    """Times of time.perf_counter at which requests are due: a Poisson process that begins now."""
    rng, due = np.random.default_rng(seed), perf_counter()
    while True:
        for gap in rng.exponential(1 / rate, ARRIVALS).tolist():
            due += gap
            yield due


class _Locked:
    """An iterator that several threads may use."""

    def __init__(self, iterator: Iterator):
        self._iterator, self._lock = iterator, Lock()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        with self._lock:
            return next(self._iterator)


class _Flight(NamedTuple):
    """A request under way. Whoever acquires `claim`, its caller or the watch, says what became of it."""

    claim: Lock
    image_ids: tuple[int, ...]
    due: float
    start: float


class _Run:
    """The callers of one run, each a thread, and the watch over them. Threads that hang must not keep Python alive."""

    def __init__(self, detect: Detect, batches: _Batches, deadline: float, answers=None, observe=None, until=inf):
        self._detect, self._batches, self._deadline = detect, batches, deadline
        self._answers, self._observe, self._until = {} if answers is None else answers, observe, until
        self._stopped, self._ended, self._raised = Event(), SimpleQueue(), []

    def drive(self, callers: int, turns: Iterator[tuple]) -> list[Request]:
        """Every request that was sent, those first that came back, by caller."""
        self._in_flight: list[_Flight | None] = [None] * callers
        records: list[list[Request]] = [[] for _ in range(callers)]
        try:
            for number, record in enumerate(records):
                Thread(target=self._call, args=(number, turns, record), daemon=True).start()
            late = self._wait(set(range(callers)))
        finally:
            self._stopped.set()
        if self._raised:
            raise self._raised[0]
        return [request for record in records for request in record] + late

    def _wait(self, callers: set) -> list[Request]:
        """Waits until all callers have ended; → the requests of those that are given up."""
        late = []
        while callers:
            try:
                callers.discard(self._ended.get(timeout=WATCH_SECONDS))
            except Empty:
                for hung in filter(None, map(self._overdue, tuple(callers))):
                    callers.discard(hung.caller)
                    self._stopped.set()
                    late.append(hung)
        return late

    def _overdue(self, caller: int) -> Request | None:
        flight, now = self._in_flight[caller], perf_counter()
        if flight is None or now - flight.start <= self._deadline or not flight.claim.acquire(blocking=False):
            return None
        return Request(caller, *flight[1:], now, 0, f"gave no answer within {self._deadline:g} s")

    def _call(self, caller: int, turns: Iterator[tuple], record: list) -> None:
        try:
            for number, due in turns:
                image_ids, images = self._batches[number]
                start = self._begin(due)
                if self._stopped.is_set() or start >= self._until:
                    break
                flight = self._in_flight[caller] = _Flight(Lock(), image_ids, start if due is None else due, start)
                found, error = self._ask(images)
                end = perf_counter()
                if not flight.claim.acquire(blocking=False):
                    break  # given up meanwhile: nothing of it may reach a run that has ended
                answered, error = (0, error) if error else _keep(image_ids, found, self._answers)
                record.append(Request(caller, *flight[1:], end, answered, error))
                if self._observe:
                    self._observe(record[-1])
        except BaseException as error:  # the run as a whole ends with it
            self._raised.append(error)
            self._stopped.set()
        finally:
            self._ended.put(caller)

    def _begin(self, due: float | None) -> float:
        """The time when a request is sent: now, or when it is due; when the run ends first, that."""
        if due is not None:
            self._stopped.wait(max(0.0, min(due, self._until) - perf_counter()))
        return perf_counter()

    def _ask(self, images: tuple) -> tuple[Any, str]:
        try:
            return self._detect(images), ""
        except Exception as raised:
            return None, f"{type(raised).__name__}: {raised}"


def breach(found: Any, images: int) -> str:
    """How what `detect` returned for so many images breaks the contract of the call; '' if it does not."""
    if isinstance(found, list) and len(found) == images:
        return ""
    got = f"{len(found)} answers" if isinstance(found, list) else f"a {type(found).__name__}"
    return f"detect returned {got} for {images} images; it must return a list, one for each"


def _keep(image_ids: tuple[int, ...], found: Any, answers: dict) -> tuple[int, str]:
    if broken := breach(found, len(image_ids)):
        return 0, broken
    answered = 0
    for image_id, detections in zip(image_ids, found):
        answers.setdefault(image_id, detections)
        answered += not getattr(detections, "error", "no Detections")
    return answered, ""
