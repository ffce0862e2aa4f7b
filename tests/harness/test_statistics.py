"""Percentiles against their definition by counting."""
from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import percentile, percentiles

VALUES = st.lists(st.floats(allow_nan=False), min_size=1, max_size=60)


@given(values=VALUES, p=st.integers(1, 1000).map(lambda tenths: tenths / 10))
def test_is_the_smallest_value_that_p_percent_do_not_exceed(values, p):
    needed = Fraction(str(p)) * len(values) / 100
    enough = [v for v in values if sum(other <= v for other in values) >= needed]
    assert percentile(values, p) == min(enough)


@given(values=VALUES)
def test_is_always_a_measured_value(values):
    assert set(percentiles(values).values()) <= set(values)


def test_rank_is_exact_where_floats_are_not():
    assert percentile(range(1, 101), 7) == 7


def test_quotes_p50_p90_p99():
    assert percentiles(range(1, 101)) == {"P50": 50, "P90": 90, "P99": 99}


def test_leaves_the_values_in_their_order():
    values = [3.0, 1.0, 2.0]
    percentile(values, 50)
    assert values == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(("values", "p"), [([], 50), ([1.0, float("nan")], 50), ([1.0], 0), ([1.0], 101)])
def test_what_has_no_percentile_is_an_error(values, p):
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, p)
