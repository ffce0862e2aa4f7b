"""The spread of a soak's windows does not grow with their number, sees one that is unlike others, and has bounds."""
from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats.spread import CHOSEN, spread
from tests.harness.estimates import low_value_high

INF1 = 0.03
TEN_NORMAL = 3.0775  # standard deviations: the expected range of ten normal values (Tippett 1925)


def steady(windows, request_cv, seed, requests=885):
    """Windows of 30 s of a steady detector under the published load: 118 images/s in batches of 4."""
    return 118 * (1 + np.random.default_rng(seed).normal(0, request_cv / math.sqrt(requests), windows))


@pytest.mark.parametrize("request_cv", [0.1, 0.2])
def test_a_steady_detector_passes_the_published_run(request_cv):
    passed = sum(spread(steady(240, request_cv, seed)).high <= INF1 for seed in range(40))
    assert passed == 40


def test_it_does_not_grow_with_the_number_of_windows():
    means = [np.mean([spread(steady(n, 0.2, seed)).value for seed in range(100)]) for n in (20, 60, 240)]
    assert means == pytest.approx([TEN_NORMAL * 0.2 / math.sqrt(885)] * 3, rel=0.05)


@pytest.mark.parametrize("windows", [30, 240])
def test_a_detector_that_varies_twice_as_much_as_is_allowed_fails(windows):
    failed = [spread(100 + np.random.default_rng(seed).normal(0, 2, windows)).low > INF1 for seed in range(40)]
    assert all(failed)


@pytest.mark.parametrize("windows", [30, 240])
def test_one_window_that_is_50_percent_slower_is_seen(windows):
    rates = steady(windows, 0.1, 0)
    rates[windows // 2] *= 0.5
    added = spread(rates).value - spread(steady(windows, 0.1, 0)).value
    assert 0.4 * CHOSEN / windows < added < 0.55 * CHOSEN / windows
    assert spread(rates).low > INF1 or windows == 240


@pytest.mark.parametrize("windows", [30, 60, 240])
def test_bounds_hold_as_often_as_promised(windows):
    bounds = [spread(100 + np.random.default_rng(seed).normal(0, 1, windows)) for seed in range(200)]
    true = TEN_NORMAL / 100
    # Of 200, 190 are promised, and 180 are three standard errors less.
    assert sum(bound.low <= true for bound in bounds) >= 180
    assert sum(bound.high >= true for bound in bounds) >= 180


def test_ten_windows_are_all_there_is_to_choose():
    assert low_value_high(spread([100, 90, *[95] * 8])) == (None, pytest.approx(10 / 95), None)


def test_windows_that_are_all_alike_have_no_spread():
    assert low_value_high(spread([7.0] * 30)) == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize("rates", [[], [5.0], [0.0] * 30])
def test_one_window_or_no_image_has_no_spread_to_speak_of(rates):
    assert spread(rates) is None
