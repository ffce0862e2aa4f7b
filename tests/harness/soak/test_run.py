"""A soak runs window after window, ends with the first failure, and goes on after being killed as if nothing was."""
from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.load.generator import LoadPattern
from harness.machine import noise
from harness.soak import run as module
from harness.soak.journal import Journal, JournalError, read
from harness.soak.run import Plan, run_soak, summarise, window_seconds_for
from harness.soak.schema import Entry
from tests.harness.soaks import journal, started, window
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[3]
ANSWER = SimpleNamespace(error="")
SAMPLES = [(i, b"image %d" % i) for i in range(10)]
PLAN, LONG = Plan(0.5, 0.1, LoadPattern(2, 3)), Plan(100, 0.1, LoadPattern(2, 3))
IDENTITY = {"detector": "abc", "classes": ["cup", "box"]}


def sleeping(images):
    time.sleep(0.002)
    return [ANSWER] * len(images)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A reference workload of next to nothing, and a machine without a name: these tests are not about it."""
    monkeypatch.setattr(noise, "calibrated_iterations", lambda: 1)
    monkeypatch.setattr(module, "this_machine", dict)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "soak.journal"


@pytest.fixture
def run(path):
    """A function: runs a soak and gives what its journal shows."""

    def soak(detect=sleeping, plan=PLAN, identity=IDENTITY, **options):
        run_soak(detect, SAMPLES, plan, path, identity, **{"deadline": 60, **options})
        return summarise(path)

    return soak


@pytest.mark.parametrize(("seconds", "window"), [(7200, 30), (1800, 30), (600, 20), (120, 4), (30, 1), (10, 0.5)])
def test_windows_are_those_of_the_published_run_unless_that_gives_too_few(seconds, window):
    assert window_seconds_for(seconds) == window


@pytest.mark.parametrize(("seconds", "window", "windows"), [(7200, 30, 240), (0.7, 0.1, 7), (31, 30, 2), (1, 1, 1)])
def test_a_plan_lasts_at_least_as_long_as_was_asked_for(seconds, window, windows):
    assert Plan(seconds, window, PLAN.pattern).windows == windows


@pytest.mark.parametrize(("seconds", "window"), [(10, 0), (10, 11), (10, -1), (float("inf"), 1), (float("nan"), 1)])
def test_an_impossible_plan_is_an_error(seconds, window):
    with pytest.raises(ValueError, match="windows of"):
        Plan(seconds, window, PLAN.pattern)


def test_every_window_is_there_with_its_requests(run):
    soak = run()
    assert (len(soak.windows), soak.finished, soak.incomplete_windows) == (5, "complete", 0)
    assert all(one.requests > 2 and one.images_per_second > 0 and one.P50 >= 0.002 for one in soak.windows)
    assert (soak.identity, soak.plan) == ({"machine": {}, **IDENTITY}, PLAN.as_record())
    assert soak.requests < soak.images <= 3 * soak.requests


def test_the_journal_has_the_records_in_the_order_of_the_run(run, path):
    run()
    kinds = ["request" if isinstance(record, Entry) else record["kind"] for record in read(path)]
    kinds = [kind for kind, before in zip(kinds, [None, *kinds]) if kind != "sample" and kind != before]
    assert kinds == ["session", *["opening", "request", "window"] * 5, "finish"]


def test_the_images_go_on_where_the_window_before_ended(run):
    seen = []
    run(lambda images: seen.append(images) or sleeping(images), Plan(0.3, 0.1, LoadPattern(1, 1)))
    images = [image for _, image in SAMPLES]
    # After the warm-up, which is the first image, all of them in turn; a turn that came too late is taken again.
    assert [image for image, in seen[1:]] == [images[number % 10] for number in range(len(seen) - 1)]


def test_detectors_are_warmed_up_once_outside_the_windows(run):
    slow_at_first = count()
    soak = run(lambda images: (time.sleep(0.2) if next(slow_at_first) < 2 else 0) or sleeping(images))
    assert soak.sessions[0].seconds > 0.2 + 5 * 0.1
    assert next(slow_at_first) == 2 + soak.requests


def test_the_machine_is_watched_beside_the_load(run):
    soak = run(plan=Plan(1.5, 0.5, PLAN.pattern))
    watched = [one for one in soak.windows if one.reference is not None]  # a busy machine may leave out a window
    assert watched and all(0 < one.reference < 1 and 0 <= one.conditions.others <= 1 for one in watched)


def test_progress_is_told_of_every_window(run):
    told = []
    run(progress=told.append)
    assert sum(told) == 5


def test_a_window_opens_when_it_may(run, path):
    numbers = []
    soak = run(before_window=lambda number: numbers.append(number) or time.sleep(0.05))
    openings = [record["at"] for record in read(path) if not isinstance(record, Entry) and record["kind"] == "opening"]
    assert numbers == [1, 2, 3, 4, 5] and soak.finished == "complete"
    assert all(later - earlier >= 0.15 for earlier, later in zip(openings, openings[1:]))


def test_a_soak_that_is_stopped_before_a_window_goes_on_with_it(run):
    class Stopped(Exception):
        pass

    def stop(number):
        if number == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(before_window=stop)
    numbers = []
    soak = run(before_window=numbers.append, resume=True)
    assert numbers == [3, 4, 5] and (soak.finished, len(soak.windows)) == ("complete", 5)


def test_what_others_know_is_sampled(run):
    numbers = count()
    soak = run(plan=Plan(2.4, 0.8, PLAN.pattern), extra=lambda: {"neuron0/hw_error": next(numbers)})
    assert sum(one.rose.get("neuron0/hw_error", 0) for one in soak.windows) >= 1


def test_an_open_loop_has_its_windows_too(run):
    soak = run(plan=Plan(0.6, 0.2, LoadPattern(2, 1, rate=100.0)))
    assert len(soak.windows) == 3 and soak.requests > 0


def failing(after):
    calls = count()

    def detect(images):
        if next(calls) >= after:
            raise RuntimeError("device lost")
        return sleeping(images)

    return detect


def test_a_failed_request_ends_the_soak_after_it_is_journaled(run):
    soak = run(failing(20), LONG)
    assert (soak.finished, soak.first_error) == ("failed", "RuntimeError: device lost")
    assert soak.failed_requests in (1, 2) and soak.incomplete_windows > 0


def test_a_detector_that_fails_at_once_is_not_asked_again_and_again(run):
    soak = run(failing(2), LONG)
    assert (soak.failed_requests, soak.windows) in [(1, []), (2, [])]


def test_a_detector_that_fails_in_its_warm_up_has_failed(run):
    soak = run(failing(0))
    assert (soak.finished, soak.windows, soak.first_error) == ("failed", [], "RuntimeError: device lost")


def test_a_broken_contract_is_a_failure(run):
    calls = count()
    soak = run(lambda images: sleeping(images)[next(calls) > 9:], LONG)
    assert "detect returned" in soak.first_error


def test_a_detector_that_hangs_ends_the_soak_at_the_deadline(run):
    calls, release = count(), threading.Event()
    soak = run(lambda images: (next(calls) > 20 and release.wait(PATIENCE) and []) or sleeping(images), LONG,
               deadline=0.3)
    release.set()
    assert (soak.finished, soak.first_error) == ("failed", "no response within 0.3 s")


def test_what_a_detector_answers_too_late_is_not_journaled_twice(run, path):
    calls = count()
    run(lambda images: (next(calls) == 20 and time.sleep(0.6)) or sleeping(images), LONG, deadline=0.2)
    content = path.read_bytes()
    time.sleep(0.6)
    assert path.read_bytes() == content
    starts = Counter((entry.caller, entry.start) for entry in read(path) if isinstance(entry, Entry))
    assert set(starts.values()) == {1}


def test_a_stall_is_seen_in_its_window(run):
    calls = count()
    plan = Plan(0.5, 0.1, LoadPattern(1, 1))
    soak = run(lambda images: (next(calls) == 3 and time.sleep(0.5)) or sleeping(images), plan)
    assert soak.longest_gap > 0.4 and soak.windows[0].longest_latency > 0.4


def test_an_unreadable_sample_ends_the_soak_and_it_can_go_on(path):
    class Broken(list):
        image_ids = (1, 2)

        def image_bytes(self, image_id):
            raise ValueError("1.jpg: cannot be read")

    with pytest.raises(ValueError, match=r"1\.jpg: cannot be read"):
        run_soak(sleeping, Broken([1, 2]), PLAN, path, IDENTITY, deadline=1)
    run_soak(sleeping, SAMPLES, PLAN, path, IDENTITY, deadline=60, resume=True)
    assert summarise(path).finished == "complete"


def test_a_full_disk_ends_the_soak_with_its_name(run, monkeypatch):
    written = count()

    def write(journal, write=Journal._write_waiting):
        if next(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(journal)

    monkeypatch.setattr(Journal, "_write_waiting", write)
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be written .*No space left"):
        run(plan=LONG)


@pytest.fixture
def interrupted(run):
    """A function: runs a soak that is interrupted in the middle of its third window."""

    def soak():
        told = []

        def detect(images):
            if sum(told) == 2:
                raise KeyboardInterrupt
            return sleeping(images)

        with pytest.raises(KeyboardInterrupt):
            run(detect, progress=told.append)

    return soak


def test_an_interrupted_soak_goes_on_where_it_was(run, interrupted):
    interrupted()
    told = []
    soak = run(resume=True, progress=told.append)
    assert ([one.number for one in soak.windows], soak.finished) == ([1, 2, 3, 4, 5], "complete")
    assert ([one.windows for one in soak.sessions], soak.interruptions, sum(told)) == ([2, 3], 1, 5)


def test_the_reference_workload_of_a_later_session_is_the_same(run, path, interrupted, monkeypatch):
    interrupted()
    monkeypatch.setattr(noise, "calibrated_iterations", lambda: 99)
    run(resume=True)
    sessions = [one for one in read(path) if not isinstance(one, Entry) and one["kind"] == "session"]
    assert [one["reference"] for one in sessions] == [1, 1]


def test_a_soak_does_not_go_on_on_another_machine(run, interrupted, monkeypatch):
    monkeypatch.setattr(module, "this_machine", lambda: {"host": "a", "processor": "Xeon"})
    interrupted()
    monkeypatch.setattr(module, "this_machine", lambda: {"host": "a", "processor": "EPYC"})
    with pytest.raises(JournalError, match=r"machine was .*Xeon.* when this soak started and is .*EPYC.* now"):
        run(resume=True)


def test_a_new_soak_keeps_the_journal_of_the_one_before(run, path, interrupted):
    interrupted()
    run()
    assert summarise(f"{path}.previous").finished == "" and summarise(path).finished == "complete"


def test_a_soak_that_is_over_is_not_resumed(run, path):
    run()
    with pytest.raises(JournalError, match=r"journal: cannot resume, .* is over \(complete, 5 of 5 windows\); start"):
        run(resume=True)
    run(failing(2))
    with pytest.raises(JournalError, match=r"is over \(failed, 0 of 5 windows\)"):
        run(resume=True)


def test_a_soak_that_is_over_can_be_judged_again_even_elsewhere(run, path, interrupted, monkeypatch):
    run()
    content = path.read_bytes()
    assert module.is_over(path, PLAN, IDENTITY) and path.read_bytes() == content
    for identity, plan, words in (({**IDENTITY, "detector": "def"}, PLAN, "detector"), (IDENTITY, LONG, "seconds")):
        with pytest.raises(JournalError, match=f"cannot resume, because {words} was"):
            module.is_over(path, plan, identity)
    run(failing(2))
    assert module.is_over(path, PLAN, IDENTITY)
    monkeypatch.setattr(module, "this_machine", lambda: {"host": "another"})
    assert module.is_over(path, PLAN, IDENTITY)
    interrupted()
    assert not module.is_over(path, PLAN, {"detector": "that run_soak will refuse"})


def test_a_soak_of_which_a_request_failed_before_it_was_cut_short_is_over(run, path):
    failed = Entry(0, 0.2, 0.3, 3, 0, "device lost", 0)
    journal(path, [{**started(), "plan": PLAN.as_record(), "identity": {"machine": {}, **IDENTITY}}, failed])
    with pytest.raises(JournalError, match=r"is over \(failed, 0 of 5 windows\)"):
        run(resume=True)


def test_wrong_detections_end_the_soak_with_the_reason(run):
    seen = []
    soak = run(wrong=lambda detections: seen.append(detections) or ("no boxes" if len(seen) == 3 else ""))
    assert all(set(detections) <= set(dict(SAMPLES)) for detections in seen)
    assert (soak.finished, len(soak.windows), soak.first_error) == (
        "failed", 2, "wrong detections in window 3: no boxes"
    )
    with pytest.raises(JournalError, match=r"is over \(failed, 2 of 5 windows\)"):
        run(resume=True)


OTHER = {
    "detector": (dict(identity={**IDENTITY, "detector": "def"}), "detector was 'abc' .* and is 'def' now"),
    "classes": (dict(identity={**IDENTITY, "classes": ["cup"]}), "classes"),
    "lacking": (dict(identity={"detector": "abc"}), "classes"),
    "more": (dict(identity={**IDENTITY, "data": "x"}), "data was None when this soak started and is 'x' now"),
    "callers": (dict(plan=Plan(0.5, 0.1, LoadPattern(4, 3))), "callers was 2 when this soak started and is 4 now"),
    "window": (dict(plan=Plan(0.5, 0.25, PLAN.pattern)), "window_seconds was 0.1"),
    "length": (dict(plan=Plan(0.8, 0.1, PLAN.pattern)), "seconds was 0.5"),
    "rate": (dict(plan=Plan(0.5, 0.1, LoadPattern(2, 3, 10.0))), "rate was None .* and is 10.0 now"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_soak_of_something_else_is_not_resumed(run, path, interrupted, case):
    options, words = OTHER[case]
    interrupted()
    content = path.read_bytes()
    with pytest.raises(JournalError, match=rf"soak\.journal: cannot resume, because {words}"):
        run(resume=True, **options)
    assert path.read_bytes() == content


def test_a_soak_that_never_started_is_not_resumed(run, path):
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be read .* is a soak journaled there"):
        run(resume=True)
    path.write_text("")
    with pytest.raises(JournalError, match=r"soak\.journal: is empty, because no soak had started; start one"):
        run(resume=True)


def test_a_journal_with_only_a_start_goes_on(run, path):
    journal(path, [{**started(), "plan": PLAN.as_record(), "identity": {"machine": {}, **IDENTITY}}])
    assert run(resume=True).finished == "complete"


def test_an_identity_is_plain_json(run):
    with pytest.raises(ValueError, match="JSON"):
        run(identity={"x": float("nan")})


def test_two_soaks_do_not_share_a_journal(run, path):
    started, release = threading.Event(), threading.Event()

    def detect(images):
        started.set()
        release.wait(60)
        return sleeping(images)

    first = threading.Thread(target=run, args=(detect,))
    first.start()
    assert started.wait(60)
    with pytest.raises(JournalError, match="another process is writing it"):
        run()
    release.set()
    first.join(PATIENCE)
    assert summarise(path).finished == "complete"


def test_a_soak_that_goes_on_can_be_summarised(path):
    journal(path, [started(), *window(1), *window(2)[:50]])
    assert (len(summarise(path).windows), summarise(path).finished) == (1, "")


SLEEPING_SOAK = """
import os, sys, time
from types import SimpleNamespace
from harness.load.generator import LoadPattern
from harness.soak.run import Plan, run_soak
path, calls = sys.argv[1:3]
log = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def detect(images):
    time.sleep(0.002)
    os.write(log, b"%d %.6f\\n" % (os.getpid(), time.monotonic()))
    return [SimpleNamespace(error="")] * len(images)
