"""The load generator: callers that send images to a detector, and one record for each request.

Closed loop: each caller sends its next batch when the response to the last one came. Open loop: requests are due at
random times of a given rate, whatever the detector does, and their latency counts from when they were due. So a stall
is charged to the detector and not hidden by callers that wait (MLPerf's Server scenario; "coordinated omission").
"""
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count, repeat
from math import inf
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Callable, NamedTuple

import numpy as np

DEADLINE = 60.0  # seconds
WATCH_SECONDS = 0.05  # between two looks for requests past their deadline
ARRIVALS = 4096  # drawn at once
SHORTEST = 1e-9  # seconds
SHORTEST_RUN = 1e-3  # seconds, as parts of none have no machine's conditions

Detect = Callable[[Sequence[bytes]], list]


@dataclass(frozen=True)
class LoadPattern:
    """`callers` that send batches of `batch_size`; with `rate`, requests a second on average, an open loop.

    Raises ValueError for a field out of range.
    """

    callers: int
    batch_size: int
    rate: float | None = None

    def __post_init__(self):
        for name in ("callers", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        if self.rate is not None and not 0 < self.rate < inf:
            raise ValueError(f"rate {self.rate:g}: must be a finite number of requests a second above 0")

    def __str__(self) -> str:
        callers = f"{self.callers} caller{'s' if self.callers > 1 else ''}"
        arrivals = f", {self.rate:g} requests/s at random times" if self.rate else ""
        return f"{callers} × batch {self.batch_size}{arrivals}"


class Request(NamedTuple):
    """One call of the detector; times are seconds of time.perf_counter, error is '' when a response came.

    `due` is when it was to be sent, in a closed loop when it was sent. `answered` counts the images whose detections
    carry no error.
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
        """Seconds of the whole request from when it was due, not divided by the batch size."""
        return self.end - self.due


@dataclass(frozen=True)
class Load:
    """The requests of one run, and the first detections of each image by its id.

    `warm_up` are the requests before the clock started; they count only in `failed`.
    """

    requests: list[Request]
    warm_up: list[Request]
    detections: dict[int, Any]

    @property
    def failed(self) -> list[Request]:
        """Requests, warm-up included, that raised, broke the contract of the call or missed their deadline."""
        return [request for request in self.warm_up + self.requests if request.error]

    @cached_property
    def seconds(self) -> float:
        """Wall clock from the first start to the last end."""
        return max(r.end for r in self.requests) - min(r.start for r in self.requests)

    @cached_property
    def loaded(self) -> tuple[float, float]:
        """The times of time.perf_counter between which every caller was at work; of the whole run where there are none.

        It starts when each has its first response, because a detector that starts empty is faster. It ends when one of
        them has its last, because a detector whose callers run out of images is not under this load any more.
        """
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        for request in sorted(self.requests, key=lambda request: request.start):
            first.setdefault(request.caller, request.end)
            last[request.caller] = request.end
        start, end = max(first.values()), min(last.values())
        if start < end:
            return start, end
        return min(r.start for r in self.requests), max(r.end for r in self.requests)

    @property
    def latencies(self) -> list[float]:
        """Latencies in seconds of the requests that did not fail."""
        return [request.latency for request in self.requests if not request.error]

    @property
    def driver_share(self) -> float:
        """The load generator's overhead: its share of the callers' time, each from its first start to its last end."""
        times: dict[int, list[float]] = defaultdict(list)
        for request in self.requests:
            times[request.caller] += (request.start, request.end)
        total = sum(max(own) - min(own) for own in times.values())
        busy = sum(request.end - request.start for request in self.requests)
        return 1 - busy / total if total else 0.0


def drive(
    detect: Detect, samples, pattern: LoadPattern, *, seconds: float | None = None, first: int = 0, warm_up: int = 1,
    deadline: float = DEADLINE, observe: Callable[[Request], Any] | None = None, seed: int = 0,
) -> Load:
    """Send every sample once, the short last batch included; or with `seconds` again and again for so long.

    `samples` is a list of (image id, bytes), which stays in memory, or a `Dataset`, which reads each image when it is
    sent, outside the timed call. With `seconds` the first batch is number `first`, and none is sent after their end.
    Before the clock starts the first batch is sent `warm_up` times per caller. `observe` gets each request as it ends,
    from the caller's thread. What `detect` raises becomes that request's error. A request without a response within
    `deadline` seconds fails, ends the run and is given up. An unreadable sample and KeyboardInterrupt end the run.
    `seed` draws the arrivals of an open loop. Raises ValueError for a bad argument.
    """
    if warm_up < 0:
        raise ValueError(f"warm_up {warm_up}: must be at least 0")
    for name, value in (("seconds", inf if seconds is None else seconds), ("deadline", deadline)):
        if not value > 0:  # true of NaN too, with which a run would never end
            raise ValueError(f"{name} {value:g}: must be above 0")
    batches = _Batches(samples, pattern.batch_size)
    warming = Callers(detect, batches.batch, deadline, partial(_keep, {}))
    warmed = warming.run(pattern.callers, _turns(repeat(first, warm_up * pattern.callers)))
    detections: dict[int, Any] = {}
    if any(request.error for request in warmed):
        return Load([], warmed, detections)  # what fails already has no speed
    until = inf if seconds is None else perf_counter() + seconds
    callers = Callers(detect, batches.batch, deadline, partial(_keep, detections), observe, until)
    numbers = range(len(batches)) if seconds is None else count(first)
    return Load(callers.run(pattern.callers, _turns(iter(numbers), pattern.rate, seed)), warmed, detections)


def images_per_second(loads: Sequence[Load]) -> float:
    """Images a second with detections, of one or more runs while every caller was at work, stalls included."""
    spans = [load.loaded for load in loads]
    answered = sum(rates(load.requests, span)[0] * (span[1] - span[0]) for load, span in zip(loads, spans))
    return answered / sum(end - start for start, end in spans)


def rates(requests: Sequence[Request], edges: Sequence[float]) -> list[float]:
    """Images a second with detections between neighbouring times of time.perf_counter.

    A request that is under way at one of these times counts on both sides, by the time it spent there.
    """
    start, end, answered = np.array([(r.start, r.end, r.answered) for r in requests], np.float64).reshape(-1, 3).T
    done = [answered @ ((edge - start) / np.maximum(end - start, SHORTEST)).clip(0, 1) for edge in edges]
    return (np.diff(done) / np.diff(edges)).tolist()


def window_rates(loads: Sequence[Load], windows: int) -> list[float]:
    """`rates` in `windows` equally long windows of each run while every caller was at work."""
    return [rate for load in loads for rate in rates(load.requests, np.linspace(*load.loaded, windows + 1))]


class Part(NamedTuple):
    """A part of a run between two times of time.perf_counter: seconds of its requests that did not fail."""

    start: float
    end: float
    latencies: list[float]


def parts_in_turn(loads: Sequence[Load], parts: int) -> list[Part]:
    """The requests by their start, in `parts` equal times of each run."""
    found = []
    for load in loads:
        starts = [request.start for request in load.requests]
        edges = np.linspace(min(starts), max(max(starts), min(starts) + SHORTEST_RUN), parts + 1)
        places = np.searchsorted(edges[1:-1], starts, "right")
        found += (
            Part(start, end, [request.latency for request, place in zip(load.requests, places)
                              if place == part and not request.error])
            for part, (start, end) in enumerate(zip(edges, edges[1:]))
        )
    return found


def whole_batches(samples: list, size: int) -> list:
    """The samples again and again until every batch is full: a short one has the time of a whole one, or nearly."""
    return samples * (math.lcm(len(samples), size) // len(samples))


class _Batches:
    """Samples as numbered batches; after the last comes the first again."""

    def __init__(self, samples, size: int):
        if not hasattr(samples, "__len__"):
            raise ValueError("samples can be read only once; give a list or a Dataset, because the warm-up reads too")
        if not len(samples):
            raise ValueError("samples are empty; give at least one image")
        self._read = getattr(samples, "image_bytes", None)
        whole = samples.image_ids if self._read else samples
        parts = [whole[place:place + size] for place in range(0, len(whole), size)]
        self._batches = [tuple(part) if self._read else tuple(zip(*part)) for part in parts]

    def __len__(self) -> int:
        return len(self._batches)

    def batch(self, number: int) -> tuple:
        """(image ids, encoded images)."""
        batch = self._batches[number % len(self._batches)]
        return (batch, tuple(map(self._read, batch))) if self._read else batch


def _turns(numbers: Iterator[int], rate: float | None = None, seed: int = 0) -> Iterator[tuple]:
    """(number of a batch, when it is due or None), each for exactly one of several callers.

    Closed loops use C iterators alone: no thread can interrupt their next, so no caller waits for a lock.
    """
    return _Locked(zip(numbers, _arrivals(rate, seed))) if rate else zip(numbers, repeat(None))


def _arrivals(rate: float, seed: int) -> Iterator[float]:
    """Times of time.perf_counter at which requests are due: a Poisson process that starts now."""
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
    """A request under way. Whoever acquires `claim`, its caller or the watch, records its outcome."""

    claim: Lock
    ids: tuple
    due: float
    start: float


@dataclass
class Callers:
    """The callers of one run, each a thread, and the watch over them. A thread that hangs does not keep Python alive.

    `batch(number)` gives (ids, encoded images) of a turn. `receive(ids, found, error)` takes what `detect` returned for
    them, or the error that it raised, and gives (how many got detections, error). `observe` gets each request that
    ended, but none that is given up. `until` is a time of time.perf_counter after which nothing is sent.
    """

    detect: Detect
    batch: Callable[[Any], tuple]
    deadline: float
    receive: Callable[[tuple, Any, str], tuple[int, str]]
    observe: Callable[[Request], Any] | None = None
    until: float = inf
    _stopped: Event = field(default_factory=Event)
    _ended: SimpleQueue = field(default_factory=SimpleQueue)
    _raised: list[BaseException] = field(default_factory=list)
    _in_flight: list[_Flight | None] = field(default_factory=list)

    @property
    def is_stopped(self) -> bool:
        """Whether the run ends before its turns do: a turn that waits must not wait any longer."""
        return self._stopped.is_set()

    def run(self, callers: int, turns: Iterator[tuple]) -> list[Request]:
        """Send turns (number, when it is due or None) until there are no more; every request, those given up last.

        A request that misses the deadline is given up and ends the run. Raises what a caller's thread raised, except
        what `detect` did. `turns` must be safe to use from several threads.
        """
        self._in_flight = [None] * callers
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
        """Wait until all callers have ended; the requests that were given up."""
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
        if flight is None or now - flight.start <= self.deadline or not flight.claim.acquire(blocking=False):
            return None
        error = f"no response within {self.deadline:g} s"
        return Request(caller, flight.ids, flight.due, flight.start, now, answered=0, error=error)

    def _call(self, caller: int, turns: Iterator[tuple], record: list) -> None:
        try:
            for number, due in turns:
                ids, images = self.batch(number)
                start = self._start(due)
                if self._stopped.is_set() or start >= self.until:
                    break
                due = start if due is None else due
                flight = self._in_flight[caller] = _Flight(Lock(), ids, due, start)
                found, error = self._ask(images)
                end = perf_counter()
                if not flight.claim.acquire(blocking=False):
                    break  # given up meanwhile: nothing of it may reach a run that has ended
                answered, error = self.receive(ids, found, error)
                record.append(Request(caller, ids, due, start, end, answered, error))
                if self.observe:
                    self.observe(record[-1])
        except BaseException as error:  # ends the run as a whole
            self._raised.append(error)
            self._stopped.set()
        finally:
            self._ended.put(caller)

    def _start(self, due: float | None) -> float:
        """The time when a request is sent: now, or when it is due, or when the run ends before that."""
        if due is not None:
            self._stopped.wait(max(0.0, min(due, self.until) - perf_counter()))
        return perf_counter()

    def _ask(self, images: tuple) -> tuple[Any, str]:
        try:
            return self.detect(images), ""
        except Exception as raised:
            return None, f"{type(raised).__name__}: {raised}"


def breach(found: Any, images: int) -> str:
    """How what `detect` returned for so many images breaks the contract of the call; '' if it does not."""
    if isinstance(found, list) and len(found) == images:
        return ""
    got = f"{len(found)} responses" if isinstance(found, list) else f"a {type(found).__name__}"
    return f"detect returned {got} for {images} images; it must return a list, one for each"


def error_of(detections: Any) -> str:
    """The error that one image's detections carry; '' if there is none."""
    return str(getattr(detections, "error", "no Detections"))


def _keep(detections: dict, image_ids: tuple[int, ...], found: Any, error: str) -> tuple[int, str]:
    """Keep the first detections of each image; (how many images got detections without an error, error)."""
    if broken := error or breach(found, len(image_ids)):
        return 0, broken
    answered = 0
    for image_id, own in zip(image_ids, found):
        detections.setdefault(image_id, own)
        answered += not getattr(own, "error", True)  # as `error_of`, which would cost a call for each image
    return answered, ""
