"""Measured values and how sure they are: percentiles with exact bounds, a rule when to stop, intervals of a mean.

Every bound holds on its own with the stated confidence; a low and a high one together err up to twice as often.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Callable, NamedTuple

import numpy as np

QUOTED = (50, 90, 99)
CONFIDENCE = 0.99  # of each bound of a percentile, as in MLPerf's early stopping
INTERVAL_CONFIDENCE = 0.95  # of each bound that comes from a bootstrap
PROVEN, REFUTED, UNDECIDED = "proven", "refuted", "undecided"
LEAST_PERCENT = 0.001  # beyond it 10^6 requests and more would be needed to see anything
MOST_REQUESTS = 10**9  # more than any run will send
STABLE_WINDOWS, STABLE_SPREAD = 3, 0.10  # perf_analyzer's defaults
LEAST_WINDOWS = 10
NEGLIGIBLE = 1e-17  # below a double's resolution of a sum that begins at 1


class Interval(NamedTuple):
    """An estimate and bounds of the true value in its unit; `low` and `high` each hold with the stated confidence."""

    low: float
    estimate: float
    high: float


class PercentileBound(NamedTuple):
    """A percentile of `count` values and its bounds, all three values that were measured, in their unit.

    `low` or `high` is None where `count` values cannot give one; both exist from `needed` values on.
    """

    low: float | None
    estimate: float
    high: float | None
    count: int
    needed: int


class Decision(NamedTuple):
    """PROVEN, REFUTED or UNDECIDED, and about how many `more` requests would decide.

    `more` is 0 when it is decided, and None when even 10^9 requests would not decide: the percentile is the limit.
    """

    verdict: str
    more: int | None


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest measured value that at least `p` percent of the values do not exceed, 0 < p <= 100.

    Nearest rank, no interpolation: the ceil(p / 100 * n)-th smallest (Hyndman and Fan 1996, definition 1).
    Raises ValueError when there are no values, one is NaN, or p is out of range.
    """
    return percentiles(values, (p,))[f"P{p}"]


def percentiles(values: Sequence[float], ps: Sequence[float] = QUOTED) -> dict[str, float]:
    """Percentiles from one sort, keyed "P50", "P90", ..., in the values' unit; errors as `percentile`."""
    ranked = _ranked(values)
    return {f"P{p}": ranked[_rank(p, len(ranked)) - 1] for p in ps}


def percentile_bound(values: Sequence[float], p: float, confidence: float = CONFIDENCE) -> PercentileBound:
    """The percentile with the closest measured values that bound the true one, 0.001 <= p <= 99.999.

    Exact and free of any assumption but that requests are independent: how many of n values lie above the true
    percentile is binomial. `high` is the value that at most t exceed, t the most for which that is no chance (MLPerf
    inference rules, "Early Stopping"; LoadGen quotes the next larger value, so it asks for 64 and 662 requests where
    P90 and P99 are bounded from 44 and 459 on). ValueError as `percentile`, and for a confidence out of range.
    """
    ranked, above, alpha = _ranked(values), _share_above(p), error_rate(confidence)
    n = len(ranked)
    over, under = _most_by_chance(n, above, alpha), _most_by_chance(n, 1 - above, alpha)
    return PercentileBound(
        low=None if under is None else float(ranked[under]),
        estimate=float(ranked[_rank(p, n) - 1]),
        high=None if over is None else float(ranked[n - over - 1]),
        count=n,
        needed=max(requests_needed(p, 0, confidence), requests_needed(100 - Fraction(str(p)), 0, confidence)),
    )


