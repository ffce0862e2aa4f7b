"""Throughput, efficiency and latency of load runs as estimates with bounds."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from harness.load.generator import Load, images_per_second, parts_in_turn, window_rates
from harness.stats.estimate import NOISY, Estimate, narrowing
from harness.stats.intervals import INTERVAL_CONFIDENCE, mean_interval
from harness.stats.percentile_bounds import BLOCKS, Blocks
from harness.stats.percentiles import CONFIDENCE, QUOTED, error_rate

MOST_MORE = 100  # times the requests that were sent: more is a guess
P50_SHARE = 0.1  # of the error of a ratio: its P99 is by far the harder to bound


def throughput_estimate(loads: Sequence[Load], error_share: float = 1.0) -> Estimate:
    """Images a second with a response while every caller was at work, bounded by how they vary in windows of all runs.

    `error_share` is the share of the error that one of several looks has.
    """
    value = images_per_second(loads)
    try:
        mean = mean_interval(window_rates(loads, _parts(loads)), _confidence(INTERVAL_CONFIDENCE, error_share))
    except ValueError as error:
        return _unbounded(value, str(error))
    off = value - mean.value
    return _by_seconds(Estimate(value, max(mean.low + off, 0.0), mean.high + off), loads)


def efficiency_estimate(
    loads: Sequence[Load], flops: float, product_rates: Sequence[float], error_share: float = 1.0
) -> Estimate:
    """The arithmetic of the images, `flops` each, as a share of the rate of matrix products (FLOP/s).

    Throughput and products both vary, so each has half of the error. Where the products vary more, the machine is
    noisy. `error_share` as in `throughput_estimate`.
    """
    speed = throughput_estimate(loads, error_share / 2)
    try:
        products = mean_interval(product_rates, _confidence(INTERVAL_CONFIDENCE, error_share / 2))
    except ValueError as error:
        return _unbounded(speed.value * flops / fmean(product_rates), f"matrix products: {error}")
    # A few that differ much would bound their mean by more than any of them reached.
    products = replace(products, high=min(products.high, max(product_rates)))
    value = speed.value * flops / products.value
    if speed.low is None:
        return Estimate(value, more=speed.more)
    high = speed.high * flops / products.low if products.low > 0 else None
    estimate = Estimate(value, speed.low * flops / products.high, high)
    if _relative_width(speed) >= _relative_width(products):
        return _by_seconds(estimate, loads)
    varied = (f"the machine's own matrix products ran at {products.low / 1e9:.3g} to {products.high / 1e9:.3g} "
              "GFLOP/s; stop other work and repeat")
    return replace(estimate, more=lambda limit, sense: varied, reason=NOISY)


def latency_estimates(
    loads: Sequence[Load], error_share: float = 1.0, slowdown: Callable[[float, float], float] | None = None
) -> dict[str, Estimate]:
    """P50, P90 and P99 of whole requests in seconds and P99 / P50, by metric, bounded by blocks of time.

    `error_share` as in `throughput_estimate`. `slowdown` gives the most by which the machine can have slowed requests
    between two times of time.perf_counter. ValueError where no request succeeded.
    """
    parts = parts_in_turn(loads, _parts(loads))
    slowdowns = [slowdown(part.start, part.end) for part in parts] if slowdown else None
    blocks = Blocks([part.latencies for part in parts], slowdowns)
    confidence = _confidence(CONFIDENCE, error_share)
    estimates = {f"P{p}_seconds": _percentile(blocks, p, confidence) for p in QUOTED}
    error = error_rate(confidence)
    rare, common = blocks.bound(99, 1 - (1 - P50_SHARE) * error), blocks.bound(50, 1 - P50_SHARE * error)
    return {**estimates, "P99_over_P50": _ratio(rare, common)}


def _unbounded(value: float, why: str) -> Estimate:
    return Estimate(value, more=lambda limit, sense: why)


def _by_seconds(estimate: Estimate, loads: Sequence[Load]) -> Estimate:
    return narrowing(estimate, sum(load.seconds for load in loads), "seconds of load")


def _relative_width(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / estimate.value


def _parts(loads: Sequence[Load]) -> int:
    """How many parts to cut each load into, so that all loads together give as many blocks as bounds need."""
    return max(1, math.ceil(BLOCKS / len(loads)))


def _confidence(confidence: float, error_share: float) -> float:
    """The confidence of a look that has so much of the error."""
    return 1 - error_rate(confidence) * error_share


def _percentile(blocks: Blocks, p: float, confidence: float) -> Estimate:

    def more(limit: float, sense: str) -> str:
        wanted = blocks.more(p, limit, confidence)
        if wanted and wanted > MOST_MORE * len(blocks):
            return _too_few(len(blocks))
        return f"about {wanted:,} more requests would decide" if wanted else "no number of requests would decide"

    return replace(blocks.bound(p, confidence), more=more)


def _too_few(sent: int) -> str:
    return (f"more than {MOST_MORE} times the {sent:,} requests that were sent are needed, as the slow ones came all "
            "at once")


def _ratio(above: Estimate, below: Estimate) -> Estimate:
    """The ratio of a percentile to a lower one of the same requests, from the least to the most that bounds allow."""
    needed = max(above.needed, below.needed)

    def more(limit: float, sense: str) -> str:
        if above.count >= needed:
            return f"more requests would decide, {above.count:,} were sent"
        if needed > MOST_MORE * above.count:
            return _too_few(above.count)
        return f"about {needed:,} requests that resemble each other as these do are needed, {above.count:,} were sent"

    return Estimate(
        above.value / below.value,
        low=None if above.low is None or below.high is None else max(above.low / below.high, 1.0),
        high=None if above.high is None or below.low is None else above.high / below.low,
        count=above.count, needed=needed, more=more,
    )
