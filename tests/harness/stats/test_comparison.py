"""The ratio and difference of two estimates err as seldom as the estimates, counted against a known truth."""
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.promises import autoregressive, bursts, independent
from harness.stats.comparison import difference, ratio
from harness.stats.estimate import Estimate
from harness.stats.intervals import mean_interval
from harness.stats.percentile_bounds import BLOCKS, Blocks

PAIRS = 400
TRUTH = 1.85  # of the ratio
WINDOWS, REQUESTS = 48, 2000
RATES = {"independent": independent, "neighbours 0.6": autoregressive(0.6)}
LATENCIES = {"independent": independent, "neighbours 0.6": autoregressive(0.6), "bursts of 20": bursts(20)}


def throughput(rng, series, mean) -> Estimate:
    """Images a second of a run, whose windows vary by 5 %."""
    return mean_interval(mean * (1 + 0.05 * series(rng, WINDOWS)))


def latency(rng, series, scale, p) -> Estimate:
    """A percentile of the requests of a run, in seconds, whose logarithms vary by 0.3."""
    return Blocks(np.array_split(scale * np.exp(0.3 * series(rng, REQUESTS)), BLOCKS)).bound(p)


def errors(pairs, truth) -> tuple[float, float]:
    """How often the low bound was above the truth, and the high one below it; one that is missing never errs."""
    pairs = list(pairs)
    too_high = sum(one.low is not None and one.low > truth for one in pairs)
    too_low = sum(one.high is not None and one.high < truth for one in pairs)
    return too_high / len(pairs), too_low / len(pairs)


def at_most(promised: float, runs: int) -> float:
    """Three standard errors above the promised share of errors."""
    return promised + 3 * math.sqrt(promised * (1 - promised) / runs)


def ratios_of_throughput(series, pairs=PAIRS):
    rng = np.random.default_rng(1)
    return (ratio(throughput(rng, series, 100 * TRUTH), throughput(rng, series, 100)) for _ in range(pairs))


def ratios_of_latency(series, p, pairs=PAIRS):
    rng = np.random.default_rng(2)
    return (ratio(latency(rng, series, 0.04 * TRUTH, p), latency(rng, series, 0.04, p)) for _ in range(pairs))


@pytest.mark.parametrize("case", RATES)
def test_the_bounds_of_a_ratio_of_throughputs_err_as_seldom_as_promised(case):
    assert max(errors(ratios_of_throughput(RATES[case]), TRUTH)) <= at_most(0.05, PAIRS)


@pytest.mark.parametrize("case", LATENCIES)
def test_the_bounds_of_a_ratio_of_latencies_err_as_seldom_as_promised(case):
    pairs = 60
    assert max(errors(ratios_of_latency(LATENCIES[case], 90, pairs), TRUTH)) <= at_most(0.01, pairs)


def test_the_bounds_of_a_difference_err_as_seldom_as_promised():
    rng = np.random.default_rng(3)
    found = (difference(throughput(rng, independent, 120), throughput(rng, independent, 100)) for _ in range(PAIRS))
    assert max(errors(found, 20)) <= at_most(0.05, PAIRS)


def test_bounds_that_are_half_as_wide_as_they_should_be_are_noticed():
    """So that the tests above can fail."""

    def halved(one):
        return Estimate(one.value, (one.low + one.value) / 2, (one.high + one.value) / 2)

    found = map(halved, ratios_of_throughput(independent))
    assert min(errors(found, TRUTH)) > at_most(0.05, PAIRS)


def test_the_ratio_is_surer_than_the_least_and_the_most_that_the_bounds_allow():
    a, b = Estimate(100.0, 95.0, 106.0), Estimate(50.0, 48.0, 53.0)
    found = ratio(a, b)
    assert a.low / b.high < found.low < found.value == 2.0 < found.high < a.high / b.low


def test_what_is_exact_stays_exact():
    assert ratio(Estimate.exactly(3.0), Estimate.exactly(2.0)).is_exact
    assert difference(Estimate.exactly(3.0), Estimate.exactly(2.0)).is_exact


def test_an_exact_denominator_scales():
    found = ratio(Estimate(10.0, 9.0, 12.0), Estimate.exactly(2.0))
    assert (found.low, found.value, found.high) == pytest.approx((4.5, 5.0, 6.0))


@pytest.mark.parametrize(("above", "below", "missing"), [
    (Estimate(2.0, None, 3.0), Estimate(1.0, 0.9, 1.1), {"low"}),
    (Estimate(2.0, 1.0, None), Estimate(1.0, 0.9, 1.1), {"high"}),
    (Estimate(2.0, 1.0, 3.0), Estimate(1.0, 0.9, None), {"low"}),
    (Estimate(2.0, 1.0, 3.0), Estimate(1.0, None, 1.1), {"high"}),
    (Estimate(2.0, 0.0, 3.0), Estimate(1.0, -0.5, 1.1), {"low", "high"}),
    (Estimate(2.0), Estimate(1.0), {"low", "high"}),
])
def test_a_bound_is_missing_where_one_that_it_needs_is(above, below, missing):
    found = ratio(above, below)
    assert {name for name in ("low", "high") if getattr(found, name) is None} == missing


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_there_is_no_ratio_of_what_is_not_above_0(value):
    with pytest.raises(ValueError, match="must be a finite number above 0"):
        ratio(Estimate(value), Estimate(1.0))
    with pytest.raises(ValueError, match="must be a finite number above 0"):
        ratio(Estimate(1.0), Estimate(value))


positive = st.floats(1e-6, 1e6)
estimates = st.builds(lambda v, d, u: Estimate(v, v / d, v * u), positive, st.floats(1, 50), st.floats(1, 50))


@given(estimates, estimates)
def test_turning_a_ratio_over_turns_its_bounds_over(a, b):
    found, other = ratio(a, b), ratio(b, a)
    assert (found.low, found.high) == pytest.approx((1 / other.high, 1 / other.low))
    assert found.low <= found.value * (1 + 1e-9) and found.value <= found.high * (1 + 1e-9)
