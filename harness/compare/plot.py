"""The comparison as one plot: by which factor each figure is better than the baseline's, with its interval.

To the right is better for every figure: what should be low, such as a latency, is turned over.
"""
from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from harness import files
from harness.compare import table
from harness.compare.comparison import BETTER, RATIO, SPECS, WORSE, Compared
from harness.compare.record import Run
from harness.stats.estimate import Estimate
from harness.text import label as plain

WIDTH, ROW, FRAME = 14.0, 0.33, 1.75  # inches: of the plot, of a line in it, of title and axis together
AXES_LEFT, AXES_RIGHT = 0.175, 0.6  # shares of the width: names stand to the left, values to the right
COLUMNS = (1.03, 1.235, 1.44)  # of baseline, other run and change, in widths of the axes
COLOURS = {BETTER: "#3a7d44", WORSE: "#b5332e"}
UNDECIDED, FAINT = "#6f6f6f", "#e4e4e4"
UNKNOWN = (0, (1, 1.6))  # the line of a side without a bound
LEGEND = ("green: better, red: worse, grey: not decided; a line is the interval, dotted where it has no bound, and a "
          "circle without a line has none")
LEAST_REACH, MOST_REACH = 1.25, 16.0  # factors that the axis spans to either side
TICKS = tuple(2.0**power for power in range(-4, 5))
NEAR_TICKS = (1 / 2, 1 / 1.5, 1 / 1.25, 1 / 1.1, 1, 1.1, 1.25, 1.5, 2)  # of an axis that does not reach far
LONGEST = 62  # characters of what is said of a figure that was not compared


class Line(NamedTuple):
    """One line of the plot: the other run, its row, and the height at which it stands."""

    other: Run
    row: Compared
    y: float


def write(path: Path, runs: Sequence[Run], compared: Mapping[str, Sequence[Compared]]) -> None:
    """Draw the rows of each run but the first, by its name, into a file. Raises Unwritable."""
    content = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as of letters that matplotlib's font lacks
        draw(runs, compared).savefig(content, format=path.suffix[1:], dpi=100, metadata=metadata)
    files.write(path, content.getvalue())


def draw(runs: Sequence[Run], compared: Mapping[str, Sequence[Compared]]) -> Figure:
    """The plot of the rows of each run but the first."""
    lines = _lines(runs, compared)
    height = FRAME + ROW * len(lines) + 0.24 * len(runs)
    figure = Figure(figsize=(WIDTH, height))
    bottom, top = 0.78 / height, 1 - (0.95 + 0.24 * len(runs)) / height
    ax = figure.add_axes((AXES_LEFT, bottom, AXES_RIGHT - AXES_LEFT, top - bottom))
    reach = _reach(lines)
    for line in lines:
        _draw_line(ax, line, reach)
    _frame(ax, lines, reach)
    _heads(ax, runs, height)
    for place, run in enumerate(runs):
        words = f"{run.name}   {plain(table.title(run), 150)}"
        figure.text(0.015, 1 - (0.62 + 0.24 * place) / height, words, fontsize=10)
    figure.text(0.015, 1 - 0.3 / height, f"By which factor figures are better than those of {runs[0].name}",
                fontsize=13, weight="bold")
    figure.text(0.985, 0.13 / height, LEGEND, fontsize=8.5, color=UNDECIDED, ha="right")
    return figure


def _lines(runs: Sequence[Run], compared: Mapping[str, Sequence[Compared]]) -> list[Line]:
    """The lines from the top: those of one figure together, in the order of SPECS."""
    by_spec = {(other.name, row.spec): (other, row) for other in runs[1:] for row in compared[other.name]}
    found = [by_spec[other.name, spec] for spec in SPECS for other in runs[1:] if (other.name, spec) in by_spec]
    return [Line(other, row, -place) for place, (other, row) in enumerate(found)]


def _factor(row: Compared) -> Estimate | None:
    """By which factor the other run is better, above 1 for a better one; None for what is not a ratio."""
    change = row.change
    if change is None or row.spec.how != RATIO:
        return None
    if row.spec.sense == ">=":
        return change
    return Estimate(1 / change.value, change.high and 1 / change.high, change.low and 1 / change.low)


def _reach(lines: Sequence[Line]) -> float:
    """The factor that the axis spans to either side."""
    factors = filter(None, (_factor(line.row) for line in lines))
    bounds = [bound for one in factors for bound in (one.value, one.low, one.high) if bound]
    widest = max((max(bound, 1 / bound) for bound in bounds), default=1.0)
    return min(max(1.12 * widest, LEAST_REACH), MOST_REACH)


def _draw_line(ax, line: Line, reach: float) -> None:
    colour = COLOURS.get(line.row.outcome, UNDECIDED)
    if found := _factor(line.row):
        value, has_none = min(max(found.value, 1 / reach), reach), not (found.low or found.high)
        for bound, edge in (() if has_none else ((found.low, 1 / reach), (found.high, reach))):
            style = dict(linewidth=2.2) if bound else dict(linewidth=1.6, linestyle=UNKNOWN)
            ax.plot((bound or edge, value), (line.y, line.y), color=colour, solid_capstyle="butt", **style)
        ax.plot(value, line.y, "o", color=colour, markersize=7, markerfacecolor="white" if has_none else colour)
    for x, text, own in zip(COLUMNS, _texts(line.row), ("black", "black", colour)):
        ax.text(x, line.y, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9.5, color=own)


def _texts(row: Compared) -> tuple[str, str, str]:
    _, base, other, change, outcome = table.cells(row)
    return plain(base), plain(other), plain(change or outcome, LONGEST)


def _frame(ax, lines: Sequence[Line], reach: float) -> None:
    ax.set_yticks([line.y for line in lines], _names(lines), fontsize=9.5)
    ax.set(xscale="log", xlim=(1 / reach, reach), ylim=(-len(lines) + 0.4, 0.6))
    ticks = [tick for tick in (NEAR_TICKS if reach < 2.5 else TICKS) if 1 / reach <= tick <= reach]
    ax.set_xticks(ticks, [f"{tick:.3g} ×" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.axvline(1, color="black", linewidth=0.9)
    ax.grid(axis="x", color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
    for above, below in zip(lines, lines[1:]):
        if above.row.spec != below.row.spec:
            ax.axhline((above.y + below.y) / 2, color=FAINT, linewidth=0.7, xmin=-0.37, xmax=1.9, clip_on=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("← worse        better →", fontsize=10)


def _names(lines: Sequence[Line]) -> list[str]:
    """The figure of each line, said once, and the run where there are several."""
    several = len({line.other.name for line in lines}) > 1
    specs = [line.row.spec for line in lines]
    names = ["" if spec == before else table.figure_name(line.row)
             for line, spec, before in zip(lines, specs, [None, *specs])]
    return [plain(f"{name}   {line.other.name}" if several else name) for name, line in zip(names, lines)]


def _heads(ax, runs: Sequence[Run], height: float) -> None:
    several = len(runs) > 2
    heads = (runs[0].name, "the other" if several else runs[1].name,
             "change" if several else f"{runs[1].name} against {runs[0].name}")
    for x, head in zip(COLUMNS, heads):
        ax.text(x, 1.0, head, transform=ax.transAxes, fontsize=9.5, weight="bold", va="bottom")
