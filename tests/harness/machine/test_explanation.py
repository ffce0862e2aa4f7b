"""What the machine explains is taken out of the windows, and nothing of what the detector did itself."""
from __future__ import annotations

import numpy as np
import pytest

from harness.machine.explanation import SENSIBLE, explain
from harness.machine.noise import Conditions
from harness.stats.trend import relative_loss


class Machine:
    """Windows on two cores that busy neighbours share, as they were seen on a real one.

    `demand` is what the detector's threads could run, in cores; what one waits beside that is the others' doing.
    """

    def __init__(self, seed, windows=40, noise=0.03, trend=0.0):
        rng = np.random.default_rng(seed)
        self.others = np.clip(0.4 + 0.25 * rng.normal(size=windows) + trend * np.linspace(-1, 1, windows), 0.02, 0.85)
        self.reference = 0.001 * np.exp(np.abs(0.2 * rng.normal(size=windows)))
        self.detector = np.ones(windows)
        self._noise = np.exp(noise * rng.normal(size=windows))
        self._seen = np.exp(0.02 * rng.normal(size=(2, windows)))

    @property
    def rates(self) -> np.ndarray:
        return 100 * (1 - self.others) * (self.reference / 0.001) ** -0.5 * self.detector * self._noise

    def conditions(self) -> list[Conditions]:
        """A detector that sleeps waits less, and the neighbours take what it leaves."""
        waiting = 1 - np.minimum(0.7 * (1 - self.others) / self.detector, 1)
        others = 1 - (1 - self.others) * self.detector
        return [Conditions(*one) for one in zip(self.reference * self._seen[0], others, [0.0] * len(others), waiting)]

    def explained(self):
        return explain(self.rates, self.conditions())


def cv(values) -> float:
    return float(np.std(values) / np.mean(values))


@pytest.mark.parametrize("seed", range(5))
def test_the_neighbours_are_taken_out_and_the_exponents_are_those_that_they_have(seed):
    machine = Machine(seed)
    found = machine.explained()
    assert cv(machine.rates) > 0.3 and cv(found.without_noise(machine.rates)) < 0.05
    assert found.exponents == pytest.approx((1, 0.5), abs=0.25)


@pytest.mark.parametrize("seed", range(5))
def test_one_window_of_a_detector_that_sleeps_is_still_seen(seed):
    machine = Machine(seed)
    machine.detector[17] = 0.5
    left = machine.explained().without_noise(machine.rates)
    assert np.argmin(left) == 17 and left[17] < 0.65 * np.median(left)


@pytest.mark.parametrize("seed", range(5))
def test_a_detector_that_sleeps_more_and_more_still_drifts(seed):
    machine = Machine(seed)
    machine.detector = np.linspace(1, 0.8, 40)
    found = relative_loss(machine.explained().without_noise(machine.rates))
    assert found.low < 0.2 < found.high and found.value == pytest.approx(0.2, abs=0.08)


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_who_come_by_degrees_are_no_drift(seed):
    machine = Machine(seed, trend=0.2)
    raw, left = relative_loss(machine.rates), relative_loss(machine.explained().without_noise(machine.rates))
    assert raw.value > 0.2 and abs(left.value) < 0.08


@pytest.mark.parametrize("windows", [8, 12, 20])
def test_chance_is_not_explained_away(windows):
    """A machine that varies and a detector that it does not slow: two exponents fit little of what is chance."""
    kept = []
    for seed in range(60):
        machine, rng = Machine(seed, windows), np.random.default_rng(1000 + seed)
        rates = 100 * np.exp(0.05 * rng.normal(size=windows))
        kept.append(cv(explain(rates, machine.conditions()).without_noise(rates)) / cv(rates))
    assert np.mean(kept) > 0.8 and max(kept) < 1.35


@pytest.mark.parametrize("seed", range(3))
def test_a_detector_that_sleeps_always_has_no_excuse(seed):
    machine = Machine(seed, noise=0.2)
    machine.detector = np.exp(-np.abs(np.random.default_rng(seed).normal(0, 0.5, 40)))
    left = machine.explained().without_noise(machine.rates)
    assert np.corrcoef(np.log(left), np.log(machine.detector))[0, 1] > 0.7 and cv(left) > 0.25


def test_threads_of_its_own_that_wait_for_one_another_explain_nothing():
    rates = np.array([100.0, 50.0] * 10)
    conditions = [Conditions(0.001, 0.0, 0.0, 0.1 if rate == 100 else 0.6) for rate in rates]
    assert explain(rates, conditions).without_noise(rates) == pytest.approx(rates)


def test_exponents_make_sense():
    machine = Machine(0)
    for rates in (machine.rates**4, 1 / machine.rates):
        found = explain(rates, machine.conditions())
        assert all(0 <= value <= most for one in found.likely for value, most in zip(one, (1.5, 1.0)))
    assert (0, 0) in SENSIBLE and (1.5, 1.0) in SENSIBLE


def test_a_machine_that_says_nothing_or_does_not_change_explains_nothing():
    rates = np.random.default_rng(0).normal(100, 5, 20)
    for conditions in ([Conditions()] * 20, [Conditions(0.001, 0.1, 0.0, 0.1)] * 20):
        assert explain(rates, conditions).without_noise(rates) == pytest.approx(rates)


@pytest.mark.parametrize("rates", [[], [1.0], [100.0] * 7, [0.0] * 20, [0.0] * 19 + [5.0]])
def test_too_little_is_not_fitted(rates):
    machine = Machine(0, max(len(rates), 1))
    found = explain(rates, machine.conditions()[:len(rates)])
    assert np.isfinite(found.without_noise(rates)).all()


def test_slowdowns_are_beside_an_undisturbed_machine():
    conditions = [Conditions(0.001, 0.0, 0.0, 0.0)] * 19 + [Conditions(0.002, 0.5, 0.0, 0.5)]
    slowdowns = explain([100.0] * 20, conditions).slowdowns(SENSIBLE[-1])
    assert slowdowns[0] == pytest.approx(1) and slowdowns[-1] == pytest.approx(2 * 2**1.5, rel=0.01)
