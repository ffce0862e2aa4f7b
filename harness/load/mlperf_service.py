"""MLPerf's system under test: the load generator's callers send to the detector what LoadGen issues."""
from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from threading import Condition
from time import perf_counter
from typing import Any, NamedTuple

from harness.load.generator import WATCH_SECONDS, Callers, Detect, breach, error_of
from harness.load.mlperf_plan import Plan


class Sample(NamedTuple):
    """An image that LoadGen issued: the id by which it is completed, and its place among the images."""

    id: int
    place: int


class Service:
    """Takes the samples that LoadGen issues, hands them to callers in batches and completes each exactly once.

    After `give_up` nothing is sent to the detector, and the rest is completed as failed: at once, but in the Server
    scenario when LoadGen has issued its last. LoadGen would keep to its schedule there, and ends early only when too
    many samples wait.
    """

    def __init__(self, loadgen, detect: Detect, image_ids: Sequence[int], images: Sequence[bytes], plan: Plan):
        self._loadgen = loadgen
        self._image_ids = image_ids
        self._plan = plan
        self._holds = plan.scenario.name == "Server"
        self._stopped = ""
        self._waiting: deque[Sample] = deque()
        self._in_flight: set[Sample] = set()
        self._changed = Condition()
        self._callers = Callers(detect, self._batch, plan.deadline, self._receive)
        self.images = images
        self.raised: list[BaseException] = []
        self.detections: dict[int, Any] = {}
        self.failed: Counter = Counter()
        self.issued = 0
        self.answered = 0
        self.started = 0.0
        self.ended = 0.0

    @property
    def seconds(self) -> float:
        """Seconds from the first sample that was issued to the last that was completed."""
        return self.ended - self.started

    def run(self) -> None:
        """Send what is issued until `give_up` or `close`. Raises what a caller's thread raised."""
        for request in self._callers.run(self._plan.pattern.callers, self):
            if request.error:
                self._complete(request.image_ids, request.error)  # only those given up are still in flight
        self.give_up("another image had no response")

    def issue(self, query: Iterable) -> None:
        """LoadGen's callback with new samples."""
        samples = [Sample(one.id, one.index) for one in query]
        with self._changed:
            self.started = self.started or perf_counter()
            self.issued += len(samples)
            self._waiting.extend(samples)
            self._changed.notify(-(-len(samples) // self._plan.pattern.batch_size))
        if self._stopped:
            self._drop()

    def flush(self) -> None:
        """LoadGen's callback after its last query."""
        is_late = self._holds and len(self._waiting) > self._plan.most_waiting
        self._holds = False
        if is_late:
            self.give_up(f"{len(self._waiting)} images waited: {self._plan.pattern.rate:g} a second are too many")
        elif self._stopped:
            self._drop()

    def give_up(self, reason: str) -> None:
        """Send nothing more, for this reason."""
        self._stop(reason)
        self._drop()

    def abandon(self, reason: str) -> None:
        """`give_up`, and complete what is in flight too: nobody waits for the detector any longer."""
        self._holds = False
        self.give_up(reason)
        with self._changed:
            in_flight = tuple(self._in_flight)
        self._complete(in_flight, reason)

    def close(self) -> None:
        """LoadGen has ended: no sample may be completed from now on."""
        self._stop("the run is over")
        with self._changed:
            self._waiting.clear()
            self._in_flight.clear()

    def __iter__(self) -> Service:
        return self

    def __next__(self) -> tuple[tuple[Sample, ...], None]:
        """The next batch, for one of the callers: waits until there is one; StopIteration when nothing is sent."""
        with self._changed:
            while not self._waiting and not self._is_over():
                self._changed.wait(WATCH_SECONDS)
            if self._is_over():
                raise StopIteration
            size = min(self._plan.pattern.batch_size, len(self._waiting))
            samples = tuple(self._waiting.popleft() for _ in range(size))
            self._in_flight.update(samples)
            return samples, None

    def _is_over(self) -> bool:
        return bool(self._stopped) or self._callers.is_stopped

    def _stop(self, reason: str) -> None:
        with self._changed:
            self._stopped = self._stopped or reason
            self._changed.notify_all()

    def _drop(self) -> None:
        with self._changed:
            dropped = [] if self._holds else list(self._waiting)
            if dropped:
                self._waiting.clear()
                self._in_flight.update(dropped)
        self._complete(dropped, f"never sent, because {self._stopped}")

    def _batch(self, samples: tuple[Sample, ...]) -> tuple:
        return samples, tuple(self.images[sample.place] for sample in samples)

    def _receive(self, samples: tuple[Sample, ...], found: Any, error: str) -> tuple[int, str]:
        """Keep the first detections of each image and complete its sample; (how many got detections, error)."""
        if broken := error or breach(found, len(samples)):
            self._complete(samples, broken)
            return 0, broken
        errors = {}
        for sample, detections in zip(samples, found):
            self.detections.setdefault(self._image_ids[sample.place], detections)
            errors[sample] = error_of(detections)
        self._complete_each(errors)
        return sum(not one for one in errors.values()), ""

    def _complete(self, samples: Iterable[Sample], error: str) -> None:
        self._complete_each(dict.fromkeys(samples, error))

    def _complete_each(self, errors: dict[Sample, str]) -> None:
        """Complete those of the samples that are in flight; `errors` is '' for those with detections."""
        with self._changed:
            own = [sample for sample in errors if sample in self._in_flight]
            self._in_flight.difference_update(own)
            self.failed.update(errors[sample] for sample in own if errors[sample])
            self.answered += sum(not errors[sample] for sample in own)
            self.ended = perf_counter()
        if own:
            self._loadgen.QuerySamplesComplete([self._loadgen.QuerySampleResponse(one.id, 0, 0) for one in own])
