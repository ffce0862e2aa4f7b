"""The load generator loses nothing, repeats nothing, times each request whole and ends when the detector does not.

Where time decides, it is made up or only bounds what must hold from below: no machine is too busy for these tests.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from itertools import count
from time import perf_counter, sleep
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load import generator as module
from harness.load.generator import (
    Load,
    LoadPattern,
    Request,
    drive,
    images_per_second,
    parts_in_turn,
    rates,
    window_rates,
)
from tests.harness.clock import Clock
from tests.harness.simulated import closed_loop

ANSWER = SimpleNamespace(error="")
SOON = 0.3  # seconds of a deadline that a hung detector misses
LONG = 60  # seconds that only a run that does not end takes


def samples(count):
    return [(i, b"image %d" % i) for i in range(count)]


def null(images):
    return [ANSWER] * len(images)


def run(detect, count=10, callers=2, batch_size=4, rate=None, **options) -> Load:
    return drive(detect, samples(count), LoadPattern(callers, batch_size, rate), **options)


@pytest.fixture
def hang():
    """An event that a detector may wait for; it comes when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def sent(load) -> list[int]:
    """The image of each request, in the order in which they were sent."""
    return [request.image_ids[0] for request in sorted(load.requests, key=lambda request: request.start)]


# What is sent.


@given(count=st.integers(1, 40), callers=st.integers(1, 5), size=st.integers(1, 9))
@settings(max_examples=50)
def test_every_sample_is_sent_once(count, callers, size):
    load = run(null, count, callers, size)
    images = Counter(image_id for request in load.requests for image_id in request.image_ids)
    assert images == dict.fromkeys(range(count), 1)


@given(count=st.integers(1, 12), callers=st.integers(1, 4), size=st.integers(1, 5), first=st.integers(0, 20),
       seconds=st.integers(1, 300))
