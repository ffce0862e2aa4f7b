"""Estimates as tests compare them."""
from __future__ import annotations

from collections.abc import Sequence

from harness.stats.estimate import Estimate
from harness.stats.percentiles import CONFIDENCE, percentile_ranks


def low_value_high(estimate: Estimate) -> tuple:
    """The lower bound, the value and the upper bound."""
    return estimate.low, estimate.value, estimate.high


def exact_percentile(values: Sequence[float], p: float, confidence: float = CONFIDENCE) -> Estimate:
    """A percentile of independent values with its exact bounds."""
    ranked, ranks = sorted(values), percentile_ranks(len(values), p, confidence)
    low, high = (None if rank is None else ranked[rank - 1] for rank in (ranks.low, ranks.high))
    return Estimate(ranked[ranks.own - 1], low, high, len(values), ranks.needed)
