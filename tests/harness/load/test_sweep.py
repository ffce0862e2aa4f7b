"""The sweep against queues in made-up time whose knee is known, and against real detectors that misbehave."""
from __future__ import annotations

import json
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import product
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load import sweep as module
from harness.load.generator import Load, LoadPattern, Request, drive
from harness.load.points import Build
from harness.load.sweep import DRIFT, GRID, MOST_PASSES, Sweep, sweep
from tests.harness.load.points import POINTS, Noisy, invalid, point

ANSWER = SimpleNamespace(error="")
SMALL = (LoadPattern(1, 1), LoadPattern(2, 1), LoadPattern(1, 2), LoadPattern(2, 2))
SAMPLES = [(i, b"image %d" % i) for i in range(16)]


# A detector as a queue: requests wait for one of `slots`, which takes `fixed` seconds and `each` for every image.


@dataclass
class Queue:
    slots: int = 1
    fixed: float = 0.0
    each: float = 0.01
    slower: float = 1.0  # by which factor from one run to the next
    runs: int = 0

    def drive(self, samples, pattern, *, seconds, deadline):
        """As harness.load.generator.drive, in the queue's own time."""
        service = (self.fixed + self.each * pattern.batch_size) * self.slower**self.runs
        self.runs += 1
        free, callers, requests = [0.0] * self.slots, [(0.0, number) for number in range(pattern.callers)], []
        heapify(callers)
        ids = tuple(range(pattern.batch_size))
        while callers:
            now, caller = heappop(callers)
            end = max(now, heappop(free)) + service
            heappush(free, end)
            requests.append(Request(caller, ids, now, now, end, pattern.batch_size, ""))
            if end < seconds:
                heappush(callers, (end, caller))
        return Load(requests, [], {})


@pytest.fixture
def virtual(monkeypatch):
    """The sweep of a Queue, made for a number of workers, in its own time."""
    monkeypatch.setattr(module, "drive", lambda queue, *arguments, **options: queue.drive(*arguments, **options))
    return lambda queue, *arguments, **options: sweep(
        lambda setup: nullcontext(queue(setup)), SAMPLES, *arguments, **options
    )


def queue(**settings):
    made = Queue(**settings)
    return lambda setup: made


KNEES = [
    (dict(slots=1), (1, 1)),  # one at a time, and a batch costs what its images cost
    (dict(slots=2), (2, 1)),
    (dict(slots=4), (4, 1)),
    (dict(slots=1, fixed=0.1), (1, 8)),  # what a request costs is shared by the images of a batch
    (dict(slots=2, fixed=0.1), (2, 8)),
    (dict(slots=4, fixed=0.0004), (4, 1)),  # 4 % of the request: batches gain less than 5 %
    (dict(slots=4, fixed=0.001), (4, 2)),
]


@pytest.mark.parametrize(("settings", "knee"), KNEES, ids=str)
def test_the_knee_of_a_known_queue_is_found(virtual, settings, knee):
    found = virtual(queue(**settings)).knee
    assert (found.callers, found.batch_size) == knee


def test_figures_are_those_of_the_queue(virtual):
    [single] = virtual(queue(), grid=[LoadPattern(1, 1)]).points
    assert (single.low, single.images_per_second, single.high) == pytest.approx((100, 100, 100))
    assert (single.p50_seconds, single.p99_seconds) == (pytest.approx(0.01), pytest.approx(0.01))
    assert (single.requests, single.failed, single.driver_share) == (pytest.approx(500, abs=2), 0, pytest.approx(0))


def test_latency_grows_with_the_images_in_flight_once_the_detector_is_busy(virtual):
    for found in virtual(queue(slots=2)).points:
        if found.callers >= 2:
            assert found.p50_seconds == pytest.approx(found.in_flight / found.images_per_second, rel=0.05)


def test_the_default_grid_has_every_pair_of_callers_and_batch_size_once(virtual):
    points = virtual(queue()).points
    assert sorted((p.callers, p.batch_size) for p in points) == sorted(product((1, 2, 4, 8), repeat=2))


def test_the_order_is_drawn_and_the_same_for_the_same_seed(virtual):
    orders = [[(p.callers, p.batch_size) for p in virtual(queue(), seed=seed).points] for seed in (0, 0, 1)]
    in_order = [(pattern.callers, pattern.batch_size) for pattern in GRID]
    assert orders[0] == orders[1] != orders[2] and in_order not in orders


def test_each_point_is_measured_in_two_passes_and_no_more_when_the_knee_is_decided(virtual):
    seen = []
    found = virtual(queue(), observe=seen.append)
    places = [point.place for point in found.points]
    assert seen[:16] == places and set(seen[16:]) == set(places) and seen[16:] != places
    assert {point.blocks for point in found.points} == {2} and found.drift == pytest.approx(0, abs=1e-6)
    assert found.warning == ""


@pytest.mark.parametrize("slower", [1.01, 0.99])
def test_a_machine_that_drifts_is_found_out(virtual, slower):
    found = virtual(queue(slower=slower))
    assert (found.drift < -DRIFT) if slower > 1 else (found.drift > DRIFT)
    assert found.warning.startswith("the machine drifted: the second pass over the points gave ")


