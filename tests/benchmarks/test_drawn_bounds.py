"""Bounds that were drawn from a history let runs of the same detector pass, and fail those that are much slower."""
from __future__ import annotations

import pytest

from benchmarks.between_runs import COUNTS, MACHINES
from benchmarks.drawn_bounds import missed

HISTORIES = 200


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("deviation", [0.01, 0.04])
def test_a_run_that_is_no_slower_seldom_misses_any_bound(count, deviation):
    assert missed(MACHINES["runs independent"], deviation, count, 0.0, HISTORIES) <= 0.03


@pytest.mark.parametrize("machine", ["runs independent", "neighbours alike, r = 0.6"])
def test_a_run_that_is_much_slower_misses_one(machine):
    assert missed(MACHINES[machine], 0.01, 7, 0.1, HISTORIES) >= 0.95
