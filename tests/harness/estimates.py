"""Estimates as tests compare them."""
from __future__ import annotations

from harness.stats.estimate import Estimate


def low_value_high(estimate: Estimate) -> tuple:
    """The lower bound, the value and the upper bound."""
    return estimate.low, estimate.value, estimate.high
