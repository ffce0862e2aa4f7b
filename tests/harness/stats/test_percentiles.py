"""Percentiles against their definition by counting, bounds against exact sums and against the truth of made-up data."""
from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.stats import percentiles as statistics
from harness.stats.estimate import PROVEN, REFUTED, UNDECIDED, Estimate, decide
from harness.stats.intervals import is_stable, mean_interval, student_t
from harness.stats.percentiles import more_needed, percentile, percentile_ranks, percentiles, requests_needed
from tests.harness.estimates import exact_percentile

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


# The fewest requests that prove a percentile at 99 %, by how many were over the limit: MLPerf's early stopping.
OVER = (0, 1, 2, 5, 10, 20)
NEEDED = {
    90: (44, 64, 81, 127, 197, 325),
    95: (90, 130, 165, 259, 398, 656),
    99: (459, 662, 838, 1307, 2010, 3304),
    99.9: (4603, 6636, 8403, 13105, 20140, 33097),
}


@pytest.mark.parametrize("p", NEEDED)
def test_requests_needed_are_those_of_mlperf(p):
    assert tuple(requests_needed(p, over) for over in OVER) == NEEDED[p]


def exact_at_most(k, n, share):
    return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))


@settings(max_examples=60)
@given(n=st.integers(1, 150), k=st.integers(-1, 150), permille=st.integers(1, 999))
def test_the_binomial_sum_is_the_exact_one(n, k, permille):
    k, share = min(k, n), Fraction(permille, 1000)
    assert statistics.at_most(k, n, share) == pytest.approx(float(exact_at_most(k, n, share)), rel=1e-10, abs=1e-14)


@settings(max_examples=25)
@given(n=st.integers(1, 120), p=st.sampled_from([1, 10, 50, 90, 95, 99]))
def test_bounds_are_the_closest_that_the_exact_sum_allows(n, p):
    alpha = Fraction(15, 1000)  # no power of a share above, so that rounding decides nothing
    ranks, above = percentile_ranks(n, p, confidence=0.985), 1 - Fraction(p, 100)
    upper = [k for k in range(1, n + 1) if exact_at_most(n - k, n, above) <= alpha]
    lower = [k for k in range(1, n + 1) if exact_at_most(k - 1, n, 1 - above) <= alpha]
    assert (ranks.low, ranks.high) == (max(lower, default=None), min(upper, default=None))


@settings(max_examples=60)
@given(n=st.integers(1, 3000), p=st.floats(0.5, 99.9))
def test_the_estimate_lies_between_its_bounds_which_exist_from_needed_on(n, p):
    p = round(p, 1)
    ranks = percentile_ranks(n, p)
    low, high = (ranks.own if b is None else b for b in (ranks.low, ranks.high))
    assert 1 <= low <= ranks.own <= high <= n
    assert (None not in (ranks.low, ranks.high)) == (n >= ranks.needed)


@settings(max_examples=60)
@given(n=st.integers(1, 10**5), p=st.floats(1, 99), looser=st.floats(0.6, 0.98))
def test_more_confidence_or_a_higher_percentile_gives_no_lower_upper_bound(n, p, looser):
    p = round(p, 1)
    over, fewer, higher = (
        statistics.most_by_chance(n, statistics.share_above(q), 1 - c) for q, c in
        ((p, looser), (p, 0.99), (min(p + 0.5, 99.5), looser))
    )
    assert max(-1 if k is None else k for k in (fewer, higher)) <= (-1 if over is None else over)


@pytest.mark.parametrize("p", [50, 90, 99])
@pytest.mark.parametrize("n", [500, 2000])
def test_each_bound_holds_in_99_of_100_runs(n, p):
    runs, truth = 1500, -math.log(1 - p / 100)
    ranked = np.sort(np.random.default_rng(n + p).exponential(size=(runs, n)), axis=1)
    ranks = percentile_ranks(n, p)
    low, high = ranked[:, ranks.low - 1], ranked[:, ranks.high - 1]
    # Between 0.5 and 2.5 of three standard errors: never more errors than promised, and not bounds without worth.
    assert 0.982 <= (low <= truth).mean() <= 0.9975
    assert 0.982 <= (high >= truth).mean() <= 0.9975


