"""An estimate is a value with its bounds: exact or not, in any unit, and by the same names in every record."""
from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.estimate import UNDECIDED, Estimate, decide
from tests.harness.estimates import low_value_high


def test_an_exact_value_is_its_own_bounds():
    assert low_value_high(Estimate.exactly(3.0)) == (3.0, 3.0, 3.0)
    assert Estimate.exactly(3.0).is_exact


@pytest.mark.parametrize("estimate", [Estimate(3.0), Estimate(3.0, 3.0), Estimate(3.0, high=3.0),
                                      Estimate(3.0, 2.0, 3.0), Estimate(3.0, 2.0, 4.0)])
def test_a_value_with_a_missing_or_another_bound_is_not_exact(estimate):
    assert not estimate.is_exact


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_no_number_is_exact_too(value):
    assert Estimate.exactly(value).is_exact


@given(value=st.floats(-1e6, 1e6), limit=st.floats(-1e6, 1e6), sense=st.sampled_from(["<=", ">="]))
def test_an_exact_value_always_decides_and_one_without_bounds_never_does(value, limit, sense):
    assert decide(Estimate.exactly(value), limit, sense) != UNDECIDED
    assert decide(Estimate(value), limit, sense) == UNDECIDED


@given(low=st.floats(0, 10), high=st.floats(20, 30), factor=st.floats(0.1, 10))
def test_another_unit_changes_value_and_bounds_alike_and_no_verdict(low, high, factor):
    estimate = Estimate(15.0, low, high)
    assert low_value_high(estimate.times(factor)) == (low * factor, 15.0 * factor, high * factor)
    assert decide(estimate.times(factor), 15.0 * factor, "<=") == decide(estimate, 15.0, "<=") == UNDECIDED


def test_a_missing_bound_stays_missing_in_another_unit():
    assert low_value_high(Estimate(15.0, high=20.0).times(2)) == (None, 30.0, 40.0)


def test_every_record_says_value_low_and_high():
    bare, counted = Estimate(2.0, 1.0), Estimate(2.0, 1.0, 3.0, count=7, needed=5)
    assert bare.as_record() == {"value": 2.0, "low": 1.0, "high": None}
    assert counted.as_record() == {"value": 2.0, "low": 1.0, "high": 3.0, "count": 7, "needed": 5}
    assert json.loads(json.dumps(counted.as_record(), allow_nan=False)) == counted.as_record()
