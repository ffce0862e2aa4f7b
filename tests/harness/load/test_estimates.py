"""What load runs show: the value that was measured, bounds that hold it, and in words what would decide."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.estimates import efficiency_estimate, latency_estimates, throughput_estimate
from harness.load.generator import Load, Request, images_per_second
from harness.stats.estimate import NOISY, PROVEN, REFUTED, TOO_FEW, UNDECIDED, Estimate, decide, excused, narrowing
from harness.stats.percentile_bounds import BLOCKS
from harness.verdict.targets import Target
from harness.verdict.verdict import judge
from tests.harness.estimates import exact_percentile, low_value_high
from tests.harness.simulated import closed_loop


def load(seconds, start=0.0) -> Load:
    """One request after the other, of one image each, that took so long."""
    ends = start + np.cumsum(seconds)
    requests = [Request(0, (1,), e - s, e - s, e, 1, "") for s, e in zip(seconds, ends)]
    return Load(requests, [], {})


def noisy(count=600, spread=0.3, seed=0, mean=0.1) -> list:
    return (mean * np.random.default_rng(seed).uniform(1 - spread, 1 + spread, count)).tolist()


LATENCIES = st.lists(st.floats(1e-4, 10), min_size=1, max_size=60)


# Throughput.


def test_throughput_is_that_of_the_loaded_detector():
    loads = [load(noisy(seed=1)), load(noisy(seed=2), start=1000.0)]
    assert throughput_estimate(loads).value == images_per_second(loads)


def test_throughput_lies_between_its_bounds():
    low, value, high = low_value_high(throughput_estimate([load(noisy())]))
    assert low < value < high


def test_more_noise_means_wider_bounds():
    calm, wild = (throughput_estimate([load(noisy(spread=spread))]) for spread in (0.05, 0.9))
    assert wild.high - wild.low > 3 * (calm.high - calm.low)


def test_who_looks_often_gets_wider_bounds():
    once, often = (throughput_estimate([load(noisy())], share) for share in (1.0, 1 / 12))
    assert often.low < once.low < once.high < often.high


@pytest.mark.parametrize("runs", [1, 3, 5, 20])
def test_there_are_windows_enough_over_all_runs(runs, monkeypatch):
    counted = []
    monkeypatch.setattr("harness.load.estimates.mean_interval",
                        lambda rates, confidence: counted.append(len(rates)) or Estimate(2.0, 1.0, 3.0))
    throughput_estimate([load(noisy(60, seed=n)) for n in range(runs)])
    assert counted[0] >= max(BLOCKS, runs)


@pytest.mark.parametrize(("share", "outcome"), [(0.5, PROVEN), (1.0, UNDECIDED), (1.5, REFUTED)])
def test_a_throughput_is_proven_refuted_or_undecided(share, outcome):
    estimate = throughput_estimate([load(noisy())])
    assert decide(estimate, share * estimate.value, ">=") == outcome


def test_an_undecided_throughput_says_how_many_seconds_would_decide():
    estimate = throughput_estimate([load(noisy())])
    near, nearer = ((1 - part) * estimate.low + part * estimate.value for part in (0.5, 0.9))
    words = [estimate.more(bound, ">=").split() for bound in (near, nearer)]
    assert [w[2:] for w in words] == [["more", "seconds", "of", "load", "would", "decide"]] * 2
    assert 0 < number(words[0][1]) < number(words[1][1])


def number(text) -> int:
    return int(text.replace(",", ""))


@given(low=st.floats(-10, 9), reaches=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)), place=st.floats(0.1, 0.9),
       amount=st.integers(1, 10**6))
def test_as_much_more_as_is_asked_for_narrows_the_interval_to_the_bound(low, reaches, place, amount):
    below, above = reaches
    value, high = low + below, low + below + above
    for bound, reach in ((low + place * below, below), (value + place * above, above)):
        more = narrowing(Estimate(value, low, high), amount, "images").more(bound, "<=")
        whole = amount + number(more.split()[1])
        assert reach * (amount / whole) ** 0.5 <= abs(bound - value) * (1 + 1e-9)


@pytest.mark.parametrize(("bound", "words"), [
    (1.5, "about 300 more images would decide"),
    (1.05, "more than 100 times the 100 images would be needed to decide"),
])
def test_what_nobody_can_wait_for_is_not_asked_for(bound, words):
    assert narrowing(Estimate(1, 0, 2), 100, "images").more(bound, "<=") == words


def test_what_nothing_can_tell_from_its_bound_says_so():
    assert narrowing(Estimate(1, 0, 1e300), 10, "images").more(1 + 1e-9, "<=").startswith("more than 100 times the 10")


def test_what_has_no_bounds_yet_says_that_more_is_needed():
    estimate = narrowing(Estimate(1.0), 10, "seconds of soak")
    assert [estimate.more(bound, ">=") for bound in (0.5, 2)] == ["more seconds of soak are needed to bound it"] * 2


def test_a_throughput_that_is_the_bound_says_so():
    estimate = throughput_estimate([load(noisy())])
    assert estimate.more(estimate.value, ">=") == "it is the bound itself"


def test_a_steady_detector_is_known_exactly():
    assert low_value_high(throughput_estimate([load([0.5] * 24)])) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("images", [200, 500, 5000])
@pytest.mark.parametrize(
    ("true", "outcome"), [(102, REFUTED), (107, PROVEN), (110, PROVEN), (115, PROVEN), (120, PROVEN)]
)
def test_the_published_load_on_four_cores_is_judged_by_its_true_rate(true, outcome, images):
    estimate = throughput_estimate([closed_loop(4, 4, 8, 4 / true, images=images)], 4)
    assert (estimate.value, decide(estimate, 105, ">=")) == (pytest.approx(true), outcome)


# Efficiency.

STEADY = [1e11] * 24


def test_efficiency_is_the_arithmetic_of_the_images_by_that_of_matrix_products():
    found = efficiency_estimate([load([0.5] * 48)], 1e10, STEADY)
    assert low_value_high(found) == pytest.approx((0.2, 0.2, 0.2))


def wild(factor=2.4, seed=0):
    """Rates of matrix products that differ by that factor."""
    return 1e11 * factor ** np.random.default_rng(seed).uniform(-0.5, 0.5, 24)


@pytest.mark.parametrize("bound", [0.19, 0.21])
def test_near_its_bound_an_efficiency_by_wild_matrix_products_is_undecided_as_the_machine_is_noisy(bound):
    estimate = efficiency_estimate([load(noisy(600, 0.01, mean=0.5))], 1e10, wild(), 1 / 4)
    assert (decide(estimate, bound, ">="), estimate.reason) == (UNDECIDED, NOISY)
    assert "the machine's own matrix products ran at " in estimate.more(bound, ">=")


@pytest.mark.parametrize(("bound", "outcome"), [(0.05, PROVEN), (0.8, REFUTED)])
def test_far_from_its_bound_wild_matrix_products_decide(bound, outcome):
    assert decide(efficiency_estimate([load(noisy(600, 0.01, mean=0.5))], 1e10, wild(), 1 / 4), bound, ">=") == outcome


def test_a_hiccup_in_the_matrix_products_leaves_nothing_open_far_from_the_bound():
    products = [1e11] * 40 + [3e10] * 10 + [1.1e11] * 10
    found = efficiency_estimate([load(noisy(600, 0.01, mean=0.5))], 1e10, products, 1 / 8)
    assert decide(found, 0.01, ">=") == PROVEN and found.low >= 0.9 * 0.2 / 1.1


def test_matrix_products_that_are_too_few_say_so():
    estimate = efficiency_estimate([load(noisy())], 1e10, [1e11] * 5)
    assert (estimate.low, estimate.more(1, ">=")) == (
        None, "matrix products: 5 windows are too few for an interval; measure at least 10")


# Noise of the machine.


def target(bound, sense):
    return Target("throughput", "images_per_second", bound, sense, "any", "a test", "2026-11-25")


def outcome(estimate, bound, sense):
    found = judge(target(bound, sense), estimate, 10, platform="cpu", backend="cpu", evidence="", command="")
    return found.verdict, found.reason


@pytest.mark.parametrize(("sense", "met", "missed", "far"), [(">=", 98, 103, 200), ("<=", 102, 97, 50)])
def test_noise_excuses_a_bound_missed_by_what_it_explains_and_takes_no_pass(sense, met, missed, far):
    for slowdown, near in ((1.0, ("FAIL", "")), (1.1, ("INVALID", NOISY))):
        estimate = excused(Estimate(100, 99, 101), slowdown, sense)
        assert [outcome(estimate, bound, sense) for bound in (met, missed, far)] == [("PASS", ""), near, ("FAIL", "")]


def test_little_noise_is_not_blamed_for_too_few_samples():
    assert outcome(excused(Estimate(100, 90, 110), 1.01, ">="), 100, ">=") == ("INVALID", TOO_FEW)


# Latency.


@given(latencies=LATENCIES)
def test_latencies_are_nearest_ranks(latencies):
    estimates = latency_estimates([load(latencies)])
    measured = {p: estimates[f"P{p}_seconds"].value for p in (50, 90, 99)}
    assert measured == pytest.approx({p: exact_percentile(latencies, p).value for p in measured}, rel=1e-6)


@given(latencies=LATENCIES, share=st.floats(0.05, 1))
def test_the_bounds_of_every_latency_hold_its_value(latencies, share):
    for low, value, high in map(low_value_high, latency_estimates([load(latencies)], share).values()):
        assert (low is None or low <= value) and (high is None or value <= high)


FAST = 1 / 128  # seconds; a power of two, so that sums of it are exact


def steady(count, slow=()):
    """Latencies that are all alike, and those of `slow`, evenly spread among them."""
    latencies = [FAST] * count
    for place, seconds in enumerate(slow):
        latencies[(2 * place + 1) * count // (2 * len(slow))] = seconds
    return [load(latencies)]


@pytest.mark.parametrize(("count", "outcome"), [(458, UNDECIDED), (459, PROVEN)])
def test_a_p99_is_proven_by_459_independent_requests_below_the_bound(count, outcome):
    assert decide(latency_estimates(steady(count))["P99_seconds"], 0.02, "<=") == outcome


def test_who_looks_often_needs_more_requests():
    assert decide(latency_estimates(steady(459), 1 / 12)["P99_seconds"], 0.02, "<=") == UNDECIDED


def test_slow_requests_now_and_then_refute_a_p99():
    assert decide(latency_estimates(steady(600, [1.0] * 60))["P99_seconds"], 0.02, "<=") == REFUTED


def test_one_burst_of_slow_requests_refutes_nothing():
    assert decide(latency_estimates([load([FAST] * 540 + [1.0] * 60)])["P99_seconds"], 0.02, "<=") == UNDECIDED


def test_several_runs_are_judged_as_one():
    loads = [load(noisy(300, seed=n), start=1000.0 * n) for n in range(6)]
    together, one = (latency_estimates(runs)["P50_seconds"] for runs in (loads, loads[:1]))
    assert together.high - together.low < 0.7 * (one.high - one.low)


def test_an_undecided_latency_says_how_many_more_requests_would_decide():
    assert latency_estimates(steady(400))["P99_seconds"].more(0.02, "<=") == "about 59 more requests would decide"


def test_a_latency_that_nothing_can_decide_says_so():
    exactly_half = [load([FAST, 4 * FAST] * 480)]
    assert latency_estimates(exactly_half)["P50_seconds"].more(2 * FAST, "<=") == "no number of requests would decide"


def test_a_ratio_of_too_few_requests_says_how_many_are_needed():
    ratio = latency_estimates(steady(400))["P99_over_P50"]
    words = "about 469 requests that resemble each other as these do are needed, 400 were sent"
    assert (ratio.high, ratio.more(10.0, "<=")) == (None, words)


def test_a_number_of_requests_that_is_a_guess_is_not_named():
    estimates = latency_estimates([load([FAST] * 900 + [1.0] * 20)])
    words = "more than 100 times the 920 requests that were sent are needed, as the slow ones came all at once"
    assert estimates["P99_over_P50"].more(10, "<=") == words


def test_a_ratio_near_its_bound_does_not_ask_for_requests_that_were_sent():
    words = latency_estimates([load(noisy(3000))])["P99_over_P50"].more(1.3, "<=")
    assert words == "more requests would decide, 3,000 were sent"
