"""A sweep as lines for a terminal and as records for the results file."""
from __future__ import annotations

from typing import Any

from harness.load.knee import find_knee, highest, of_build, ratio
from harness.load.points import Build, Point
from harness.load.sweep import Sweep

COLUMNS = ("compiled for", "highest images/s", "of the best", "knee", "images/s", "P50 ms", "P99 ms")


def table(found: Sweep) -> list[str]:
    """Lines: a head, a row for each build, the best, and why the sweep may be wrong. Bounds hold at 95 % each."""
    rows = [COLUMNS, *(_cells(found, build) for build in found.builds if not found.fault(build))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    warning = [f"sweep: {found.warning}"] if found.warning else []
    if not rows[1:]:
        return ["", *warning]
    return ["", *lines, f"best: {found.best_build}, knee at {_load(found.knee)}", *warning]


def figures(found: Sweep) -> list[dict[str, Any]]:
    """A record for each point: its throughput as value with interval, then load, build and latency."""
    return [{
        "metric": "images_per_second", "value": point.images_per_second, "count": point.requests,
        "interval": None if point.low is None else (point.low, point.high),
        "compiled_batch": point.compiled_batch, "dynamic_batch": point.dynamic_batch,
        "callers": point.callers, "batch_size": point.batch_size, "workers": point.workers,
        "p50_seconds": point.p50_seconds, "p90_seconds": point.p90_seconds, "p99_seconds": point.p99_seconds,
        "is_best": not point.invalid and point == found.knee, "why": point.invalid,
    } for point in found.points]


def _cells(found: Sweep, build: Build) -> tuple[str, ...]:
    own = of_build(found.points, build)
    peak, knee, best = highest(own), find_knee(own), highest(of_build(found.points, found.best_build))
    share = ratio(peak, best)
    return (str(build), _interval(peak.images_per_second, peak.low, peak.high, ".4g"),
            "1" if peak == best else _interval(share.value, share.low, share.high, ".3f"), _load(knee),
            f"{knee.images_per_second:.4g}", f"{1e3 * knee.p50_seconds:.1f}", f"{1e3 * knee.p99_seconds:.1f}")


def _interval(value: float, low: float | None, high: float | None, form: str) -> str:
    return f"{value:{form}}" if low is None else f"{value:{form}} ({low:{form}} to {high:{form}})"


def _load(point: Point) -> str:
    return str(point.place._replace(build=Build()))
