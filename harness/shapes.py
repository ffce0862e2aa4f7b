"""The one table of load shapes: which load each check is measured under, and where it comes from.

MLPerf's scenarios are LoadGen's own: `harness.mlperf`.
"""
from __future__ import annotations

from typing import NamedTuple

from harness.load import Shape
from harness.targets import ANY, family


class ShapeRow(NamedTuple):
    """The load of a check on a platform (an instance family, or any), and its source."""

    check: str
    platform: str
    shape: Shape
    source: str


SHAPES = (
    ShapeRow("throughput", "inf1", Shape(4, 8), "AWS Neuron YOLOv4 tutorial"),
    ShapeRow("latency", "inf1", Shape(8, 1), "AWS Neuron Inf1 performance table, YOLOv4 in PyTorch"),
    ShapeRow("soak", "inf1", Shape(8, 4), "AWS's published two-hour run"),
    ShapeRow("accuracy", "inf1", Shape(4, 8), "AWS Neuron YOLOv4 tutorial"),
    ShapeRow(ANY, ANY, Shape(2, 1), "a laptop's: two callers, so that the host's work overlaps the network's"),
)


def shape_for(check: str, platform: str) -> Shape:
    """The first row that fits the check and the platform."""
    return next(
        row.shape for row in SHAPES if row.check in (check, ANY) and row.platform in (family(platform), ANY)
    )


def markdown_table() -> str:
    """The rows as a Markdown table for the README."""
    head = ["| check | platform | load | source |", "|---|---|---|---|"]
    return "\n".join(head + [f"| {row.check} | {row.platform} | {row.shape} | {row.source} |" for row in SHAPES])