def test_little_drift_is_no_warning(virtual):
    found = virtual(queue(slower=1.005))
    assert -DRIFT < found.drift < -0.05 and "drifted" not in found.warning


def test_workers_are_a_third_axis(virtual):
    found = virtual(lambda setup: Queue(slots=setup.workers), workers=(1, 2, 4))
    assert len(found.points) == 48 and (found.knee.callers, found.knee.workers) == (4, 4)
    assert found.warning == "" and str(found.knee) == "4 callers × batch 1, 4 workers"


# A noisy machine.


def test_a_lucky_point_between_slower_neighbours_is_not_the_knee(virtual):
    lucky = {LoadPattern(2, 8): [95, 78, 74, 77, 75, 76, 74, 77, 76, 75]}
    steady = {LoadPattern(2, 4): [70] * 10, LoadPattern(4, 4): [78] * 10, LoadPattern(4, 8): [83, 81] * 5,
              LoadPattern(8, 8): [82, 83] * 5}
    rates = {pattern: iter(series) for pattern, series in {**lucky, **steady}.items()}

    class Recorded(Noisy):
        def drive(self, samples, pattern, **options):
            rate = next(rates[pattern])
            self.rate = lambda flight: rate
            return super().drive(samples, pattern, **options)

    found = virtual(lambda setup: Recorded(None, 0, Random(0)), grid=list(rates))
    [point] = [point for point in found.points if point.place.pattern == LoadPattern(2, 8)]
    assert point.blocks > 2 and point.images_per_second < 85 and found.knee.images_per_second < 85


def test_a_knee_that_is_not_decided_names_what_it_may_be_instead(virtual):
    found = virtual(lambda setup: Noisy(lambda flight: 90 * (1 - 0.4 ** flight), 0.3, Random(1)))
    assert found.warning.split("; ")[-1].startswith("the knee is not decided against ")
    assert max(point.blocks for point in found.points) == MOST_PASSES


# Real detectors.


def null(images):
    return [ANSWER] * len(images)


@pytest.fixture
def once(monkeypatch):
    """Sends every sample once, so that no time decides what was sent on a busy machine."""
    def drive_once(detect, samples, pattern, *, seconds, deadline):
        return drive(detect, samples, pattern, deadline=deadline)

    monkeypatch.setattr(module, "drive", drive_once)


@pytest.fixture
def real(once):
    return lambda detect, samples=SAMPLES, grid=SMALL, **options: sweep(
        lambda setup: nullcontext(detect), samples, grid, **options
    )


def invalid_of(found: Sweep) -> dict:
    return {(p.callers, p.batch_size): p.invalid for p in found.points if p.invalid}


def explode(images):
    raise RuntimeError("device lost")


BROKEN = [
    (explode, "2 of 2 requests failed: RuntimeError: device lost"),
    (lambda images: null(images)[1:], "failed: detect returned 1 responses for 2 images"),
    (lambda images: [SimpleNamespace(error="cut short"), *null(images[1:])], "requests failed: cut short"),
]


@pytest.mark.parametrize(("broken", "words"), BROKEN)
def test_a_failed_request_makes_its_points_invalid_and_says_why(real, broken, words):
    found = real(lambda images: broken(images) if len(images) == 2 else null(images))
    reasons = invalid_of(found)
    assert set(reasons) == {(1, 2), (2, 2)} and words in reasons[2, 2] and found.knee.batch_size == 1


def test_an_invalid_point_has_no_figures_and_counts_what_failed(real):
    [found] = real(explode, grid=[LoadPattern(2, 1)]).points
    assert (found.images_per_second, found.low, found.p99_seconds, found.requests, found.failed) == (
        None, None, None, 0, 2
    )


def test_a_point_without_a_request_is_invalid(monkeypatch):
    monkeypatch.setattr(module, "drive", lambda *arguments, **options: Load([], [], {}))
    [found] = sweep(lambda setup: nullcontext(null), SAMPLES, [LoadPattern(1, 1)]).points
    assert found.invalid.startswith("no request was sent in time")


def test_a_sweep_without_a_valid_point_says_so(real):
    found = real(explode)
    assert found.drift is None and "no point is valid" in found.warning and "device lost" in found.warning


def test_after_a_hung_call_no_more_is_measured_with_that_detector(real):
    release = threading.Event()
    try:
        found = real(lambda images: release.wait(60) if len(images) == 2 else null(images), deadline=1.0)
    finally:
        release.set()
    [hung] = [place for place, p in enumerate(found.points) if p.invalid.endswith("no response within 1 s")]
    assert all("not measured, because a call hung before" in p.invalid for p in found.points[hung + 1:])
    assert not any(p.invalid for p in found.points[:hung])


