"""Bounds drawn from the runs of a history: what the next run of the same detector on the same machine will meet.

A bound lies MARGIN beyond the prediction interval of the baseline on the losing side, as `harness.history.between_runs`
computes that interval for a family of so many metrics: of runs that are no worse, about one in forty or fewer misses
any of the bounds. `python -m benchmarks.drawn_bounds` counts them.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date
from statistics import median
from typing import NamedTuple

from harness.compare.comparison import DIFFERENCE, RATIO, SPECS, Spec
from harness.compare.record import Figure, Run
from harness.history import key
from harness.history.between_runs import LEAST_RUNS, MOST_RUNS, between_runs
from harness.history.choice import in_words
from harness.history.store import History
from harness.verdict.metrics import MEASURED, percent, shown
from harness.verdict.targets import HISTORY, TARGETS, Target, fault, published_beside

MARGIN = 0.02  # of the value, as in MLPerf's audits
SPEED, COST = ("throughput", "images_per_second"), ("cost", "dollars_per_million")
# A difference has no share: its margin is the least loss that matters against earlier runs.
MATTERS = {row.metric: row.bound for row in TARGETS if row.check == HISTORY}
DRAWN = [spec for spec in SPECS if spec.metric in MEASURED.get(spec.check, ()) and (
    spec.how == RATIO or (spec.how == DIFFERENCE and f"{spec.check}.{spec.metric}" in MATTERS))]


class TooFew(LookupError):
    """The history has too few runs to draw bounds from; the message says how many and what to do."""


class Drawn(NamedTuple):
    """The rows that were drawn, and a line for each that was left out, with the reason."""

    rows: list[Target]
    left_out: list[str]


def drawn(history: History, platform: str, on: str | None = None) -> Drawn:
    """Rows for a platform from the last comparable baselines, dated `on` (ISO, default today).

    Raises TooFew, and PlaceError for a history that cannot be read.
    """
    runs = baselines(history, platform)
    figures_of = {spec: _figures(runs, spec) for spec in DRAWN}
    known = {spec: figures for spec, figures in figures_of.items() if len(figures) >= LEAST_RUNS}
    rows = [_row(spec, figures, runs, len(known), platform, on or date.today().isoformat())
            for spec, figures in known.items()]
    rows += _cost(rows, runs)
    found = {row: _why_left_out(row) for row in rows}
    return Drawn([row for row, why in found.items() if not why], [f"{row}: {why}" for row, why in found.items() if why])


def baselines(history: History, platform: str) -> list[Run]:
    """The newest baselines of a platform that may be compared with each other, oldest first. Raises TooFew."""
    found = history.runs(lambda one: one.is_baseline).runs
    own = [run for run in found if run.platform == platform]
    alike = [run for run in own if key.digest(run.key) == key.digest(own[-1].key)][-MOST_RUNS:]
    if len(alike) < LEAST_RUNS:
        others = sorted({run.platform for run in found} - {platform})
        elsewhere = f"; it has baselines of {', '.join(others)}" if others else ""
        number = "1 comparable baseline" if len(alike) == 1 else f"{len(alike)} comparable baselines"
        raise TooFew(f"{history.place}: {number} of {platform}, must be at least {LEAST_RUNS}{elsewhere}; run the "
                     "whole gate again on a commit without changes")
    return alike


def _figures(runs: Sequence[Run], spec: Spec) -> list[Figure]:
    """A figure of each run that measured it as the newest one did and can be drawn from."""
    found = [figure for run in runs if (figure := run.figures.get((spec.check, spec.metric))) and figure.estimate]
    return [one for one in found if (one.load, one.method) == (found[-1].load, found[-1].method)
            and (spec.how != RATIO or one.estimate.value > 0)]


def bound(spec: Spec, values: Sequence[float], family: int) -> float:
    """The bound for runs like these, of a family of so many metrics."""
    loss = between_runs(values, median(values), spec.how, spec.sense).visible(family)
    sign = -1 if spec.sense == ">=" else 1
    if spec.how == DIFFERENCE:
        return median(values) + sign * (loss + _margin(spec))
    return median(values) * (1 + sign * loss) * (1 + sign * _margin(spec))


def _margin(spec: Spec) -> float:
    """How far beyond the prediction interval the bound lies: a share, or a difference."""
    return MARGIN if spec.how == RATIO else MATTERS[f"{spec.check}.{spec.metric}"]


def _row(spec: Spec, figures: Sequence[Figure], runs: Sequence[Run], family: int, platform: str, on: str) -> Target:
    values = [figure.estimate.value for figure in figures]
    limit = bound(spec, values, family)
    margin = percent(MARGIN, 0) if spec.how == RATIO else f"{_margin(spec):g}"
    source = (f"{margin} beyond the prediction interval of {in_words(runs)}: {shown(spec.metric, median(values))}, "
              f"runs from {shown(spec.metric, min(values))} to {shown(spec.metric, max(values))}")
    return Target(spec.check, spec.metric, float(f"{limit:.5g}"), spec.sense, platform, source, on)


def _cost(rows: Sequence[Target], runs: Sequence[Run]) -> list[Target]:
    """The cost of the throughput that was drawn, at the newest run's price, which the bound follows."""
    newest = {name: runs[-1].figures.get(name) for name in (SPEED, COST)}
    speed = next((row for row in rows if (row.check, row.metric) == SPEED), None)
    if speed is None or any(figure is None or not figure.estimate for figure in newest.values()):
        return []
    hourly = newest[COST].estimate.value * newest[SPEED].estimate.value  # $ an hour, in the same unit
    follows = replace(speed, check=COST[0], metric=COST[1], sense="<=", images_per_second=speed.bound,
                      bound=float(f"{hourly / speed.bound:.5g}"))
    published = published_beside(follows)
    fixed = published and not published.images_per_second and follows.bound <= published.bound
    return [replace(follows, reason="it follows the price, the published bound does not") if fixed else follows]


def _why_left_out(row: Target) -> str:
    """Why a row would not be accepted as it was drawn; '' if it is."""
    published = published_beside(row)
    if published and not row.reason:
        return f"looser than the published {published}, which stays"
    return fault(row)


# ---- the file


def toml(rows: Sequence[Target]) -> str:
    """The rows as a file that --targets reads."""
    return "\n".join(["# Bounds of the gate, for --targets. Drawn by: python -m harness.targets --from-history",
                      *map(_toml_row, rows)])


def _toml_row(row: Target) -> str:
    given = {one.name: getattr(row, one.name) for one in fields(row) if getattr(row, one.name) != one.default}
    # A string of JSON is one of TOML where all characters are printable, as a file's texts must be.
    lines = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items())
    return "\n".join(["", "[[target]]", *lines, ""])