@settings(max_examples=50)
def test_with_seconds_no_batch_is_skipped_or_doubled_in_a_cycle(count, callers, size, first, seconds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "perf_counter", Clock())
        load = run(null, count, callers, size, seconds=seconds, first=first, deadline=1e9)
    batches = -(-count // size)
    batch = Counter(request.image_ids[0] // size for request in load.requests)
    due = Counter(number % batches for number in range(first, first + len(load.requests) + callers))
    assert not batch - due  # each caller may hold one batch that was not sent before the end


@given(count=st.integers(1, 12), first=st.integers(0, 20), seconds=st.integers(1, 300))
@settings(max_examples=50)
def test_with_seconds_the_samples_cycle_in_order_from_the_first(count, first, seconds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "perf_counter", Clock())
        load = run(null, count, 1, 1, seconds=seconds, first=first, deadline=1e9)
    assert sent(load) == [number % count for number in range(first, first + len(load.requests))]


def test_with_seconds_nothing_is_sent_after_their_end(clock):
    load = run(null, seconds=100, deadline=1e9)
    starts = [request.start for request in load.requests]
    assert max(starts) - min(starts) < 100


def test_with_seconds_it_goes_on_until_their_end(clock):
    load = run(null, callers=1, seconds=1000, deadline=1e9)
    assert load.seconds > 900


def test_the_warm_up_sends_the_first_batch():
    load = run(null, callers=2, first=1, seconds=1e-9, warm_up=2)
    assert [request.image_ids for request in load.warm_up] == [(4, 5, 6, 7)] * 4


def test_answers_belong_to_their_images():
    load = run(lambda images: [SimpleNamespace(error="", saw=image) for image in images], callers=4)
    assert {i: answer.saw for i, answer in load.detections.items()} == dict(samples(10))


def test_the_short_last_batch_is_sent():
    assert [len(request.image_ids) for request in run(null, callers=1).requests] == [4, 4, 2]


def test_the_first_answer_after_warm_up_is_kept(clock):
    numbers = count()
    load = run(lambda images: [SimpleNamespace(error="", number=next(numbers))], 1, 1, 1, warm_up=5, seconds=100)
    assert (len(load.requests) > 9, load.detections[0].number) == (True, 5)


def test_all_callers_are_in_flight_at_once():
    barrier = threading.Barrier(4, timeout=LONG)
    load = run(lambda images: barrier.wait(LONG) * 0 or null(images), 8, 4, 1, warm_up=0)
    assert not load.failed


def test_warm_up_requests_are_kept_out_of_the_figures():
    load = run(null, callers=2, warm_up=3)
    assert (len(load.warm_up), len(load.requests)) == (6, 3)


def test_a_data_set_is_read_as_it_is_sent(made_up_dataset):
    load = drive(null, made_up_dataset, LoadPattern(2, 3))
    assert sorted(load.detections) == made_up_dataset.image_ids


def test_every_request_is_observed_as_it_ends():
    seen = []
    load = run(null, observe=seen.append)
    assert sorted(seen) == sorted(load.requests)


# What goes wrong.


def explode(images):
    raise RuntimeError("device lost")


BROKEN = [
    (explode, "RuntimeError: device lost"),
    (lambda images: null(images)[1:], "detect returned 3 responses for 4 images"),
    (lambda images: None, "detect returned a NoneType for 4 images"),
    (lambda images: (answer for answer in null(images)), "detect returned a generator for 4 images"),
]


@pytest.mark.parametrize(("detect", "message"), BROKEN)
def test_a_broken_call_becomes_the_error_of_its_request(detect, message):
    assert run(detect, callers=1, warm_up=0).requests[0].error.startswith(message)


def test_a_failed_request_is_not_retried_and_the_others_go_on():
    load = run(lambda images: explode(images) if b"image 5" in images else null(images))
    assert ([r.image_ids for r in load.failed], sorted(load.detections)) == ([(4, 5, 6, 7)], [0, 1, 2, 3, 8, 9])


def test_a_failed_warm_up_ends_the_run():
    calls = iter(range(100))
    load = run(lambda images: null(images) if next(calls) else 1 / 0, callers=1)
    assert (load.requests, load.failed) == ([], load.warm_up)


def test_images_answered_with_an_error_do_not_count_as_throughput():
    load = run(lambda images: [SimpleNamespace(error="cut short"), *null(images[1:])])
    assert sum(request.answered for request in load.requests) == 7


def test_failed_requests_have_no_latency():
    assert run(explode, warm_up=0).latencies == []


def test_an_unreadable_sample_ends_the_run_with_its_error(made_up_dataset):
    (made_up_dataset.images / "8.jpg").unlink()
    with pytest.raises(ValueError, match=r"8\.jpg: cannot be read"):
        drive(null, made_up_dataset, LoadPattern(2, 1))


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_caller_ends_the_run_early(ending):
    calls = []

    def interrupted(images):
        calls.append(images)
        if len(calls) == 3:
            raise ending
        sleep(0.001)
        return null(images)

    with pytest.raises(ending):
        run(interrupted, count=50_000, callers=2, batch_size=1)
    assert len(calls) < 25_000


def test_an_interrupt_in_the_main_thread_ends_the_run_though_the_detector_hangs(hang):
    def interrupted(images):
        os.kill(os.getpid(), signal.SIGINT)
        hang.wait()

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, callers=1, warm_up=0)


@pytest.mark.parametrize("error", [ValueError("disk full"), KeyboardInterrupt()], ids=repr)
def test_what_an_observer_raises_ends_the_run(error):
    def observe(request):
        raise error

    with pytest.raises(type(error)):
        run(null, observe=observe)


def test_callers_that_cannot_be_started_stop_those_that_were(monkeypatch, hang):
    started = []

    class Few(threading.Thread):
        def start(self):
            if started:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(module, "Thread", Few)
    with pytest.raises(RuntimeError, match="can't start"):
        run(lambda images: sleep(0.001) or null(images), count=50_000, batch_size=1, warm_up=0)
    started[0].join(LONG / 2)
    assert not started[0].is_alive()


# A detector that does not come back.


def test_a_hung_request_fails_and_the_other_callers_are_kept(hang):
    load = run(lambda images: null(images) if b"image 5" not in images else hang.wait(), batch_size=1, callers=3,
               deadline=1.0)  # which no other request misses
    errors = {request.image_ids: request.error for request in load.failed}
    assert (errors, sorted(sent(load))) == ({(5,): "no response within 1 s"}, list(range(10)))


def test_a_hang_ends_the_run_at_about_the_deadline(hang):
    start = perf_counter()
    run(lambda images: null(images) if b"image 5" not in images else hang.wait(), batch_size=1, seconds=LONG * 10,
        deadline=SOON)
    assert SOON <= perf_counter() - start < LONG


def test_a_hang_ends_an_open_loop_whose_next_request_is_due_in_hours(hang, monkeypatch):
    monkeypatch.setattr(module, "_arrivals", lambda rate, seed: iter([0.0, perf_counter() + 1e5]))
    start = perf_counter()
    load = run(lambda images: hang.wait(), batch_size=1, rate=1.0, warm_up=0, deadline=SOON)
    assert (len(load.requests), perf_counter() - start < LONG) == (1, True)


def test_all_callers_may_hang(hang):
    load = run(lambda images: hang.wait(), callers=4, batch_size=1, warm_up=0, deadline=SOON)
    assert (len(load.requests), len(load.failed), load.detections) == (4, 4, {})


def test_a_hang_in_the_warm_up_ends_the_run(hang):
    load = run(lambda images: hang.wait(), callers=2, deadline=SOON)
    assert (load.requests, len(load.failed)) == ([], 2)


def test_what_comes_back_after_the_run_reaches_nobody(hang):
    seen, others = [], set(threading.enumerate())
    load = run(lambda images: hang.wait() and null(images), count=1, callers=1, batch_size=1, warm_up=0, deadline=SOON,
               observe=seen.append)
    hang.set()
    for caller in set(threading.enumerate()) - others:
        caller.join(LONG)
    assert (len(load.requests), load.detections, seen) == (1, {}, [])


@pytest.mark.parametrize("later", [-0.02, 0.0, 0.02])
def test_what_comes_back_at_its_deadline_counts_once(later):
    loads = [run(lambda images: sleep(0.05 + later) or null(images), 1, 1, 1, warm_up=0, deadline=0.05)
             for _ in range(9)]
    assert [(len(load.requests), len(load.detections) + len(load.failed)) for load in loads] == [(1, 1)] * 9


HUNG = """
from threading import Event
from harness.load.generator import LoadPattern, drive
load = drive(lambda images: Event().wait(), [(1, b"")], LoadPattern(2, 1), deadline=0.2)
print(load.failed[0].error)
"""


def test_a_process_with_a_hung_request_can_exit():
    ended = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=LONG)
    assert (ended.returncode, ended.stdout) == (0, "no response within 0.2 s\n")