def test_whether_the_machine_drifted_is_unknown_after_a_hung_call(real, monkeypatch):
    monkeypatch.setattr(module, "_shuffled", lambda places, random: places)
    release = threading.Event()
    try:
        found = real(lambda images: release.wait(60) if len(images) == 2 else null(images), deadline=1.0,
                     grid=[LoadPattern(1, 1), LoadPattern(1, 2)])
    finally:
        release.set()
    assert found.drift is None and "whether the machine drifted is unknown" in found.warning
    assert (found.points[0].low, found.points[0].high) == (None, None)


def test_every_batch_is_full_and_all_patterns_send_the_same_images(real):
    seen = {1: set(), 2: set(), 4: set()}

    def look(images):
        seen[len(images)].update(images)
        return null(images)

    real(look, grid=[LoadPattern(2, 1), LoadPattern(2, 2), LoadPattern(2, 4)], samples=SAMPLES[:11])
    assert seen[1] == seen[2] == seen[4] == {image for _, image in SAMPLES[:8]}


def test_a_data_set_is_sent_in_full_batches(real, dataset):
    sizes = []
    real(lambda images: sizes.append(len(images)) or null(images), grid=[LoadPattern(1, 3)], samples=dataset)
    assert set(sizes) == {3}


def test_an_unreadable_image_ends_the_sweep_with_its_error(real, dataset):
    for image in dataset.images.iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=r"\.jpg: cannot be read"):
        real(null, samples=dataset)


def test_a_detector_is_opened_once_a_pass_for_all_its_patterns_and_closed(once):
    opened, closed = [], []

    @contextmanager
    def detect_for(setup):
        opened.append(setup.workers)
        yield null
        closed.append(setup.workers)

    found = sweep(detect_for, SAMPLES, SMALL, workers=(1, 2, 3))
    assert opened == closed and sorted(opened[:3]) == sorted(opened[3:6]) == [1, 2, 3]
    assert opened[:3] == [*dict.fromkeys(p.workers for p in found.points)]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"grid": []}, r"grid \[\]: must have at least one value"), ({"grid": [LoadPattern(1, 1)] * 2}, "none twice"),
     ({"grid": [LoadPattern(1, 1, rate=5)]}, "closed loops alone"),
     ({"workers": ()}, r"workers \[\]: must have at least one"),
     ({"builds": ()}, r"builds \[\]: must have at least one"),
     ({"builds": (Build(2), Build(2))}, "builds .*compiled batch 2, static.*none twice"),
     ({"workers": (0,)}, "workers 0: must be at least 1"),
     ({"seconds": 0}, "seconds 0: must be a finite number above 0"),
     ({"seconds": float("nan")}, "seconds nan: must be a finite"), ({"seconds": float("inf")}, "seconds inf: must"),
     ({"samples": []}, "0 samples: .*at least 2 images"), ({"samples": SAMPLES[:1]}, "1 samples: .*at least 2 images"),
     ({"samples": iter(SAMPLES)}, "a list or a Dataset")],
)
def test_a_bad_argument_is_a_clear_error(real, options, words):
    with pytest.raises(ValueError, match=words):
        real(null, **options)


# Records.


@given(points=POINTS, seconds=st.floats(0.01, 1e6), drift=st.none() | st.floats(-0.99, 10))
def test_a_record_gives_the_same_sweep_back(points, seconds, drift):
    before = Sweep((invalid(99), *points, replace(point(98), low=None, high=None)), drift, seconds)
    text = json.dumps(before.as_record(), allow_nan=False)
    assert Sweep.from_record(json.loads(text)) == before


def test_a_measured_sweep_can_be_stored():
    found = sweep(lambda setup: nullcontext(null), SAMPLES, SMALL, seconds=0.1)
    assert Sweep.from_record(json.loads(json.dumps(found.as_record(), allow_nan=False))) == found


def record(**changes):
    return {**Sweep((point(off=1.1),), 0.01, 1.0).as_record(), **changes}


def changed(**changes):
    return record(points=[{**record()["points"][0], **changes}])


@pytest.mark.parametrize(
    "damaged",
    [[], {}, record(points=[]), record(points=None), record(points=[{}]), record(drift=-1), record(seconds=0),
     record(points=2 * record()["points"]), record(drift="none"), record(drift=float("nan")), record(again=None),
     record(more=1), record(seconds=None), changed(callers=0), changed(callers=1.0), changed(blocks=0),
     changed(low=None), changed(high=None), changed(low=101.0), changed(high=99.0), changed(low=0),
     changed(high=float("inf")), changed(low=True),
     changed(callers=True), changed(p99_seconds=float("nan")), changed(images_per_second=float("inf")),
     changed(images_per_second=0), changed(p50_seconds=-1), changed(p50_seconds=None), changed(p50_seconds="0.1"),
     changed(failed=1), changed(requests=0), changed(invalid="failed"), changed(invalid=None), changed(more=1), changed(compiled_batch=0),
     changed(compiled_batch=True), changed(compiled_batch="4"), changed(dynamic_batch=None)],
)
def test_a_record_that_no_sweep_wrote_is_refused(damaged):
    words = r"record of a sweep|of a point|a point with|seconds \S+: must|drift \S+: must|a sweep must"
    with pytest.raises(ValueError, match=words):
        Sweep.from_record(damaged)
