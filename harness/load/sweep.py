"""Throughput and latency over callers × batch size, × workers, × builds: what the detector can do, and where to run it.

Throughput rises with the images in flight until the detector is busy all the time. From there on, the knee, more images
only wait: latency = images in flight / throughput (Little's law).

Two measurements of one load differ by more than either of them shows. So all loads are measured in two passes, in
random order, and those on which the knee or the best build depends in further passes until they are decided.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from math import exp, inf, lcm, log, sqrt
from random import Random
from statistics import fmean
from typing import Any, Callable, NamedTuple

from harness.load.generator import DEADLINE, Detect, Load, LoadPattern, Request, drive, images_per_second, rates
from harness.load.knee import find_best_build, find_knee, of_build, undecided, undecided_builds, valid, worth_more
from harness.load.points import FIGURES, Build, Place, Point, Setup
from harness.stats.intervals import INTERVAL_CONFIDENCE, student_t
from harness.stats.percentiles import percentiles

GRID = tuple(LoadPattern(callers, size) for callers in (1, 2, 4, 8) for size in (1, 2, 4, 8))
SECONDS = 5.0  # for each point, both passes together
PASSES, MOST_PASSES = 2, 10  # over all points, and with those over the points on which the knee depends
LEAST_LEFT = 128  # blocks of further passes: eight over one grid; in a larger sweep as many as before
DRIFT = 0.10  # by which the second pass may differ from the first, as perf_analyzer's stable windows may

DetectFor = Callable[[Setup], AbstractContextManager[Detect]]


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
    def builds(self) -> list[Build]:
        """The builds that were to be measured, in order of their batch size."""
        return sorted({point.build for point in self.points}, key=lambda build: build.size)

    @property
    def best_build(self) -> Build:
        """The build to ship, by `find_best_build`."""
        return find_best_build(self.points)

    @property
    def knee(self) -> Point:
        """The point to run at: the knee of the best build, by `find_knee`."""
        return self.knee_of(self.best_build)

    def knee_of(self, build: Build) -> Point:
        """The point to run that build at. ValueError, which says why, where none of its points is valid."""
        if why := self.fault(build):
            raise ValueError(f"no load of the sweep could be measured with {build}: {why}")
        return find_knee(of_build(self.points, build))

    def fault(self, build: Build) -> str:
        """Why no point of a build is valid; '' where one is."""
        own = of_build(self.points, build)
        return "" if valid(own) else next((point.invalid for point in own), "it is not part of the sweep")

    @property
    def warning(self) -> str:
        """Why the points cannot be compared, or the best may be another one; '' when there is no doubt."""
        if all(point.invalid for point in self.points):
            return f"no point is valid; {self.points[0]}: {self.points[0].invalid}"
        return "; ".join(filter(None, (self._left_out(), self._drifted(), self._undecided())))

    def _left_out(self) -> str:
        faults = {build: self.fault(build) for build in self.builds}
        return "; ".join(f"{build} could not be measured ({why})" for build, why in faults.items() if why)

    def _drifted(self) -> str:
        if self.drift is None:
            return "whether the machine drifted is unknown, because no point could be measured twice"
        if abs(self.drift) <= DRIFT:
            return ""
        return (f"the machine drifted: the second pass over the points gave {self.drift:+.0%} images/s (limit "
                f"{DRIFT:.0%}); stop other work and sweep again")

    def _undecided(self) -> str:
        best, knee = self.best_build, self.knee
        builds = dict.fromkeys(str(one.build) for one in undecided_builds(self.points) if one.build != best)
        loads = [str(one) for one in undecided(of_build(self.points, best)) if one != knee]
        return "; ".join(f"the {what} is not decided against {', '.join(rivals)}"
                         for what, rivals in (("best build", builds), ("knee", loads)) if rivals)

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
    detect_for: DetectFor, samples, grid: Sequence[LoadPattern] = GRID, seconds: float = SECONDS, *,
    workers: Sequence[int] = (1,), builds: Sequence[Build] = (Build(),), deadline: float = DEADLINE, seed: int = 0,
    observe: Callable[[Place], Any] = lambda place: None,
) -> Sweep:
    """Measure every pattern of the grid for `seconds` with each build and number of workers, in an order from `seed`.

    All points are measured in two passes, so that a machine that slows down meanwhile does not look like a load that it
    cannot take. Those on which the knee or the best build depends are measured in up to eight more, which in a large
    sweep take no longer together than the first two.
    `detect_for(setup)` opens a detector (`contextlib.nullcontext(detect)` where there is only one), once a pass for all
    its patterns; where that fails, its points are invalid with the reason, and the others are measured. Samples and
    `deadline` as in `drive`, but every batch is full and all patterns send the same images. After a call that missed
    the deadline nothing more is measured with that detector. `observe` gets the place of each measurement as it ends.
    Raises ValueError for a bad argument, and what reading a sample raises.
    """
    _check_seconds(seconds)
    _check_axes(grid, workers, builds)
    samples, random = _trimmed(samples, lcm(*(pattern.batch_size for pattern in grid))), Random(seed)
    blocks = _Blocks(detect_for, samples, seconds / PASSES, deadline, observe)
    places = [Place(count, pattern, build) for build in builds for count in workers for pattern in grid]
    for _ in range(PASSES):
        blocks.measure(_shuffled(places, random))
    left = max(PASSES * len(places), LEAST_LEFT)
    for _ in range(MOST_PASSES - PASSES):
        places = list(dict.fromkeys(point.place for point in worth_more(blocks.points())))
        left -= len(places)
        if not places or left < 0:
            break
        blocks.measure(_shuffled(places, random))
    return Sweep(blocks.points(), blocks.drift(), seconds)


def _check_seconds(seconds: Any) -> None:
    if type(seconds) not in (int, float) or not 0 < seconds < inf:
        raise ValueError(f"seconds {seconds!r}: must be a finite number above 0")


def _check_axes(grid: Sequence[LoadPattern], workers: Sequence[int], builds: Sequence[Build]) -> None:
    for name, axis in (("grid", grid), ("workers", workers), ("builds", builds)):
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
    """In random order, but those of one build together and in it those of one detector: they are slow to load."""
    builds = _drawn([place.build for place in places], random)
    counts = _drawn([place.workers for place in places], random)
    return sorted(random.sample(places, len(places)), key=lambda one: (builds[one.build], counts[one.workers]))


def _drawn(values: list, random: Random) -> dict[Any, int]:
    """Each value with its place in a random order."""
    different = list(dict.fromkeys(values))
    return {value: number for number, value in enumerate(random.sample(different, len(different)))}


class _Block(NamedTuple):
    """One load in one block of time, with its images a second: None where a request failed or none was sent."""

    load: Load
    failed: list[Request]
    rate: float | None


@dataclass
class _Blocks:
    """The blocks of time in which each place was measured, and why some were not measured."""

    detect_for: DetectFor
    samples: Any
    seconds: float
    deadline: float
    observe: Callable[[Place], Any]
    _blocks: dict[Place, list[_Block]] = field(default_factory=lambda: defaultdict(list))
    _hung: dict[Setup, Place] = field(default_factory=dict)
    _unopened: dict[Setup, str] = field(default_factory=dict)  # and why

    def measure(self, places: Sequence[Place]) -> None:
        """Measure one more block of each place."""
        for setup, group in groupby(places, lambda place: place.setup):
            with ExitStack() as stack:
                detect = self._opened(setup, stack)
                for place in group:
                    self._measure(detect, place)
                    self.observe(place)

    def _opened(self, setup: Setup, stack: ExitStack) -> Detect | None:
        """The detector, or None where it cannot be opened: of any framework, the error is that detector's alone."""
        if setup not in self._unopened:
            try:
                return stack.enter_context(self.detect_for(setup))
            except Exception as error:
                self._unopened[setup] = f"{type(error).__name__}: {error}"
        return None

    def _measure(self, detect: Detect | None, place: Place) -> None:
        blocks = self._blocks[place]
        if detect is None or place.setup in self._hung or any(block.rate is None for block in blocks):
            return
        load = drive(detect, self.samples, place.pattern, seconds=self.seconds, deadline=self.deadline)
        failed = [one for one in load.warm_up + load.requests if one.answered < len(one.image_ids)]
        blocks.append(_Block(load, failed, None if failed or not load.requests else _rate(load)))
        if any(request.end - request.start > self.deadline for request in load.failed):
            self._hung[place.setup] = place

    def points(self) -> tuple[Point, ...]:
        spread = self._spread()
        return tuple(self._invalid(place, blocks) or _point(place, blocks, spread)
                     for place, blocks in self._blocks.items())

    def drift(self) -> float | None:
        """The mean relative change from the first block of each place to the second."""
        changes = [log(pair[1] / pair[0]) for pair in self._rates() if len(pair) > 1]
        return exp(fmean(changes)) - 1 if changes else None

    def _spread(self) -> float | None:
        """The log of the factor by which a block may be off at 95 %; all places are taken to have the same noise."""
        groups = [list(map(log, rates)) for rates in self._rates()]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        squares = sum((one - middle) ** 2 for group in groups for middle in [fmean(group)] for one in group)
        return student_t(INTERVAL_CONFIDENCE, freedom) * sqrt(squares / freedom)

    def _rates(self) -> list[list[float]]:
        return [[block.rate for block in blocks] for blocks in self._blocks.values()
                if blocks and all(block.rate for block in blocks)]

    def _invalid(self, place: Place, blocks: list[_Block]) -> Point | None:
        """The point without figures of a place that could not be measured; else None."""
        requests = sum(len(block.load.requests) for block in blocks)
        broken = next((block for block in blocks if block.failed), None)
        if place.setup in self._unopened:
            why = f"the detector could not be opened: {self._unopened[place.setup]}"
        elif not blocks:
            why = f"not measured, because a call hung before: {self._hung[place.setup]}"
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


