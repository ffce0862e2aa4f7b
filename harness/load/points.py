"""What a sweep measures: the figures of one load on one build of the detector."""
from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from harness.load.generator import LoadPattern

FIGURES = ("images_per_second", "p50_seconds", "p90_seconds", "p99_seconds", "driver_share")
LEAST = {"callers": 1, "batch_size": 1, "workers": 1, "blocks": 0, "requests": 0, "failed": 0}


class Build(NamedTuple):
    """How a detector was compiled: the batch size of its network, None where it takes any.

    With `dynamic_batch` its runtime cuts a request of any size into such batches; without, the model takes exactly so
    many images, and whoever calls it must split and pad.
    """

    compiled_batch: int | None = None
    dynamic_batch: bool = False

    def __str__(self) -> str:
        how = "dynamic" if self.dynamic_batch else "static"
        return "any batch" if self.compiled_batch is None else f"compiled batch {self.compiled_batch}, {how}"

    @property
    def size(self) -> tuple[int, bool]:
        """What a sweep prefers less: a larger batch, and of the same batch one that does not take every request."""
        return self.compiled_batch or 0, not self.dynamic_batch


class Setup(NamedTuple):
    """A build with so many workers: what is opened, and slow to open."""

    build: Build
    workers: int


class Place(NamedTuple):
    """A load on a build of the detector with so many workers."""

    workers: int
    pattern: LoadPattern
    build: Build = Build()

    def __str__(self) -> str:
        workers = [f"{self.workers} workers"] if self.workers > 1 else []
        build = [] if self.build.compiled_batch is None else [str(self.build)]
        return ", ".join([str(self.pattern), *workers, *build])

    @property
    def setup(self) -> Setup:
        return Setup(self.build, self.workers)


@dataclass(frozen=True)
class Point:
    """The figures of one load. Percentiles are of whole requests; `failed` counts those without all detections.

    `low` and `high` bound the throughput at 95 % each, by how much `blocks` of time differ; None where each point has
    only one. A point with a failed request has no figures, and `invalid` says why. `driver_share` is the load
    generator's overhead, as a share of the callers' time. `compiled_batch` and `dynamic_batch` as of `Build`. Raises
    ValueError for what no measurement can give.
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
    compiled_batch: int | None = None
    dynamic_batch: bool = False

    def __post_init__(self):
        for name, least in LEAST.items():
            _check_whole(name, getattr(self, name), least)
        if self.compiled_batch is not None:
            _check_whole("compiled_batch", self.compiled_batch, 1)
        if not isinstance(self.dynamic_batch, bool):
            raise ValueError(f"dynamic_batch of a point is {self.dynamic_batch!r}: must be true or false")
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

    @property
    def build(self) -> Build:
        return Build(self.compiled_batch, self.dynamic_batch)

    @property
    def place(self) -> Place:
        """Its place on the axes of the sweep."""
        return Place(self.workers, LoadPattern(self.callers, self.batch_size), self.build)

    def __str__(self) -> str:
        return str(self.place)


def _check_whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} of a point is {value!r}: must be a whole number from {least}")


def _fits(figure: Any, invalid: str) -> bool:
    if invalid:
        return figure is None
    return type(figure) in (int, float) and 0 <= figure < inf


def _bounds(point: Point) -> bool:
    low, high = point.low, point.high
    if point.invalid or low is None or high is None:
        return low is high is None
    return _fits(low, "") and _fits(high, "") and 0 < low <= point.images_per_second <= high
