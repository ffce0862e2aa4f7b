"""The load generator loses nothing, repeats nothing, and times each request whole."""
from __future__ import annotations

import threading
from collections import Counter
from time import perf_counter, sleep
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load import Load, Request, closed_loop, images_per_second

ANSWER = SimpleNamespace(error="")


def samples(count):
    return [(i, b"picture %d" % i) for i in range(count)]


def null(images):
    return [ANSWER] * len(images)


def run(detect, count=10, callers=2, batch_size=4, **options) -> Load:
    return closed_loop(detect, samples(count), callers, batch_size, **options)


@given(count=st.integers(1, 40), callers=st.integers(1, 5), size=st.integers(1, 9))
@settings(max_examples=50)
def test_every_sample_is_sent_once(count, callers, size):
    load = run(null, count, callers, size)
    sent = Counter(image_id for request in load.requests for image_id in request.image_ids)
    assert sent == dict.fromkeys(range(count), 1)


def test_answers_belong_to_their_images():
    load = run(lambda images: [SimpleNamespace(error="", saw=image) for image in images], callers=4)
    assert {i: answer.saw for i, answer in load.answers.items()} == dict(samples(10))


def test_the_short_last_batch_is_sent():
    assert [len(request.image_ids) for request in run(null, callers=1).requests] == [4, 4, 2]


def test_the_first_answer_after_warm_up_is_kept():
    numbers = iter(range(100))
    load = run(lambda images: [SimpleNamespace(error="", number=next(numbers))], 1, 1, 1, warm_up=5)
    assert load.answers[0].number == 5


def test_all_callers_are_in_flight_at_once():
    barrier = threading.Barrier(4, timeout=5)
    load = run(lambda images: barrier.wait() * 0 or null(images), 8, 4, 1, warm_up=0)
    assert not load.failed


def test_warm_up_requests_are_kept_out_of_the_figures():
    load = run(null, callers=2, warm_up=3)
    assert (len(load.warm_up), len(load.requests)) == (6, 3)


def test_a_failed_warm_up_is_not_forgotten():
    calls = iter(range(100))
    load = run(lambda images: null(images) if next(calls) else 1 / 0, callers=1)
    assert load.failed == load.warm_up


def explode(images):
    raise RuntimeError("device lost")


BROKEN = [
    (explode, "RuntimeError: device lost"),
    (lambda images: null(images)[1:], "detect returned 3 answers for 4 images"),
    (lambda images: None, "detect returned a NoneType for 4 images"),
    (lambda images: (answer for answer in null(images)), "detect returned a generator for 4 images"),
]


@pytest.mark.parametrize(("detect", "message"), BROKEN)
def test_a_broken_call_becomes_the_error_of_its_request(detect, message):
    assert run(detect, callers=1).requests[0].error.startswith(message)


def test_a_failed_request_is_not_retried_and_the_others_go_on():
    load = run(lambda images: explode(images) if b"picture 5" in images else null(images))
    assert ([r.image_ids for r in load.failed], sorted(load.answers)) == ([(4, 5, 6, 7)], [0, 1, 2, 3, 8, 9])


def test_images_answered_with_an_error_do_not_count_as_throughput():
    load = run(lambda images: [SimpleNamespace(error="cut short"), *null(images[1:])])
    assert sum(request.answered for request in load.requests) == 7


def test_throughput_is_answered_images_by_wall_clock():
    requests = [Request(0, (1, 2), 10.0, 11.0, 2, ""), Request(1, (3, 4), 13.0, 14.0, 0, "lost")]
    assert images_per_second([Load(requests, [], {})]) == 2 / 4.0


def test_latency_is_that_of_the_whole_request():
    load = run(lambda images: sleep(0.02) or null(images), count=8, callers=1, batch_size=8, warm_up=0)
    assert load.latencies[0] >= 0.02


def test_failed_requests_have_no_latency():
    assert run(explode).latencies == []


class SlowToRead(list):
    def __iter__(self):
        for sample in super().__iter__():
            sleep(0.01)
            yield sample


def test_reading_a_sample_is_not_timed():
    load = closed_loop(null, SlowToRead(samples(4)), callers=1, batch_size=1)
    assert max(load.latencies) < 0.01


def test_a_data_set_is_read_as_it_is_sent(dataset):
    load = closed_loop(null, dataset, callers=2, batch_size=3)
    assert sorted(load.answers) == dataset.image_ids


def test_an_unreadable_sample_ends_the_run_with_its_error(dataset):
    (dataset.images / "8.jpg").unlink()
    with pytest.raises(ValueError, match=r"8\.jpg: cannot be read"):
        closed_loop(null, dataset, callers=2, batch_size=1)


def test_a_keyboard_interrupt_ends_the_run_early():
    calls = []

    def interrupted(images):
        calls.append(images)
        if len(calls) == 3:
            raise KeyboardInterrupt
        sleep(0.001)
        return null(images)

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, count=1000, callers=2, batch_size=1)
    assert len(calls) < 100


def test_progress_counts_every_image():
    seen = []
    run(null, progress=seen.append)
    assert sum(seen) == 10


BAD = [{"callers": 0}, {"batch_size": 0}, {"warm_up": -1}]


@pytest.mark.parametrize("option", BAD, ids=lambda option: next(iter(option)))
def test_a_bad_argument_is_named(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be at least"):
        run(null, **option)


@pytest.mark.parametrize(("unfit", "message"), [([], "samples is empty"), (iter([(1, b"")]), "only once")])
def test_samples_that_cannot_be_sent_are_an_error(unfit, message):
    with pytest.raises(ValueError, match=message):
        closed_loop(null, unfit, callers=1, batch_size=1)


def test_costs_little_against_a_null_detector():
    start = perf_counter()
    run(null, count=20_000, callers=8, batch_size=1)
    assert perf_counter() - start < 2.0
