"""Slopes are found among outliers, their bounds hold as often as promised, and processes are not mixed up."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import trend
from harness.stats.trend import relative_loss, slope
from tests.harness.estimates import low_value_high


def series(n, correlation=0.0, seed=0, change=0.0):
    """`n` neighbours of an autoregressive series round 100 that changes by so much a step."""
    rng = np.random.default_rng(seed)
    errors = [rng.normal()]
    for step in rng.normal(size=n - 1):
        errors.append(correlation * errors[-1] + step * (1 - correlation**2) ** 0.5)
    return 100 + change * np.arange(n) + np.array(errors)


@given(a=st.floats(-10, 10), b=st.floats(-100, 100), n=st.integers(4, 40))
def test_a_line_has_its_slope(a, b, n):
    found = slope(range(n), [a * x + b for x in range(n)])
    assert low_value_high(found) == pytest.approx((a, a, a), abs=1e-9)


def test_a_few_outliers_do_not_move_it():
    y = series(60, change=-0.5)
    y[[5, 17, 40]] = 0
    assert slope(range(60), y).value == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_bounds_hold_as_often_as_promised_also_for_windows_that_resemble_each_other(correlation):
    bounds = [slope(range(60), series(60, correlation, seed)) for seed in range(200)]
    held = sum(bound.low <= 0 for bound in bounds), sum(bound.high >= 0 for bound in bounds)
    # Of 200, 190 are promised, and 180 are three standard errors less.
    assert min(held) >= 180


def test_a_clear_slope_is_seen():
    assert slope(range(60), series(60, change=-0.1)).high < 0


def test_only_points_of_one_group_are_compared():
    y = [0, 1, 2, 3, 100, 101, 102, 103]
    assert slope(range(8), y, [1] * 4 + [2] * 4).value == 1


@pytest.mark.parametrize(("x", "groups"), [(range(3), None), ([1, 1, 1, 1], None), (range(4), [1, 2, 3, 4])],
                         ids=["three points", "one place", "no group of two"])
def test_too_little_has_no_slope(x, groups):
    assert slope(x, [1.0] * len(x), groups) is None


def test_a_long_series_is_averaged_and_keeps_its_slope(monkeypatch):
    monkeypatch.setattr(trend, "MOST_POINTS", 50)
    y, groups = series(1001, change=-0.01), np.arange(1001) // 600
    assert slope(range(1001), y, groups).value == pytest.approx(-0.01, abs=0.002)


@pytest.mark.parametrize(("y", "lost"), [
    (np.linspace(100, 80, 21), 0.2), (np.linspace(100, 150, 21), -0.5), ([5.0] * 8, 0.0),
])
def test_what_was_lost_is_a_share_of_the_first_value(y, lost):
    assert low_value_high(relative_loss(y)) == pytest.approx((lost, lost, lost), abs=1e-9)


def test_the_bounds_of_a_loss_are_in_order():
    low, value, high = low_value_high(relative_loss(series(40, change=-0.2)))
    assert low < value < high and low < 0.2 * 39 / 100 < high


@pytest.mark.parametrize("y", [[1.0, 2.0, 3.0], [0.0] * 10, [0.0, 1.0, 2.0, 3.0]], ids=["few", "zero", "from zero"])
def test_of_nothing_nothing_is_lost(y):
    assert relative_loss(y) is None
