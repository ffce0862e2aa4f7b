"""The step in the course of a soak is found, and said to be the machine's or the detector's own."""
from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.soak.causes import UNSEEN, step

SEEN = {"steal": 0.0, "iowait": 0.0, "others": 0.1, "reference": 0.001, "waited": 0.02, "mhz": 3000.0, "celsius": 50.0,
        "available": 8e9}


def course(rates, after=0, **changed) -> list:
    """Windows of these rates; those after number `after` have the machine's figures changed."""
    return [SimpleNamespace(images_per_second=rate, gauges={}, **{**SEEN, **(changed if number > after else {})})
            for number, rate in enumerate(rates, 1)]


@pytest.mark.parametrize(("rates", "expected"), [
    ([100, 80, 60, 30] + [7, 6.5, 7.5, 7] * 6, (4, 70, 7)),
    ([50] * 10 + [100] * 10, (10, 50, 100)),
    ([100] * 10 + [85] * 10, None),
    ([100, 50] * 10, None),
    ([100], None), ([], None), ([100, 0], None), ([0, 0, 0], None),
])
def test_the_time_at_which_a_soak_became_slow_or_fast_is_found(rates, expected):
    found = step(course(rates))
    assert found is None if expected is None else found[:3] == expected


SLOWER, FASTER = [60] * 8 + [5] * 20, [5] * 8 + [60] * 20


def test_a_step_beside_a_machine_that_stayed_as_it_was_is_the_detectors_own():
    assert "the machine was as before, so that the detector itself became slower" in step(course(SLOWER)).cause
    assert "the machine was as before, so that the detector itself became faster" in step(course(FASTER)).cause


@pytest.mark.parametrize(("changed", "words"), [
    ({"others": 1.9}, "the use by other processes rose to 1.9 cores (usually 0.1 cores)"),
    ({"steal": 0.3}, "steal rose to 30.0% (usually 0.0%)"),
    ({"mhz": 800.0}, "the processor's frequency fell to 800 MHz (usually 3000 MHz)"),
    ({"reference": 0.002}, "the reference workload's time rose to 2.00 ms (usually 1.00 ms)"),
])
def test_what_changed_on_the_machine_with_the_step_is_named_and_only_for_the_worse(changed, words):
    assert step(course(SLOWER, 8, **changed)).cause == words
    assert "the detector itself became faster" in step(course(FASTER, 8, **changed)).cause


def test_a_machine_that_reported_nothing_explains_nothing():
    assert step(course(SLOWER, 0, **dict.fromkeys(SEEN))).cause == UNSEEN