@pytest.mark.parametrize("p", [50, 99, 99.9])
def test_ten_million_values_are_bounded_in_a_moment(p):
    statistics.most_by_chance.cache_clear()
    start = time.process_time()
    assert statistics.most_by_chance(10**7, statistics.share_above(p), 0.01) < 10**7 * (1 - p / 100)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("p", "confidence", "words"),
    [(100, 0.99, "has no bounds"), (0, 0.99, "has no bounds"), (1e-16, 0.99, "from 0.001 to 99.999"),
     (math.nan, 0.99, "has no bounds"), (99, 1.0, "confidence 1.0"), (99, math.nan, "confidence nan")],
)
def test_what_has_no_bound_is_an_error(p, confidence, words):
    with pytest.raises(ValueError, match=words):
        percentile_ranks(1, p, confidence)


@pytest.mark.parametrize(
    ("over", "words"),
    [(-1, "-1 requests over the limit: must be at least 0"), (10**9, r"more than 10\^9 would be needed")],
)
def test_an_impossible_number_over_the_limit_is_an_error(over, words):
    with pytest.raises(ValueError, match=words):
        requests_needed(99, over)


# The rule when to stop.


@pytest.mark.parametrize(
    ("low", "high", "limit", "sense", "verdict"),
    [(1, 2, 2, "<=", PROVEN), (1, 2, 1.5, "<=", UNDECIDED), (1, 2, 1, "<=", UNDECIDED), (1, 2, 0.9, "<=", REFUTED),
     (1, 2, 1, ">=", PROVEN), (1, 2, 1.5, ">=", UNDECIDED), (1, 2, 2, ">=", UNDECIDED), (1, 2, 2.1, ">=", REFUTED),
     (None, None, 1, "<=", UNDECIDED), (None, 2, 2, "<=", PROVEN), (None, 2, 3, ">=", REFUTED),
     (1, None, 1, ">=", PROVEN), (1, None, 0.5, "<=", REFUTED)],
)
def test_a_limit_is_proven_refuted_or_neither(low, high, limit, sense, verdict):
    assert decide(Estimate(1.5, low, high), limit, sense) == verdict


@pytest.mark.parametrize(("limit", "sense", "words"), [(math.nan, "<=", "NaN"), (1, "<", "sense '<'")])
def test_an_impossible_question_is_an_error(limit, sense, words):
    with pytest.raises(ValueError, match=words):
        decide(Estimate(2, 1, 3), limit, sense)


@pytest.mark.parametrize(("p", "over", "n"), [(p, o, n) for p in NEEDED for o, n in zip(OVER, NEEDED[p]) if n < 9000])
def test_a_percentile_is_proven_from_the_request_on_that_mlperf_names(p, over, n):
    values = [2.0] * over + [0.5] * (n - over)
    assert decide(exact_percentile(values, p), 1.0, "<=") == PROVEN
    assert decide(exact_percentile(values[:-1], p), 1.0, "<=") == UNDECIDED


def test_says_how_many_more_requests_are_needed():
    assert more_needed(400, 0, Fraction(1, 100), 0.01) == 59


def test_no_number_of_requests_decides_where_the_percentile_is_the_limit():
    assert more_needed(100, 1, Fraction(1, 100), 0.01) is None


@settings(max_examples=60)
@given(n=st.integers(1, 2000), off=st.floats(-2, 2), p=st.sampled_from([50, 90, 99]))
def test_the_requests_said_to_be_needed_decide(n, off, p):
    allowed = Fraction(100 - p, 100)
    over = min(max(round(n * allowed + off * math.sqrt(n * allowed * (1 - allowed))), 0), n)
    limit = 1.0
    assume(decide(exact_percentile([2.0] * over + [0.5] * (n - over), p), limit, "<=") == UNDECIDED)
    more = more_needed(n, over, allowed, 0.01)
    assume(more is not None and more < 10**5)
    total, share = n + more, Fraction(over, n)
    then = math.ceil(share * total) if share <= allowed else math.floor(share * total)
    assert decide(exact_percentile([2.0] * then + [0.5] * (total - then), p), limit, "<=") != UNDECIDED


