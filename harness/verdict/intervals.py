"""What load runs show of throughput and latency, with bounds: the values that verdicts are made of."""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from harness.load.generator import Load, images_per_second, latencies_in_turn, window_rates
from harness.stats.percentiles import (
    CONFIDENCE,
    INTERVAL_CONFIDENCE,
    QUOTED,
    Interval,
    PercentileBound,
    error_rate,
    mean_interval,
)
from harness.stats.shares import BLOCKS, Blocks
from harness.verdict.verdict import NOISY, Estimate

P50_SHARE = 0.1  # of the error of a ratio: its P99 is by far the harder to bound
NEAREST = 1e-3  # of the interval: to tell apart what is nearer takes a million times as much


def throughput_estimate(loads: Sequence[Load], looks: int = 1) -> Estimate:
    """Answered images a second while every caller was at work, bounded by how much it varied in windows of all runs.

    `looks` is how often a run that goes on until it is decided will at most ask.
    """
    value = images_per_second(loads)
    try:
        interval = mean_interval(window_rates(loads, _parts(loads)), _confidence(INTERVAL_CONFIDENCE, looks))
    except ValueError as error:
        return Estimate(None, value, None, lambda bound, sense, why=str(error): why)
    low, high = (value + bound - interval.estimate for bound in (interval.low, interval.high))
    return narrowing(Interval(low, value, high), sum(load.seconds for load in loads), "seconds of load")


def efficiency_estimate(
    loads: Sequence[Load], flops: float, product_rates: Sequence[float], looks: int = 1
) -> Estimate:
    """Arithmetic of the images a second, `flops` each, as a share of the rate of matrix products in FLOP/s.

    Both vary, so each has half of the error. Where the products vary more, it is the machine that is noisy.
    """
    speed = throughput_estimate(loads, 2 * looks)
    try:
        products = mean_interval(product_rates, _confidence(INTERVAL_CONFIDENCE, 2 * looks))
    except ValueError as error:
        value = speed.estimate * flops / fmean(product_rates)
        return Estimate(None, value, None, lambda bound, sense, why=str(error): f"matrix products: {why}")
    if speed.low is None:
        return Estimate(None, speed.estimate * flops / products.estimate, None, speed.more)
    low, value = speed.low * flops / products.high, speed.estimate * flops / products.estimate
    high = speed.high * flops / products.low if products.low > 0 else None
    if _spread(speed) >= _spread(products):
        return narrowing(Interval(low, value, high), sum(load.seconds for load in loads), "seconds of load")
    varied = (f"the machine's own matrix products ran at anything from {products.low / 1e9:.3g} to "
              f"{products.high / 1e9:.3g} GFLOP/s; free the machine and repeat")
    return Estimate(low, value, high, lambda bound, sense: varied, NOISY)


def _spread(interval: Interval | Estimate) -> float:
    return (interval.high - interval.low) / interval.estimate


def _parts(loads: Sequence[Load]) -> int:
    """Parts of each of the loads, so that all of them together are as many blocks as bounds need."""
    return max(1, math.ceil(BLOCKS / len(loads)))


def _confidence(confidence: float, looks: int) -> float:
    """That of one of several looks, which share the error between them (Bonferroni)."""
    return 1 - error_rate(confidence) / looks


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


def excused(estimate: Estimate, slowdown: float, sense: str) -> Estimate:
    """The estimate of a detector that the machine may have slowed by that factor, from 1 on, of a metric to be `sense`.

    Noise makes nothing look better: a bound met in noise is met, and only one missed by no more than that is undecided.
    """
    low, value, high, more, reason = estimate
    if slowdown <= 1 or low is None or high is None:
        return estimate
    noisy = f"the machine may have slowed it by up to {slowdown - 1:.1%}: free the machine and repeat"
    spread = (high - low) / 2 / value
    low, high = (low, high * slowdown) if sense == ">=" else (low / slowdown, high)
    return Estimate(low, value, high, lambda bound, sense: f"{more(bound, sense)}; {noisy}",
                    NOISY if slowdown - 1 > spread else reason)


def latency_estimates(loads: Sequence[Load], looks: int = 1) -> dict[str, Estimate]:
    """P50, P90 and P99 of whole requests in seconds, and P99 by P50, bounded as in `harness.stats.shares`.

    `looks` is how often a run that goes on until it is decided will at most ask. ValueError where no request was
    answered.
    """
    blocks, confidence = Blocks(latencies_in_turn(loads, _parts(loads))), _confidence(CONFIDENCE, looks)
    found = {f"P{p}_seconds": _percentile(blocks, p, confidence) for p in QUOTED}
    rare, common = (1 - part * error_rate(confidence) for part in (1 - P50_SHARE, P50_SHARE))
    return {**found, "P99_over_P50": _ratio(blocks.bound(99, rare), blocks.bound(50, common))}


def _percentile(blocks: Blocks, p: float, confidence: float) -> Estimate:
    bound = blocks.bound(p, confidence)

    def more(limit: float, sense: str) -> str:
        wanted = blocks.more(p, limit, confidence)
        return f"about {wanted:,} more requests would decide" if wanted else "no number of requests would decide"

    return Estimate(bound.low, bound.estimate, bound.high, more)


def _ratio(above: PercentileBound, below: PercentileBound) -> Estimate:
    """Of two percentiles of the same requests: the farthest apart and the closest that their bounds allow."""
    low = None if above.low is None or below.high is None else above.low / below.high
    high = None if above.high is None or below.low is None else above.high / below.low
    needed = max(above.needed, below.needed)

    def more(limit: float, sense: str) -> str:
        if above.count >= needed:
            return f"more requests would decide, {above.count:,} were sent"
        return f"about {needed:,} requests that resemble each other as these do are needed, {above.count:,} were sent"

    return Estimate(low, above.estimate / below.estimate, high, more)
