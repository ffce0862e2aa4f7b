"""Does a series rise or fall? The median of the slopes of all pairs, which a few outliers do not move.

Theil 1950; the bounds are Sen's (1968, "Estimates of the Regression Coefficient Based on Kendall's Tau"), widened for
neighbours that resemble each other, as windows of one soak do, by the share of independent values among them.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.stats.percentiles import INTERVAL_CONFIDENCE, Interval

LEAST_POINTS = 4
MOST_POINTS = 1000  # their pairs take 8 MB; longer series are averaged over neighbours
MOST_CORRELATION = 0.97


def slope(
    x: Sequence[float], y: Sequence[float], groups: Sequence[int] | None = None,
    confidence: float = INTERVAL_CONFIDENCE,
) -> Interval | None:
    """Units of y per unit of x; `low` and `high` each hold with the stated confidence.

    With `groups` only points of the same one are compared, as of processes that each began anew. None when no two
    points can be compared, or fewer than 4 are there.
    """
    x, y, groups = _thinned(x, y, groups)
    if len(x) < LEAST_POINTS:
        return None
    first, second = np.triu_indices(len(x), 1)
    chosen = (groups[first] == groups[second]) & (x[first] != x[second])
    first, second = first[chosen], second[chosen]
    if not len(first):
        return None
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    middle = float(np.median(slopes))
    reach = _reach(groups, confidence) * math.sqrt(_widening(y - middle * x, groups))
    low, high = (len(slopes) - reach) / 2, (len(slopes) + reach) / 2
    return Interval(_at(slopes, math.floor(low)), middle, _at(slopes, math.ceil(high)))


def relative_loss(
    y: Sequence[float], groups: Sequence[int] | None = None, confidence: float = INTERVAL_CONFIDENCE,
) -> Interval | None:
    """The share of its first value that a series loses over its length, by its slope; negative for a gain.

    With `groups` that of series that each began anew: what one lost had it gone on as long as all of them together.
    None for fewer than 4 values, a series that starts at 0, or groups of one value each.
    """
    y = np.asarray(y, np.float64)
    places = _places(np.zeros(len(y), np.int64) if groups is None else np.asarray(groups))
    found = slope(range(len(y)), y, groups, confidence)
    if found is None:
        return None
    first = float(np.median(y - found.estimate * places))
    return Interval(*(-one * (len(y) - 1) / first for one in reversed(found))) if first > 0 else None


def _places(groups: np.ndarray) -> np.ndarray:
    """How many of its group are before each."""
    starts = {group: np.flatnonzero(groups == group)[0] for group in np.unique(groups)}
    return np.array([place - starts[group] for place, group in enumerate(groups)])


def correlation(errors: np.ndarray, groups: np.ndarray) -> float:
    """Of neighbours of one group, from 0 to 0.97; a short series shows too little (Kendall 1954)."""
    total = float(errors @ errors)
    if not total:
        return 0.0
    pairs = groups[1:] == groups[:-1]
    r = float((errors[1:] * errors[:-1])[pairs].sum()) / total
    return min(max(r + (1 + 3 * r) / len(errors), 0.0), MOST_CORRELATION)


def _thinned(x, y, groups) -> list[np.ndarray]:
    """At most so many points, each the mean of neighbours of one group."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    groups = np.zeros(len(x), np.int64) if groups is None else np.asarray(groups)
    size = math.ceil(len(x) / MOST_POINTS)
    if size < 2:
        return [x, y, groups]
    parts = [places[start:start + size] for places in (np.flatnonzero(groups == g) for g in np.unique(groups))
             for start in range(0, len(places), size)]
    return [np.array([values[part].mean() for part in parts]) for values in (x, y, groups)]


def _reach(groups: np.ndarray, confidence: float) -> float:
    """How many pairs of slopes lie between the bounds if all points are independent."""
    _, sizes = np.unique(groups, return_counts=True)
    variance = (sizes * (sizes - 1) * (2 * sizes + 5)).sum() / 18
    return NormalDist().inv_cdf(confidence) * math.sqrt(variance)


def _widening(errors: np.ndarray, groups: np.ndarray) -> float:
    """How many neighbours count as one independent value: (1 + r) / (1 - r) for a correlation r of neighbours."""
    r = correlation(errors - np.median(errors), groups)
    return (1 + r) / (1 - r)


def _at(slopes: np.ndarray, place: int) -> float:
    return float(slopes[min(max(place, 0), len(slopes) - 1)])