# Student's t.

TABLE = {(0.975, 1): 12.706, (0.975, 2): 4.3027, (0.95, 3): 2.3534, (0.99, 5): 3.3649, (0.975, 20): 2.0860,
         (0.9995, 10): 4.5869, (0.95, 10**6): 1.6449}


@pytest.mark.parametrize(("confidence", "freedom"), TABLE)
def test_students_t_is_that_of_the_tables(confidence, freedom):
    assert student_t(confidence, freedom) == pytest.approx(TABLE[confidence, freedom], rel=1e-3)


# Rates of windows.


@pytest.mark.parametrize(
    ("rates", "stable"),
    [([100, 105, 110], True), ([100, 105, 111], False), ([10, 100, 100, 100], True), ([100, 100], False),
     ([0, 0, 0], False), ([], False)],
)
def test_three_windows_within_ten_percent_are_stable(rates, stable):
    assert is_stable(rates) is stable


def autoregressive(n, correlation, runs, seed=1):
    """Series of mean 100 and the given correlation of neighbours, [runs, n]."""
    noise = np.random.default_rng(seed).normal(size=(runs, n + 100))
    for i in range(1, n + 100):
        noise[:, i] += correlation * noise[:, i - 1]
    return 100 + noise[:, 100:]


def coverage(series):
    intervals = [mean_interval(rates) for rates in series]
    return np.mean([i.low <= 100 for i in intervals]), np.mean([i.high >= 100 for i in intervals])


@pytest.mark.parametrize(
    ("windows", "correlation"),
    [(240, 0), (240, 0.6), (240, 0.9), (60, 0.6), (60, 0.9), (24, 0), (24, 0.6), (24, 0.9), (10, 0), (10, 0.6)],
)
def test_each_bound_of_the_mean_holds_on_correlated_windows(windows, correlation):
    """The promised 95 %, less three standard errors of 500 runs."""
    assert min(coverage(autoregressive(windows, correlation, 500))) >= 0.92


def test_slow_swings_that_neighbours_hardly_show_are_seen():
    assert min(coverage(autoregressive(480, 0.9, 300) + np.random.default_rng(9).normal(0, 3, (300, 480)))) >= 0.92


def test_bounds_are_not_too_wide():
    rates = autoregressive(240, 0, 300)
    reach = np.mean([mean_interval(one).high - 100 for one in rates])
    assert reach < 1.7 * 1.645 / math.sqrt(240)  # what blocks and their doubt cost


def test_rates_that_are_all_alike_are_known_exactly():
    assert mean_interval([115.0] * 24).is_exact


@settings(max_examples=60)
@given(rates=st.lists(st.floats(0, 1e6), min_size=10, max_size=80))
def test_the_mean_lies_in_its_interval(rates):
    found = mean_interval(rates)
    assert found.low <= found.value <= found.high
    assert found.value == np.mean(rates)


@pytest.mark.parametrize(
    ("rates", "options", "words"),
    [([], {}, "0 windows are too few"), ([100.0], {}, "1 windows are too few"),
     ([*range(20), math.nan], {}, "window 20 has the rate nan"),
     ([*range(20), math.inf], {}, "window 20 has the rate inf"),
     ([*range(20), -1], {}, "window 20 has the rate -1"), (range(20), {"confidence": 0.2}, "confidence 0.2")],
)
def test_windows_that_show_nothing_are_an_error(rates, options, words):
    with pytest.raises(ValueError, match=words):
        mean_interval(list(rates), **options)


def test_stability_of_nan_is_an_error():
    with pytest.raises(ValueError, match="window 1 has the rate nan"):
        is_stable([1.0, math.nan, 1.0])
