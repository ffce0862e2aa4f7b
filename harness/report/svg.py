"""Plots as SVG, coloured by the page's style sheet: axes with round numbers, lines, steps, bars and points.

Everything that can be pointed at has a `<title>`. Text is escaped, and numbers are written here alone.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH = 480  # units of the drawing, as wide as a phone; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 44  # margins for the numbers of the axes
MOST_STEPS = 400  # a longer series is drawn as the range and mean of groups
TICKS = 5


class Axis(NamedTuple):
    """From `low` to `high`, in equal steps or, where `log` is its base, in equal factors; `label` has the unit."""

    label: str
    low: float
    high: float
    log: float = 0

    def share(self, value: float) -> float:
        """The place of a value between both ends, 0 to 1."""
        low, high, value = ((math.log(one) if self.log else one) for one in (self.low, self.high, value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def texts(self) -> dict[float, str]:
        """The round values between both ends, and each as the axis shows it."""
        found = self.ticks()
        step = 0.0 if self.log or len(found) < 2 else found[1] - found[0]
        return {value: number(value, step) for value in found}

    def ticks(self) -> list[float]:
        """Round values between both ends."""
        if self.log:
            first, last = (math.log(end, self.log) for end in (self.low, self.high))
            every = max(1, math.ceil((last - first) / (2 * TICKS)))
            return [self.log**n for n in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1, every)]
        step = _round_step((self.high - self.low) / TICKS)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def axis(label: str, values: Sequence[float | None], zero: bool = True) -> Axis:
    """An axis on which all values have room; from 0 unless one is below or `zero` is false."""
    known = [one for one in values if one is not None and math.isfinite(one)] or [0.0]
    low, high = min(known), max(known)
    room = max(0.05 * (high - low), 0.01 * abs(high)) or 1.0  # what hardly varies looks flat
    starts_at_zero = zero and low >= 0
    return Axis(label, 0.0 if starts_at_zero else low - room, high + room)


def number(value: float, step: float = 0.0) -> str:
    """A number as an axis shows it, with the digits that tell it apart from one a step away."""
    if abs(value) < 1e4 and 1e-3 <= step < 1e4:
        return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.2g}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value / 1000:,.4g}k"


class Plot:
    """A plot that grows by what is drawn into it. `name` and `words` are what a screen reader says."""

    def __init__(self, name: str, x: Axis, y: Axis, height: int = 240, words: str = ""):
        self._name, self._words, self._x, self._y, self._height = name, words, x, y, height
        self._parts: list[str] = []

    def line(
        self, xs: Sequence[float], ys: Sequence[float | None], style: str, title: str = "", data: str = ""
    ) -> None:
        """A line through the points, interrupted where a y is None."""
        path, step = [], "M"
        for x, y in zip(xs, ys):
            if y is None or not math.isfinite(y):
                step = "M"
            else:
                left, top = self._place(x, y)
                path.append(f"{step}{left:.1f} {top:.1f}")
                step = "L"
        self._add(f'<path class="line {style}" d="{"".join(path)}"', title, data)

    def steps(self, edges: Sequence[float], values: Sequence[float | None], style: str, title: str = "") -> None:
        """A level for each value, from one edge to the next; of many values the mean and range of groups."""
        every = math.ceil(len(values) / MOST_STEPS)
        if every > 1:
            edges, values = self._grouped(edges, values, every, style)
        xs = [edge for pair in zip(edges, edges[1:]) for edge in pair]
        self.line(xs, [value for value in values for _ in range(2)], style, title)

    def _grouped(self, edges, values, every: int, style: str) -> tuple[list, list]:
        means = []
        for first in range(0, len(values), every):
            known = [one for one in values[first:first + every] if one is not None]
            means.append(sum(known) / len(known) if known else None)
            if known:
                self.box(edges[first], edges[min(first + every, len(values))], min(known), max(known), f"range {style}")
        return [*edges[:-1:every], edges[-1]], means

    def box(self, x1: float, x2: float, y1: float, y2: float, style: str, title: str = "") -> None:
        """A filled rectangle."""
        (left, top), (right, bottom) = self._place(x1, y2), self._place(x2, y1)
        self._add(f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.5):.1f}" '
                  f'height="{max(bottom - top, 0.5):.1f}"', title)

    def band(self, x1: float, x2: float, style: str, title: str = "") -> None:
        """A stretch of the x axis, over the whole height."""
        self.box(x1, x2, self._y.low, self._y.high, style, title)

    def across(self, y: float, style: str, title: str = "") -> None:
        """A line at a height, over the whole width."""
        self.line([self._x.low, self._x.high], [y, y], style, title)

    def upright(self, x: float, style: str, title: str = "") -> None:
        """A line at a place of the x axis, over the whole height."""
        self.line([x, x], [self._y.low, self._y.high], style, title)

    def dot(self, x: float, y: float, style: str, title: str = "", radius: float = 3.5) -> None:
        """A point."""
        left, top = self._place(x, y)
        self._add(f'<circle class="dot {style}" cx="{left:.1f}" cy="{top:.1f}" r="{radius:g}"', title)

    def bounds(self, x: float, low: float | None, high: float | None, style: str) -> None:
        """The interval of a point, where both its bounds are known."""
        if low is not None and high is not None:
            self.line([x, x], [low, high], f"bounds {style}")

    def svg(self, x_labels: dict[float, str] | None = None) -> Markup:
        """The whole drawing; `x_labels` replaces the numbers of the x axis."""
        head = (f'<svg viewBox="0 0 {WIDTH} {self._height}" role="img" class="plot" aria-label="'
                f'{escape(self._name)}{escape(f". {self._words}" if self._words else "")}">')
        return Markup("".join([head, *self._frame(x_labels), *self._parts, "</svg>"]))

    def _frame(self, x_labels: dict[float, str] | None) -> list[str]:
        bottom, right, parts = self._height - BOTTOM, WIDTH - RIGHT, []
        for value, text in self._y.texts().items():
            top = self._place(self._x.low, value)[1]
            parts.append(f'<path class="grid" d="M{LEFT} {top:.1f}H{right}"/>'
                         f'<text class="tick" x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{text}</text>')
        for value, text in (self._x.texts() if x_labels is None else x_labels).items():
            left = self._place(value, self._y.low)[0]
            parts.append(f'<text class="tick" x="{left:.1f}" y="{bottom + 17}" text-anchor="middle">'
                         f'{escape(text)}</text>')
        parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
                     f'<text class="label" x="{(LEFT + right) / 2:.0f}" y="{self._height - 6}" '
                     f'text-anchor="middle">{escape(self._x.label)}</text>')
        middle = (TOP + bottom) / 2
        return [*parts, f'<text class="label" transform="translate(12 {middle:.0f}) rotate(-90)" text-anchor="middle">'
                        f'{escape(self._y.label)}</text>']

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return (LEFT + self._x.share(x) * (WIDTH - LEFT - RIGHT),
                self._height - BOTTOM - self._y.share(y) * (self._height - TOP - BOTTOM))

    def _add(self, start: str, title: str, data: str = "") -> None:
        data = f' data-k="{escape(data)}"' if data else ""
        self._parts.append(f"{start}{data}><title>{escape(title)}</title></{start[1:start.index(' ')]}>" if title
                           else f"{start}{data}/>")


def bar(share: float, style: str) -> Markup:
    """A bar of a table's cell, as a share of its width."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Markup(f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
                  f'<rect class="track" width="100" height="10"/><rect class="{escape(style)}" '
                  f'width="{width:.1f}" height="10"/></svg>')


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least)) if least > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
