"""The simulation of a large cluster has the times that can be worked out by hand."""
from __future__ import annotations

import pytest

from benchmarks.cluster_simulation import NOTICED, Costs, dollars, saturates, simulate, table

EVEN = Costs(node=[0.1], driver=0.0001, shard=10, startup=60.0)


def test_one_node_does_one_shard_after_the_other():
    assert simulate(EVEN, 1, 1000).seconds == pytest.approx(100 * (1.0 + 0.001))


def test_nodes_that_the_driver_can_serve_are_as_many_times_as_fast():
    assert simulate(EVEN, 1, 6400).seconds / simulate(EVEN, 64, 6400).seconds == pytest.approx(64, rel=0.07)


def test_a_driver_that_is_busy_all_the_time_is_the_limit():
    slow = EVEN._replace(driver=0.01)
    found = simulate(slow, 256, 100_000)
    assert saturates(slow) == pytest.approx(11)
    assert found.seconds == pytest.approx(100_000 * 0.01, rel=0.01) and found.driver_share > 0.99


def test_what_a_lost_node_had_in_hand_is_done_again_by_others():
    whole, lost = simulate(EVEN, 4, 4000), simulate(EVEN, 4, 4000, lost_at=50.5)
    assert lost.again == 1
    assert whole.seconds < lost.seconds < whole.seconds * 4 / 3 + NOTICED


def test_a_node_that_is_lost_with_the_last_shard_costs_the_time_until_that_is_noticed():
    found = simulate(EVEN, 2, 20, lost_at=0.5)
    assert found.again == 1 and found.seconds == pytest.approx(0.5 + NOTICED + 1.001)


def test_costs_are_of_all_nodes_and_of_one_that_leads_them():
    one = simulate(EVEN, 1, 1000)
    assert dollars(one, 1, 60.0, "c5.xlarge", "2026-11-26") == pytest.approx(2 * (one.seconds + 60) / 3600 * 0.17)


def test_the_table_has_a_row_for_each_number_of_nodes():
    lines = table(EVEN._replace(shard=1000), "c5.xlarge", "2026-11-26").splitlines()
    assert len(lines) == 2 + 9 and lines[2].startswith("| 1 |") and lines[-1].startswith("| 256 |")