# Time.


def test_latency_is_that_of_the_whole_request():
    load = run(lambda images: sleep(0.02) or null(images), count=8, callers=1, batch_size=8, warm_up=0)
    assert load.latencies[0] >= 0.02


class SlowToRead:
    """A dataset whose every image takes an hour to read."""

    image_ids = (1, 2, 3, 4)

    def __init__(self, clock):
        self._clock = clock

    def __len__(self):
        return len(self.image_ids)

    def image_bytes(self, image_id) -> bytes:
        self._clock.passed += 3600
        return b""


def test_reading_a_sample_is_not_timed(clock):
    load = drive(null, SlowToRead(clock), LoadPattern(1, 1), deadline=1e9)
    assert max(load.latencies) < 3600


def test_a_closed_loop_is_due_when_it_starts():
    load = run(null, count=50, callers=3, batch_size=1)
    assert all(request.due == request.start for request in load.requests)


@given(seed=st.integers(0, 2**32), rate=st.floats(1e4, 1e6))
@settings(max_examples=20)
def test_an_open_loop_is_due_at_the_poisson_process_of_its_seed(seed, rate):
    load = run(null, count=100, callers=3, batch_size=1, rate=rate, seed=seed)
    due = np.array(sorted(request.due for request in load.requests))
    expected = np.random.default_rng(seed).exponential(1 / rate, 4096)[1:100]
    assert np.diff(due) == pytest.approx(expected, abs=1e-9)  # the clock counts in seconds since long ago


def test_an_open_loop_sends_in_the_order_of_the_due_times():
    load = run(null, count=100, callers=3, batch_size=1, rate=1e4)
    assert [r.image_ids[0] for r in sorted(load.requests, key=lambda request: request.due)] == list(range(100))


