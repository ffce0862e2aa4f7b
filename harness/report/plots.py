"""The plots of a run: what was stored → a drawing with its name, a sentence that says the same, and a legend."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from markupsafe import Markup

from harness.load.knee import highest, of_build, valid
from harness.load.points import Point
from harness.load.sweep import Sweep
from harness.machine.gpu import THERMAL, gauge
from harness.report.svg import Axis, Plot, axis
from harness.soak.result import SoakResult
from harness.text import shown
from harness.verdict.metrics import percent

HEAT = {"celsius": "temperature, °C", "mhz": "clock, MHz", "watts": "power, W"}  # of a GPU
PERCENTILES = {"P50": "s1", "P90": "s2", "P99": "s3"}  # with the class of the style sheet
BINS = 60  # of the histogram of latencies
COLOURS = 8  # classes s1, s2, … of the style sheet
RECALLS = [place / 100 for place in range(101)]
NAMED_CLASSES = 12  # whose curves can be picked out


class Drawing(NamedTuple):
    """A plot for the page. `legend` are (class of the style sheet, words); a table has the same in numbers."""

    name: str
    words: str
    svg: Markup
    legend: Sequence[tuple[str, str]] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


# ---- the soak


def over_time(soak: SoakResult) -> list[Drawing]:
    """The drawings of a soak that has detections; those of what was not reported are left out."""
    drawings = [throughput(soak), reference(soak), latency(soak), latency_in_windows(soak), *heat(soak)]
    return [one for one in drawings if one]


def throughput(soak: SoakResult) -> Drawing:
    """Images a second of each window, their mean and range."""
    edges, rates = _minutes(soak), soak.rates
    words = (f"{len(rates)} of {soak.planned} windows, from {min(rates):.4g} to {max(rates):.4g} images/s, "
             f"{soak.images_per_second.value:.4g} on average{_change(soak)}.")
    plot = Plot("Throughput of each window", _time(edges), axis("images a second", rates), words=words)
    plot.box(edges[0], edges[-1], min(rates), max(rates), "range s1")
    plot.across(soak.images_per_second.value, "mean", "mean")
    plot.steps(edges, rates, "s1", "images a second of each window")
    return _drawn("Throughput", words, plot, soak, [("s1", "each window"), ("mean", "mean")])


def reference(soak: SoakResult) -> Drawing | None:
    """The time of the reference workload in each window: how fast the machine was; None where it was not timed."""
    edges, took = _minutes(soak), [_milliseconds(one.reference) for one in soak.windows]
    known = [one for one in took if one is not None]
    if not known:
        return None
    words = (f"A fixed piece of work beside the load took {min(known):.2f} to {max(known):.2f} ms: where it takes "
             "longer, the machine was slower, and not the detector.")
    plot = Plot("Reference workload", _time(edges), axis("milliseconds", took), words=words)
    plot.steps(edges, took, "s3", "milliseconds of the reference workload")
    return _drawn("The machine's own speed", words, plot, soak)


def latency(soak: SoakResult) -> Drawing:
    """The histogram of all latencies with their percentiles."""
    bounds, counts = soak.histogram.coarse(BINS)
    values = {name: 1e3 * soak.percentiles[name].value for name in PERCENTILES}
    words = f"{soak.requests:,} requests: {', '.join(f'{name} {one:.1f} ms' for name, one in values.items())}."
    plot = Plot("Latency of all requests", Axis("milliseconds", 1e3 * bounds[0], 1e3 * bounds[-1]),
                axis("requests", counts), words=words)
    for low, high, count in zip(bounds, bounds[1:], counts):
        plot.box(1e3 * low, 1e3 * high, 0, count, "range s1", f"{1e3 * low:.1f} to {1e3 * high:.1f} ms: {count:,}")
    for name, style in PERCENTILES.items():
        plot.upright(values[name], style, f"{name} {values[name]:.1f} ms")
    return Drawing("Latency", words, plot.svg(), _legend(PERCENTILES))


def latency_in_windows(soak: SoakResult) -> Drawing:
    """The percentiles of each window."""
    edges = _minutes(soak)
    levels = {name: [_milliseconds(getattr(one, name)) for one in soak.windows] for name in PERCENTILES}
    words = f"The worst window has a P99 of {1e3 * soak.worst_window.P99:.1f} ms (window {soak.worst_window.number})."
    together = [one for values in levels.values() for one in values]
    plot = Plot("Latency in each window", _time(edges), axis("milliseconds", together), words=words)
    for name, style in PERCENTILES.items():
        plot.steps(edges, levels[name], style, name)
    return _drawn("Latency over time", words, plot, soak, _legend(PERCENTILES))


def heat(soak: SoakResult) -> list[Drawing]:
    """Temperature, clock and power over time: of the processor, and of each GPU; without those not reported."""
    processor = {"celsius": "processor temperature, °C", "mhz": "processor clock, MHz"}
    drawings = [_gauge(soak, label, {"processor": [getattr(one, name) for one in soak.windows]})
                for name, label in processor.items()]
    gpus = sorted({found.gpu for window in soak.windows for found in map(gauge, window.gauges) if found})
    for name, label in HEAT.items():
        values = {f"GPU {gpu}": [one.gauges.get(f"gpu{gpu}/{name}") for one in soak.windows] for gpu in gpus}
        drawings.append(_gauge(soak, f"GPU {label}", values))
    return [one for one in drawings if one]


def _gauge(soak: SoakResult, label: str, values: dict[str, list[float | None]]) -> Drawing | None:
    known = [one for series in values.values() for one in series if one is not None]
    if not known:
        return None
    hot = [place for place, one in enumerate(soak.windows)
           if any(value for name, value in one.gauges.items() if gauge(name).figure == THERMAL)]
    edges = _minutes(soak)
    name = label.partition(",")[0]
    throttled = f" Thermal throttling in {len(hot)} of {len(soak.windows)} windows (shaded)." if hot else ""
    words = f"From {min(known):,.4g} to {max(known):,.4g} {label.rpartition(' ')[2]}.{throttled}"
    plot = Plot(label, _time(edges), axis(label, known, zero=False), words=words)
    for place in hot:
        plot.band(edges[place], edges[place + 1], "hot", "thermal throttling")
    styles = _styles(values)
    for own, series in values.items():
        plot.steps(edges, series, styles[own], own)
    return _drawn(name[0].upper() + name[1:], words, plot, soak, _legend(styles) if len(values) > 1 else [])


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _minutes(soak: SoakResult) -> list[float]:
    """The edges of the windows in minutes of load, without the pauses between sessions."""
    return list(accumulate((window.seconds / 60 for window in soak.windows), initial=0.0))


def _time(edges: Sequence[float]) -> Axis:
    return Axis("minutes of load", 0.0, edges[-1])


def _drawn(name: str, words: str, plot: Plot, soak: SoakResult, legend: Sequence[tuple[str, str]] = ()) -> Drawing:
    """The drawing of a plot over time, in which is marked where a new process continued."""
    cut = ("cut", "a new process continued")
    edges = zip(soak.windows, soak.windows[1:], _minutes(soak)[1:])
    resumed = [edge for before, after, edge in edges if before.session != after.session]
    for edge in resumed:
        plot.upright(edge, *cut)
    return Drawing(name, words, plot.svg(), [*legend, *([cut] if resumed else [])])


def _styles(names: Iterable[str]) -> dict[str, str]:
    """The names with a class of the style sheet each: s1, s2, …"""
    return {name: f"s{place % COLOURS + 1}" for place, name in enumerate(names)}


def _legend(styles: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(style, name) for name, style in styles.items()]


def _change(soak: SoakResult) -> str:
    lost = soak.drift and soak.drift.value
    return "" if lost is None else f"; {percent(abs(lost))} {'slower' if lost > 0 else 'faster'} at the end"


# ---- the sweep


def sweep(measured: Sweep) -> list[Drawing]:
    """Throughput and P99 over the images in flight.

    A line is a batch size; of several builds a line is a build, at each number of images in flight with the batch size
    that gives it most. ValueError where no point is valid.
    """
    lines = _sweep_lines(measured)
    if not lines:
        raise ValueError(measured.warning)
    knee, points = measured.knee, [point for line in lines.values() for point in line]
    flight = Axis("images in flight (callers × batch size)", min(one.in_flight for one in points),
                  max(2, *(one.in_flight for one in points)), log=2)
    words = f"Knee: {knee}, {knee.images_per_second:.4g} images/s with a P99 of {1e3 * knee.p99_seconds:.1f} ms."
    highs = [one.high or one.images_per_second for one in points]
    rates = Plot("Throughput of each load", flight, axis("images a second", highs), words=words)
    waits = Plot("P99 of each load", flight, axis("milliseconds", [1e3 * one.p99_seconds for one in points]))
    styles = _styles(lines)
    for name, line in lines.items():
        _sweep_line(rates, waits, name, line, styles[name])
    rates.dot(knee.in_flight, knee.images_per_second, "knee", f"knee: {knee}", 8)
    waits.dot(knee.in_flight, 1e3 * knee.p99_seconds, "knee", f"knee: {knee}", 8)
    legend = [*_legend(styles), ("knee", "knee: fewest images in flight near the highest throughput")]
    rows = [(str(one), f"{one.images_per_second:,.1f}", f"{1e3 * one.p99_seconds:.1f}") for one in points]
    head = ("load", "images/s", "P99, ms")
    return [Drawing("Throughput of each load", words, rates.svg(), legend, head, rows),
            Drawing("P99 of each load", measured.warning and f"Mind: {measured.warning}.", waits.svg(), legend)]


def _sweep_line(rates: Plot, waits: Plot, name: str, line: Sequence[Point], style: str) -> None:
    flight = [one.in_flight for one in line]
    rates.line(flight, [one.images_per_second for one in line], style, name)
    waits.line(flight, [1e3 * one.p99_seconds for one in line], style, name)
    for one in line:
        rates.bounds(one.in_flight, one.low, one.high, style)
        rates.dot(one.in_flight, one.images_per_second, style, f"{one}: {one.images_per_second:,.1f} images/s")
        waits.dot(one.in_flight, 1e3 * one.p99_seconds, style, f"{one}: P99 {1e3 * one.p99_seconds:.1f} ms")


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


# ---- accuracy


class Curves(NamedTuple):
    """The plot of precision over recall, and the classes whose curve can be picked out: number, name and AP50."""

    drawing: Drawing
    classes: Sequence[tuple[int, str, str]]


def precision_recall(stored: dict[str, Any]) -> Curves:
    """Precision over recall at IoU 0.5: a curve for each class, the worst of them to pick out, and their mean."""
    curves = sorted(((name, [float(one) for one in values]) for name, values in stored["classes"].items()),
                    key=lambda item: sum(item[1]))
    if not curves:
        raise ValueError("it has no class")
    mean = [sum(column) / len(curves) for column in zip(*(values for _, values in curves))]
    words = f"AP50 is {sum(mean) / len(mean):.3f}, the area under the mean curve of {len(curves)} classes."
    plot = Plot("Precision over recall at IoU 0.5", Axis("recall", 0, 1), Axis("precision", 0, 1), 300, words)
    for place, (name, values) in reversed(list(enumerate(curves))):
        plot.line(RECALLS, values, "curve", f"{shown(name, 40)}: {_area(values)}", data=str(place))
    plot.line(RECALLS, mean, "total", f"mean of all classes: {_area(mean)}")
    named = [(place, shown(name, 40), _area(values)) for place, (name, values) in enumerate(curves[:NAMED_CLASSES])]
    legend = [("total", "mean of all classes"), ("curve", "one class")]
    return Curves(Drawing("Precision over recall", words, plot.svg(), legend), named)


def _area(precision: Sequence[float]) -> str:
    return f"{sum(precision) / len(precision):.3f}"
