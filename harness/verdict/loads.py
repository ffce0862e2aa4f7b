"""The table of loads: the load pattern that each check is measured under, its source, and for how long.

MLPerf's scenarios are LoadGen's own: `harness.load.mlperf`.
"""
from __future__ import annotations

import math
from typing import NamedTuple

from harness.load.generator import LoadPattern
from harness.verdict.targets import ANY, GPU, scopes


class Pace(NamedTuple):
    """The least and the most seconds that a load is measured; more than the least only while it is undecided.

    The looks come after the least time and at each doubling of it, so that they are few, and known beforehand. They
    share the error of a bound (Bonferroni) as they share the time: late ones, which see most, may err most.
    """

    least: float
    most: float

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of rounds after which the gate looks whether it is decided."""
        doublings = math.floor(math.log2(self.most / self.least) + 1e-9)
        return tuple(LEAST_ROUNDS * 2**times for times in range(doublings + 1))

    def error_share(self, rounds: int) -> float:
        """The share of the error that the look after so many rounds has: that of the time since the one before."""
        before = max((look for look in self.looks if look < rounds), default=0)
        return (rounds - before) / self.looks[-1]

    @property
    def round_seconds(self) -> float:
        """Seconds of a round: the first look comes after several, because one run does not show how runs differ."""
        return self.least / LEAST_ROUNDS

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g} s"


class LoadRow(NamedTuple):
    """The load of a check on a platform (a family, gpu or any), its source, and how long speed is measured."""

    check: str
    platform: str
    pattern: LoadPattern
    source: str
    pace: Pace | None = None


# How each check measures, in words: figures of two runs are compared only where these and the load are the same.
METHODS = {
    "accuracy": "COCO's AP over IoU .50:.95, at most 100 detections an image",
    "throughput": "images a second under load",
    "latency": "whole requests, pre- and post-processing included",
    "soak": "a soak in windows of {window_seconds:g} s",
}
KNEE = "the knee of a sweep of loads"  # each run under its own best load

LEAST_ROUNDS = 3
MLPERF = 600  # seconds: the least duration of MLPerf's scenarios
AS_ON_INF1 = "as on Inf1, with which it is compared"
LOADS = (
    LoadRow("throughput", "inf1", LoadPattern(4, 8), "AWS Neuron YOLOv4 tutorial", Pace(MLPERF / 8, MLPERF)),
    LoadRow("latency", "inf1", LoadPattern(8, 1), "AWS Neuron Inf1 performance table, YOLOv4 in PyTorch",
             Pace(MLPERF / 2, MLPERF)),
    LoadRow("soak", "inf1", LoadPattern(8, 4), "AWS's published two-hour run"),
    LoadRow("accuracy", "inf1", LoadPattern(4, 8), "AWS Neuron YOLOv4 tutorial"),
    LoadRow("throughput", GPU, LoadPattern(4, 8), AS_ON_INF1, Pace(MLPERF / 8, MLPERF)),
    LoadRow("latency", GPU, LoadPattern(8, 1), AS_ON_INF1, Pace(MLPERF / 2, MLPERF)),
    LoadRow("soak", GPU, LoadPattern(8, 4), "AWS's published two-hour run on g4dn.xlarge"),
    LoadRow("accuracy", GPU, LoadPattern(4, 8), AS_ON_INF1),
    LoadRow(ANY, "cpu", LoadPattern(2, 1), "own, for laptops: two callers, so that host and network work overlap",
             Pace(6, 96)),
    LoadRow(ANY, ANY, LoadPattern(2, 1), "as a laptop's; longer where it is undecided, because its bounds decide",
             Pace(6, 384)),
)


def pattern_for(check: str, platform: str) -> LoadPattern:
    """The load pattern of the first row that fits the check and the platform."""
    return _row_for(check, platform).pattern


def pace_for(check: str, platform: str) -> Pace:
    """How long the load of the check is measured on the platform; LookupError where its row does not say."""
    row = _row_for(check, platform)
    if row.pace is None:
        raise LookupError(f"no duration for {check} on {platform}; add it to its row in harness/verdict/loads.py")
    return row.pace


def _row_for(check: str, platform: str) -> LoadRow:
    return next(row for row in LOADS if row.check in (check, ANY) and row.platform in scopes(platform))


def markdown_table() -> str:
    """The rows as a Markdown table for the docs."""
    head = ["| check | platform | load | measured for | source |", "|---|---|---|---|---|"]
    return "\n".join(head + [f"| {row.check} | {row.platform} | {row.pattern} | {row.pace or '–'} | {row.source} |"
                             for row in LOADS])
