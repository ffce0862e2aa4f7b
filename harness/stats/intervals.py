"""Bounds of a mean of windows that resemble their neighbours, and a rule when rates are stable."""
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

import numpy as np

from harness.stats.estimate import Estimate
from harness.stats.percentiles import error_rate

INTERVAL_CONFIDENCE = 0.95  # of each bound of a mean, of a slope, of a bootstrap
STABLE_WINDOWS, STABLE_SPREAD = 3, 0.10  # perf_analyzer's defaults
LEAST_WINDOWS = 10
ANGLES = 20_001  # at which the density of Student's t is summed up
MEAN_BLOCKS = 24
MEAN_DOUBT = 1.5  # standard errors
MOST_CORRELATION = 0.97


def mean_interval(rates: Sequence[float], confidence: float = INTERVAL_CONFIDENCE) -> Estimate:
    """The mean of rates of equally long windows that follow one another, with its bounds.

    Neighbouring windows resemble each other (heat, other tenants). So more than 48 of them are averaged into 24 to 47
    blocks first, and Student's t over the blocks is widened for the correlation of neighbours that is left (Priestley
    1981, 5.3.2, for an autoregressive series of order 1). That correlation is taken to be larger than it looks, because
    a short series hides it. ValueError for fewer than 10 windows, NaN, infinite or negative rates, or a confidence out
    of range.
    """
    rates, alpha = _rates(rates), error_rate(confidence)
    if len(rates) < LEAST_WINDOWS:
        raise ValueError(f"{len(rates)} windows are too few for an interval; measure at least {LEAST_WINDOWS}")
    blocks, mean = _blocks(rates), float(rates.mean())
    variance, freedom = variance_of_mean(blocks - blocks.mean(), MEAN_DOUBT)
    reach = student_t(1 - alpha, freedom) * math.sqrt(variance)
    return Estimate(mean, mean - reach, mean + reach)


def mean_of_windows(rates: Sequence[float]) -> Estimate | None:
    """As `mean_interval`, without bounds for fewer than ten windows; None for none."""
    if not rates:
        return None
    try:
        return mean_interval(rates)
    except ValueError:
        return Estimate(fmean(rates))


def variance_of_mean(errors: np.ndarray, doubt: float) -> tuple[float, float]:
    """The variance of the mean of blocks, from their `errors` about it, and its degrees of freedom, at least 1.

    `doubt` as in `correlation`.
    """
    independent = 1 / _variance_share(len(errors), correlation(errors, doubt))  # values that would say as much
    return float(errors @ errors) / len(errors) / (independent - 1), max(independent - 1, 1.0)


def correlation(errors: np.ndarray, doubt: float = 0.0, groups: np.ndarray | None = None) -> float:
    """The correlation of neighbours, with `groups` of those of one group, from 0 to 0.97.

    A short series shows too little of it, which is corrected (Kendall 1954); `doubt` standard errors are added.
    """
    products = errors[1:] * errors[:-1]
    if groups is not None:
        products = products[groups[1:] == groups[:-1]]
    n, total = len(errors), float(errors @ errors)
    r = float(products.sum()) / total if total else 0.0
    r += (1 + 3 * r) / n
    r += doubt * math.sqrt(max(1 - r * r, 0.0) / n)
    return min(max(r, 0.0), MOST_CORRELATION)


def student_t(confidence: float, freedom: float) -> float:
    """The quantile of Student's t, 0.5 <= confidence < 1, from 1 degree of freedom, right to 0.1 %."""
    return _student_t(confidence, round(freedom, 2))


def student_p(t: float, freedom: float) -> float:
    """How often chance alone makes Student's t as far from 0 as this, on either side; from 1 degree of freedom."""
    angles, below = _student_angles(round(freedom, 2))
    return float(1 - np.interp(math.atan(abs(t) / math.sqrt(freedom)), angles, below))


@lru_cache(maxsize=4096)
def _student_t(confidence: float, freedom: float) -> float:
    angles, below = _student_angles(freedom)
    angle = np.interp(1 - 2 * error_rate(confidence), below, angles)
    return math.sqrt(freedom) * math.tan(angle)


@lru_cache(maxsize=64)
def _student_angles(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0, with t = sqrt(freedom) tan(angle), and how often chance stays within each."""
    # So the density is a power of the cosine, on an interval that ends.
    angles = np.linspace(0, math.pi / 2, ANGLES)
    density = np.cos(angles).clip(0) ** (freedom - 1)
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return angles, below / below[-1]


def is_stable(rates: Sequence[float]) -> bool:
    """Whether the last three rates (images a second) agree: the highest is at most 10 % above the lowest.

    This is when perf_analyzer stops (Triton's "Measurement Modes"). A window without an image is never stable, nor are
    fewer windows. ValueError for NaN, infinite or negative rates.
    """
    last = _rates(rates)[-STABLE_WINDOWS:]
    return len(last) == STABLE_WINDOWS and bool(last.min() > 0 and last.max() <= (1 + STABLE_SPREAD) * last.min())


def _rates(rates: Sequence[float]) -> np.ndarray:
    rates = np.asarray(rates, np.float64)
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(bad):
        raise ValueError(f"window {bad[0]} has the rate {rates[bad[0]]}; it must be a finite number from 0")
    return rates


def _blocks(rates: np.ndarray) -> np.ndarray:
    """Means of equally many neighbours, 24 to 47 of them; what is left over at the end is left out."""
    size = max(1, len(rates) // MEAN_BLOCKS)
    return rates[:len(rates) // size * size].reshape(-1, size).mean(1)


def _variance_share(n: int, r: float) -> float:
    """The variance of the mean of `n` neighbours of correlation `r`, as a share of the variance of one."""
    return ((1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2)) / n
