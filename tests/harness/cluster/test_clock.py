"""The offset of a node's clock is found, within its bound, whatever the way there and back cost."""
from __future__ import annotations

import random

import pytest

from harness.cluster.clock import Offset, offset


class Clocks:
    """A driver's clock and a node's that is ahead, with a way between them that takes random times."""

    def __init__(self, ahead: float, ways, drift: float = 0.0):
        self.now, self._ahead, self._ways, self._drift = 1000.0, ahead, ways, drift

    def driver(self) -> float:
        return self.now

    def ask(self) -> float:
        self.now += self._ways()
        read = self.now + self._ahead + self._drift * (self.now - 1000.0)
        self.now += self._ways()
        return read


@pytest.mark.parametrize("ahead", [0.0, -3.5, 81_234.567])
@pytest.mark.parametrize("seed", range(5))
def test_the_offset_is_found_within_its_bound(ahead, seed):
    delays = random.Random(seed)
    clocks = Clocks(ahead, lambda: delays.expovariate(1000))
    found = offset(clocks.ask, clock=clocks.driver)
    assert abs(found.seconds - ahead) <= found.bound < 0.001


def test_a_way_back_that_is_longer_than_the_way_there_stays_within_the_bound():
    ways = iter([0.001, 0.2] * 32)
    clocks = Clocks(5.0, lambda: next(ways))
    found = offset(clocks.ask, clock=clocks.driver)
    assert found.bound == pytest.approx(0.1005)
    assert abs(found.seconds - 5.0) <= found.bound


def test_one_quick_round_trip_among_slow_ones_decides():
    ways = iter([0.5, 0.5, 0.001, 0.001, 0.5, 0.5])
    clocks = Clocks(7.0, lambda: next(ways))
    assert offset(clocks.ask, 3, clocks.driver) == pytest.approx((7.0, 0.001))


def test_times_go_from_one_clock_to_the_other_and_back():
    one = Offset(12.5, 0.001)
    assert one.on_node(100.0) == 112.5
    assert one.on_driver(one.on_node(100.0)) == 100.0


def test_drift_is_what_the_bounds_do_not_explain():
    assert Offset(1.0, 0.002).moved(Offset(1.003, 0.002)) == 0.0
    assert Offset(1.0, 0.002).moved(Offset(1.050, 0.002)) == pytest.approx(0.046)


def test_no_round_trip_is_an_error():
    with pytest.raises(ValueError, match="round_trips 0: must be at least 1"):
        offset(lambda: 0.0, 0)
