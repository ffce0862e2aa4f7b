"""Throughput and latency over callers × batch size, and × workers: what the detector can do, and where to run it.

Throughput rises with the images in flight until the detector is busy all the time. From there on more of them only
wait: latency = images in flight / throughput (Little's law). Where that begins is the knee.

Two measurements of one load differ by more than either of them shows, so each is measured in two passes over all of
them, in random order, and those on which the knee hangs again and again until it is decided.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from math import copysign, exp, hypot, inf, lcm, log, sqrt
from random import Random
from statistics import NormalDist, mean
from typing import Any, Callable, NamedTuple

from harness.load.generator import DEADLINE, Detect, Load, Request, Shape, drive, images_per_second, rates
from harness.stats.percentiles import INTERVAL_CONFIDENCE, percentiles

GRID = tuple(Shape(callers, size) for callers in (1, 2, 4, 8) for size in (1, 2, 4, 8))
SECONDS = 5.0  # of each point, in both passes together
PASSES, MOST_PASSES = 2, 10  # over all points, and with those over the points on which the knee hangs
KNEE_SHARE = 0.95  # of the highest throughput
DRIFT = 0.10  # by which the second pass may differ from the first: as perf_analyzer's stable windows do
FIGURES = ("images_per_second", "p50_seconds", "p90_seconds", "p99_seconds", "driver_share")


@dataclass(frozen=True)
class Point:
    """One load, and what it gave: percentiles are of whole requests, `failed` counts those without all their answers.

    `low` and `high` bound the throughput at 95 % each, by how much `blocks` of time differ; None where there is but
    one of each point. A point with a failed request is `invalid`, which says why, and has no figures. `driver_share` is
    the load generator's overhead, as a share of the callers' time. Raises ValueError for what no measurement can give.
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
                raise ValueError(f"{name} of a point must be a whole number from {least}, not {value!r}")
        if not isinstance(self.invalid, str):
            raise ValueError(f"invalid of a point must be a text, not {self.invalid!r}")
        for name in FIGURES:
            if not _fits(getattr(self, name), self.invalid):
                kind = "missing, as it is invalid" if self.invalid else "a finite number from 0"
                raise ValueError(f"{name} of a point must be {kind}, not {getattr(self, name)!r}")
        if not _bounds(self):
            raise ValueError(f"low and high of a point must bound its throughput, not {self.low!r} and {self.high!r}")
        measured = self.requests and self.blocks and self.images_per_second
        if not self.invalid and (self.failed or not measured):
            raise ValueError("a point with a failed request, or without an answered one, must say why it is invalid")

    @property
    def in_flight(self) -> int:
        """Images that are with the detector or wait for it."""
        return self.callers * self.batch_size

    def __str__(self) -> str:
        return str(self.place)

    @property
    def place(self) -> Place:
        """Where on the axes of the sweep it lies."""
        return Place(self.workers, Shape(self.callers, self.batch_size))


class Place(NamedTuple):
    """A load on a detector of so many workers."""

    workers: int
    shape: Shape

    def __str__(self) -> str:
        return f"{self.shape}, {self.workers} workers" if self.workers > 1 else str(self.shape)


