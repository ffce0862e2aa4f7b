"""The trend of a series: the median of the slopes of all pairs, which a few outliers do not move.

Theil 1950; the bounds are Sen's (1968, "Estimates of the Regression Coefficient Based on Kendall's Tau"), widened for
neighbours that resemble each other, as windows of a soak do, by the share of independent values among them.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.stats.estimate import Estimate
from harness.stats.intervals import INTERVAL_CONFIDENCE, correlation

LEAST_POINTS = 4
MOST_POINTS = 1000  # their pairs take 8 MB; longer series are averaged over neighbours


def slope(x: Sequence[float], y: Sequence[float], groups: Sequence[int] | None = None) -> Estimate | None:
    """The slope of y over x in units of y per unit of x; each bound holds at 95 %.

    With `groups` only points of the same group are compared, as of processes that each started anew. None for fewer
    than 4 points, or no two that can be compared.
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
    reach = _reach(groups) * math.sqrt(_widening(y - middle * x, groups))
    ranks = math.floor((len(slopes) - reach) / 2), math.ceil((len(slopes) + reach) / 2)
    return Estimate(middle, *slopes[np.clip(ranks, 0, len(slopes) - 1)].tolist())


def relative_loss(y: Sequence[float], groups: Sequence[int] | None = None) -> Estimate | None:
    """The share of its first value that a series loses over its length, by its slope; negative for a gain.

    With `groups` the series starts anew with each group, and the loss is that of one as long as all of them together.
    None for fewer than 4 values, a series that starts at 0, or groups of one value each.
    """
    y = np.asarray(y, np.float64)
    places = _places(np.zeros(len(y), np.int64) if groups is None else np.asarray(groups))
    found = slope(range(len(y)), y, groups)
    if found is None:
        return None
    first = float(np.median(y - found.value * places))
    if first <= 0:
        return None
    lost = -(len(y) - 1) / first  # for each unit of slope
    return Estimate(found.value * lost, found.high * lost, found.low * lost)


def _places(groups: np.ndarray) -> np.ndarray:
    """For each value, how many of its group come before it."""
    starts = {group: np.flatnonzero(groups == group)[0] for group in np.unique(groups)}
    return np.array([place - starts[group] for place, group in enumerate(groups)])


def _thinned(x, y, groups) -> list[np.ndarray]:
    """x, y and groups of at most MOST_POINTS points, each the mean of neighbours of one group."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    groups = np.zeros(len(x), np.int64) if groups is None else np.asarray(groups)
    size = math.ceil(len(x) / MOST_POINTS)
    if size < 2:
        return [x, y, groups]
    parts = [places[start:start + size] for places in (np.flatnonzero(groups == g) for g in np.unique(groups))
             for start in range(0, len(places), size)]
    return [np.array([values[part].mean() for part in parts]) for values in (x, y, groups)]


def _reach(groups: np.ndarray) -> float:
    """How many slopes of pairs lie between the bounds if all points are independent."""
    _, sizes = np.unique(groups, return_counts=True)
    variance = (sizes * (sizes - 1) * (2 * sizes + 5)).sum() / 18
    return NormalDist().inv_cdf(INTERVAL_CONFIDENCE) * math.sqrt(variance)


def _widening(errors: np.ndarray, groups: np.ndarray) -> float:
    """How many neighbours count as one independent value: (1 + r) / (1 - r) for a correlation r of neighbours."""
    r = correlation(errors - np.median(errors), groups=groups)
    return (1 + r) / (1 - r)