run_soak(detect, [(i, b"x") for i in range(7)], Plan(3, 0.3, LoadPattern(2, 2)), path, {"a": 1}, deadline=60,
         resume=len(sys.argv) > 3)
"""


def start(path, calls, *resume):
    return subprocess.Popen([sys.executable, "-c", SLEEPING_SOAK, str(path), str(calls), *resume], cwd=ROOT)


def test_a_soak_that_is_killed_twice_loses_and_doubles_nothing(path, tmp_path):
    calls, whole_lines, resume, chance = tmp_path / "calls", [], [], random.Random(5)
    for least in (1, 3):
        process = start(path, calls, *resume)
        until(lambda: windows_in(path) >= least)  # noqa: B023 - called at once
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        process.wait(PATIENCE)
        content = path.read_bytes()
        whole_lines.append(content[:content.rindex(b"\n") + 1])
        assert recorded(path, process.pid, calls) >= before(calls, process.pid, killed - 1)
        resume = ["resume"]
    assert start(path, calls, *resume).wait(120) == 0

    content = path.read_bytes()
    assert all(content.startswith(lines) for lines in whole_lines)
    soak = summarise(path)
    assert ([one.number for one in soak.windows], soak.finished) == (list(range(1, 11)), "complete")
    assert (len(soak.sessions), sum(one.windows for one in soak.sessions)) == (3, 10)
    assert set(Counter(requests(path)).values()) == {1}
    assert soak.requests + soak.discarded_requests == len(list(requests(path)))


def windows_in(path) -> int:
    return path.read_bytes().count(b'{"kind":"window"') if path.exists() else 0


def requests(path):
    """(session, caller, start) of each request."""
    session = 0
    for record in read(path):
        session += isinstance(record, dict) and record["kind"] == "session"
        if isinstance(record, Entry):
            yield session, record.caller, record.start


def recorded(path, pid, calls) -> int:
    """Requests of the last session, its warm-up included, which is not journaled."""
    last = max(session for session, _, _ in requests(path))
    return 2 + sum(session == last for session, _, _ in requests(path))


def before(calls, pid, when) -> int:
    """Calls that this process answered before that time."""
    lines = (line.split() for line in calls.read_text().splitlines())
    return sum(int(process) == pid and float(at) < when for process, at in lines)
