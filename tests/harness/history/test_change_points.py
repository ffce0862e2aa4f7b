"""A step in a noisy series is found at its run; a flat series and single spikes stay quiet."""
from __future__ import annotations

import numpy as np
import pytest

from benchmarks.between_runs import AT, series, step_counts
from harness.compare.comparison import DIFFERENCE, RATIO
from harness.history import change_points
from harness.history.change_points import LEAST_POINTS, rank_steps, steps

SERIES = 20


@pytest.fixture(params=["otava", "ranks alone"])
def method(request, monkeypatch):
    """Both as they are used: with apache-otava, and without it."""
    if request.param == "otava":
        pytest.importorskip("otava")
    else:
        monkeypatch.setattr(change_points, "otava", lambda: None)
    return request.param


def test_a_step_of_5_percent_is_found_at_its_run(method):
    found = step_counts("step", SERIES)
    assert found["at its place"] >= 0.95 * SERIES
    assert found["agreed"] >= (0.9 * SERIES if method == "otava" else 0)


@pytest.mark.parametrize("kind", ["flat", "spikes"])
def test_noise_and_single_spikes_are_no_steps(method, kind):
    found = step_counts(kind, SERIES)
    assert found["any"] <= 1 and found["agreed"] <= 1


def test_a_step_says_from_what_to_what(method):
    [step] = steps(series(np.random.default_rng(1), "step"), RATIO)
    assert abs(step.index - AT) <= 1
    assert step.after / step.before == pytest.approx(0.95, abs=0.015)


def test_a_step_is_quiet_until_three_runs_are_behind_it(method):
    """Ranks need a fourth: three runs that are the slowest of 33 may stand last by chance."""
    values = [100.0 + 0.1 * (place % 3) for place in range(30)]
    found = [steps(values + [80.0] * after, RATIO) != [] for after in range(1, LEAST_POINTS + 2)]
    assert found == [False, False, method == "otava", True]


def test_an_accuracy_that_never_varies_has_a_step_where_it_falls(method):
    assert steps([0.487] * 30, DIFFERENCE) == []
    [step] = steps([0.487] * 20 + [0.480] * 10, DIFFERENCE)
    assert (step.index, step.before, step.after) == (20, 0.487, 0.480)
    assert steps([0.487] * 20 + [0.4865] * 10, DIFFERENCE) == []


def test_two_steps_are_both_found(method):
    rng = np.random.default_rng(2)
    levels = np.repeat([100.0, 92.0, 97.0], 20)
    found = steps(levels * np.exp(0.01 * rng.normal(size=60)), RATIO)
    assert [round(one.index, -1) for one in found] == [20, 40]


@pytest.mark.parametrize("length", range(6))
def test_too_few_runs_have_no_step(method, length):
    assert steps([100.0, 50.0, 100.0, 10.0, 20.0][:length], RATIO) == []


def test_ranks_do_not_see_how_far_an_outlier_is():
    values = 100 + np.random.default_rng(3).normal(size=40)
    values[20:] += 5
    place = rank_steps(values)
    values[10] = 1e6
    assert rank_steps(values) == place == [20]


def test_the_same_series_has_the_same_steps():
    values = series(np.random.default_rng(4), "step")
    assert steps(values, RATIO) == steps(values, RATIO)


def test_without_otava_its_lack_is_said(monkeypatch):
    monkeypatch.setattr(change_points, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    change_points.otava.cache_clear()
    try:
        assert change_points.otava() is None and "requirements-history.txt" in change_points.MISSING
    finally:
        change_points.otava.cache_clear()