def test_an_open_loop_sends_nothing_before_it_is_due():
    load = run(null, count=100, callers=3, batch_size=1, rate=1e4)
    assert all(request.due <= request.start for request in load.requests)


def test_an_open_loop_ends_with_its_seconds_whatever_is_due_later():
    start = perf_counter()
    load = run(null, batch_size=1, rate=1e-3, seconds=SOON)
    assert (load.requests, perf_counter() - start < LONG) == ([], True)


def test_a_stall_is_charged_to_every_request_that_was_due_in_it():
    calls = iter(range(1000))
    load = run(lambda images: sleep(0.3 * (next(calls) == 0)) or null(images), count=200, callers=1, batch_size=1,
               rate=200.0, warm_up=0)
    stalled, *later = load.requests
    charged = [r for r in later if r.due < stalled.end]
    gaps = np.random.default_rng(0).exponential(1 / 200, 4096)
    assert len(charged) >= (gaps.cumsum() - gaps[0] < 0.3).sum() - 1 > 40
    assert all(r.latency >= stalled.end - r.due for r in charged)


def test_a_closed_loop_sees_the_same_stall_once(clock):
    def stall(images):
        clock.passed += 10_000 * (images == (b"image 0",))
        return null(images)

    load = run(stall, count=200, callers=1, batch_size=1, warm_up=0, deadline=1e9)
    assert sum(latency > 1000 for latency in load.latencies) == 1


# Figures.


def request(start, end, answered=1, caller=0, due=None, error="") -> Request:
    return Request(caller, (1,), start if due is None else due, start, end, answered, error)


def test_throughput_of_a_run_in_which_no_time_has_all_callers_at_work_is_that_of_the_wall_clock():
    requests = [request(10.0, 11.0, 2), request(13.0, 14.0, 0, caller=1, error="lost")]
    assert images_per_second([Load(requests, [], {})]) == 2 / 4.0


def test_throughput_of_several_runs_leaves_out_the_time_between_them():
    loads = [Load([request(0.0, 2.0, 6)], [], {}), Load([request(100.0, 101.0, 3)], [], {})]
    assert images_per_second(loads) == 3


@given(rate=st.floats(1, 1000), cores=st.integers(1, 8), callers=st.integers(1, 16), size=st.integers(1, 8),
       rounds=st.integers(3, 20), short=st.integers(0, 7))
@settings(max_examples=100)
def test_throughput_is_that_of_the_loaded_detector_whatever_the_idle_end(rate, cores, callers, size, rounds, short):
    busy = min(cores, callers)
    images = max(size * rounds * callers - min(short, size - 1), 1)
    found = images_per_second([closed_loop(cores, callers, size, busy / rate, images=images)])
    # Who waited behind a short last batch waited less; the gates send none.
    assert found == pytest.approx(rate, rel=1e-6 if images % size == 0 else 0.5 / rounds)


@given(rate=st.floats(1, 1000), cores=st.integers(1, 8), callers=st.integers(1, 16), size=st.integers(1, 8),
       rounds=st.floats(3, 20))
@settings(max_examples=100)
def test_throughput_for_a_time_does_not_depend_on_where_it_ends(rate, cores, callers, size, rounds):
    seconds = rounds * callers * size / rate
    load = closed_loop(cores, callers, size, min(cores, callers) / rate, seconds=seconds)
    assert images_per_second([load]) == pytest.approx(rate)


@pytest.mark.parametrize("callers", [1, 2, 4])
def test_a_stall_at_the_end_of_a_run_is_the_detectors(callers):
    ends = closed_loop(1, callers, 1, lambda at: 30.0 if at >= 9.95 else 0.1, seconds=10.0)
    assert images_per_second([ends]) < 0.6 * 10


def test_windows_are_those_in_which_every_caller_is_at_work():
    loads = [closed_loop(4, 4, 8, 4 / 115, images=200, start=start) for start in (0.0, 100.0)]
    assert window_rates(loads, 6) == pytest.approx([115.0] * 12)


