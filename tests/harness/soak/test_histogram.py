"""Percentiles from bins are those of the values themselves, to half a bin, and their bounds hold."""
from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.soak.histogram import GROWTH, SHORTEST, Histogram
from tests.harness.estimates import exact_percentile

latencies = st.lists(st.floats(1e-6, 100), min_size=1, max_size=200)


def of(values) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(values=latencies, p=st.sampled_from([1, 50, 90, 99, 99.9]))
def test_a_percentile_is_that_of_the_values_to_half_a_bin(values, p):
    assert of(values).percentile(p) == pytest.approx(exact_percentile(values, p).value, rel=0.6 * (GROWTH - 1))


@pytest.mark.parametrize("count", [10, 50, 700, 5000])
@pytest.mark.parametrize("p", [50, 90, 99, 99.9])
def test_bounds_are_those_of_the_values_and_never_closer(count, p):
    values = np.random.default_rng(0).lognormal(-3, 0.5, count).tolist()
    exact, found = exact_percentile(values, p), of(values).bound(p)
    assert (found.count, found.needed) == (exact.count, exact.needed)
    assert (found.low is None, found.high is None) == (exact.low is None, exact.high is None)
    assert exact.low is None or exact.low / GROWTH < found.low <= exact.low * (1 + 1e-12)
    assert exact.high is None or exact.high * (1 - 1e-12) <= found.high < exact.high * GROWTH


@given(first=latencies, second=latencies)
def test_merged_they_are_one(first, second):
    merged = of(first)
    merged.merge(of(second))
    assert (merged.as_record(), len(merged)) == (of(first + second).as_record(), len(first + second))


def test_bins_do_not_grow_in_number():
    histogram = of(np.random.default_rng(0).uniform(1e-3, 1e-1, 100_000))
    assert len(histogram.as_record()["counts"]) <= math.log(100) / math.log(GROWTH) + 2


@given(values=latencies, bins=st.integers(1, 100))
def test_a_plot_shows_every_value(values, bins):
    edges, counts = of(values).coarse(bins)
    assert sum(counts) == len(values) and len(edges) == len(counts) + 1 <= bins + 1
    assert edges[0] <= min(values) * (1 + 1e-9) and max(values) <= edges[-1] * (1 + 1e-9)


def test_nothing_has_no_percentiles():
    empty = Histogram()
    assert (empty.percentile(50), empty.bound(50), empty.percentiles(), empty.coarse(10)) == (None, None, {}, ([], []))


def test_no_time_at_all_counts_as_the_shortest():
    assert of([0.0, -1.0]).percentile(100) == pytest.approx(SHORTEST, rel=0.001)


def test_it_is_strict_json():
    record = json.loads(json.dumps(of([0.1, 0.1, 0.2]).as_record(), allow_nan=False))
    (first, two), (second, one) = record["counts"]
    assert (two, one) == (2, 1)
    assert [record["growth"] ** first, record["growth"] ** second] == pytest.approx([0.1, 0.2], rel=0.001)