def _axes(place: Place) -> dict[str, Any]:
    return {"callers": place.pattern.callers, "batch_size": place.pattern.batch_size, "workers": place.workers,
            **place.build._asdict()}


def _point(place: Place, blocks: list[_Block], spread: float | None) -> Point:
    rate = fmean(block.rate for block in blocks)
    factor = None if spread is None else exp(spread / sqrt(len(blocks)))
    quoted = percentiles([seconds for block in blocks for seconds in block.load.latencies])
    return Point(
        **_axes(place), images_per_second=rate,
        low=None if factor is None else rate / factor, high=None if factor is None else rate * factor,
        p50_seconds=quoted["P50"], p90_seconds=quoted["P90"], p99_seconds=quoted["P99"],
        driver_share=max(0.0, fmean(block.load.driver_share for block in blocks)), blocks=len(blocks),
        requests=sum(len(block.load.requests) for block in blocks), failed=0,
    )


def _rate(load: Load) -> float:
    """Images a second from when each caller had its first response until the last request was sent.

    In between equally many are in flight. Where that is less than half of the time, it is that of all of it.
    """
    first_ends = {request.caller: request.end for request in sorted(load.requests, key=lambda one: -one.end)}
    full, last = max(first_ends.values()), max(request.start for request in load.requests)
    loaded = rates(load.requests, [full, last])[0] if last - full >= load.seconds / 2 > 0 else 0.0
    return loaded or images_per_second([load])


def _why(request: Request, load: Load) -> str:
    """The request's error, or the first that the kept detections of its images carry."""
    errors = (getattr(load.detections.get(image_id), "error", "") for image_id in request.image_ids)
    return request.error or next(filter(None, errors), "the detections of an image carry an error")
