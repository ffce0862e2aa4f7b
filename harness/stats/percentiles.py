"""Percentiles of independent requests with exact bounds, and how many requests they need.

Every bound holds on its own with the stated confidence; a low and a high one together err up to twice as often. LoadGen
supposes independent requests too; for requests that resemble their neighbours see `harness.stats.percentile_bounds`.
`python -m benchmarks.promises` shows how often each bound errs on made-up data.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Callable, NamedTuple

QUOTED = (50, 90, 99)
CONFIDENCE = 0.99  # of each bound of a percentile, as in MLPerf's early stopping
LEAST_PERCENT = 0.001  # beyond it 10^6 requests and more would be needed to see anything
MOST_REQUESTS = 10**9  # more than any run will send
NEGLIGIBLE = 1e-17  # below a double's resolution of a sum that starts at 1


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest measured value that at least `p` percent of the values do not exceed, 0 < p <= 100.

    Nearest rank, no interpolation: the ceil(p / 100 * n)-th smallest (Hyndman and Fan 1996, definition 1).
    Raises ValueError when there are no values, one is NaN, or p is out of range.
    """
    return percentiles(values, (p,))[f"P{p}"]


def percentiles(values: Sequence[float], ps: Sequence[float] = QUOTED) -> dict[str, float]:
    """Percentiles from one sort, keyed "P50", "P90", ..., in the values' unit; errors as `percentile`."""
    if not len(values):
        raise ValueError("there is no percentile of no values; measure at least one")
    if any(math.isnan(value) for value in values):
        raise ValueError("there is no percentile of NaN; leave failed measurements out")
    ranked = sorted(values)
    return {f"P{p}": ranked[rank(p, len(ranked)) - 1] for p in ps}


class Ranks(NamedTuple):
    """Ranks from 1 among sorted values: a percentile's own and those of the closest values that bound the true one.

    A bound is None where there are too few values for it; both exist from `needed` values on.
    """

    low: int | None
    own: int
    high: int | None
    needed: int


def percentile_ranks(n: int, p: float, confidence: float = CONFIDENCE) -> Ranks:
    """The ranks of percentile `p` of `n` values and of its bounds, 0.001 <= p <= 99.999.

    Exact and free of any assumption but that requests are independent: how many of n values lie above the true
    percentile is binomial. `high` is the value that at most t exceed, t the most that chance does not explain (MLPerf
    inference rules, "Early Stopping"; LoadGen quotes the next larger value, so it asks for 64 and 662 requests where
    P90 and P99 are bounded from 44 and 459 on). ValueError for a percentile or a confidence out of range.
    """
    above, alpha = share_above(p), error_rate(confidence)
    over, under = most_by_chance(n, above, alpha), most_by_chance(n, 1 - above, alpha)
    return Ranks(
        low=None if under is None else under + 1,
        own=rank(p, n),
        high=None if over is None else n - over,
        needed=max(requests_needed(p, 0, confidence), requests_needed(100 - Fraction(str(p)), 0, confidence)),
    )


@lru_cache(maxsize=1024)
def requests_needed(p: float, over: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest requests that prove "percentile `p` <= limit" when `over` of them were over the limit.

    The table of MLPerf's early stopping: 459 for P99 and none over, 662 for one. ValueError for a bad argument.
    """
    above, alpha = share_above(p), error_rate(confidence)
    if over < 0:
        raise ValueError(f"{over} requests over the limit: must be at least 0")
    needed = _fewest(over + 1, lambda n: at_most(over, n, above) <= alpha)
    if needed is None:
        raise ValueError(f"{over:,} requests over the limit: more than 10^9 would be needed; raise the limit")
    return needed


def error_rate(confidence: float) -> float:
    """1 - confidence, how often a bound may err; ValueError unless 0.5 <= confidence < 1."""
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence {confidence}: must be at least 0.5 and below 1")
    return 1 - confidence


def rank(p: float, n: int) -> int:
    """The place of the percentile among `n` sorted values, from 1; ValueError for a percentile out of range."""
    if not 0 < p <= 100:
        raise ValueError(f"percentile {p}: must be above 0 and at most 100")
    return math.ceil(Fraction(str(p)) * n / 100)  # exact: in floats 7 / 100 * 100 is above 7


def share_above(p: float) -> Fraction:
    """The share of values that may be above percentile `p`; ValueError for one that has no bounds."""
    if not LEAST_PERCENT <= p <= 100 - LEAST_PERCENT:
        raise ValueError(f"percentile {p} has no bounds: must be from {LEAST_PERCENT} to {100 - LEAST_PERCENT}")
    return 1 - Fraction(str(p)) / 100


@lru_cache(maxsize=1024)
def most_by_chance(n: int, share: Fraction, alpha: float) -> int | None:
    """The largest k for which at most k of n, each with probability `share`, has probability <= alpha; else None."""
    if at_most(0, n, share) > alpha:
        return None
    return _fewest(1, lambda k: at_most(k, n, share) > alpha, n) - 1  # the next k has more; n has 1


def at_most(k: int, n: int, share: Fraction) -> float:
    """P(X <= k) for X binomial (n, share): the largest term by its logarithm, the others by their ratios to it."""
    if k >= n * share:  # the terms fall only away from the mean: sum those on the other side
        return 1 - at_most(n - k - 1, n, 1 - share) if k < n else 1.0
    if k < 0:
        return 0.0
    odds = float((1 - share) / share)
    total = term = 1.0
    for i in range(k, 0, -1):
        term *= odds * i / (n - i + 1)
        total += term
        if term < NEGLIGIBLE * total:
            break
    choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(choices + k * math.log(share) + (n - k) * math.log1p(-share)) * total


def _fewest(start: int, enough: Callable[[int], bool], most: int = MOST_REQUESTS) -> int | None:
    """The least n >= start >= 1 with enough(n), if that stays so for larger n; None when it is far above `most`."""
    low, high = start - 1, start
    while not enough(high):
        if high > most:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def more_needed(n: int, beyond: int, allowed: Fraction, alpha: float) -> int | None:
    """About how many more values decide whether more than the share `allowed` is over a limit.

    `beyond` of the `n` values so far are over it, and that share is supposed to stay. None when not even 10^9 would
    decide, because it is the allowed share.
    """
    share = Fraction(beyond, n)
    if share > allowed:  # more likely to be refuted: ask the same of the values within the limit
        share, allowed = 1 - share, 1 - allowed
    total = _fewest(n + 1, lambda m: at_most(math.ceil(share * m), m, allowed) <= alpha)
    return None if total is None else total - n
