"""What the machine took is seen, what the detector did itself explains nothing, and watching costs next to nothing."""
from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from harness.machine import noise as module
from harness.machine.noise import Conditions, Counters, NoiseMonitor, ProcessTree, slowdown, timed, usable_cores_seconds

BURN = "import time\nwhile time.process_time() < 0.5: pass"


@pytest.fixture
def watched(monkeypatch):
    """A function: readings of the counters, runs of the reference workload → a monitor of two cores that had them."""
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "WAITS_ARE_KNOWN", True)

    def monitor(counters=(), runs=()):
        made_up = NoiseMonitor(1)
        made_up._counters.extend(Counters(*one) for one in counters)
        made_up._runs.extend(runs)
        return made_up

    return monitor


def test_a_stretch_has_its_own_conditions(watched):
    counters = [(0.0, 0, 0, 0, 0), (10.0, 12.0, 1.0, 9.0, 4.5), (20.0, 30.0, 1.0, 14.0, 9.5)]
    monitor = watched(counters, [(1.0, 0.001), (2.0, 0.003), (3.0, 0.002), (11.0, 0.009)])
    assert monitor.between(0, 10) == pytest.approx((0.002, 3 / 20, 1 / 20, 4.5 / 13.5))
    assert monitor.between(10, 20) == pytest.approx((0.009, 13 / 20, 0.0, 0.5))


def test_readings_in_the_middle_of_which_a_stretch_ends_count_by_its_share(watched):
    monitor = watched([(0.0, 0, 0, 0, 0), (10.0, 10.0, 0, 0, 0), (20.0, 30.0, 0, 0, 0)])
    assert monitor.between(5, 15).others == pytest.approx(0.75)


def test_a_stretch_before_and_after_all_readings_counts_as_far_as_they_reach(watched):
    monitor = watched([(5.0, 0, 0, 0, 0), (10.0, 5.0, 0, 0, 0)])
    assert monitor.between(0, 100).others == pytest.approx(0.5)
    assert monitor.between(20, 30) == Conditions()


def test_nothing_that_was_seen_is_none(watched):
    assert watched().between(0, 1) == Conditions()


@pytest.mark.parametrize(("start", "end"), [(1, 1), (2, 1), (float("nan"), 1)])
def test_a_stretch_without_length_is_an_error(watched, start, end):
    with pytest.raises(ValueError, match="must be after the start"):
        watched().between(start, end)


def test_a_machine_that_does_not_say_who_waits_has_no_waiting(watched, monkeypatch):
    monkeypatch.setattr(module, "WAITS_ARE_KNOWN", False)
    assert watched([(0.0, 0, 0, 0, 0), (1.0, 2, 0, 1, 0)]).between(0, 1).waited is None


