"""What rounds decide: found and not found at known truths, on machines that drift, burst and have two speeds.

`python -m benchmarks.turns` counts many comparisons; here are few, each with its seed.
"""
from __future__ import annotations

import math

import pytest

from benchmarks.turns import WORLDS, comparison, count
from harness.turns.outcome import DIFFERENT, LEAST_ROUNDS, SAME, UNKNOWN, Student, looks, outcomes
from harness.turns.rounds import CONTROL, P50, P90, THROUGHPUT, Round

COMPARISONS = 40
MOST_ALARMS = 3  # of 40 at 1 %, in 999 of 1,000 seeds


def rounds(ratios, p50=None, control=None) -> list[Round]:
    """Rounds in which B's throughput is A's by these ratios, its P50 likewise, and the control 1 unless given."""
    p50, control = p50 or [1 / ratio for ratio in ratios], control or [1.0] * len(ratios)
    return [Round("AB", {"A": {THROUGHPUT: 100.0, P50: 0.01, CONTROL: 0.001},
                         "B": {THROUGHPUT: 100.0 * ratio, P50: 0.01 * slower, CONTROL: 0.001 * reference}})
            for ratio, slower, reference in zip(ratios, p50, control)]


def found(*arguments, **given) -> list:
    return outcomes(rounds(*arguments, **given), within=0.02, most=8, round_seconds=10.0)


def test_a_slower_arm_is_different_and_worse():
    throughput, latency = found([0.90, 0.91, 0.89, 0.90])
    assert throughput.outcome == latency.outcome == DIFFERENT and throughput.is_worse and latency.is_worse
    assert throughput.low < throughput.change < throughput.high < 0 < latency.low
    assert throughput.change == pytest.approx(-0.10, abs=0.001) and throughput.why == "B is worse by 10.0 %"


def test_a_faster_arm_is_different_and_not_worse():
    assert [(row.outcome, row.is_worse) for row in found([1.10, 1.11, 1.09, 1.10])] == [(DIFFERENT, False)] * 2


def test_a_difference_that_does_not_matter_is_the_same():
    row, _ = found([0.995, 0.996, 0.994, 0.995])
    assert row.outcome == SAME and row.high < 0 and row.why == "less than the 2.0 % that matter"


def test_what_is_undecided_says_how_many_rounds_would_decide():
    row, _ = found([0.95, 1.0, 0.96, 1.01])
    assert row.outcome == UNKNOWN and row.low < 0 < row.high and not row.is_worse
    assert row.why.startswith("about ") and "more rounds would decide, " in row.why


def test_few_rounds_decide_nothing():
    rows = outcomes(rounds([0.5] * (LEAST_ROUNDS - 1)), 0.02, 8, 10.0)
    assert {row.outcome for row in rows} == {UNKNOWN} and rows[0].change == pytest.approx(-0.5)
    assert "3 of at least 4 rounds" in rows[0].why
    assert outcomes([], 0.02, 8, 10.0)[0].outcome == UNKNOWN


def test_a_metric_that_a_round_lacks_is_left_out():
    own = rounds([1.0] * 4)
    own[0].values["A"][P90] = 0.02
    assert [row.metric for row in outcomes(own, 0.02, 8, 10.0)] == [THROUGHPUT, P50]


def test_a_machine_that_treats_the_arms_differently_is_not_blamed_on_one():
    ratios = [0.90, 0.91, 0.89, 0.90]
    row, _ = found(ratios, control=[1.10, 1.11, 1.09, 1.10])
    assert row.outcome == UNKNOWN and "the reference workload differed by 10.0 % too" in row.why
    row, _ = found(ratios, control=[1.010, 1.011, 1.009, 1.010])  # explains little of it
    assert row.outcome == DIFFERENT


def test_the_second_metric_has_more_of_the_error_than_the_first():
    """Holm: once throughput is found, P50 alone has the whole error of the look."""
    p50 = [1.035, 1.041, 1.050, 1.058]
    alone, together = found([1.0, 1.01, 0.99, 1.0], p50=p50), found([0.90, 0.91, 0.89, 0.90], p50=p50)
    assert (alone[1].outcome, together[1].outcome) == (UNKNOWN, DIFFERENT)


def test_an_interval_leaves_out_nothing_exactly_where_a_difference_is_found():
    for seed in range(20):
        for row in comparison(WORLDS["all of these"], 0.03, seed):
            is_apart = row.low > 0 or row.high < 0
            assert is_apart if row.outcome == DIFFERENT else row.outcome == SAME or not is_apart


def test_looks_double_up_to_the_most():
    assert looks(4) == (4,) and looks(8) == (4, 8) and looks(12) == (4, 8, 12) and looks(16) == (4, 8, 16)


def test_more_rounds_are_as_many_as_decide():
    test = Student(mean=0.05, error=0.03, rounds=4, share=1.0)
    more = test.more(0.02)
    assert test.decides(0.02, 4 + more) == DIFFERENT and test.decides(0.02, 3 + more) == UNKNOWN
    assert Student(math.log1p(0.02), 0.5, 4, 1.0).more(math.log1p(0.02)) is None


@pytest.mark.parametrize("name", WORLDS)
def test_equal_arms_are_seldom_different(name):
    assert (alarms := count(WORLDS[name], 0.0, COMPARISONS)).worse + alarms.better <= MOST_ALARMS


@pytest.mark.parametrize("name", WORLDS)
def test_a_slow_down_of_ten_percent_is_found(name):
    found = count(WORLDS[name], 0.10, COMPARISONS // 2)
    assert found.worse >= 0.9 * found.comparisons and not found.better and not found.any_same


@pytest.mark.parametrize("name", [name for name in WORLDS if name not in ("bursts of a neighbour", "all of these")])
def test_a_slow_down_of_five_percent_is_found(name):
    assert (found := count(WORLDS[name], 0.05, COMPARISONS // 2)).worse >= 0.9 * found.comparisons


@pytest.mark.parametrize("name", WORLDS)
def test_what_matters_just_so_is_seldom_called_the_same(name):
    assert count(WORLDS[name], 0.0202, COMPARISONS).any_same <= MOST_ALARMS
