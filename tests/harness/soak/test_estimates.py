"""A met bound is met in noise, a miss is one only where noise cannot explain it, and a freed machine hides no loss."""
from __future__ import annotations

import pytest

from harness.soak import estimates as module
from harness.soak.estimates import (
    drift_estimate,
    energy_estimate,
    gap_estimate,
    memory_estimate,
    percentile_estimates,
    ratio_estimate,
    speed_estimate,
    spread_estimate,
    taken_out,
)
from harness.stats.estimate import PROVEN, REFUTED, UNDECIDED, decide
from harness.verdict.verdict import NOISY, TOO_FEW
from tests.harness.estimates import low_value_high
from tests.harness.soaks import CALLERS, LATENCY, soak_of


@pytest.fixture
def made_up_soak(tmp_path):
    """A function: as `soak_of`."""
    return lambda *differing, **options: soak_of(tmp_path / "soak.journal", *differing, **options)


def busy(others, **more):
    """A window in which others use that share of the cores, for which the detector waits, as slow as that makes it."""
    return {"latency": LATENCY / (1 - others), "conditions": {"others": others, "waited": others + 0.01}, **more}


def turns(number):
    """Neighbours who come and go."""
    return 0.1 + 0.12 * (number * 7 % 5)


def decided(estimate, bound, sense="<="):
    return decide(estimate, bound, sense)


def test_what_neighbours_took_is_no_spread(made_up_soak):
    found = made_up_soak(lambda number: busy(turns(number)))
    assert found.fps_spread.low > 0.5 and decided(spread_estimate(found), 0.1) == PROVEN
    assert "without what the machine explains; meanwhile other processes used 34% of the cores" in taken_out(found)


def test_a_spread_below_its_bound_passes_though_the_machine_was_noisy(made_up_soak):
    found = made_up_soak(lambda number: {**busy(turns(number)), "latency": LATENCY})
    assert decided(spread_estimate(found), 0.02) == PROVEN


def test_a_machine_that_is_freed_hides_no_loss(made_up_soak):
    """Others leave as the detector fades: its images a second stay the same."""
    found = made_up_soak(lambda number: {**busy(0.5 - 0.01 * number + 0.06 * (number % 3)),
                                 "latency": LATENCY / (1 - 0.06 * (number % 3)) * 2})
    assert abs(found.drift.value) < 0.05
    assert decided(drift_estimate(found), 0.2) != PROVEN and drift_estimate(found).value > 0.2


def test_a_machine_that_gets_busier_is_no_loss(made_up_soak):
    found = made_up_soak(lambda number: busy(0.01 * number + 0.06 * (number % 3)))
    assert found.drift.value > 0.3 and decided(drift_estimate(found), 0.05) == PROVEN


# Images a second, and the reference workload's milliseconds, of a detector that throttles on a machine that is idle.
THROTTLED = [86.4, 99.5, 92.5, 103.3, 110.5, 104.9, 87.7, 26.5, 22.4, 19.9, 24.8, 27.2, 28.4, 26.4, 22.3, 25.0, 24.6,
             23.7, 22.3, 21.4, 20.9, 21.8, 21.3, 23.2, 24.1, 24.6, 25.3, 26.9, 29.1, 25.3]
MEANWHILE = [1.57, 1.26, 1.57, 1.57, 1.42, 1.55, 1.55, 1.31, 1.01, 1.42, 1.01, 1.36, 1.49, 1.48, 1.55, 1.36, 1.58, 1.53,
             1.45, 1.57, 1.63, 1.64, 1.62, 1.35, 1.32, 1.1, 0.96, 0.97, 0.97, 1.11]


def test_what_the_windows_themselves_leave_open_is_not_laid_on_the_machine(made_up_soak):
    found = made_up_soak(lambda number: {
        "latency": CALLERS / THROTTLED[number - 1], "conditions": {"reference": MEANWHILE[number - 1] / 1e3}},
        count=len(THROTTLED))
    estimate = drift_estimate(found)
    assert estimate.reason == TOO_FEW and "noisy" not in estimate.more(0.5, "<=")


SPEEDS = {
    "above the bound": (150, 0.5, PROVEN, ""),
    "below it, by noise": (250, 0.5, UNDECIDED, NOISY),
    "below it, noise or not": (900, 0.5, REFUTED, ""),
    "below it on an idle machine": (250, 0.0, REFUTED, ""),
}


