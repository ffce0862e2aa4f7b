"""Throughput and latency over callers × batch size, and × workers: what the detector can do, and where to run it.

Throughput rises with the images in flight until the detector is busy all the time. From there on more of them only
wait: latency = images in flight / throughput (Little's law). Where that begins is the knee.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from operator import itemgetter
from random import Random
from typing import Any, Callable

from harness.load import DEADLINE, Detect, Load, Request, Shape, drive, images_per_second
from harness.statistics import percentiles

GRID = tuple(Shape(callers, size) for callers in (1, 2, 4, 8) for size in (1, 2, 4, 8))
SECONDS = 5.0  # of each point
KNEE_SHARE = 0.95  # of the highest throughput: nearer to it two measurements of the same point differ as much
DRIFT = 0.10  # by which the first point, measured again at the end, may differ: as perf_analyzer's stable windows do
FIGURES = ("images_per_second", "p50_seconds", "p90_seconds", "p99_seconds", "driver_share")


@dataclass(frozen=True)
class Point:
    """One load, and what it gave: percentiles are of whole requests, `failed` counts those without all their answers.

    A point with a failed request is `invalid`, which says why, and has no figures. `driver_share` is the share of the
    callers' time that was not the detector's. Raises ValueError for what no measurement can give.
    """

    callers: int
    batch_size: int
    workers: int
    images_per_second: float | None
    p50_seconds: float | None
    p90_seconds: float | None
    p99_seconds: float | None
    driver_share: float | None
    requests: int
    failed: int
    invalid: str = ""

    def __post_init__(self):
        for name, least in (("callers", 1), ("batch_size", 1), ("workers", 1), ("requests", 0), ("failed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"{name} of a point must be a whole number from {least}, not {value!r}")
        if not isinstance(self.invalid, str):
            raise ValueError(f"invalid of a point must be a text, not {self.invalid!r}")
        for name in FIGURES:
            if not _fits(getattr(self, name), self.invalid):
                kind = "missing, as it is invalid" if self.invalid else "a finite number from 0"
                raise ValueError(f"{name} of a point must be {kind}, not {getattr(self, name)!r}")
        if not self.invalid and (self.failed or not self.requests or not self.images_per_second):
            raise ValueError("a point with a failed request, or without an answered one, must say why it is invalid")

    @property
    def in_flight(self) -> int:
        """Images that are with the detector or wait for it."""
        return self.callers * self.batch_size

    def __str__(self) -> str:
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return f"{Shape(self.callers, self.batch_size)}{workers}"


@dataclass(frozen=True)
class Sweep:
    """Points in the order in which they were measured, for `seconds` each; `again` is the first valid one at the end.

    There is no `again` when no point is valid. Raises ValueError for what no sweep can give.
    """

    points: tuple[Point, ...]
    again: Point | None
    seconds: float

    def __post_init__(self):
        _check_seconds(self.seconds)
        first = [_place(point) for point in self.points if not point.invalid][:1]
        if not self.points or first != [_place(point) for point in (self.again,) if point]:
            raise ValueError("a sweep must have points, and the first valid one again if there is one")

    @property
    def knee(self) -> Point:
        """As `find_knee`."""
        return find_knee(self.points)

    @property
    def drift(self) -> float | None:
        """By which share throughput rose, or fell, from the first valid point to the same at the end."""
        if self.again is None or self.again.invalid:
            return None
        return self.again.images_per_second / self._first.images_per_second - 1

    @property
    def warning(self) -> str:
        """Why the points cannot be held against each other, '' when they can."""
        if self.again is None:
            return f"no point is valid; {self.points[0]}: {self.points[0].invalid}"
        if self.drift is None:
            return f"whether the machine drifted is unknown: {self.again} failed at the end, {self.again.invalid}"
        if abs(self.drift) <= DRIFT:
            return ""
        return (f"the machine drifted: {self.again} gave {self._first.images_per_second:.1f} images/s at first and "
                f"{self.again.images_per_second:.1f} at the end ({self.drift:+.0%}); leave it idle and sweep again")

    @property
    def _first(self) -> Point:
        return next(point for point in self.points if not point.invalid)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON; `from_record` gives the same sweep back."""
        return {**asdict(self), "points": [asdict(point) for point in self.points]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sweep:
        """ValueError for anything that `as_record` cannot have written."""
        try:
            points, again = tuple(Point(**point) for point in record["points"]), record["again"]
            return cls(**{**record, "points": points, "again": None if again is None else Point(**again)})
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no record of a sweep ({type(error).__name__}: {error}); sweep again") from error


def sweep(
    detect_for: Callable[[int], AbstractContextManager[Detect]], samples, grid: Sequence[Shape] = GRID,
    seconds: float = SECONDS, *, workers: Sequence[int] = (1,), deadline: float = DEADLINE, seed: int = 0,
    observe: Callable[[Point], Any] | None = None,
) -> Sweep:
    """Measure every shape of the grid for `seconds`, with each number of workers, in an order drawn by `seed`.

    So a machine that slows down while the sweep goes on does not look like one that cannot take load. `detect_for(n)`
    opens a detector of n workers (`contextlib.nullcontext(detect)` where there is but one). As detectors are slow to
    load it is asked once for all shapes, and once more at the end where the first point was of another n than the last.
    Samples and `deadline` as in `harness.load.drive`, but every batch is full and all shapes send the same images.
    After a call that missed the deadline no more is measured with that detector. `observe` gets each point as it is
    measured, the repeated one last. Raises ValueError for a bad argument, and what `detect_for` or reading a sample
    raises.
    """
    _check_seconds(seconds)
    _check_axes(grid, workers)
    samples = _trimmed(samples, math.lcm(*(shape.batch_size for shape in grid)))
    order, points = _order(grid, workers, seed), []
    for count, turns in groupby(_turns(order, points), itemgetter(0)):
        with detect_for(count) as detect:
            for point in _measured(detect, samples, turns, seconds, deadline):
                points.append(point)
                if observe:
                    observe(point)
    again = points.pop() if len(points) > len(order) else None
    return Sweep(tuple(points), again, seconds)


def find_knee(points: Sequence[Point]) -> Point:
    """The point to run at: the fewest images in flight that still give 95 % of the highest throughput.

    Of as many in flight the one with the lowest P99, then with the fewest workers and callers. More in flight would add
    to every request's latency more than to the throughput. Only valid points count; ValueError if there is none.
    """
    valid = [point for point in points if not point.invalid]
    if not valid:
        raise ValueError("no point of the sweep is valid, so it has no knee; see why in their `invalid`")
    enough = KNEE_SHARE * max(point.images_per_second for point in valid)
    return min((point for point in valid if point.images_per_second >= enough),
               key=lambda point: (point.in_flight, point.p99_seconds, point.workers, point.callers))


def _place(point: Point) -> tuple[int, int, int]:
    return point.callers, point.batch_size, point.workers


def _fits(figure: Any, invalid: str) -> bool:
    if invalid:
        return figure is None
    return type(figure) in (int, float) and 0 <= figure < math.inf


def _check_seconds(seconds: Any) -> None:
    if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a number above 0, not {seconds!r}")


def _check_axes(grid: Sequence[Shape], workers: Sequence[int]) -> None:
    for name, axis in (("grid", grid), ("workers", workers)):
        if not len(axis) or len(set(axis)) < len(axis):
            raise ValueError(f"{name} must have at least one value and none twice, not {list(map(str, axis))}")
    for shape in grid:
        if shape.rate is not None:
            raise ValueError(f"grid must have closed loops alone, not {shape}: a rate decides the throughput itself")
    if min(workers) < 1:
        raise ValueError(f"workers must be at least 1, not {min(workers)}")


def _trimmed(samples, multiple: int):
    """As many of the samples as every batch size divides, so that no batch is short and all send the same images."""
    count = len(samples) if hasattr(samples, "__len__") else 0
    if count < multiple:
        raise ValueError(f"samples must be a list or a Dataset of at least {multiple} images, as many as every batch "
                         f"size of the grid divides, not {count}")
    count -= count % multiple
    if hasattr(samples, "image_bytes"):
        return replace(samples, image_ids=samples.image_ids[:count])
    return samples[:count]


def _order(grid: Sequence[Shape], workers: Sequence[int], seed: int) -> list[tuple[int, Shape]]:
    random = Random(seed)
    counts = random.sample(workers, len(workers))
    return [(count, shape) for count in counts for shape in random.sample(grid, len(grid))]


def _turns(order: list[tuple[int, Shape]], points: list[Point]) -> Iterator[tuple[int, Shape]]:
    """The order, and then the first of its points that turned out valid."""
    yield from order
    for point in points:
        if not point.invalid:
            yield point.workers, Shape(point.callers, point.batch_size)
            return


def _measured(
    detect: Detect, samples, turns: Iterator[tuple[int, Shape]], seconds: float, deadline: float
) -> Iterator[Point]:
    hung = ""
    for workers, shape in turns:
        if hung:
            yield _invalid(shape, workers, f"not measured, as a call hung before, of {hung}")
            continue
        load = drive(detect, samples, shape, seconds=seconds, deadline=deadline)
        hung = str(shape) if any(request.end - request.start > deadline for request in load.failed) else ""
        yield _point(load, shape, workers)


def _point(load: Load, shape: Shape, workers: int) -> Point:
    sent = load.warm_up + load.requests
    failed = [request for request in sent if request.answered < len(request.image_ids)]
    if failed:
        why = f"{len(failed)} of {len(sent)} requests failed: {_why(failed[0], load)}"
        return _invalid(shape, workers, why, len(load.requests), len(failed))
    if not load.requests:
        return _invalid(shape, workers, "no request was sent in time, the machine was busy elsewhere; give it longer")
    p50, p90, p99 = percentiles(load.latencies, (50, 90, 99)).values()
    return Point(shape.callers, shape.batch_size, workers, images_per_second([load]), p50, p90, p99,
                 max(0.0, load.driver_share), len(load.requests), 0)


def _invalid(shape: Shape, workers: int, why: str, requests: int = 0, failed: int = 0) -> Point:
    return Point(shape.callers, shape.batch_size, workers, None, None, None, None, None, requests, failed, why)


def _why(request: Request, load: Load) -> str:
    """The request's error, or the first that an image's answer carries, as far as the answers were kept."""
    errors = (getattr(load.answers.get(image_id), "error", "") for image_id in request.image_ids)
    return request.error or next(filter(None, errors), "an image was answered with an error")