LEFT = {
    "an idle machine": (Conditions(0.001, 0.0, 0.0, 0.0), 1.0),
    "neighbours for whom the detector waits": (Conditions(0.001, 0.4, 0.0, 0.5), 0.6),
    "neighbours on cores that the detector leaves idle": (Conditions(0.001, 0.9, 0.0, 0.05), 0.95),
    "threads of its own that wait for one another": (Conditions(0.001, 0.0, 0.0, 0.7), 1.0),
    "the hypervisor": (Conditions(0.001, 0.0, 0.25, 0.0), 0.75),
    "a machine that does not say who waits": (Conditions(0.001, 0.4, None, None), 0.6),
    "a machine that says nothing": (Conditions(), 1.0),
    "all": (Conditions(0.001, 1.0, 0.0, 1.0), module.LEAST_LEFT),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_for_the_detector(case):
    conditions, left = LEFT[case]
    assert conditions.left == pytest.approx(left)


def test_a_slowdown_is_explained_by_the_cores_that_are_left_and_by_the_reference_workload():
    assert slowdown(Conditions(0.001, 0.5, 0.0, 0.5), 0.001) == pytest.approx(2**1.5)
    assert slowdown(Conditions(0.002, 0.0, 0.0, 0.0), 0.001) == pytest.approx(2)
    assert slowdown(Conditions(0.0009, 0.0, 0.0, 0.0), 0.001) == slowdown(Conditions(), None) == 1


def test_a_detector_that_sleeps_beside_busy_neighbours_has_no_excuse(watched):
    """They take what it leaves, but none of its threads waits; those of the harness do all the time."""
    monitor = watched([(0.0, 0, 0, 0, 0), (10.0, 19.6, 0, 0.1, 0.4)])
    conditions = monitor.between(0, 10)
    assert conditions.others > 0.9 and slowdown(conditions, 0.001) < 1.1


def test_the_machine_is_watched_from_start_to_end():
    start = time.perf_counter()
    with NoiseMonitor(period=0.01) as monitor:
        time.sleep(0.3)
    seen = monitor.between(start, time.perf_counter())
    assert 0 < seen.reference < 1 and monitor.undisturbed <= seen.reference
    assert 0 <= seen.others <= 1 and 0 <= seen.steal <= 1
    assert not monitor._thread.is_alive()


def test_a_short_stretch_has_its_conditions_though_watching_is_dear():
    """Readings then lie further apart than windows: one is made when a window is asked for."""
    with NoiseMonitor(period=60.0) as monitor:
        time.sleep(0.02)
        start = time.perf_counter()
        time.sleep(0.05)
        seen = monitor.between(start, time.perf_counter())
    assert 0 <= seen.others <= 1 and 0 <= seen.steal <= 1


def test_an_end_is_never_missed():
    start = time.perf_counter()
    for _ in range(50):
        with NoiseMonitor(1, period=60.0):
            pass
    assert time.perf_counter() - start < 30


def test_the_same_work_can_be_watched_again():
    assert NoiseMonitor(NoiseMonitor().iterations).iterations >= 1


@pytest.mark.parametrize(("cost", "pause"), [(0.0001, 0.05), (0.01, 0.5)])
def test_a_machine_on_which_watching_is_dear_is_watched_more_seldom(watched, monkeypatch, cost, pause):
    clock, pauses, monitor = [0.0], [], watched()

    def work(iterations):
        clock[0] += cost
        return cost

    def wait(seconds):
        pauses.append(seconds)
        monitor._is_over = len(pauses) == 5

    monkeypatch.setattr(module, "timed", work)
    monkeypatch.setattr(module, "thread_time", lambda: clock[0])
    monitor._is_asked = SimpleNamespace(is_set=lambda: False, clear=lambda: None, wait=wait)
    monitor._run()
    assert pauses == pytest.approx([pause] * 5)


def test_the_reference_workload_leaves_pythons_lock_to_others():
    worker = threading.Thread(target=timed, args=(400_000,), daemon=True)
    worker.start()
    turns = 0
    while worker.is_alive():
        turns += 1
    assert turns > 1000


def test_what_cannot_be_counted_does_not_end_it(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: 1 / 0)
    start = time.perf_counter()
    with NoiseMonitor(1, period=0.001) as monitor:
        time.sleep(0.02)
    assert monitor.between(start, time.perf_counter())[1:] == (None, None, None)


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_what_children_and_theirs_use_is_ours(ended):
    tree = ProcessTree(look_every=1)
    before, _ = tree.seconds()
    nested = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        if not ended:
            assert tree.seconds()[0] - before > 0.45
        child.communicate(b"\n")
    assert tree.seconds()[0] - before > 0.45


def test_waiting_is_summed_up_though_threads_end(monkeypatch):
    waits = iter([[((1, 1), 5.0)], [((1, 1), 6.0), ((1, 2), 0.5)], [((1, 1), 6.0)], [((1, 2), 0.25)]])
    monkeypatch.setattr(module, "_waits", lambda pid: next(waits))
    tree = ProcessTree(look_every=100)
    monkeypatch.setattr(tree, "_look", lambda: None)
    assert [tree.seconds()[1] for _ in range(4)] == [5.0, 6.5, 6.5, 6.75]


Times = dict(user=4.0, system=1.0, idle=10.0, iowait=2.0, steal=0.5, guest=4.0)


def test_only_the_cores_that_may_be_used_count(monkeypatch):
    times = [SimpleNamespace(**{**Times, "user": user}) for user in (1.0, 10.0, 100.0)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: times)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {0, 2}, raising=False)
    assert usable_cores_seconds() == (103.0, 1.0)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {1, 7}, raising=False)
    assert usable_cores_seconds() == (114.0, 1.5)