@pytest.mark.parametrize("case", SPEEDS)
def test_images_a_second(made_up_soak, case):
    bound, others, verdict, reason = SPEEDS[case]
    conditions = {"others": others, "waited": others}
    found = made_up_soak(lambda number: {"latency": LATENCY * (1 + 0.01 * (number % 7)), "conditions": conditions})
    estimate = speed_estimate(found)
    assert decided(estimate, bound, ">=") == verdict
    assert not reason or (estimate.reason == reason and "stop other work and repeat" in estimate.more(bound, ">="))


GAPS = {
    "within the bound": (0.3, 0.95, PROVEN),
    "a stall that nobody explains": (2.0, 0.0, REFUTED),
    "a stall that neighbours could be": (2.0, 0.95, UNDECIDED),
    "a stall of which they could be a part": (2.0, 0.2, REFUTED),
}


@pytest.mark.parametrize("case", GAPS)
def test_the_longest_gap_and_the_worst_window(made_up_soak, case):
    stall, others, verdict = GAPS[case]
    conditions = {"others": others, "waited": others}
    found = made_up_soak(lambda number: {"stall": stall, "conditions": conditions} if number == 9 else {})
    assert decided(gap_estimate(found), 1.0) == verdict
    assert decided(ratio_estimate(found), 100) == verdict
    assert gap_estimate(found).high == found.longest_gap and ratio_estimate(found).high == found.worst_P99_over_P50


def on_gpus(*watts):
    return {"extra": {f"gpu{number}/watts": one for number, one in enumerate(watts)}}


def test_energy_of_an_image_is_that_of_all_gpus(made_up_soak):
    found = made_up_soak(lambda number: on_gpus(70.0, 30.0))
    energy = energy_estimate(found)
    assert energy.value == pytest.approx(100 / found.images_per_second.value, rel=0.01)
    assert energy.low <= energy.value <= energy.high


def test_energy_is_not_guessed_from_some_of_the_windows(made_up_soak):
    assert energy_estimate(made_up_soak()) is None
    assert energy_estimate(made_up_soak(lambda number: on_gpus(70.0) if number != 7 else {})) is None


def test_memory_is_in_megabytes_and_no_noise_explains_it(made_up_soak):
    found = made_up_soak(lambda number: {**busy(turns(number)), "rss": 1e8 + 1e6 * number})
    assert low_value_high(memory_estimate(found)) == pytest.approx((33, 33, 33), rel=0.02)
    assert memory_estimate(made_up_soak(lambda number: {"rss": None})) is None


def test_few_windows_decide_nothing_and_say_so(made_up_soak):
    found = made_up_soak(count=6)
    assert low_value_high(spread_estimate(found)) == (None, pytest.approx(0, abs=0.01), None)
    assert spread_estimate(found).reason == TOO_FEW and "make the soak longer" in spread_estimate(found).more(0.5, "<=")


def test_a_soak_without_windows_has_no_figures(made_up_soak):
    found = made_up_soak(count=1)
    found.windows.clear()
    assert [spread_estimate(found), drift_estimate(found), gap_estimate(found)] == [None] * 3


def test_conditions_that_nobody_recorded_are_said_to_be_missing(made_up_soak):
    unknown = dict.fromkeys(("reference", "others", "steal", "waited"))
    assert module._conditions(made_up_soak(lambda number: {"conditions": unknown})) == "no conditions were recorded"


def slow_windows(number):
    """Every fourth window is half as fast again: its requests resemble each other, and not those of the others."""
    return {"latency": LATENCY * (1.5 if number % 4 == 0 else 1.0)}


def test_percentiles_of_a_soak_are_bounded_by_how_much_windows_differ(made_up_soak):
    found = made_up_soak(slow_windows)
    p90, by_requests = percentile_estimates(found)["P90"], found.percentiles["P90"]
    assert p90.value == by_requests.value
    assert p90.low < 0.96 * by_requests.low and p90.high > 1.04 * by_requests.high


def test_percentiles_of_a_steady_soak_are_bounded_by_its_requests(made_up_soak):
    found = made_up_soak()
    assert percentile_estimates(found) == found.percentiles


def test_percentiles_of_few_windows_have_no_bounds(made_up_soak):
    found = percentile_estimates(made_up_soak(count=9))
    assert {(one.low, one.high) for one in found.values()} == {(None, None)}