@lru_cache(maxsize=1024)
def requests_needed(p: float, over: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest requests that prove "percentile `p` <= limit" when `over` of them were over the limit.

    The table of MLPerf's early stopping: 459 for P99 and none over, 662 for one. ValueError for a bad argument.
    """
    above, alpha = _share_above(p), error_rate(confidence)
    if over < 0:
        raise ValueError(f"{over} requests over the limit cannot be; count from 0")
    needed = _fewest(over + 1, lambda n: _at_most(over, n, above) <= alpha)
    if needed is None:
        raise ValueError(f"with {over} requests over the limit more than 10^9 would be needed; raise the limit")
    return needed


def decide(bound: Interval | PercentileBound, limit: float, sense: str) -> str:
    """PROVEN when both bounds say that the true value is `sense` ('<=' or '>=') limit, REFUTED when neither can be.

    The one-sided test at the confidence of the bounds; UNDECIDED when the limit lies between them or one is missing.
    """
    if math.isnan(limit):
        raise ValueError("a limit of NaN decides nothing; give a number")
    if sense not in ("<=", ">="):
        raise ValueError(f"sense {sense!r} is unknown; it must be '<=' or '>='")
    low, high = (bound.low, bound.high) if sense == "<=" else (_minus(bound.high), _minus(bound.low))
    limit = limit if sense == "<=" else -limit
    if high is not None and high <= limit:
        return PROVEN
    return REFUTED if low is not None and low > limit else UNDECIDED


def decide_percentile(
    values: Sequence[float], p: float, limit: float, sense: str = "<=", *, looks: int = 1,
    confidence: float = CONFIDENCE,
) -> Decision:
    """Whether percentile `p` is `sense` limit, and about how many more requests would tell.

    A run that asks again and again as values come in must say how often it will at most: `looks` share the error of
    1 - confidence between them (Bonferroni), else one of many looks would prove what is not so. `more` supposes that
    the share of values beyond the limit stays what it was. ValueError as `percentile_bound` and `decide`.
    """
    if looks < 1:
        raise ValueError(f"looks must be at least 1, not {looks}")
    confidence = 1 - error_rate(confidence) / looks
    verdict = decide(percentile_bound(values, p, confidence), limit, sense)
    if verdict != UNDECIDED:
        return Decision(verdict, 0)
    numbers = np.asarray(values)
    beyond = int(np.count_nonzero(numbers > limit if sense == "<=" else numbers < limit))
    allowed = _share_above(p) if sense == "<=" else 1 - _share_above(p)
    return Decision(verdict, _more_needed(len(numbers), beyond, allowed, error_rate(confidence)))


def is_stable(rates: Sequence[float], windows: int = STABLE_WINDOWS, spread: float = STABLE_SPREAD) -> bool:
    """Whether the last `windows` rates (images a second) agree: the highest is at most `spread` above the lowest.

    As perf_analyzer stops (Triton's "Measurement Modes", --stability-percentage 10, three windows). A window without
    an image is never stable, nor are fewer windows. ValueError for NaN, infinite or negative rates.
    """
    last = _rates(rates)[-windows:]
    return len(last) == windows and bool(last.min() > 0 and last.max() <= (1 + spread) * last.min())


def mean_interval(
    rates: Sequence[float], confidence: float = INTERVAL_CONFIDENCE, resamples: int = 2000, block: int | None = None,
    seed: int = 0,
) -> Interval:
    """The mean of the windows' rates, bounded by the moving-block bootstrap (Künsch 1989), the same for the same seed.

    Neighbouring windows resemble each other (heat, other tenants), so blocks of `block` windows are drawn, not single
    ones. Without `block` its length follows from the correlation of neighbours (Politis and White 2004, for an
    autoregressive series of order 1). The bounds keep their promise when the run is long beside the correlation: with
    60 windows and a correlation of 0.6 they hold in 93 of 100 runs, with 10 windows in 87. ValueError for fewer than
    10 windows, windows that are all alike, NaN, infinite or negative rates, or a bad argument.
    """
    rates, alpha = _rates(rates), error_rate(confidence)
    _require_spread(rates)
    block = block_length(rates) if block is None else block
    if not 1 <= block <= len(rates) // 2 or resamples < 1:
        raise ValueError(f"block {block} of {len(rates)} windows, {resamples} resamples: a block must be from 1 window "
                         "to half of them, and there must be a resample")
    # Of its own mean, as the windows near the ends lie in fewer blocks.
    means = _block_means(rates, block, resamples, seed)
    errors = (means - means.mean()) * _widening(len(rates), block, _correlation(rates))
    low, high = np.quantile(errors, (alpha, 1 - alpha))
    return Interval(float(rates.mean() + low), float(rates.mean()), float(rates.mean() + high))


def block_length(rates: np.ndarray) -> int:
    """Windows in a block that outlasts their correlation: (6 r^2 / (1 - r^2)^2 * n)^(1/3), from 1 to a quarter of n."""
    n, r = len(rates), _correlation(rates)
    return min(max(1, round((6 * r * r / (1 - r * r) ** 2 * n) ** (1 / 3))), n // 4)


def error_rate(confidence: float) -> float:
    """1 - confidence, how often a bound may err; ValueError unless 0.5 <= confidence < 1."""
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence {confidence} is out of range; it must be at least 0.5 and below 1")
    return 1 - confidence


def _ranked(values: Sequence[float]) -> Sequence[float]:
    if not len(values):
        raise ValueError("a percentile of no values is undefined; measure at least one")
    if any(math.isnan(value) for value in values):
        raise ValueError("a percentile of NaN is undefined; leave failed measurements out before")
    return sorted(values)


def _rank(p: float, n: int) -> int:
    if not 0 < p <= 100:
        raise ValueError(f"percentile {p} is out of range; it must be above 0 and at most 100")
    return math.ceil(Fraction(str(p)) * n / 100)  # exact: in floats 7 / 100 * 100 is above 7


def _share_above(p: float) -> Fraction:
    if not LEAST_PERCENT <= p <= 100 - LEAST_PERCENT:
        raise ValueError(f"percentile {p} has no bounds; it must be from {LEAST_PERCENT} to {100 - LEAST_PERCENT}")
    return 1 - Fraction(str(p)) / 100


@lru_cache(maxsize=1024)
def _most_by_chance(n: int, share: Fraction, alpha: float) -> int | None:
    """The largest k for which at most k of n, each with probability `share`, has probability <= alpha; else None."""
    if _at_most(0, n, share) > alpha:
        return None
    inside, outside = 0, n
    while outside - inside > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if _at_most(middle, n, share) <= alpha else (inside, middle)
    return inside


def _at_most(k: int, n: int, share: Fraction) -> float:
    """P(X <= k) for X binomial (n, share): the largest term by its logarithm, the others by their ratios to it."""
    if k >= n * share:  # the terms fall only away from the mean: sum those on the other side
        return 1 - _at_most(n - k - 1, n, 1 - share) if k < n else 1.0
    if k < 0:
        return 0.0
    odds = float((1 - share) / share)
    total = term = 1.0
    for i in range(k, 0, -1):
        term *= odds * i / (n - i + 1)
        total += term
        if term < NEGLIGIBLE * total:
            break
    return math.exp(_log_probability(k, n, float(share))) * total


def _log_probability(k: int, n: int, share: float) -> float:
    choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choices + k * math.log(share) + (n - k) * math.log1p(-share)


def _fewest(start: int, enough: Callable[[int], bool]) -> int | None:
    """The least n >= start with enough(n), if that stays so for larger n; None when it is above MOST_REQUESTS."""
    low, high = start - 1, start
    while not enough(high):
        if high > MOST_REQUESTS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _more_needed(n: int, beyond: int, allowed: Fraction, alpha: float) -> int | None:
    share = Fraction(beyond, n)
    if share > allowed:  # on the way to be refuted: the same question of the others
        share, allowed = 1 - share, 1 - allowed
    total = _fewest(n + 1, lambda m: _at_most(math.ceil(share * m), m, allowed) <= alpha)
    return None if total is None else total - n


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _rates(rates: Sequence[float]) -> np.ndarray:
    rates = np.asarray(rates, np.float64)
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(bad):
        raise ValueError(f"window {bad[0]} has the rate {rates[bad[0]]}; it must be a number from 0")
    return rates


def _require_spread(rates: np.ndarray) -> None:
    if len(rates) < LEAST_WINDOWS:
        raise ValueError(f"{len(rates)} windows are too few for an interval; measure at least {LEAST_WINDOWS}")
    if rates.min() == rates.max():
        raise ValueError(f"all {len(rates)} windows have the rate {rates[0]:g}, which shows no spread to judge by; "
                         "count in longer windows")


def _correlation(rates: np.ndarray) -> float:
    """Of neighbouring windows, from 0 to 0.97; a short series shows too little, which is made good (Kendall 1954)."""
    errors = rates - rates.mean()
    r = float(errors[1:] @ errors[:-1] / (errors @ errors))
    return min(max(r + (1 + 3 * r) / len(rates), 0.0), 0.97)


def _widening(n: int, block: int, r: float) -> float:
    """By how much the mean of `n` windows of correlation `r` varies more than that of blocks drawn from them.

    Drawn blocks know nothing of the correlation between them, nor of how far the mean of all windows itself strayed.
    """
    whole, within = _variance_of_mean(n, r), _variance_of_mean(block, r)
    return math.sqrt(whole / (block / n * (within - whole)))


def _variance_of_mean(n: int, r: float) -> float:
    """Of `n` neighbours of an autoregressive series of order 1, as a share of the variance of one."""
    return ((1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2)) / n


def _block_means(rates: np.ndarray, block: int, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` series, each of len(rates) windows taken in blocks whose starts are drawn by chance."""
    n = len(rates)
    starts = np.random.default_rng(seed).integers(0, n - block + 1, (resamples, math.ceil(n / block)))
    sums = np.concatenate([[0.0], np.cumsum(rates)])
    lengths = np.full(starts.shape[1], block)
    lengths[-1] = n - block * (len(lengths) - 1)
    return (sums[starts + lengths] - sums[starts]).sum(1) / n
