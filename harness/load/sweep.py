"""Throughput and latency over callers × batch size, and × workers: what the detector can do, and where to run it.

Throughput rises with the images in flight until the detector is busy all the time. From there on, the knee, more images
only wait: latency = images in flight / throughput (Little's law).

Two measurements of one load differ by more than either of them shows. So all loads are measured in two passes, in
random order, and those on which the knee depends in further passes until it is decided.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from math import copysign, exp, hypot, inf, lcm, log, sqrt
from random import Random
from statistics import mean
from typing import Any, Callable, NamedTuple

from harness.load.generator import DEADLINE, Detect, Load, LoadPattern, Request, drive, images_per_second, rates
from harness.stats.intervals import INTERVAL_CONFIDENCE, student_t
from harness.stats.percentiles import percentiles

GRID = tuple(LoadPattern(callers, size) for callers in (1, 2, 4, 8) for size in (1, 2, 4, 8))
SECONDS = 5.0  # for each point, both passes together
PASSES, MOST_PASSES = 2, 10  # over all points, and with those over the points on which the knee depends
KNEE_SHARE = 0.95  # of the highest throughput
DRIFT = 0.10  # by which the second pass may differ from the first, as perf_analyzer's stable windows may
FIGURES = ("images_per_second", "p50_seconds", "p90_seconds", "p99_seconds", "driver_share")


@dataclass(frozen=True)
class Point:
    """The figures of one load. Percentiles are of whole requests; `failed` counts those without all detections.

    `low` and `high` bound the throughput at 95 % each, by how much `blocks` of time differ; None where each point has
    only one. A point with a failed request has no figures, and `invalid` says why. `driver_share` is the load
    generator's overhead, as a share of the callers' time. Raises ValueError for what no measurement can give.
    """

    callers: int
    batch_size: int
    workers: int
    images_per_second: float | None
    low: float | None
    high: float | None
    p50_seconds: float | None
    p90_seconds: float | None
    p99_seconds: float | None
    driver_share: float | None
    blocks: int
    requests: int
    failed: int
    invalid: str = ""

    def __post_init__(self):
        for name, least in (("callers", 1), ("batch_size", 1), ("workers", 1), ("blocks", 0), ("requests", 0),
                            ("failed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"{name} of a point is {value!r}: must be a whole number from {least}")
        if not isinstance(self.invalid, str):
            raise ValueError(f"invalid of a point is {self.invalid!r}: must be a text")
        for name in FIGURES:
            if not _fits(getattr(self, name), self.invalid):
                kind = "missing, because the point is invalid" if self.invalid else "a finite number from 0"
                raise ValueError(f"{name} of a point is {getattr(self, name)!r}: must be {kind}")
        if not _bounds(self):
            raise ValueError(f"low and high of a point are {self.low!r} and {self.high!r}: must bound its throughput")
        measured = self.requests and self.blocks and self.images_per_second
        if not self.invalid and (self.failed or not measured):
            raise ValueError("a point with a failed request, or without one that succeeded, must say why it is invalid")

    @property
    def in_flight(self) -> int:
        """Images that the detector works on or that wait for it."""
        return self.callers * self.batch_size

    def __str__(self) -> str:
        return str(self.place)

    @property
    def place(self) -> Place:
        """Its place on the axes of the sweep."""
        return Place(self.workers, LoadPattern(self.callers, self.batch_size))


class Place(NamedTuple):
    """A load on a detector with so many workers."""

    workers: int
    pattern: LoadPattern

    def __str__(self) -> str:
        return f"{self.pattern}, {self.workers} workers" if self.workers > 1 else str(self.pattern)


@dataclass(frozen=True)
class Sweep:
    """Points in the order of measurement, each measured for `seconds`, and longer where the knee depends on it.

    `drift` is the share by which throughput rose (or fell, below 0) from the first pass over the points to the second;
    None where no point was measured twice. Raises ValueError for what no sweep can give.
    """

    points: tuple[Point, ...]
    drift: float | None
    seconds: float

    def __post_init__(self):
        _check_seconds(self.seconds)
        places = [point.place for point in self.points]
        if not places or len(set(places)) < len(places):
            raise ValueError("a sweep must have at least one point, and none twice")
        if self.drift is not None and not (type(self.drift) in (int, float) and -1 < self.drift < inf):
            raise ValueError(f"drift {self.drift!r}: must be a finite number above -1, or missing")

    @property
    def knee(self) -> Point:
        """The point to run at, by `find_knee`."""
        return find_knee(self.points)

    @property
    def warning(self) -> str:
        """Why the points cannot be compared, or the knee may be another one; '' when there is no doubt."""
        if all(point.invalid for point in self.points):
            return f"no point is valid; {self.points[0]}: {self.points[0].invalid}"
        return "; ".join(filter(None, (self._drifted(), self._undecided())))

    def _drifted(self) -> str:
        if self.drift is None:
            return "whether the machine drifted is unknown, because no point could be measured twice"
        if abs(self.drift) <= DRIFT:
            return ""
        return (f"the machine drifted: the second pass over the points gave {self.drift:+.0%} images/s (limit "
                f"{DRIFT:.0%}); stop other work and sweep again")

    def _undecided(self) -> str:
        rivals = [str(point) for point in undecided(self.points) if point != self.knee]
        return f"the knee is not decided against {', '.join(rivals)}" if rivals else ""

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON; `from_record` gives the same sweep back."""
        return {**asdict(self), "points": [asdict(point) for point in self.points]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sweep:
        """The sweep of a record; ValueError for anything that `as_record` cannot have written."""
        try:
            return cls(**{**record, "points": tuple(Point(**point) for point in record["points"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a record of a sweep ({type(error).__name__}: {error}); sweep again") from error


def sweep(
    detect_for: Callable[[int], AbstractContextManager[Detect]], samples, grid: Sequence[LoadPattern] = GRID,
    seconds: float = SECONDS, *, workers: Sequence[int] = (1,), deadline: float = DEADLINE, seed: int = 0,
    observe: Callable[[Place], Any] | None = None,
) -> Sweep:
    """Measure every pattern of the grid for `seconds`, with each number of workers, in an order drawn by `seed`.

    All points are measured in two passes, so that a machine that slows down meanwhile does not look like a load that it
    cannot take. Those on which the knee depends are measured in up to eight more. `detect_for(n)` opens a detector of n
    workers (`contextlib.nullcontext(detect)` where there is only one), once for all patterns of a pass. Samples and
    `deadline` as in `drive`, but every batch is full and all patterns send the same images. After a call that missed
    the deadline nothing more is measured with that number of workers. `observe` gets the place of each measurement as
    it ends. Raises ValueError for a bad argument, and what `detect_for` or reading a sample raises.
    """
    _check_seconds(seconds)
    _check_axes(grid, workers)
    samples, random = _trimmed(samples, lcm(*(pattern.batch_size for pattern in grid))), Random(seed)
    blocks = _Blocks(detect_for, samples, seconds / PASSES, deadline, observe or (lambda place: None))
    places = [Place(count, pattern) for count in workers for pattern in grid]
    for number in range(MOST_PASSES):
        if not places:
            break
        blocks.measure(_shuffled(places, random))
        if number + 1 >= PASSES:
            places = _worth_more(blocks.points())
    return Sweep(blocks.points(), blocks.drift(), seconds)


def find_knee(points: Sequence[Point]) -> Point:
    """The point to run at: the fewest images in flight that still give 95 % of the highest throughput.

    More images in flight would add more to every request's latency than to the throughput. Of points with equally many
    it is the one with the lowest P99, then with the fewest workers and callers. Only valid points count; ValueError if
    there is none.
    """
    valid = _valid(points)
    if not valid:
        raise ValueError("no point of the sweep is valid, so it has no knee; `invalid` of each says why")
    enough = KNEE_SHARE * _best(valid).images_per_second
    return min((point for point in valid if point.images_per_second >= enough),
               key=lambda point: (point.in_flight, point.p99_seconds, point.workers, point.callers))


def undecided(points: Sequence[Point]) -> list[Point]:
    """The points that may be the knee by the bounds of their throughput; none if the knee is decided.

    It is decided when the knee is proven to give 95 % of the highest throughput of points with more images in flight,
    and points with fewer are proven not to. Points with as many in flight are as good.
    """
    valid = _valid(points)
    if not valid:
        return []
    knee, best = find_knee(valid), _best(valid)
    fewer = [point for point in valid if point.in_flight < knee.in_flight and _beyond(point, best) > -1]
    more = sorted((point for point in valid if point.in_flight > knee.in_flight), key=lambda p: p.images_per_second)
    better = [point for point in more[-1:] if _beyond(knee, point) < 1]
    return [*fewer, knee, *better] if fewer or better else []


def _worth_more(points: Sequence[Point]) -> list[Place]:
    """The places to measure again: points that may be the knee, and the one they are compared with."""
    found = undecided(points)
    return list(dict.fromkeys(point.place for point in (*found, _best(points)))) if found else []


def _beyond(point: Point, best: Point) -> float:
    """How far a point is above the knee's share of the best, in units of the uncertainty: from 1 on it is proven."""
    gap = log(point.images_per_second / best.images_per_second / KNEE_SHARE)
    if None in (point.low, best.low):
        return 0.0
    reach = hypot(log(point.high / point.low), log(best.high / best.low)) / 2
    return gap / reach if reach else copysign(inf, gap)


def _best(points: Sequence[Point]) -> Point:
    return max(_valid(points), key=lambda point: point.images_per_second)


def _valid(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if not point.invalid]


def _fits(figure: Any, invalid: str) -> bool:
    if invalid:
        return figure is None
    return type(figure) in (int, float) and 0 <= figure < inf


def _bounds(point: Point) -> bool:
    low, high = point.low, point.high
    if point.invalid or low is None or high is None:
        return low is high is None
    return _fits(low, "") and _fits(high, "") and 0 < low <= point.images_per_second <= high


def _check_seconds(seconds: Any) -> None:
    if type(seconds) not in (int, float) or not 0 < seconds < inf:
        raise ValueError(f"seconds {seconds!r}: must be a finite number above 0")


def _check_axes(grid: Sequence[LoadPattern], workers: Sequence[int]) -> None:
    for name, axis in (("grid", grid), ("workers", workers)):
        if not len(axis) or len(set(axis)) < len(axis):
            raise ValueError(f"{name} {list(map(str, axis))}: must have at least one value, and none twice")
    for pattern in grid:
        if pattern.rate is not None:
            raise ValueError(f"grid has {pattern}: must have closed loops alone, because a rate decides the throughput")
    if min(workers) < 1:
        raise ValueError(f"workers {min(workers)}: must be at least 1")


def _trimmed(samples, multiple: int):
    """The first samples, as many as every batch size divides: no batch is short, and patterns send the same images."""
    count = len(samples) if hasattr(samples, "__len__") else 0
    if count < multiple:
        raise ValueError(f"{count} samples: must be a list or a Dataset of at least {multiple} images, so that every "
                         "batch size of the grid divides them")
    count -= count % multiple
    if hasattr(samples, "image_bytes"):
        return replace(samples, image_ids=samples.image_ids[:count])
    return samples[:count]


def _shuffled(places: Sequence[Place], random: Random) -> list[Place]:
    """In random order, but places with as many workers together, because detectors are slow to load."""
    counts = list(dict.fromkeys(place.workers for place in places))
    drawn = {count: number for number, count in enumerate(random.sample(counts, len(counts)))}
    return sorted(random.sample(places, len(places)), key=lambda place: drawn[place.workers])


class _Block(NamedTuple):
    """One load in one block of time, with its images a second: None where a request failed or none was sent."""

    load: Load
    failed: list[Request]
    rate: float | None


@dataclass
class _Blocks:
    """The blocks of time in which each place was measured, and why some were not measured."""

    detect_for: Callable[[int], AbstractContextManager[Detect]]
    samples: Any
    seconds: float
    deadline: float
    observe: Callable[[Place], Any]
    _blocks: dict[Place, list[_Block]] = field(default_factory=lambda: defaultdict(list))
    _hung: dict[int, Place] = field(default_factory=dict)  # by number of workers

    def measure(self, places: Sequence[Place]) -> None:
        """Measure one more block of each place."""
        for count, group in groupby(places, lambda place: place.workers):
            with self.detect_for(count) as detect:
                for place in group:
                    self._measure(detect, place)
                    self.observe(place)

    def _measure(self, detect: Detect, place: Place) -> None:
        blocks = self._blocks[place]
        if place.workers in self._hung or any(block.rate is None for block in blocks):
            return
        load = drive(detect, self.samples, place.pattern, seconds=self.seconds, deadline=self.deadline)
        failed = [one for one in load.warm_up + load.requests if one.answered < len(one.image_ids)]
        blocks.append(_Block(load, failed, None if failed or not load.requests else _rate(load)))
        if any(request.end - request.start > self.deadline for request in load.failed):
            self._hung[place.workers] = place

    def points(self) -> tuple[Point, ...]:
        spread = self._spread()
        return tuple(self._invalid(place, blocks) or _point(place, blocks, spread)
                     for place, blocks in self._blocks.items())

    def drift(self) -> float | None:
        """The mean relative change from the first block of each place to the second."""
        changes = [log(pair[1] / pair[0]) for pair in self._rates() if len(pair) > 1]
        return exp(mean(changes)) - 1 if changes else None

    def _spread(self) -> float | None:
        """The log of the factor by which a block may be off at 95 %; all places are taken to have the same noise."""
        groups = [list(map(log, rates)) for rates in self._rates()]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        squares = sum((one - mean(group)) ** 2 for group in groups for one in group)
        return student_t(INTERVAL_CONFIDENCE, freedom) * sqrt(squares / freedom)

    def _rates(self) -> Iterator[list[float]]:
        for blocks in self._blocks.values():
            if blocks and all(block.rate for block in blocks):
                yield [block.rate for block in blocks]

    def _invalid(self, place: Place, blocks: list[_Block]) -> Point | None:
        """The point without figures of a place that could not be measured; else None."""
        requests = sum(len(block.load.requests) for block in blocks)
        broken = next((block for block in blocks if block.failed), None)
        if not blocks:
            why = f"not measured, because a call hung before: {self._hung[place.workers]}"
        elif broken:
            sent = sum(len(block.load.warm_up) for block in blocks) + requests
            why = f"{len(broken.failed)} of {sent} requests failed: {_why(broken.failed[0], broken.load)}"
        elif not all(block.rate for block in blocks):
            why = "no request was sent in time, because the machine was busy with other work; measure longer"
        else:
            return None
        return Point(
            **_axes(place), **dict.fromkeys(("low", "high", *FIGURES)), blocks=len(blocks), requests=requests,
            failed=len(broken.failed) if broken else 0, invalid=why,
        )


def _axes(place: Place) -> dict[str, int]:
    return {"callers": place.pattern.callers, "batch_size": place.pattern.batch_size, "workers": place.workers}


def _point(place: Place, blocks: list[_Block], spread: float | None) -> Point:
    rate = mean(block.rate for block in blocks)
    factor = None if spread is None else exp(spread / sqrt(len(blocks)))
    quoted = percentiles([seconds for block in blocks for seconds in block.load.latencies])
    return Point(
        **_axes(place), images_per_second=rate,
        low=None if factor is None else rate / factor, high=None if factor is None else rate * factor,
        p50_seconds=quoted["P50"], p90_seconds=quoted["P90"], p99_seconds=quoted["P99"],
        driver_share=max(0.0, mean(block.load.driver_share for block in blocks)), blocks=len(blocks),
        requests=sum(len(block.load.requests) for block in blocks), failed=0,
    )


def _rate(load: Load) -> float:
    """Images a second from when each caller had its first response until the last request was sent.

    In between there are always equally many in flight. Where that is less than half of the time, it is that of all
    of it.
    """
    first_ends = {request.caller: request.end for request in sorted(load.requests, key=lambda one: -one.end)}
    full, last = max(first_ends.values()), max(request.start for request in load.requests)
    loaded = rates(load.requests, [full, last])[0] if last - full >= load.seconds / 2 > 0 else 0.0
    return loaded or images_per_second([load])


def _why(request: Request, load: Load) -> str:
    """The request's error, or the first that the kept detections of its images carry."""
    errors = (getattr(load.detections.get(image_id), "error", "") for image_id in request.image_ids)
    return request.error or next(filter(None, errors), "the detections of an image carry an error")
