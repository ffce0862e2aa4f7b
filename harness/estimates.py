"""What load runs show of throughput and latency, with bounds: the values that verdicts are made of."""
from __future__ import annotations

import math
from collections.abc import Sequence

from harness.load import Load, images_per_second, window_rates
from harness.statistics import (
    CONFIDENCE,
    INTERVAL_CONFIDENCE,
    Interval,
    PercentileBound,
    decide_percentile,
    error_rate,
    mean_interval,
    percentile_bound,
)
from harness.verdict import Estimate

WINDOWS = 12  # at least, over all runs
QUOTED = (50, 90, 99)
NEAREST = 1e-3  # of the interval: to tell apart what is nearer takes a million times as much


def throughput_estimate(loads: Sequence[Load], looks: int = 1) -> Estimate:
    """Answered images a second over the wall clock of all runs, bounded by how much it varied in windows of them.

    `looks` is how often a run that goes on until it is decided will at most ask.
    """
    value, windows = images_per_second(loads), -(-WINDOWS // len(loads))
    try:
        rates = window_rates(loads, windows)
        low, mean, high = mean_interval(rates, 1 - error_rate(INTERVAL_CONFIDENCE) / looks)
    except ValueError as error:
        return Estimate(None, value, None, lambda bound, sense, why=str(error): why)
    interval = Interval(value + low - mean, value, value + high - mean)
    return narrowing(interval, sum(load.seconds for load in loads), "seconds of load")


def narrowing(interval: Interval, amount: float, unit: str) -> Estimate:
    """An interval that narrows with the root of how much was measured, so far `amount` of `unit`, as means do.

    Its bounds may be None, where what was measured cannot give them.
    """

    def more(bound: float, sense: str) -> str:
        low, value, high = interval
        if low is None or high is None:
            return f"more {unit} are needed to bound it"
        reach = high - value if value < bound else value - low
        if abs(bound - value) <= NEAREST * reach:
            return "it is the bound itself"
        wanted = amount * ((reach / (bound - value)) ** 2 - 1)
        return f"about {math.ceil(wanted):,} more {unit} would decide"

    return Estimate(*interval, more)


def latency_estimates(latencies: Sequence[float], looks: int = 1) -> dict[str, Estimate]:
    """P50, P90 and P99 of whole requests in seconds, and P99 by P50, with the bounds of MLPerf's early stopping.

    `looks` is how often a run that goes on until it is decided will at most ask.
    """
    confidence = 1 - error_rate(CONFIDENCE) / looks
    bounds = {p: percentile_bound(latencies, p, confidence) for p in QUOTED}
    found = {f"P{p}_seconds": _percentile(latencies, p, bound, looks) for p, bound in bounds.items()}
    return {**found, "P99_over_P50": _ratio(bounds[99], bounds[50])}


def _percentile(latencies: Sequence[float], p: float, bound: PercentileBound, looks: int) -> Estimate:
    def more(limit: float, sense: str) -> str:
        wanted = decide_percentile(latencies, p, limit, sense, looks=looks).more
        return f"about {wanted:,} more requests would decide" if wanted else "no number of requests would decide"

    return Estimate(bound.low, bound.estimate, bound.high, more)


def _ratio(above: PercentileBound, below: PercentileBound) -> Estimate:
    """Of two percentiles of the same requests: the farthest apart and the closest that their bounds allow."""
    low = None if above.low is None or below.high is None else above.low / below.high
    high = None if above.high is None or below.low is None else above.high / below.low
    needed = max(above.needed, below.needed)

    def more(limit: float, sense: str) -> str:
        wanted = f"at least {needed:,} requests are needed" if above.count < needed else "more requests would decide"
        return f"{wanted}, {above.count:,} were sent"

    return Estimate(low, above.estimate / below.estimate, high, more)
