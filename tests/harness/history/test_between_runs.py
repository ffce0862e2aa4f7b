"""The rule that judges a run against earlier ones errs as seldom as it promises, and finds what it says it would."""
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.between_runs import MACHINES, SPEEDS, simulated
from harness.history.between_runs import (
    BETTER,
    DIFFERENCE,
    FAMILY_ERROR,
    RATIO,
    SAME,
    UNKNOWN,
    WORSE,
    between_runs,
    holm,
    outcomes,
    paired,
)
from harness.stats.intervals import student_p, student_t

STEADY = (100.0, 101.0, 99.0, 100.5, 99.5)  # of 0.8 %
COMPARISONS = 200


def judged(before, after, how=RATIO, sense=">=", least=0.05, **rest):
    [one] = outcomes([between_runs(before, after, how, sense, **rest)], [least])
    return one


@pytest.mark.parametrize(("after", "expected"), [(100.0, SAME), (99.0, SAME), (85.0, WORSE), (115.0, BETTER)])
def test_a_throughput_is_held_against_the_median(after, expected):
    assert judged(STEADY, after).outcome == expected


@pytest.mark.parametrize(("after", "expected"), [(100.0, SAME), (115.0, WORSE), (85.0, BETTER)])
def test_a_latency_is_worse_when_it_is_longer(after, expected):
    assert judged(STEADY, after, sense="<=").outcome == expected


def test_what_may_be_worse_by_more_than_matters_and_is_not_shown_to_be_is_unknown():
    assert judged((100, 110, 90, 105, 95), 97).outcome == UNKNOWN


def test_a_loss_that_is_shown_and_smaller_than_what_matters_is_no_alarm():
    one = judged((100.0, 100.1, 99.9, 100.05, 99.95), 99.0)
    assert one.chance < FAMILY_ERROR and one.outcome == SAME


def test_fewer_than_three_runs_never_show_a_loss():
    assert judged([100.0, 100.01], 50).outcome == UNKNOWN
    assert judged([100.0], 50).outcome == UNKNOWN
    assert judged([100.0], 50, spread_of=STEADY).outcome == UNKNOWN


def test_one_run_is_judged_as_not_worse_by_how_much_others_differ():
    assert judged([100.0], 100.0).change.visible(1) is None
    one = judged([100.0], 100.0, spread_of=(100.0, 100.2, 99.8, 100.1, 99.9))
    assert one.outcome == SAME and 0 < one.change.visible(1) < 0.02


def test_one_outlier_among_the_baselines_does_not_move_what_is_compared_with():
    change = between_runs((100, 101, 51, 100, 99), 100, RATIO, ">=")
    assert change.before == 100 and change.estimate.value == 0
    assert judged((100, 101, 51, 100, 99), 80).outcome == UNKNOWN


def test_the_interval_is_the_prediction_interval():
    change = between_runs(STEADY, 97.0, DIFFERENCE, ">=")
    reach = student_t(0.95, 4) * np.std(STEADY, ddof=1) * math.sqrt(1 + math.pi / 2 / 5)
    assert change.estimate.value == pytest.approx(-3)
    assert change.estimate.high == pytest.approx(-3 + reach)
    assert change.loss.high == pytest.approx(3 + reach) and change.loss.value == pytest.approx(3)


def test_what_could_be_seen_is_what_is_found():
    """A loss a little larger than the least visible one is worse, a little smaller one is not."""
    seen = between_runs(STEADY, 100.0, RATIO, ">=").visible(1)
    assert judged(STEADY, 100 * (1 - 1.01 * seen), least=0.001).outcome == WORSE
    assert judged(STEADY, 100 * (1 - 0.99 * seen), least=0.001).outcome == UNKNOWN


@pytest.mark.parametrize("values", [([], 1.0), ([0.0, 1.0], 1.0), ([1.0, 1.0], -1.0), ([math.nan, 1.0], 1.0)])
def test_values_without_a_ratio_are_refused(values):
    with pytest.raises(ValueError, match=r"no ratio|no earlier run"):
        between_runs(*values, RATIO, ">=")


def test_equal_values_are_equal_without_a_test():
    assert judged([0.5, 0.5, 0.5], 0.5, how=DIFFERENCE).outcome == SAME
    assert judged([0.5, 0.5, 0.5], 0.4, how=DIFFERENCE).outcome == WORSE


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_chance_and_keeps_their_order(chances):
    corrected = holm(chances)
    assert all(0 <= before <= after <= 1 for before, after in zip(chances, corrected))
    order = np.argsort(chances, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0) if chances else corrected == []


def test_holm_on_its_author_s_kind_of_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(("freedom", "t", "p"), [(1, 12.706, 0.05), (4, 2.776, 0.05), (9, 3.250, 0.01), (30, 0, 1)])
def test_chances_are_those_of_the_tables_of_student_s_t(freedom, t, p):
    assert student_p(t, freedom) == pytest.approx(p, rel=2e-3)


def test_pairs_show_a_small_loss_that_images_hide():
    """AP differs by 0.02 between resamples of the images, and by 0.001 between two detectors on each of them."""
    rng = np.random.default_rng(0)
    images = 0.5 + 0.02 * rng.normal(size=1001)
    change = paired(images, images - 0.01 + 0.001 * rng.normal(size=1001), 200)
    [one] = outcomes([change], [0.005])
    assert one.outcome == WORSE and change.loss.low > 0.005
    with pytest.raises(ValueError, match="as many"):
        paired(images, images[:-1], 200)


@pytest.mark.parametrize("machine", ["runs independent", "one run in ten an outlier"])
@pytest.mark.parametrize("count", [3, 10])
def test_a_detector_against_itself_seldom_raises_an_alarm(machine, count):
    """The promise is 5 % for better and worse together; of 200, more than 14 worse would happen once in 10,000."""
    assert simulated(MACHINES[machine], 0.02, count, 0.0, COMPARISONS).alarmed <= 14 / COMPARISONS


def test_slow_downs_are_found_where_runs_differ_little():
    assert simulated(MACHINES["runs independent"], 0.01, 10, 0.05, COMPARISONS).alarmed >= 0.9
    assert simulated(MACHINES["runs independent"], 0.01, 10, 0.10, COMPARISONS).worse >= 0.99


def test_what_runs_differ_by_is_not_taken_for_precision():
    """Where runs differ by 8 %, one in hundred is said to be not worse by more than 5 %: nothing else can be seen."""
    found = simulated(MACHINES["runs independent"], 0.08, 5, 0.05, COMPARISONS)
    assert found.undecided >= 0.9 and len(SPEEDS) == 9
