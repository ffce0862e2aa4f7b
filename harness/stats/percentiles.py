"""Measured values and how sure they are: percentiles with exact bounds, a rule when to stop, intervals of a mean.

Every bound holds on its own with the stated confidence; a low and a high one together err up to twice as often.
Percentiles here suppose independent requests, as LoadGen does; those of requests that resemble their neighbours are in
`harness.stats.shares`. `python -m benchmarks.promises` shows how often each bound errs on made-up data.
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
ANGLES = 20_001  # at which the density of Student's t is summed up
MEAN_BLOCKS = 24
MEAN_DOUBT = 1.5  # standard errors
MOST_CORRELATION = 0.97
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


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest measured value that at least `p` percent of the values do not exceed, 0 < p <= 100.

    Nearest rank, no interpolation: the ceil(p / 100 * n)-th smallest (Hyndman and Fan 1996, definition 1).
    Raises ValueError when there are no values, one is NaN, or p is out of range.
    """
    return percentiles(values, (p,))[f"P{p}"]


def percentiles(values: Sequence[float], ps: Sequence[float] = QUOTED) -> dict[str, float]:
    """Percentiles from one sort, keyed "P50", "P90", ..., in the values' unit; errors as `percentile`."""
    ranked = _ranked(values)
    return {f"P{p}": ranked[rank(p, len(ranked)) - 1] for p in ps}


def percentile_bound(values: Sequence[float], p: float, confidence: float = CONFIDENCE) -> PercentileBound:
    """The percentile with the closest measured values that bound the true one, 0.001 <= p <= 99.999.

    Exact and free of any assumption but that requests are independent: how many of n values lie above the true
    percentile is binomial. `high` is the value that at most t exceed, t the most for which that is no chance (MLPerf
    inference rules, "Early Stopping"; LoadGen quotes the next larger value, so it asks for 64 and 662 requests where
    P90 and P99 are bounded from 44 and 459 on). ValueError as `percentile`, and for a confidence out of range.
    """
    ranked, above, alpha = _ranked(values), share_above(p), error_rate(confidence)
    n = len(ranked)
    over, under = most_by_chance(n, above, alpha), most_by_chance(n, 1 - above, alpha)
    return PercentileBound(
        low=None if under is None else float(ranked[under]),
        estimate=float(ranked[rank(p, n) - 1]),
        high=None if over is None else float(ranked[n - over - 1]),
        count=n,
        needed=max(requests_needed(p, 0, confidence), requests_needed(100 - Fraction(str(p)), 0, confidence)),
    )


