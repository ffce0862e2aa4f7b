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
from harness.load.points import Build, Place
from harness.load.sweep import DRIFT, GRID, MOST_PASSES, Sweep, sweep
from harness.load.sweep_table import figures, table
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


def test_a_sweep_of_many_builds_that_nothing_decides_takes_no_more_than_twice_as_long(virtual):
    seen, rng, builds = [], Random(0), [Build(size) for size in range(1, 9)]
    found = virtual(lambda setup: Queue(each=0.01 * rng.uniform(0.9, 1.1)), builds=builds, observe=seen.append)
    assert found.warning.startswith("the best build is not decided")
    first = 2 * len(GRID) * len(builds)
    assert first < len(seen) <= 2 * first


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


# Builds: each compiled batch is a detector of its own.

BUILDS = (Build(1), Build(2), Build(4))


def test_each_build_is_measured_with_every_load_and_its_points_name_it(virtual):
    found = virtual(queue(), grid=SMALL, builds=BUILDS)
    assert {one.place for one in found.points} == {Place(1, load, build) for load in SMALL for build in BUILDS}
    assert found.builds == list(BUILDS)
    assert str(found.points[0]).endswith(", static") and "compiled batch" in str(found.points[0])


def test_a_planted_slower_build_is_not_the_best_and_the_best_is_named_with_its_knee(virtual):
    found = virtual(lambda setup: Queue(slots=2, each=0.01 if setup.build == Build(2) else 0.013), builds=BUILDS)
    assert (found.best_build, found.knee.build, found.knee.in_flight) == (Build(2), Build(2), 2)
    assert found.knee_of(Build(4)).build == Build(4) and found.warning == ""


def test_builds_are_drawn_too_and_measured_in_every_pass(virtual):
    seen = []
    virtual(queue(), grid=SMALL, builds=BUILDS, observe=seen.append)
    passes = [[place.build for place in seen[start:start + 12:4]] for start in (0, 12)]
    assert all(set(order) == set(BUILDS) for order in passes) and len(seen) == 24
    orders = set()
    for seed in range(6):
        drawn = []
        virtual(queue(), grid=SMALL, builds=BUILDS, seed=seed, observe=drawn.append)
        orders.add(tuple(place.build for place in drawn[:12:4]))
    assert len(orders) > 1


def failing(broken: Build, error: Exception):
    """A function: setup → context of a detector, which for one build cannot be opened."""
    def detect_for(setup):
        if setup.build == broken:
            raise error
        return nullcontext(null)

    return detect_for


def test_a_build_that_cannot_be_opened_is_named_and_the_others_are_judged(once):
    found = sweep(failing(Build(2), RuntimeError("neuron-cc ran out of memory")), SAMPLES, SMALL, builds=BUILDS)
    why = "the detector could not be opened: RuntimeError: neuron-cc ran out of memory"
    assert {one.invalid for one in found.points if one.build == Build(2)} == {why}
    assert not any(one.invalid for one in found.points if one.build != Build(2))
    assert found.best_build != Build(2) and found.warning.startswith(
        f"compiled batch 2, static could not be measured ({why})")
    with pytest.raises(ValueError, match="measured with compiled batch 2, static: the detector could not be opened"):
        found.knee_of(Build(2))


def test_a_build_is_opened_once_however_often_it_fails(once):
    asked = []

    def detect_for(setup):
        asked.append(setup.build)
        return failing(Build(2), ValueError("no room"))(setup)

    sweep(detect_for, SAMPLES, SMALL, builds=BUILDS)
    assert asked.count(Build(2)) == 1 and asked.count(Build(1)) >= 2


def test_without_a_build_that_can_be_opened_the_reason_is_said(once):
    found = sweep(failing(Build(4), ValueError("no room")), SAMPLES, SMALL, builds=[Build(4)])
    assert found.warning.startswith("no point is valid; ")
    assert found.warning.endswith("compiled batch 4, static: the detector could not be opened: ValueError: no room")
    assert table(found)[1].startswith("sweep: no point is valid") and figures(found)[0]["value"] is None


def test_a_build_whose_requests_hang_does_not_end_the_others(once):
    release = threading.Event()

    def detect_for(setup):
        return nullcontext((lambda images: release.wait(60)) if setup.build == Build(2) else null)

    try:
        found = sweep(detect_for, SAMPLES, SMALL[:2], builds=BUILDS, deadline=0.5)
    finally:
        release.set()
    assert all(one.invalid for one in found.points if one.build == Build(2))
    assert not any(one.invalid for one in found.points if one.build != Build(2))


# What is shown of it.


def test_the_table_has_a_row_for_each_build_with_its_share_of_the_best(virtual):
    found = virtual(lambda setup: Queue(each=0.01 if setup.build == Build(4) else 0.02), builds=BUILDS)
    lines = table(found)
    assert [line.split("  ")[0] for line in lines] == [
        "", "compiled for", "compiled batch 1, static", "compiled batch 2, static", "compiled batch 4, static",
        "best: compiled batch 4, static, knee at 1 caller × batch 1",
    ]
    assert "0.500 (0.500 to 0.500)" in lines[2] and "100 (100 to 100)" in lines[4]


def test_a_record_of_each_point_has_its_interval_build_and_load(virtual):
    found = virtual(queue(), grid=SMALL, builds=(Build(2, True), Build(2)))
    records = figures(found)
    assert len(records) == 8 and json.loads(json.dumps(records, allow_nan=False)) is not None
    assert {(r["compiled_batch"], r["dynamic_batch"], r["callers"], r["batch_size"]) for r in records} == {
        (2, dynamic, load.callers, load.batch_size) for dynamic in (True, False) for load in SMALL}
    assert all(r["interval"][0] <= r["value"] <= r["interval"][1] for r in records)
    assert sum(r["is_best"] for r in records) == 1


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


def test_a_data_set_is_sent_in_full_batches(real, made_up_dataset):
    sizes = []
    real(lambda images: sizes.append(len(images)) or null(images), grid=[LoadPattern(1, 3)], samples=made_up_dataset)
    assert set(sizes) == {3}


def test_an_unreadable_image_ends_the_sweep_with_its_error(real, made_up_dataset):
    for image in made_up_dataset.images.iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=r"\.jpg: cannot be read"):
        real(null, samples=made_up_dataset)


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
     changed(failed=1), changed(requests=0), changed(invalid="failed"), changed(invalid=None), changed(more=1),
     changed(compiled_batch=0), changed(compiled_batch=True), changed(compiled_batch="4"), changed(dynamic_batch=None)],
)
def test_a_record_that_no_sweep_wrote_is_refused(damaged):
    words = r"record of a sweep|of a point|a point with|seconds \S+: must|drift \S+: must|a sweep must"
    with pytest.raises(ValueError, match=words):
        Sweep.from_record(damaged)
