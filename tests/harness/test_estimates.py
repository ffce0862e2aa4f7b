"""What load runs show: the value that was measured, bounds that hold it, and in words what would decide."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.estimates import WINDOWS, latency_estimates, narrowing, throughput_estimate
from harness.load import Load, Request, images_per_second
from harness.statistics import PROVEN, REFUTED, UNDECIDED, Interval, decide, percentile, percentile_bound


def load(seconds, begin=0.0) -> Load:
    """One request after the other, of one image each, that took so long."""
    ends = begin + np.cumsum(seconds)
    requests = [Request(0, (1,), e - s, e - s, e, 1, "") for s, e in zip(seconds, ends)]
    return Load(requests, [], {})


def noisy(count=600, spread=0.3, seed=0, mean=0.1) -> list:
    return (mean * np.random.default_rng(seed).uniform(1 - spread, 1 + spread, count)).tolist()


LATENCIES = st.lists(st.floats(1e-4, 10), min_size=1, max_size=60)


# Throughput.


def test_throughput_is_that_of_the_wall_clock():
    loads = [load(noisy(seed=1)), load(noisy(seed=2), begin=1000.0)]
    assert throughput_estimate(loads).estimate == images_per_second(loads)


def test_throughput_lies_between_its_bounds():
    low, value, high, _ = throughput_estimate([load(noisy())])
    assert low < value < high


def test_more_noise_means_wider_bounds():
    calm, wild = (throughput_estimate([load(noisy(spread=spread))]) for spread in (0.05, 0.9))
    assert wild.high - wild.low > 3 * (calm.high - calm.low)


def test_who_looks_often_gets_wider_bounds():
    once, often = (throughput_estimate([load(noisy())], looks) for looks in (1, 12))
    assert often.low < once.low < once.high < often.high


@pytest.mark.parametrize("runs", [1, 3, 5, 20])
def test_there_are_windows_enough_over_all_runs(runs, monkeypatch):
    counted = []
    monkeypatch.setattr("harness.estimates.mean_interval", lambda rates, confidence: counted.append(len(rates)) or
                        (1.0, 2.0, 3.0))
    throughput_estimate([load(noisy(60, seed=n)) for n in range(runs)])
    assert counted[0] >= max(WINDOWS, runs)


@pytest.mark.parametrize(("share", "outcome"), [(0.5, PROVEN), (1.0, UNDECIDED), (1.5, REFUTED)])
def test_a_throughput_is_proven_refuted_or_undecided(share, outcome):
    estimate = throughput_estimate([load(noisy())])
    assert decide(estimate, share * estimate.estimate, ">=") == outcome


def test_an_undecided_throughput_says_how_many_seconds_would_decide():
    estimate = throughput_estimate([load(noisy())])
    near, nearer = ((1 - part) * estimate.low + part * estimate.estimate for part in (0.5, 0.9))
    words = [estimate.more(bound, ">=").split() for bound in (near, nearer)]
    assert [w[2:] for w in words] == [["more", "seconds", "of", "load", "would", "decide"]] * 2
    assert 0 < number(words[0][1]) < number(words[1][1])


def number(text) -> int:
    return int(text.replace(",", ""))


@given(low=st.floats(-10, 9), reaches=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)), place=st.floats(0.01, 0.99),
       amount=st.integers(1, 10**6))
def test_as_much_more_as_is_asked_for_narrows_the_interval_to_the_bound(low, reaches, place, amount):
    below, above = reaches
    value, high = low + below, low + below + above
    for bound, reach in ((low + place * below, below), (value + place * above, above)):
        more = narrowing(Interval(low, value, high), amount, "pictures").more(bound, "<=")
        if more != "it is the bound itself":
            whole = amount + number(more.split()[1])
            assert reach * (amount / whole) ** 0.5 <= abs(bound - value) * (1 + 1e-9)


def test_what_nothing_can_tell_from_its_bound_says_so():
    assert narrowing(Interval(0, 1, 1e300), 10, "pictures").more(1 + 1e-9, "<=") == "it is the bound itself"


def test_what_has_no_bounds_yet_says_that_more_is_needed():
    estimate = narrowing(Interval(None, 1.0, None), 10, "seconds of soak")
    assert [estimate.more(bound, ">=") for bound in (0.5, 2)] == ["more seconds of soak are needed to bound it"] * 2


def test_a_throughput_that_is_the_bound_says_so():
    estimate = throughput_estimate([load(noisy())])
    assert estimate.more(estimate.estimate, ">=") == "it is the bound itself"


def test_windows_that_are_all_alike_leave_a_throughput_without_bounds_and_say_why():
    low, value, high, more = throughput_estimate([load([0.5] * 24)])
    assert (low, value, high, "shows no spread" in more(1.0, ">=")) == (None, 2.0, None, True)


# Latency.


@given(latencies=LATENCIES)
def test_latencies_are_nearest_ranks(latencies):
    estimates = latency_estimates(latencies)
    measured = {p: estimates[f"P{p}_seconds"].estimate for p in (50, 90, 99)}
    assert measured == {p: percentile(latencies, p) for p in measured}


@given(latencies=LATENCIES, looks=st.integers(1, 12))
def test_the_bounds_of_every_latency_hold_its_value(latencies, looks):
    for low, value, high, _ in latency_estimates(latencies, looks).values():
        assert (low is None or low <= value) and (high is None or value <= high)


def test_the_bounds_are_those_of_mlperfs_early_stopping():
    latencies = noisy(700)
    bound = percentile_bound(latencies, 99)
    assert latency_estimates(latencies)["P99_seconds"][:3] == (bound.low, bound.estimate, bound.high)


def test_the_ratio_is_as_far_off_as_both_percentiles_allow():
    latencies = noisy(700)
    p99, p50 = percentile_bound(latencies, 99), percentile_bound(latencies, 50)
    expected = (p99.low / p50.high, p99.estimate / p50.estimate, p99.high / p50.low)
    assert latency_estimates(latencies)["P99_over_P50"][:3] == expected


@pytest.mark.parametrize(("count", "outcome"), [(458, UNDECIDED), (459, PROVEN)])
def test_a_p99_is_proven_by_459_requests_below_the_bound(count, outcome):
    assert decide(latency_estimates([0.01] * count)["P99_seconds"], 0.02, "<=") == outcome


def test_who_looks_often_needs_more_requests():
    assert decide(latency_estimates([0.01] * 459, 12)["P99_seconds"], 0.02, "<=") == UNDECIDED


def test_a_few_slow_requests_refute_a_p99():
    assert decide(latency_estimates([0.01] * 90 + [1.0] * 10)["P99_seconds"], 0.02, "<=") == REFUTED


def test_an_undecided_latency_says_how_many_more_requests_would_decide():
    assert latency_estimates([0.01] * 400)["P99_seconds"].more(0.02, "<=") == "about 59 more requests would decide"


def test_a_latency_that_nothing_can_decide_says_so():
    latencies = [0.01] * 99 + [0.03]  # exactly one in a hundred is over
    assert latency_estimates(latencies)["P99_seconds"].more(0.02, "<=") == "no number of requests would decide"


def test_a_ratio_of_too_few_requests_says_how_many_are_needed():
    ratio = latency_estimates([0.01] * 400)["P99_over_P50"]
    assert (ratio.high, ratio.more(10.0, "<=")) == (None, "at least 459 requests are needed, 400 were sent")


def test_a_ratio_near_its_bound_does_not_ask_for_requests_that_were_sent():
    assert latency_estimates(noisy(700))["P99_over_P50"].more(1.3, "<=") == "more requests would decide, 700 were sent"
