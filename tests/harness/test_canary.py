"""The canary is slow only while somebody else uses the machine; what counts as noise is neither a hiccup nor missed."""
from __future__ import annotations

import pytest

from harness import canary as module
from harness.canary import Canary, calibrated, noise

QUIET = [0.0100, 0.0101, 0.0102, 0.0100, 0.0103, 0.0101] * 10  # a canary every 30 s: half an hour


def disturbed(*places, by=1.5):
    """The quiet machine, with the canaries at these places slower."""
    return [seconds * (by if place in places else 1) for place, seconds in enumerate(QUIET)]


def test_the_same_work_is_done_again():
    first = calibrated()
    assert Canary(**first.as_record()) == first
    assert first.iterations >= 1 and first.threads >= 1


def test_every_core_has_the_same_work_at_once(monkeypatch):
    done = []
    monkeypatch.setattr(module, "work", done.append)
    assert Canary(iterations=7, threads=3)() >= 0
    assert set(done) == {7} and len(done) >= 15


@pytest.fixture
def rounds(monkeypatch):
    """A function: the seconds of each round of a single core → what its canary says."""

    def run(*seconds):
        clock = iter([0.0, *(edge for place in range(len(seconds)) for edge in [sum(seconds[:place + 1])] * 2)])
        monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
        monkeypatch.setattr(module, "work", lambda iterations: None)
        return Canary(1, 1)()

    return run


def test_a_single_pause_however_long_is_no_slower_canary(rounds):
    assert rounds(0.01, 0.01, 0.06, 0.01, 0.01) == pytest.approx(0.01)
    assert rounds(0.01, 0.01, 5.0, 0.01, 0.01) == pytest.approx(0.01)


def test_a_core_that_is_shared_is_slow_in_every_round(rounds):
    assert rounds(0.02, 0.018, 0.021, 0.02, 0.019) == pytest.approx(0.02)


def test_the_slowest_core_counts(monkeypatch):
    monkeypatch.setattr(Canary, "_run", lambda self, own, everyone: own.extend([0.01 * (1 + everyone.index(own))] * 5))
    monkeypatch.setattr(module, "Thread", Immediately)
    assert Canary(1, 3)() == pytest.approx(0.03)


class Immediately:
    """A thread that runs when it is started. Equal lists have the same index, so the cores get theirs in turn."""

    def __init__(self, target, args, daemon):
        self.start = lambda: target(*args)

    def join(self):
        """It has ended."""


def test_a_quiet_machine_is_not_noisy():
    assert noise(QUIET) < 0.05


@pytest.mark.parametrize("canaries", [3, 6, 11, 60])
def test_one_hiccup_is_no_noise(canaries):
    assert noise(disturbed(1, by=6)[:canaries]) < 0.05


@pytest.mark.parametrize("last", [18, 20, 58])
def test_a_neighbour_who_takes_a_core_for_a_minute_or_longer_is_noise(last):
    assert noise(disturbed(*range(17, last + 1))) == pytest.approx(0.5, abs=0.05)


def test_a_neighbour_who_comes_back_for_seconds_again_and_again_is_noise():
    assert noise(disturbed(*range(3, 60, 8))) == pytest.approx(0.5, abs=0.05)


def test_a_neighbour_who_is_there_for_most_of_the_time_is_noise():
    assert noise(disturbed(*range(50))) == pytest.approx(0.5, abs=0.05)


def test_a_machine_that_slows_down_by_degrees_is_noise():
    assert noise([seconds * (1 + place / 100) for place, seconds in enumerate(QUIET)]) > 0.4


@pytest.mark.parametrize("few", [[], [0.01]])
def test_less_than_two_canaries_tell_nothing(few):
    assert noise(few) is None
