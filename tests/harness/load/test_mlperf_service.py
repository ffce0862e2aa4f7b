"""Each sample that LoadGen issues is completed exactly once: a second time would be written into freed memory."""
from __future__ import annotations

from collections import Counter
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from harness.load.generator import LoadPattern
from harness.load.mlperf_plan import SCENARIOS, Plan
from harness.load.mlperf_service import Service

SOON = 60  # seconds in which whatever ends at all has ended, on a busy machine too
IMAGES = [b"image 0", b"image 1"]


class LoadGen:
    """Counts how often each sample is completed."""

    def __init__(self):
        self.completed = Counter()

    def QuerySampleResponse(self, sample, data, size):
        return sample

    def QuerySamplesComplete(self, samples):
        self.completed.update(samples)


def service(detect, scenario="Offline", deadline=SOON, callers=2) -> tuple[Service, LoadGen]:
    loadgen = LoadGen()
    pattern = LoadPattern(callers, 2, 10.0 if scenario == "Server" else None)
    plan = Plan(SCENARIOS[scenario], pattern, 1.0, None, deadline)
    return Service(loadgen, detect, [7, 8], IMAGES, plan), loadgen


def query(count):
    return [SimpleNamespace(id=1000 + number, index=number % 2) for number in range(count)]


def found(images):
    return [SimpleNamespace(error="", saw=image) for image in images]


class Held:
    """A detector whose calls hang until they are released."""

    def __init__(self):
        self.called, self.release, self.ended = Event(), Event(), Event()

    def __call__(self, images):
        self.called.set()
        self.release.wait(SOON)
        self.ended.set()
        return found(images)


def started(one: Service) -> Thread:
    thread = Thread(target=one.run, daemon=True)
    thread.start()
    return thread


def ended(thread: Thread) -> bool:
    thread.join(SOON)
    return not thread.is_alive()


def once(count):
    return Counter(range(1000, 1000 + count))


def test_what_succeeds_is_completed_once_and_its_first_detections_are_kept():
    one, loadgen = service(found)
    thread = started(one)
    one.issue(query(9))
    until_complete(loadgen, 9)
    one.close()
    assert ended(thread) and loadgen.completed == once(9)
    assert {image_id: own.saw for image_id, own in one.detections.items()} == {7: IMAGES[0], 8: IMAGES[1]}
    assert (one.issued, one.answered, one.failed) == (9, 9, Counter())


def until_complete(loadgen, count) -> None:
    pause = Event()
    for _ in range(SOON * 100):
        if sum(loadgen.completed.values()) >= count:
            return
        pause.wait(0.01)
    pytest.fail("samples were not completed")


def test_a_call_that_comes_back_after_it_was_abandoned_completes_nothing_again():
    held = Held()
    one, loadgen = service(held, callers=1)
    thread = started(one)
    one.issue(query(4))
    held.called.wait(SOON)
    one.abandon("the run was interrupted")
    assert loadgen.completed == once(4)
    held.release.set()
    assert ended(thread) and held.ended.is_set()
    assert loadgen.completed == once(4) and one.answered == 0


def test_a_call_past_its_deadline_is_completed_as_failed_and_not_again_when_it_returns():
    held = Held()
    one, loadgen = service(held, deadline=0.2, callers=1)
    thread = started(one)
    one.issue(query(4))
    assert ended(thread)
    assert loadgen.completed == once(4)
    assert one.failed == {"no response within 0.2 s": 2, "never sent, because another image had no response": 2}
    held.release.set()
    assert held.ended.wait(SOON) and loadgen.completed == once(4)


def test_nothing_is_completed_once_loadgen_has_ended():
    held = Held()
    one, loadgen = service(held, callers=1)
    thread = started(one)
    one.issue(query(4))
    held.called.wait(SOON)
    one.close()
    held.release.set()
    assert ended(thread) and loadgen.completed == Counter()


def test_a_server_holds_what_was_given_up_until_loadgen_has_issued_its_last():
    one, loadgen = service(found, "Server")
    one.give_up("the run broke off")
    one.issue(query(3))
    assert loadgen.completed == Counter()
    one.flush()
    assert loadgen.completed == once(3)
    assert one.failed == {"never sent, because the run broke off": 3}