@dataclass(frozen=True)
class Sweep:
    """Points as they were first measured, for `seconds` each, and longer where the knee hangs on them.

    `drift` is by which share throughput rose, or fell, from the first pass over the points to the second; None where
    none was measured twice. Raises ValueError for what no sweep can give.
    """

    points: tuple[Point, ...]
    drift: float | None
    seconds: float

    def __post_init__(self):
        _check_seconds(self.seconds)
        places = [point.place for point in self.points]
        if not places or len(set(places)) < len(places):
            raise ValueError("a sweep must have points, and none twice")
        if self.drift is not None and not (type(self.drift) in (int, float) and -1 < self.drift < inf):
            raise ValueError(f"drift must be a finite number above -1 or missing, not {self.drift!r}")

    @property
    def knee(self) -> Point:
        """As `find_knee`."""
        return find_knee(self.points)

    @property
    def warning(self) -> str:
        """Why the points cannot be held against each other, or the knee may be another; '' when there is no doubt."""
        if all(point.invalid for point in self.points):
            return f"no point is valid; {self.points[0]}: {self.points[0].invalid}"
        return "; ".join(filter(None, (self._drifted(), self._undecided())))

    def _drifted(self) -> str:
        if self.drift is None:
            return "whether the machine drifted is unknown: no point could be measured twice"
        if abs(self.drift) <= DRIFT:
            return ""
        return (f"the machine drifted: the second pass over the points gave {self.drift:+.0%} images/s; leave it idle "
                "and sweep again")

    def _undecided(self) -> str:
        rivals = [str(point) for point in undecided(self.points) if point != self.knee]
        return f"the knee is not decided against {', '.join(rivals)}" if rivals else ""

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON; `from_record` gives the same sweep back."""
        return {**asdict(self), "points": [asdict(point) for point in self.points]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sweep:
        """ValueError for anything that `as_record` cannot have written."""
        try:
            return cls(**{**record, "points": tuple(Point(**point) for point in record["points"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is no record of a sweep ({type(error).__name__}: {error}); sweep again") from error


def sweep(
    detect_for: Callable[[int], AbstractContextManager[Detect]], samples, grid: Sequence[Shape] = GRID,
    seconds: float = SECONDS, *, workers: Sequence[int] = (1,), deadline: float = DEADLINE, seed: int = 0,
    observe: Callable[[Place], Any] | None = None,
) -> Sweep:
    """Measure every shape of the grid for `seconds`, with each number of workers, in an order drawn by `seed`.

    Each point is measured in two passes over all of them, so that a machine that slows down meanwhile does not look
    like a load that it cannot take; the points on which the knee hangs in up to eight passes more. `detect_for(n)`
    opens a detector of n workers (`contextlib.nullcontext(detect)` where there is but one), once for all shapes of a
    pass. Samples and `deadline` as in `drive`, but every batch is full and all shapes send the same
    images. After a call that missed the deadline no more is measured with that number of workers. `observe` gets the
    place of each measurement as it ends. Raises ValueError for a bad argument, and what `detect_for` or reading a
    sample raises.
    """
    _check_seconds(seconds)
    _check_axes(grid, workers)
    samples, random = _trimmed(samples, lcm(*(shape.batch_size for shape in grid))), Random(seed)
    blocks = _Blocks(detect_for, samples, seconds / PASSES, deadline, observe or (lambda place: None))
    places = [Place(count, shape) for count in workers for shape in grid]
    for number in range(MOST_PASSES):
        if not places:
            break
        blocks.measure(_shuffled(places, random))
        if number + 1 >= PASSES:
            places = _worth_more(blocks.points())
    return Sweep(blocks.points(), blocks.drift(), seconds)


def find_knee(points: Sequence[Point]) -> Point:
    """The point to run at: the fewest images in flight that still give 95 % of the highest throughput.

    Of as many in flight the one with the lowest P99, then with the fewest workers and callers. More in flight would add
    to every request's latency more than to the throughput. Only valid points count; ValueError if there is none.
    """
    valid = _valid(points)
    if not valid:
        raise ValueError("no point of the sweep is valid, so it has no knee; see why in their `invalid`")
    enough = KNEE_SHARE * _best(valid).images_per_second
    return min((point for point in valid if point.images_per_second >= enough),
               key=lambda point: (point.in_flight, point.p99_seconds, point.workers, point.callers))


def undecided(points: Sequence[Point]) -> list[Point]:
    """The points that may be the knee by the bounds of their throughput, if there is more than one.

    The knee is decided when it is proven to give 95 % of the highest throughput of those with more images in flight,
    and those with fewer are proven not to. Points with as many in flight are as good.
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
    """Those that are to be measured again: what may be the knee, and what it is held against."""
    found = undecided(points)
    return list(dict.fromkeys(point.place for point in (*found, _best(points)))) if found else []


def _beyond(point: Point, best: Point) -> float:
    """How far a point is above the knee's share of the best, as a part of what is uncertain: from 1 on it is proven."""
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


def _shuffled(places: Sequence[Place], random: Random) -> list[Place]:
    """In random order, those of as many workers together, because detectors are slow to load."""
    counts = list(dict.fromkeys(place.workers for place in places))
    drawn = {count: number for number, count in enumerate(random.sample(counts, len(counts)))}
    return sorted(random.sample(places, len(places)), key=lambda place: drawn[place.workers])


class _Block(NamedTuple):
    """What a load gave in one block of time: images a second, None where a request failed or none was sent."""

    load: Load
    failed: list[Request]
    rate: float | None