def test_latencies_come_by_when_they_were_sent():
    sent = [request(0.0, 9.0), request(9.0, 10.0), request(5.0, 7.0, caller=1), request(6.0, 9.9, error="x")]
    load = Load(sent, [], {})
    assert [part.latencies for part in parts_in_turn([load, load], 2)] == [[9.0], [1.0, 2.0]] * 2


def test_latency_counts_from_when_a_request_was_due():
    assert request(12.0, 13.0, due=10.0).latency == 3.0


@pytest.mark.parametrize(
    ("requests", "share"),
    [
        ([request(0.0, 1.0), request(1.0, 2.0)], 0.0),
        ([request(0.0, 1.0), request(3.0, 4.0)], 0.5),
        ([request(0.0, 1.0), request(3.0, 4.0), request(0.0, 4.0, caller=1)], 0.25),
        ([request(0.0, 1.0)], 0.0),
        ([], 0.0),
    ],
)
def test_the_drivers_share_is_what_the_callers_spend_between_requests(requests, share):
    assert Load(requests, [], {}).driver_share == share


def test_beside_a_slow_detector_the_driver_takes_no_time(clock):
    def slow(images):
        clock.passed += 100_000
        return null(images)

    assert run(slow, callers=1, deadline=1e9).driver_share < 0.001


def test_a_request_under_way_counts_on_both_sides_of_an_edge():
    assert rates([request(0.0, 4.0, 8)], [0.0, 1.0, 4.0, 5.0]) == [2.0, 2.0, 0.0]


def test_a_request_that_took_no_time_counts_once():
    assert rates([request(1.0, 1.0, 3)], [0.0, 1.0, 2.0]) == [0.0, 3.0]


def test_windows_without_a_request_have_the_rate_zero():
    assert rates([], [0.0, 1.0, 2.0]) == [0.0, 0.0]


TIMES = st.floats(0.001, 100)
MADE_UP = st.builds(lambda start, took, n: request(start, start + took, n), TIMES, TIMES, st.integers(0, 64))
REQUESTS = st.lists(MADE_UP, max_size=8)


@given(requests=REQUESTS, inner=st.lists(st.floats(0.1, 200), unique=True, max_size=8))
def test_the_windows_add_up_to_what_was_answered(requests, inner):
    edges = [0.0, *sorted(inner), 201.0]
    images = np.dot(rates(requests, edges), np.diff(edges))
    assert images == pytest.approx(sum(r.answered for r in requests))


@given(first=REQUESTS, second=REQUESTS, windows=st.integers(1, 20))
def test_the_windows_of_several_runs_add_up_as_well(first, second, windows):
    loads = [Load([*requests, request(0.0, 1.0)], [], {}) for requests in (first, second)]
    parts = np.array(window_rates(loads, windows)).reshape(2, windows).sum(1)
    whole = [images_per_second([load]) for load in loads]
    assert parts / windows == pytest.approx(whole)


# Arguments.

BAD = [{"callers": 0}, {"batch_size": 0}, {"warm_up": -1}]


@pytest.mark.parametrize("option", BAD, ids=lambda option: next(iter(option)))
def test_a_bad_argument_is_named(option):
    with pytest.raises(ValueError, match=rf"{next(iter(option))} -?\d+: must be at least"):
        run(null, **option)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("option", ["rate", "seconds", "deadline"])
def test_what_is_not_above_zero_is_named(option, value):
    with pytest.raises(ValueError, match=rf"{option} \S+: must be .*above 0"):
        run(null, **{option: value})


def test_an_endless_rate_is_named():
    with pytest.raises(ValueError, match="rate inf: must be a finite number of requests a second above 0"):
        LoadPattern(1, 1, float("inf"))


@pytest.mark.parametrize(("unfit", "message"), [([], "samples are empty"), (iter([(1, b"")]), "only once")])
def test_samples_that_cannot_be_sent_are_an_error(unfit, message):
    with pytest.raises(ValueError, match=message):
        drive(null, unfit, LoadPattern(1, 1))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [(LoadPattern(1, 8), "1 caller × batch 8"), (LoadPattern(4, 8), "4 callers × batch 8"),
     (LoadPattern(2, 1, 50.0), "2 callers × batch 1, 50 requests/s at random times")],
)
def test_a_load_pattern_says_what_it_is(pattern, words):
    assert str(pattern) == words
