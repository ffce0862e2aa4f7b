"""Plots of a run from its report folder alone: `python -m harness.report DIR` draws them anew.

Each plot needs one file of the folder and is left out, with a line that says so, where that is missing or damaged:
soak.journal (throughput.svg, latency.svg, and gpu.svg where GPUs were sampled), sweep.json (sweep.svg),
precision_recall.json (precision_recall.svg).
"""
from __future__ import annotations

import argparse
import io
import json
import math
import sys
import warnings
from collections.abc import Collection, Iterator
from itertools import accumulate
from math import log2
from pathlib import Path
from typing import Any, Callable

from matplotlib.figure import Figure

from harness.files import write
from harness.load.knee import highest, of_build, valid
from harness.load.points import Point
from harness.load.sweep import Sweep
from harness.machine.gpu import THERMAL, gauge
from harness.soak.reader import summarise
from harness.soak.result import SoakResult
from harness.text import label, printable, shown

JOURNAL, SWEEP, CURVES = "soak.journal", "sweep.json", "precision_recall.json"
STYLE = {"color": "#1f5fa8", "linewidth": 1.4}
GREY, RED, GREEN = "#9a9a9a", "#b5332e", "#3a7d44"
PERCENTILES = {"P50": "#1f5fa8", "P90": "#c77f1a", "P99": "#b5332e"}
NAMED_CLASSES = 10  # more curves than that cannot be told apart
UNNAMED = {"linewidth": 0.5, "color": "#d5d5d5"}
GPU_CURVES = {"celsius": "temperature, °C", "mhz": "clock at work, MHz", "watts": "power, W"}
RECALL_POINTS = [i / 100 for i in range(101)]


def draw(folder: Path, names: Collection[str] = ()) -> Iterator[str]:
    """Draw the plots of a report, or of the files named; a line in words for each plot, drawn or not."""
    return map(printable, _lines(folder, names))


def _lines(folder: Path, names: Collection[str]) -> Iterator[str]:
    for name, plots in READERS.items():
        path = folder / name
        if names and name not in names:
            continue
        if not path.is_file():
            yield f"{name} is missing: {', '.join(plots)} not drawn"
            continue
        try:
            stored = _read(path)
        except Exception as error:  # whatever is in the file, it must not end a measurement
            yield f"{path}: cannot be drawn ({error})"
        else:
            yield from filter(None, (_drawn(stored, paint, path, folder / plot) for plot, paint in plots.items()))