class _Blocks:
    """The blocks of time in which each place was measured, and why some were not."""

    def __init__(self, detect_for, samples, seconds: float, deadline: float, observe: Callable[[Place], Any]):
        self._detect_for, self._samples, self._seconds = detect_for, samples, seconds
        self._deadline, self._observe = deadline, observe
        self._blocks: dict[Place, list[_Block]] = defaultdict(list)
        self._hung: dict[int, Place] = {}  # by number of workers

    def measure(self, places: Sequence[Place]) -> None:
        """One block more of each."""
        for count, group in groupby(places, lambda place: place.workers):
            with self._detect_for(count) as detect:
                for place in group:
                    self._measure(detect, place)
                    self._observe(place)

    def _measure(self, detect: Detect, place: Place) -> None:
        blocks = self._blocks[place]
        if place.workers in self._hung or any(block.rate is None for block in blocks):
            return
        load = drive(detect, self._samples, place.shape, seconds=self._seconds, deadline=self._deadline)
        failed = [one for one in load.warm_up + load.requests if one.answered < len(one.image_ids)]
        blocks.append(_Block(load, failed, None if failed or not load.requests else _rate(load)))
        if any(request.end - request.start > self._deadline for request in load.failed):
            self._hung[place.workers] = place

    def points(self) -> tuple[Point, ...]:
        spread = self._spread()
        return tuple(self._invalid(place, blocks) or _point(place, blocks, spread)
                     for place, blocks in self._blocks.items())

    def drift(self) -> float | None:
        """From the first block of each place to the second, on average."""
        changes = [log(rates[1] / rates[0]) for rates in self._rates() if len(rates) > 1]
        return exp(mean(changes)) - 1 if changes else None

    def _spread(self) -> float | None:
        """By which factor one block may be off at 95 %, in logarithms: all places have the same noise."""
        groups = [list(map(log, rates)) for rates in self._rates()]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        squares = sum((one - mean(group)) ** 2 for group in groups for one in group)
        return _student_t(freedom) * sqrt(squares / freedom)

    def _rates(self) -> Iterator[list[float]]:
        for blocks in self._blocks.values():
            if blocks and all(block.rate for block in blocks):
                yield [block.rate for block in blocks]

    def _invalid(self, place: Place, blocks: list[_Block]) -> Point | None:
        """The point without figures where there are none."""
        counts = len(blocks), sum(len(block.load.requests) for block in blocks)
        broken = next((block for block in blocks if block.failed), None)
        if not blocks:
            why = f"not measured, as a call hung before, of {self._hung[place.workers]}"
        elif broken:
            sent = sum(len(block.load.warm_up) for block in blocks) + counts[1]
            why = f"{len(broken.failed)} of {sent} requests failed: {_why(broken.failed[0], broken.load)}"
        elif not all(block.rate for block in blocks):
            why = "no request was sent in time, the machine was busy elsewhere; give it longer"
        else:
            return None
        failed = len(broken.failed) if broken else 0
        return Point(*_axes(place), *[None] * 7, *counts, failed, why)


def _axes(place: Place) -> tuple[int, int, int]:
    return place.shape.callers, place.shape.batch_size, place.workers


def _point(place: Place, blocks: list[_Block], spread: float | None) -> Point:
    rate = mean(block.rate for block in blocks)
    factor = None if spread is None else exp(spread / sqrt(len(blocks)))
    bounds = (None, None) if factor is None else (rate / factor, rate * factor)
    latencies = [seconds for block in blocks for seconds in block.load.latencies]
    overhead = max(0.0, mean(block.load.driver_share for block in blocks))
    return Point(*_axes(place), rate, *bounds, *percentiles(latencies, (50, 90, 99)).values(), overhead, len(blocks),
                 sum(len(block.load.requests) for block in blocks), 0)


def _rate(load: Load) -> float:
    """Images a second from when each caller had its first response until the last request was sent.

    In between there are always as many under way. Where that is less than half of the time, those of all of it.
    """
    first_ends = {request.caller: request.end for request in sorted(load.requests, key=lambda one: -one.end)}
    full, last = max(first_ends.values()), max(request.start for request in load.requests)
    loaded = rates(load.requests, [full, last])[0] if last - full >= load.seconds / 2 > 0 else 0.0
    return loaded or images_per_second([load])


def _student_t(freedom: int) -> float:
    """Its quantile at 95 %, to 1 % from 3 degrees of freedom on (Cornish and Fisher's expansion)."""
    z = NormalDist().inv_cdf(INTERVAL_CONFIDENCE)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _why(request: Request, load: Load) -> str:
    """The request's error, or the first that an image's answer carries, as far as the answers were kept."""
    errors = (getattr(load.answers.get(image_id), "error", "") for image_id in request.image_ids)
    return request.error or next(filter(None, errors), "an image was answered with an error")