@lru_cache(maxsize=1024)
def requests_needed(p: float, over: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest requests that prove "percentile `p` <= limit" when `over` of them were over the limit.

    The table of MLPerf's early stopping: 459 for P99 and none over, 662 for one. ValueError for a bad argument.
    """
    above, alpha = share_above(p), error_rate(confidence)
    if over < 0:
        raise ValueError(f"{over} requests over the limit cannot be; count from 0")
    needed = _fewest(over + 1, lambda n: at_most(over, n, above) <= alpha)
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


def is_stable(rates: Sequence[float], windows: int = STABLE_WINDOWS, spread: float = STABLE_SPREAD) -> bool:
    """Whether the last `windows` rates (images a second) agree: the highest is at most `spread` above the lowest.

    As perf_analyzer stops (Triton's "Measurement Modes", --stability-percentage 10, three windows). A window without
    an image is never stable, nor are fewer windows. ValueError for NaN, infinite or negative rates.
    """
    last = _rates(rates)[-windows:]
    return len(last) == windows and bool(last.min() > 0 and last.max() <= (1 + spread) * last.min())


def mean_interval(rates: Sequence[float], confidence: float = INTERVAL_CONFIDENCE) -> Interval:
    """The mean of rates of equally long windows that follow one another, with its bounds.

    Neighbouring windows resemble each other (heat, other tenants). So more than 48 of them are averaged into 24 to 47
    blocks first, and Student's t over the blocks is widened for the correlation of neighbours that is left (Priestley
    1981, 5.3.2, for an autoregressive series of order 1), taken for larger than it looks: a short series hides it.
    ValueError for fewer than 10 windows, NaN, infinite or negative rates, or a confidence out of range.
    """
    rates, alpha = _rates(rates), error_rate(confidence)
    if len(rates) < LEAST_WINDOWS:
        raise ValueError(f"{len(rates)} windows are too few for an interval; measure at least {LEAST_WINDOWS}")
    blocks, mean = _blocks(rates), float(rates.mean())
    variance, freedom = variance_of_mean(blocks - blocks.mean(), MEAN_DOUBT)
    reach = student_t(1 - alpha, freedom) * math.sqrt(variance)
    return Interval(mean - reach, mean, mean + reach)


def variance_of_mean(errors: np.ndarray, doubt: float) -> tuple[float, float]:
    """The variance of the mean of blocks whose `errors` about it are given, and its degrees of freedom, at least 1.

    The correlation of neighbours is taken to be `doubt` standard errors larger than it looks.
    """
    independent = 1 / _variance_share(len(errors), _correlation(errors, doubt))  # values that would tell as much
    return float(errors @ errors) / len(errors) / (independent - 1), max(independent - 1, 1.0)


def student_t(confidence: float, freedom: float) -> float:
    """The quantile of Student's t, 0.5 <= confidence < 1, from 1 degree of freedom, right to 0.1 %."""
    return _student_t(confidence, round(freedom, 2))


@lru_cache(maxsize=4096)
def _student_t(confidence: float, freedom: float) -> float:
    # With t = sqrt(freedom) tan(angle) the density is a power of the cosine, on an interval that ends.
    angles = np.linspace(0, math.pi / 2, ANGLES)
    density = np.cos(angles).clip(0) ** (freedom - 1)
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    angle = np.interp(1 - 2 * error_rate(confidence), below / below[-1], angles)
    return math.sqrt(freedom) * math.tan(angle)


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


def rank(p: float, n: int) -> int:
    """The place of the percentile among `n` ranked values, from 1; ValueError for a percentile out of range."""
    if not 0 < p <= 100:
        raise ValueError(f"percentile {p} is out of range; it must be above 0 and at most 100")
    return math.ceil(Fraction(str(p)) * n / 100)  # exact: in floats 7 / 100 * 100 is above 7


def share_above(p: float) -> Fraction:
    """The share of values that may be above percentile `p`; ValueError for one that has no bounds."""
    if not LEAST_PERCENT <= p <= 100 - LEAST_PERCENT:
        raise ValueError(f"percentile {p} has no bounds; it must be from {LEAST_PERCENT} to {100 - LEAST_PERCENT}")
    return 1 - Fraction(str(p)) / 100


@lru_cache(maxsize=1024)
def most_by_chance(n: int, share: Fraction, alpha: float) -> int | None:
    """The largest k for which at most k of n, each with probability `share`, has probability <= alpha; else None."""
    if at_most(0, n, share) > alpha:
        return None
    inside, outside = 0, n
    while outside - inside > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if at_most(middle, n, share) <= alpha else (inside, middle)
    return inside


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


def more_needed(n: int, beyond: int, allowed: Fraction, alpha: float) -> int | None:
    """About how many more than `n` values, of which `beyond` are over a limit, decide whether more than `allowed` are.

    Supposes that the share beyond stays what it was; None when even 10^9 would not decide: it is the allowed share.
    """
    share = Fraction(beyond, n)
    if share > allowed:  # on the way to be refuted: the same question of the others
        share, allowed = 1 - share, 1 - allowed
    total = _fewest(n + 1, lambda m: at_most(math.ceil(share * m), m, allowed) <= alpha)
    return None if total is None else total - n


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _rates(rates: Sequence[float]) -> np.ndarray:
    rates = np.asarray(rates, np.float64)
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(bad):
        raise ValueError(f"window {bad[0]} has the rate {rates[bad[0]]}; it must be a number from 0")
    return rates


def _blocks(rates: np.ndarray) -> np.ndarray:
    """Means of equally many neighbours, from 24 to 47 of them; what is left over at the end is left out."""
    size = max(1, len(rates) // MEAN_BLOCKS)
    return rates[:len(rates) // size * size].reshape(-1, size).mean(1)


def _correlation(errors: np.ndarray, doubt: float) -> float:
    """Of neighbours, from 0 to 0.97: a short series shows too little, which is made good (Kendall 1954)."""
    n, total = len(errors), float(errors @ errors)
    r = float(errors[1:] @ errors[:-1]) / total if total else 0.0
    r += (1 + 3 * r) / n
    return min(max(r + doubt * math.sqrt(max(1 - r * r, 0.0) / n), 0.0), MOST_CORRELATION)


def _variance_share(n: int, r: float) -> float:
    """The variance of the mean of `n` neighbours of correlation `r`, as a share of the variance of one."""
    return ((1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2)) / n
