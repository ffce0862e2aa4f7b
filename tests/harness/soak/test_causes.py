"""The step in the course of a soak is found, and said to be the machine's or the detector's own."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.machine.noise import Conditions
from harness.soak.causes import UNSEEN, step

SEEN = {"steal": 0.0, "iowait": 0.0, "others": 0.1, "reference": 0.001, "waited": 0.02, "mhz": 3000.0, "celsius": 50.0,
        "available": 8e9}


def course(rates, after=0, **changed) -> list:
    """Windows of these rates; those after number `after` have the machine's figures changed."""
    return [window(number, rate, changed if number > after else {}) for number, rate in enumerate(rates, 1)]


def window(number, rate, changed) -> SimpleNamespace:
    seen = {**SEEN, **changed}
    conditions = Conditions(*(seen[name] for name in Conditions._fields))
    return SimpleNamespace(number=number, images_per_second=rate, images=10, gauges={}, conditions=conditions, **seen)


@pytest.mark.parametrize(("rates", "expected"), [
    ([100, 80, 60, 30] + [7, 6.5, 7.5, 7] * 6, (5, 70, 7)),
    ([50] * 10 + [100] * 10, (11, 50, 100)),
    ([100] * 10 + [85] * 10, None),
    ([100, 50] * 10, None), ([200 - 8 * number for number in range(21)], None), ([50] * 4 + [100, 50] * 8, None),
    ([95, 60, 101, 99, 30, 97, 100] + [24, 24, 18, 40, 25, 23, 55, 24] * 3, (8, 97, 24)),
    ([100] * 20 + [0] + [30] * 20, (22, 100, 30)), ([100] * 20 + [30], None),
    ([100] * 20 + [30] * 3, (21, 100, 30)),
    ([100] * 3000 + [30] * 2000, (3009, 100, 30)),
    ([100], None), ([], None), ([100, 0], None), ([0, 0, 0], None),
])
def test_the_time_at_which_a_soak_became_slow_or_fast_is_found(rates, expected):
    found = step(course(rates))
    assert found is None if expected is None else found[:3] == pytest.approx(expected, rel=0.02)


SLOWER, FASTER = [60] * 8 + [5] * 20, [5] * 8 + [60] * 20


def test_a_step_beside_a_machine_that_stayed_as_it_was_is_the_detectors_own():
    assert "the machine was as before, so that the detector itself became slower" in step(course(SLOWER)).cause
    assert "the machine was as before, so that the detector itself became faster" in step(course(FASTER)).cause


@pytest.mark.parametrize(("changed", "words"), [
    ({"others": 0.9, "waited": 0.8}, "the use by other processes rose to 0.9 cores (before 0.1 cores)"),
    ({"steal": 0.7}, "steal rose to 70.0% (before 0.0%)"),
    ({"reference": 0.004}, "the reference workload's time rose to 4.00 ms (before 1.00 ms)"),
    ({"mhz": 800.0, "reference": None}, "the processor's frequency fell to 800 MHz (before 3000 MHz)"),
    ({"iowait": 0.5}, "waiting for disks rose to 50.0% (before 0.0%)"),
])
def test_what_changed_on_the_machine_with_the_step_is_named_and_only_for_the_worse(changed, words):
    assert step(course(SLOWER, 8, **changed)).cause.startswith(words)
    assert "the detector itself became faster" in step(course(FASTER, 8, **changed)).cause


def test_what_changed_too_little_to_explain_the_step_is_no_cause():
    assert step(course(SLOWER, 8, steal=0.02)).cause.startswith(
        "what changed on the machine explains little of it (steal rose to 2.0% (before 0.0%)), so that the detector")


def test_a_machine_that_reported_nothing_explains_nothing():
    assert step(course(SLOWER, 0, **dict.fromkeys(SEEN))).cause == UNSEEN
