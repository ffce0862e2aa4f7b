"""How far apart the windows of a soak are: a statistic that does not grow with their number."""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.stats.percentiles import INTERVAL_CONFIDENCE, Interval
from harness.stats.trend import correlation

CHOSEN = 10  # windows
SMALL_SAMPLE = 1.5  # Student's quantile at 95 % is that of a normal distribution plus so much by n - 1


def spread(rates: Sequence[float], confidence: float = INTERVAL_CONFIDENCE) -> Interval | None:
    """(highest - lowest) / mean of ten windows, on average over all choices of ten among those that there are.

    The range of all windows grows with their number, and a detector would fail by the length of its soak alone; this
    expected range (an L-statistic of the sorted rates) does not: of normal windows it is 3.08 standard deviations. A
    window that is unlike the others adds its distance by the share of choices that it is in.

    `high` is that of the jackknife, widened for neighbours that resemble each other; `low` that of normal windows, for
    a soak that had a window unlike the others has varied. At 95 % they hold in 88 to 97 of 100 soaks of 20 to 240
    windows with a correlation up to 0.6 (`benchmarks.steadiness`). They are None for up to ten windows, of which it is
    the range. None for fewer than two windows or no image.
    """
    rates = np.asarray(rates, np.float64)
    if len(rates) < 2 or not rates.any():
        return None
    value = _expected_range(np.sort(rates))
    if len(rates) <= CHOSEN:
        return Interval(None, value, None)
    quantile = NormalDist().inv_cdf(confidence) + SMALL_SAMPLE / (len(rates) - 1)
    normal = 1 / math.sqrt(2 * (len(rates) - 1))  # the share of itself by which a standard deviation errs
    high = value + quantile * max(value * normal, _error(rates)) * _widening(rates)
    return Interval(value * math.exp(-quantile * normal), value, high)


def _widening(rates: np.ndarray) -> float:
    """By how much the error is that of a spread of neighbours that resemble each other, and of choices that overlap."""
    r = correlation(rates - rates.mean(), np.zeros(len(rates)))
    return math.sqrt((1 + r * r) / (1 - r * r) * len(rates) / (len(rates) - CHOSEN))


def _expected_range(ranked: np.ndarray) -> float:
    chosen = min(CHOSEN, len(ranked))
    return float(_weights(len(ranked), chosen) @ ranked / ranked.mean())


def _weights(n: int, chosen: int) -> np.ndarray:
    """Of each rank: how probable it is the highest of those chosen, less how probable it is the lowest."""
    all_choices = math.comb(n, chosen)
    highest = np.array([math.comb(rank, chosen - 1) / all_choices for rank in range(n)])
    return highest - highest[::-1]


def _error(rates: np.ndarray) -> float:
    """The standard error of the statistic, by the jackknife."""
    ranked = np.sort(rates)
    without = np.array([_expected_range(np.delete(ranked, place)) for place in range(len(ranked))])
    return math.sqrt((len(without) - 1) * float(without.var()))
