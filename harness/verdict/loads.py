"""The one table of load shapes: which load each check is measured under, and where it comes from.

MLPerf's scenarios are LoadGen's own: `harness.load.mlperf`.
"""
from __future__ import annotations

import math
from typing import NamedTuple

from harness.load.generator import Shape
from harness.verdict.targets import ANY, family


class Pace(NamedTuple):
    """How long a load is measured, in seconds: at least, and at most where it is still undecided.

    It is looked at after the least time and whenever that has doubled, so that the looks are few, and known beforehand.
    """

    least: float
    most: float

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many rounds it is looked at."""
        doublings = math.floor(math.log2(self.most / self.least) + 1e-9)
        return tuple(LEAST_ROUNDS * 2**times for times in range(doublings + 1))

    @property
    def round_seconds(self) -> float:
        """Several rounds from the first look on, because a run on its own knows nothing of how runs differ."""
        return self.least / LEAST_ROUNDS

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g} s"


class ShapeRow(NamedTuple):
    """The load of a check on a platform (an instance family, or any), its source, and how long speed is measured."""

    check: str
    platform: str
    shape: Shape
    source: str
    pace: Pace | None = None


LEAST_ROUNDS = 3
MLPERF = 600  # seconds: the least duration of MLPerf's scenarios
SHAPES = (
    ShapeRow("throughput", "inf1", Shape(4, 8), "AWS Neuron YOLOv4 tutorial", Pace(MLPERF / 8, MLPERF)),
    ShapeRow("latency", "inf1", Shape(8, 1), "AWS Neuron Inf1 performance table, YOLOv4 in PyTorch",
             Pace(MLPERF / 2, MLPERF)),
    ShapeRow("soak", "inf1", Shape(8, 4), "AWS's published two-hour run"),
    ShapeRow("accuracy", "inf1", Shape(4, 8), "AWS Neuron YOLOv4 tutorial"),
    ShapeRow(ANY, ANY, Shape(2, 1), "a laptop's: two callers, so that the host's work overlaps the network's",
             Pace(5, 40)),
)


def shape_for(check: str, platform: str) -> Shape:
    """The load pattern of the first row that fits the check and the platform."""
    return _row_for(check, platform).shape


def pace_for(check: str, platform: str) -> Pace:
    """How long the load of the check is measured on the platform; LookupError where its row says nothing of it."""
    row = _row_for(check, platform)
    if row.pace is None:
        raise LookupError(f"no duration for {check} on {platform}; add it to its row in harness/verdict/loads.py")
    return row.pace


def _row_for(check: str, platform: str) -> ShapeRow:
    return next(row for row in SHAPES if row.check in (check, ANY) and row.platform in (family(platform), ANY))


def markdown_table() -> str:
    """The rows as a Markdown table for the README."""
    head = ["| check | platform | load | measured for | source |", "|---|---|---|---|---|"]
    return "\n".join(head + [_markdown(row) for row in SHAPES])


def _markdown(row: ShapeRow) -> str:
    return f"| {row.check} | {row.platform} | {row.shape} | {row.pace or '–'} | {row.source} |"