def _drawn(stored: Any, paint: Callable[[Any], Figure | None], source: Path, path: Path) -> str:
    """Draw one plot; the outcome in words, '' where there is nothing to draw."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as of letters that matplotlib's font lacks
            figure = paint(stored)
            if figure is None:
                return ""
            content = io.BytesIO()
            figure.savefig(content, format=path.suffix[1:], metadata={"Date": None})
            write(path, content.getvalue())
    except Exception as error:
        return f"{source}: cannot be drawn ({error})"
    return f"written: {path}"


def _read(path: Path) -> Any:
    if path.name == JOURNAL:
        return summarise(path)
    content = json.loads(path.read_text())
    return Sweep.from_record(content) if path.name == SWEEP else content


def _figure(rows: int = 1, height: float = 3.4, **settings):
    figure = Figure(figsize=(9, height * rows), layout="constrained")
    axes = figure.subplots(rows, squeeze=False, **settings)[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e4e4e4", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def throughput(soak: SoakResult) -> Figure:
    """A plot of the images a second of each window, their spread, and the reference workload.

    ValueError for a soak without a complete window.
    """
    _require_windows(soak)
    figure, (rates, reference) = _figure(2, 2.6, sharex=True)
    edges = _minutes(soak)
    fps = [window.images_per_second for window in soak.windows]
    rates.stairs(fps, edges, baseline=None, **STYLE)
    rates.axhspan(min(fps), max(fps), color=STYLE["color"], alpha=0.08)
    rates.axhline(sum(fps) / len(fps), color=GREY, linewidth=0.8, linestyle="--")
    rates.set(ylabel="images a second", ylim=(0, None), title=_title(soak))
    took = [math.nan if window.reference is None else 1e3 * window.reference for window in soak.windows]
    reference.stairs(took, edges, baseline=None, color=GREEN)
    reference.set(ylabel="reference workload, ms", ylim=(0, None))
    _mark_interruptions(soak, edges, (rates, reference))
    return figure


def latency(soak: SoakResult) -> Figure:
    """A plot of the histogram of all latencies and the percentiles of each window; errors as `throughput`."""
    _require_windows(soak)
    figure, (histogram, windows) = _figure(2, 2.9)
    bounds, counts = soak.histogram.coarse(80)
    histogram.stairs(counts, [1e3 * bound for bound in bounds], fill=True, color="#c9d8ea")
    for name, colour in PERCENTILES.items():
        value = 1e3 * soak.percentiles[name].value
        histogram.axvline(value, color=colour, linewidth=1.2, label=f"{name} {value:.1f} ms")
    histogram.set(xscale="log", yscale="log", xlabel="latency of a request, ms", ylabel="requests")
    for axis in (histogram.xaxis.set_major_formatter, histogram.xaxis.set_minor_formatter):
        axis("{x:g}")
    histogram.legend(frameon=False)
    edges = _minutes(soak)
    for name, colour in PERCENTILES.items():
        in_windows = [1e3 * getattr(window, name) for window in soak.windows]
        windows.stairs(in_windows, edges, baseline=None, linewidth=1.4, color=colour, label=name)
    windows.set(ylabel="latency in a window, ms", ylim=(0, None))
    windows.legend(frameon=False, ncols=3)
    _mark_interruptions(soak, edges, (windows,))
    return figure


def gpu(soak: SoakResult) -> Figure | None:
    """A plot of temperature, clock and power of each GPU over the windows; None where no GPU was sampled.

    Windows with thermal throttling are shaded. Errors as `throughput`.
    """
    _require_windows(soak)
    numbers = sorted({found.gpu for window in soak.windows for found in map(gauge, window.gauges) if found})
    if not numbers:
        return None
    figure, axes = _figure(len(GPU_CURVES), 2.2, sharex=True)
    edges = _minutes(soak)
    for ax, (name, unit) in zip(axes, GPU_CURVES.items()):
        for number in numbers:
            values = [window.gauges.get(f"gpu{number}/{name}", math.nan) for window in soak.windows]
            ax.stairs(values, edges, baseline=None, linewidth=1.4, label=f"GPU {number}")
        ax.set(ylabel=unit)
    axes[0].legend(frameon=False, ncols=4)
    shaded = _shade_throttled(soak, edges, axes)
    axes[0].set_title(f"shaded: thermal throttling in {shaded} of {len(soak.windows)} windows")
    _mark_interruptions(soak, edges, axes)
    return figure


def _shade_throttled(soak: SoakResult, edges: list[float], axes) -> int:
    """Shade the windows in which a GPU was throttled by its temperature; how many they are."""
    def is_throttled(window) -> bool:
        return any(value for name, value in window.gauges.items() if gauge(name).figure == THERMAL)

    throttled = [place for place, window in enumerate(soak.windows) if is_throttled(window)]
    for place in throttled:
        for ax in axes:
            ax.axvspan(edges[place], edges[place + 1], color=RED, alpha=0.12, linewidth=0)
    return len(throttled)


def sweep(measured: Sweep) -> Figure:
    """A plot of throughput with its bounds and P99 over the images in flight.

    A line is a batch size; of several builds a line is a build, at each number of images in flight with the batch size
    that gives it most.
    """
    figure, (rates, latencies) = _figure(2, 2.9, sharex=True)
    lines = _sweep_lines(measured)
    for name, line in lines.items():
        flight = [p.in_flight for p in line]
        rates.errorbar(flight, [p.images_per_second for p in line], _bars(line), fmt=".-", capsize=3, label=name)
        latencies.plot(flight, [1e3 * p.p99_seconds for p in line], ".-")
    if lines:
        knee, mark = measured.knee, dict(markersize=11, fillstyle="none", color=RED)
        rates.plot(knee.in_flight, knee.images_per_second, "o", label=f"knee: {knee}", **mark)
        latencies.plot(knee.in_flight, 1e3 * knee.p99_seconds, "o", **mark)
    rates.set(ylabel="images a second", ylim=(0, None))
    rates.set_xscale("log", base=2)
    latencies.xaxis.set_major_formatter("{x:g}")
    if lines:
        rates.set_xticks(sorted({2 ** round(log2(p.in_flight)) for line in lines.values() for p in line}))
        rates.legend(frameon=False, fontsize="small", ncols=1 + len(lines) // 5)
    latencies.set(ylabel="P99 of a request, ms", xlabel="images in flight (callers × batch size)", ylim=(0, None))
    return figure


def _sweep_lines(measured: Sweep) -> dict[str, list[Point]]:
    """The valid points of each line, by images in flight, and its name."""
    found = valid(measured.points)
    if len(measured.builds) == 1:
        by_size = {size: [p for p in found if p.batch_size == size] for size in sorted({p.batch_size for p in found})}
        return {f"batch {size}": sorted(line, key=lambda p: (p.in_flight, p.workers)) for size, line in by_size.items()}
    by_build = {str(build): of_build(found, build) for build in measured.builds}
    return {name: _fastest_in_flight(line) for name, line in by_build.items() if line}


def _fastest_in_flight(points: list[Point]) -> list[Point]:
    """The point of the highest throughput at each number of images in flight."""
    return [highest([p for p in points if p.in_flight == flight]) for flight in sorted({p.in_flight for p in points})]


def _bars(line: list[Point]) -> list[list[float]]:
    """The distances from the throughput down and up to its bounds; 0 where there are none."""
    return [[0 if p.low is None else p.images_per_second - p.low for p in line],
            [0 if p.high is None else p.high - p.images_per_second for p in line]]


def precision_recall(stored: dict) -> Figure:
    """A plot of precision over recall at IoU 0.5, a curve for each class and their mean; the worst are named."""
    figure, (ax,) = _figure(1, 5)
    curves = sorted(stored["classes"].items(), key=lambda item: sum(item[1]))
    for place, (name, precision) in enumerate(curves):
        known = place < NAMED_CLASSES
        style = dict(linewidth=1, label=f"{label(name)}: {sum(precision) / len(precision):.3f}") if known else UNNAMED
        ax.plot(RECALL_POINTS, precision, **style)
    mean = [sum(column) / len(curves) for column in zip(*(precision for _, precision in curves))]
    ax.plot(RECALL_POINTS, mean, color="black", linewidth=2, label=f"mean: {sum(mean) / len(mean):.3f}")
    more = f", the worst {NAMED_CLASSES} of {len(curves)} classes named" if len(curves) > NAMED_CLASSES else ""
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"AP at IoU 0.5{more}")
    ax.legend(frameon=False, loc="lower left")
    return figure


def _require_windows(soak: SoakResult) -> None:
    if not soak.images:
        raise ValueError("no window of the soak has detections")


def _minutes(soak: SoakResult) -> list[float]:
    """The edges of the windows in minutes of load, without the pauses between sessions."""
    return list(accumulate((window.seconds / 60 for window in soak.windows), initial=0.0))


def _mark_interruptions(soak: SoakResult, edges: list[float], axes) -> None:
    """Mark where a new process continued, and explain the mark below the last axis."""
    pairs = zip(soak.windows, soak.windows[1:], edges[1:])
    resumed = [edge for before, after, edge in pairs if before.session != after.session]
    for ax in axes:
        for edge in resumed:
            ax.axvline(edge, color=RED, linewidth=0.9, linestyle=":")
    axes[-1].set_xlabel("minutes of load" + ("; dotted: a new process continued" if resumed else ""))


def _title(soak: SoakResult) -> str:
    spread = f", spread {soak.fps_spread.value:.1%}" if soak.fps_spread else ""
    lost = soak.drift and soak.drift.value
    drift = "" if lost is None else f", {abs(lost):.1%} {'slower' if lost > 0 else 'faster'} at the end"
    return f"{len(soak.windows)} of {soak.planned} windows{spread}{drift}"


READERS = {
    JOURNAL: {"throughput.svg": throughput, "latency.svg": latency, "gpu.svg": gpu},
    SWEEP: {"sweep.svg": sweep},
    CURVES: {"precision_recall.svg": precision_recall},
}


def main() -> int:
    """Exit code 0 when everything there was drawn, 1 when something could not be, 2 without such a folder."""
    parser = argparse.ArgumentParser(prog="python -m harness.report", description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="the report folder of a run")
    folder = parser.parse_args().folder
    if not folder.is_dir():
        print(f"error: {shown(folder)} is not a folder; name the report folder of a run", file=sys.stderr)
        return 2
    lines = list(draw(folder))
    print("\n".join(lines))
    return int(any("cannot be drawn" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
