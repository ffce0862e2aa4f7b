"""The ratio and the difference of two estimates, with bounds made of theirs.

The bounds of both are combined by their distances from the values in quadrature (MOVER: Zou and Donner 2008,
"Construction of confidence limits about effect measures", Statistics in Medicine 27), for a ratio on a logarithmic
scale (Newcombe 2016). The two must be independent, as two runs are.

Promise: where each bound of the two holds with a confidence, so does each bound of their ratio and difference. Counted
against a known truth, bounds of 95 % of throughputs erred in at most 1.3 % of 4,000 made-up pairs of runs, and those of
99 % of latencies in at most 0.4 % of 1,000, whether independent, like their neighbours or in bursts
(tests/harness/stats/test_comparison.py). They are the bounds of these two runs: what differs between one run and the
next on the same machine is in neither.
"""
from __future__ import annotations

import math

from harness.stats.estimate import Estimate


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """`above` / `below`. A bound is None where one that it needs is missing or not above 0.

    ValueError unless both values are above 0 and finite.
    """
    for one in (above, below):
        if not (math.isfinite(one.value) and one.value > 0):
            raise ValueError(f"{one.value}: must be a finite number above 0, or there is no ratio")
    value, logarithm = above.value / below.value, difference(_logarithm(above), _logarithm(below))
    low, high = (None if bound is None else value * math.exp(bound - logarithm.value)
                 for bound in (logarithm.low, logarithm.high))
    return Estimate(value, low, high, more=above.more)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """`first` - `second`, in their unit. A bound is None where one that it needs is missing."""
    value = first.value - second.value
    down, up = _distance(first, first.low), _distance(first, first.high)
    other_down, other_up = _distance(second, second.low), _distance(second, second.high)
    return Estimate(
        value,
        low=None if down is None or other_up is None else value - math.hypot(down, other_up),
        high=None if up is None or other_down is None else value + math.hypot(up, other_down),
        more=first.more,
    )


def _distance(estimate: Estimate, bound: float | None) -> float | None:
    return None if bound is None else abs(bound - estimate.value)


def _logarithm(estimate: Estimate) -> Estimate:
    return Estimate(*(None if number is None or number <= 0 else math.log(number)
                      for number in (estimate.value, estimate.low, estimate.high)))
