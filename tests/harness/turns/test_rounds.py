"""The order of the bursts is balanced and not to be foreseen; drift cancels in it."""
from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from harness.turns.process import Burst
from harness.turns.rounds import P50, P90, THROUGHPUT, burst_images, measured, orders


@pytest.mark.parametrize("pairs", [2, 10, 11])
def test_each_order_comes_equally_often(pairs):
    found = Counter(orders(pairs, Random(1)))
    assert sum(found.values()) == pairs and abs(found["AB"] - found["BA"]) <= 1


def test_chance_decides_the_order():
    assert len({tuple(orders(10, Random(seed))) for seed in range(20)}) > 10


def test_neither_arm_is_usually_the_first():
    first = Counter(orders(10, Random(seed))[0] for seed in range(400))
    assert 150 < first["AB"] < 250


class Arm:
    """An arm whose every burst is slower than the last of either arm."""

    def __init__(self, clock: list):
        self._clock, self.sent = clock, []

    def burst(self, first, images):
        self.sent.append((first, images))
        self._clock.append(1 + 0.01 * len(self._clock))
        return Burst(images, images * self._clock[-1], [self._clock[-1]] * images)


def test_both_arms_get_the_same_images_and_a_drift_meets_both():
    clock: list = []
    arms = {name: Arm(clock) for name in "AB"}
    found = measured({name: arm.burst for name, arm in arms.items()}, 6, lambda: 0.001, Random(0), pairs=10, first=60)
    assert arms["A"].sent == arms["B"].sent == [(60 + 6 * place, 6) for place in range(10)]
    a, b = (found.values[name][THROUGHPUT] for name in "AB")
    assert abs(b / a - 1) < 0.002  # one after the other they would differ by 10 %


def test_a_tail_of_few_requests_is_left_out():
    arms = {name: Arm([]).burst for name in "AB"}
    assert P90 not in measured(arms, 4, lambda: 0.001, Random(0), pairs=2).values["A"]
    assert P90 in measured(arms, 4, lambda: 0.001, Random(0), pairs=20).values["A"]


def test_a_burst_has_whole_batches_for_each_caller():
    assert burst_images(0.005, callers=2, batch_size=1) == 10
    assert burst_images(0.005, callers=2, batch_size=8) == 32  # two batches each
    assert burst_images(10.0, callers=1, batch_size=1) == 2


def test_a_detector_that_stalls_now_and_then_is_slower():
    class Stalling(Arm):
        def burst(self, first, images):
            self._clock.append(2.0 if len(self._clock) % 20 == 3 else 1.0)
            return Burst(images, images * self._clock[-1], [self._clock[-1]] * images)

    class Steady(Arm):
        def burst(self, first, images):
            return Burst(images, images * 1.0, [1.0] * images)

    found = measured({"A": Steady([]).burst, "B": Stalling([]).burst}, 4, lambda: 0.001, Random(0), pairs=40)
    assert found.values["B"][THROUGHPUT] == pytest.approx(found.values["A"][THROUGHPUT] / 1.05)
    assert found.values["B"][P50] == found.values["A"][P50]
