"""Closed-loop load: N callers, each sends its next batch when the last came back; one record per request."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from threading import Lock
from time import perf_counter
from typing import Any, Callable, NamedTuple

Batch = tuple  # (image ids, encoded images), each a tuple of the batch's length
Detect = Callable[[Sequence[bytes]], list]


class Request(NamedTuple):
    """One call of the detector; start and end are seconds of time.perf_counter, error is '' when it answered.

    `answered` counts the images whose own answer carries no error.
    """

    caller: int
    image_ids: tuple[int, ...]
    start: float
    end: float
    answered: int
    error: str


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
        """Requests, warm-up included, that raised or broke the contract of the call."""
        return [request for request in self.warm_up + self.requests if request.error]

    @cached_property
    def seconds(self) -> float:
        """Wall clock from the first start to the last end."""
        return max(r.end for r in self.requests) - min(r.start for r in self.requests)

    @property
    def latencies(self) -> list[float]:
        """Seconds of each whole request that did not fail, never divided by the batch size."""
        return [request.end - request.start for request in self.requests if not request.error]


def closed_loop(
    detect: Detect,
    samples: Iterable[tuple[int, bytes]],
    callers: int,
    batch_size: int,
    warm_up: int = 1,
    progress: Callable[[int], Any] | None = None,
) -> Load:
    """Send every sample once, the short last batch included.

    `samples` is iterated outside the timed requests: a list keeps the images in memory, a `Dataset` reads each
    when it is due. Before the clock starts the first batch is sent `warm_up` times per caller. `progress` is
    called with the number of images after each request. What `detect` raises becomes that request's error; an
    unreadable sample and KeyboardInterrupt end the run. Raises ValueError for a bad argument.
    """
    least = {"callers": 1, "batch_size": 1, "warm_up": 0}
    for name, value in zip(least, (callers, batch_size, warm_up)):
        if value < least[name]:
            raise ValueError(f"{name} must be at least {least[name]}, not {value}")
    if iter(samples) is samples:
        raise ValueError("samples can be read only once; give a list or a Dataset: the warm-up reads from it too")
    first = next(_batches(samples, batch_size), None)
    if first is None:
        raise ValueError("samples is empty; give at least one image")
    answers: dict[int, Any] = {}
    warmed = _drive(detect, repeat(first, warm_up * callers), callers, {}, None)
    return Load(_drive(detect, _batches(samples, batch_size), callers, answers, progress), warmed, answers)


def images_per_second(loads: Sequence[Load]) -> float:
    """Answered images of one or more runs by their wall clock, idle gaps within a run included."""
    return sum(request.answered for load in loads for request in load.requests) / sum(load.seconds for load in loads)


def _batches(samples: Iterable[tuple[int, bytes]], size: int) -> Iterator[Batch]:
    iterator = iter(samples)
    while True:
        batch = tuple(islice(iterator, size))
        if not batch:
            return
        yield tuple(zip(*batch))


class _Source:
    """Hands each batch to exactly one of several callers."""

    def __init__(self, batches: Iterator[Batch]):
        self._batches, self._lock = batches, Lock()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with self._lock:
            return next(self._batches)

    def close(self) -> None:
        with self._lock:
            self._batches = iter(())


def _drive(detect: Detect, batches: Iterator[Batch], callers: int, answers: dict, progress) -> list[Request]:
    source = _Source(batches)
    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(_call, number, detect, source, answers, progress) for number in range(callers)]
        try:
            wait(calls, return_when=FIRST_EXCEPTION)
        finally:
            source.close()
        return [request for call in calls for request in call.result()]


def _call(caller: int, detect: Detect, source: _Source, answers: dict, progress) -> list[Request]:
    requests = []
    for image_ids, images in source:
        found, error = [], ""
        start = perf_counter()
        try:
            found = detect(images)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        end = perf_counter()
        answered, error = (0, error) if error else _keep(image_ids, found, answers)
        requests.append(Request(caller, image_ids, start, end, answered, error))
        if progress:
            progress(len(image_ids))
    return requests


def _keep(image_ids: tuple[int, ...], found: Any, answers: dict) -> tuple[int, str]:
    if not isinstance(found, list) or len(found) != len(image_ids):
        got = f"{len(found)} answers" if isinstance(found, list) else f"a {type(found).__name__}"
        return 0, f"detect returned {got} for {len(image_ids)} images; it must return a list, one for each"
    answered = 0
    for image_id, detections in zip(image_ids, found):
        answers.setdefault(image_id, detections)
        answered += not getattr(detections, "error", "no Detections")
    return answered, ""
