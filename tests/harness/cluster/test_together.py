"""The worst node decides a row, and a node that is unlike the others is named."""
from __future__ import annotations

import pytest

from harness.cluster.together import hot, slow, worst
from harness.stats.estimate import PROVEN, REFUTED, UNDECIDED, Estimate, decide


def estimates(*bounds):
    return {f"node-{number}": Estimate((low + high) / 2, low, high) for number, (low, high) in enumerate(bounds, 1)}


@pytest.mark.parametrize(("bounds", "outcome"), [
    (((110, 120), (106, 109)), PROVEN),
    (((110, 120), (90, 104)), REFUTED),
    (((110, 120), (90, 109)), UNDECIDED),
    (((100, 120), (90, 104)), REFUTED),
    (((100, 120), (90, 109), (130, 140)), UNDECIDED),
])
def test_a_lower_bound_is_met_where_every_node_meets_it_and_missed_where_one_misses_it(bounds, outcome):
    assert decide(worst(estimates(*bounds), ">="), 105, ">=") == outcome


@pytest.mark.parametrize(("bounds", "outcome"), [
    (((40, 50), (30, 35)), PROVEN),
    (((40, 50), (55, 60)), REFUTED),
    (((40, 50), (49, 60)), UNDECIDED),
])
def test_an_upper_bound_too(bounds, outcome):
    assert decide(worst(estimates(*bounds), "<="), 51.8, "<=") == outcome


def test_the_worst_value_is_shown():
    assert worst(estimates((110, 120), (90, 104)), ">=").value == 97
    assert worst(estimates((110, 120), (90, 104)), "<=").value == 115


def test_the_node_that_leaves_a_bound_undecided_is_named_with_what_would_decide():
    values = estimates((110, 120), (90, 109))
    assert worst(values, ">=").more(105, ">=") == "node-2: measure more"


def test_a_node_without_bounds_leaves_it_undecided():
    values = {"a": Estimate(120, 110, 130), "b": Estimate(115)}
    found = worst(values, ">=")
    assert decide(found, 105, ">=") == UNDECIDED and found.more(105, ">=").startswith("b: ")
    assert decide(worst({**values, "c": Estimate(90, 80, 100)}, ">="), 105, ">=") == REFUTED


def test_of_numbers_the_worst_is_one_of_them():
    assert worst({"a": 0, "b": 3}, "<=") == 3
    assert worst({"a": 0.5, "b": 0.25}, ">=") == 0.25


def test_where_a_node_has_no_value_nothing_is_known_of_the_worst():
    assert worst({"a": Estimate(120, 110, 130), "b": None}, ">=") is None
    assert worst({"a": Estimate(120, 110, 130), "b": Estimate(None)}, ">=").value is None


def test_one_node_is_what_it_is():
    only = Estimate(3, 2, 4)
    assert worst({"a": only}, ">=") is only
    with pytest.raises(ValueError, match="no nodes"):
        worst({}, ">=")


def test_a_slow_node_is_named_with_its_rate_and_by_how_much():
    rates = {"a": Estimate(118, 116, 120), "b": Estimate(71, 69, 73), "c": Estimate(119, 117, 121)}
    assert [str(one) for one in slow(rates)] == [
        "b is slow: 71 images/s, 40 % below the 118.5 of the others"]


def test_a_difference_within_its_bounds_names_nobody():
    assert slow({"a": Estimate(118, 110, 126), "b": Estimate(108, 100, 116)}) == []
    assert slow({"a": Estimate(118)}) == []


def test_hot_and_throttled_nodes_are_named_where_machines_say():
    celsius, mhz = {"a": 60.0, "b": 91.0, "c": 62.0}, {"a": 3000.0, "b": 2100.0, "c": None}
    assert [str(one) for one in hot(celsius, mhz)] == [
        "b is hot: 91 °C, the others 61 °C", "b is throttled: 2100 MHz, the others 3000 MHz"]
    assert hot({"a": None, "b": 90.0}, {"a": None, "b": None}) == []
