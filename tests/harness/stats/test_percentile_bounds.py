"""Percentiles by blocks of time: exact where requests are independent, wider where they resemble each other."""
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.percentile_bounds import BLOCKS, Blocks
from tests.harness.estimates import exact_percentile, low_value_high


def blocks(values) -> Blocks:
    return Blocks(np.array_split(np.asarray(values, float), BLOCKS))


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=200), p=st.sampled_from([1, 50, 90, 99, 99.9]))
def test_a_percentile_is_a_measured_value_between_its_bounds(values, p):
    bound = blocks(values).bound(p)
    assert bound.value == exact_percentile(values, p).value and bound.count == len(values)
    assert (bound.low is None or bound.low <= bound.value) and (bound.high is None or bound.value <= bound.high)
    assert {bound.low, bound.high} <= {None, *values}


@pytest.mark.parametrize("p", [50, 90, 99])
def test_independent_requests_have_about_the_binomial_bounds(p):
    values = np.random.default_rng(p).random(20_000)
    exact, found = exact_percentile(values, p), blocks(values).bound(p)
    assert found.low <= exact.low and exact.high <= found.high
    assert found.high - found.low < 2 * (exact.high - exact.low)


@pytest.mark.parametrize("p", [50, 90, 99])
def test_bursts_of_200_requests_count_as_one_each(p):
    values = np.repeat(np.random.default_rng(p).random(300), 200)
    found, one_each = blocks(values).bound(p), exact_percentile(values[::200], p)
    assert found.low <= one_each.low and (one_each.high is None or found.high is None or one_each.high <= found.high)


def test_one_burst_beyond_a_limit_that_nothing_else_reaches_bounds_nothing():
    values = np.random.default_rng(0).random(3000)
    values[1000:1020] = 9.0  # two thirds of a percent, all at once
    assert blocks(values).bound(99).high in (None, 9.0)


def test_what_was_never_slow_is_bounded_as_if_independent():
    assert blocks([1.0] * 459).bound(99).high == 1.0
    assert blocks([1.0] * 458).bound(99).high is None


def slow_stretch(rng, slowdown=3.0) -> list:
    """24 blocks of requests of which the machine, or the detector, slows five that follow one another."""
    return [(0.8 + rng.gamma(2, 0.1, 100)) * (slowdown if 8 <= number < 13 else 1.0) for number in range(BLOCKS)]


def test_requests_that_the_machine_slowed_together_count_as_on_an_undisturbed_one():
    values = slow_stretch(np.random.default_rng(0))
    slowdowns = [4.0 if 8 <= number < 13 else 1.2 for number in range(BLOCKS)]
    assert Blocks(values).bound(99).high is None, "one slow stretch says nothing of how often there is one"
    found = Blocks(values, slowdowns).bound(99)
    assert found.value == Blocks(values).bound(99).value > 3 and found.high <= max(map(max, values))


@pytest.mark.parametrize("slowdowns", [[1.0] * BLOCKS, [3.0] * 8 + [1.0] * 5 + [3.0] * 11, [1.3] * BLOCKS])
def test_what_the_machine_does_not_explain_is_the_detectors(slowdowns):
    values = slow_stretch(np.random.default_rng(0))
    assert Blocks(values, slowdowns).bound(99).high is None


def hiccup(latency: float) -> tuple[list, list]:
    """24 blocks of 140 requests, 14 of which take so long in the one block that the machine slowed; and slowdowns."""
    rng = np.random.default_rng(0)
    values = [0.8 + rng.gamma(2, 0.1, 140) for _ in range(BLOCKS)]
    values[-1][40:54] = latency
    return values, [1.6] * (BLOCKS - 1) + [2.3]


def test_a_hiccup_of_the_machine_says_nothing_of_the_detectors_bursts():
    values, slowdowns = hiccup(2.0)
    assert Blocks(values).bound(99).high is None
    assert Blocks(values, slowdowns).bound(99).high == 2.0


def test_what_was_too_slow_in_a_hiccup_counts_as_it_is():
    values, slowdowns = hiccup(9.0)
    values[3][:14], values[13][:14] = 9.0, 9.0
    assert Blocks(values, slowdowns).bound(99).high in (None, 9.0)


def test_at_most_a_quarter_of_the_blocks_is_disturbed():
    values = [[float(number)] for number in range(BLOCKS)]
    for noisy in range(BLOCKS):
        kept = Blocks(values, [5.0] * noisy + [1.0] * (BLOCKS - noisy)).undisturbed()
        assert len(kept) == (BLOCKS - noisy if noisy <= BLOCKS // 4 else BLOCKS)


def test_requests_that_all_lie_in_disturbed_blocks_are_kept():
    values = [[1.0, 2.0, 3.0]] + [[]] * (BLOCKS - 1)
    assert Blocks(values, [9.0] + [1.0] * (BLOCKS - 1)).bound(50).value == 2.0


def test_noise_that_was_the_same_all_the_time_changes_nothing():
    values = slow_stretch(np.random.default_rng(0))
    assert low_value_high(Blocks(values, [100.0] * BLOCKS).bound(50)) == low_value_high(Blocks(values).bound(50))


def test_bounds_move_with_the_unit():
    values = np.random.default_rng(0).exponential(size=5000)
    seconds, milliseconds = blocks(values).bound(99), blocks(values * 1000).bound(99)
    assert low_value_high(milliseconds) == pytest.approx(low_value_high(seconds.times(1000)))


def test_as_many_more_as_are_asked_for_decide():
    values = np.random.default_rng(2).random(1000)
    more = blocks(values).more(90, 0.93)
    assert 0 < more < 100_000
    again = np.random.default_rng(3).random(1000 + 3 * more)  # chance has its part: three times as many
    assert blocks(again).bound(90).high <= 0.93


@pytest.mark.parametrize("parts", [[], [[]], [[1.0], [math.nan]]])
def test_no_values_and_nan_are_an_error(parts):
    with pytest.raises(ValueError, match="no percentile of no values, or of NaN; measure at least one"):
        Blocks(parts)


@pytest.mark.parametrize("p", [0, 100, 100.5])
def test_a_percentile_out_of_range_is_an_error(p):
    with pytest.raises(ValueError, match="percentile"):
        blocks([1.0, 2.0]).bound(p)


def test_times_without_a_request_are_blocks_too():
    assert Blocks([[1.0, 2.0], [], [3.0]]).bound(50).value == 2.0
