"""Responses of another run, of another image or out of a cache are seen; those of an honest detector are not."""
from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from harness.accuracy.compliance import (
    LEAST_TURNS,
    LOOKS,
    MOST_TURNS,
    Freshness,
    _ratio,
    changed,
    exchanged,
    identical,
    require_answered,
)
from harness.accuracy.evaluation import InvalidRun
from harness.load.generator import LoadPattern, drive
from harness.stats.estimate import PROVEN, REFUTED, UNDECIDED, decide
from harness.verdict.verdict import NOISY, TOO_FEW
from tests.harness.drawn_images import photograph, plain
from tests.harness.synthetic import NOTHING, detected, rows

GOOD = detected([[0, 0, 50, 40], [10, 10, 100, 80]], [0.9, 0.5], [0, 1])
SECONDS = 1000.0  # that an image takes
ONE = LoadPattern(1, 1)


def shifted(a, pixels):
    return replace(a, boxes=a.boxes + np.float32(pixels))


def edited(a, row, **values):
    """The detections with one row's values changed."""
    fields = {name: getattr(a, name).copy() for name in values}
    for name, value in values.items():
        fields[name][row] = value
    return replace(a, **fields)


# Responses under load beside those of a sequential run.

SAME = {
    "equal": GOOD,
    "last digits of a score": replace(GOOD, scores=GOOD.scores + np.float32(1e-4)),
    "a hundredth of a pixel": shifted(GOOD, 0.01),
    "a box that took the place of another in a tie": edited(GOOD, 0, boxes=[0, 0, 40, 36]),
    "an unsure detection more": detected([*GOOD.boxes, [1, 1, 9, 9]], [*GOOD.scores, 0.2], [*GOOD.classes, 0]),
}


@pytest.mark.parametrize("case", SAME)
def test_rounding_and_a_tie_change_no_response(case):
    assert changed({1: GOOD}, {1: SAME[case]}) == []


CHANGED = {
    "another class": replace(GOOD, classes=1 - GOOD.classes),
    "boxes that moved by a pixel": shifted(GOOD, 1),
    "a box elsewhere": edited(GOOD, 0, boxes=[40, 0, 90, 40]),
    "a box in place of another that was surer": edited(GOOD, 0, boxes=[0, 0, 40, 36], scores=0.8),
    "half the scores": replace(GOOD, scores=GOOD.scores / 2),
    "a detection is lost": replace(GOOD, **rows(GOOD, [0])),
    "a detection more": detected([*GOOD.boxes, [1, 1, 9, 9]], [*GOOD.scores, 0.4], [*GOOD.classes, 0]),
    "nothing": NOTHING,
}


@pytest.mark.parametrize("case", CHANGED)
def test_another_response_is_seen(case):
    assert changed({1: GOOD}, {1: CHANGED[case]}) == [1]


def test_a_response_where_there_was_none_is_seen():
    assert changed({1: NOTHING}, {1: GOOD}) == [1]


def test_swapped_responses_are_seen(right_detections):
    assert changed(right_detections, {**right_detections, 3: right_detections[8], 8: right_detections[3]}) == [3, 8]


def test_responses_of_another_image_are_named_with_both(right_detections):
    swapped = {**right_detections, 1: right_detections[2], 2: right_detections[1]}
    assert exchanged(right_detections, swapped) == [(1, 2), (2, 1)]
    assert exchanged(right_detections, right_detections) == []


def test_images_that_look_alike_and_broken_detections_exchange_nothing(right_detections):
    alike = {1: right_detections[1], 2: right_detections[1], 3: NOTHING}
    assert exchanged(alike, alike) == []
    assert exchanged(alike, {1: None, 2: SimpleNamespace(boxes=3), 3: NOTHING}) == []


def test_stale_responses_are_seen(right_detections):
    late = dict(zip(right_detections, [NOTHING, *right_detections.values()]))
    assert changed(right_detections, late) == list(right_detections)


MANY = {image: shifted(GOOD, image / 7) for image in range(400)}
TIED = edited(GOOD, 0, boxes=[0, 0, 45, 40])


@pytest.mark.parametrize(("ties", "is_change"), [(1, False), (4, False), (5, True), (400, True)])
def test_ties_are_tolerated_in_one_image_of_100_and_are_changes_in_more(ties, is_change):
    load = {image: shifted(TIED, image / 7) if image < ties else MANY[image] for image in MANY}
    assert changed(MANY, load) == (list(range(ties)) if is_change else [])


@pytest.mark.parametrize("image", [0, 7, 399])
def test_a_single_wrong_image_among_many_is_seen(image):
    assert changed(MANY, {**MANY, image: edited(MANY[image], 1, classes=0)}) == [image]


@pytest.mark.parametrize("case", [name for name in SAME if name != "equal"])
def test_where_the_same_bytes_are_promised_every_other_byte_is_a_change(case):
    assert changed({1: GOOD}, {1: SAME[case]}, exact=True) == [1]
    assert changed({1: GOOD}, {1: replace(GOOD)}, exact=True) == []


def test_only_what_was_sent_is_compared(right_detections):
    assert changed(right_detections, {2: right_detections[2]}) == []


@pytest.mark.parametrize("exact", [False, True])
def test_an_image_that_the_sequential_run_lacks_is_an_error(right_detections, exact):
    with pytest.raises(InvalidRun, match="1 unknown images have detections; first 9"):
        changed(right_detections, {**right_detections, 9: GOOD}, exact)


@pytest.mark.parametrize("exact", [False, True])
def test_an_image_that_was_not_answered_under_load_is_an_error(right_detections, exact):
    with pytest.raises(InvalidRun, match=r"1 of 8 images have no detections; first 4 \(too busy\)"):
        changed(right_detections, {**right_detections, 4: replace(NOTHING, error="too busy")}, exact)


# The very same bytes for different images.

IMAGES = {1: b"a", 2: b"b", 3: b"c", 4: b"a"}


def test_the_same_detections_for_different_images_are_seen():
    assert identical({1: GOOD, 2: shifted(GOOD, 1), 3: replace(GOOD)}, IMAGES) == [(1, 3)]


@pytest.mark.parametrize(
    "detections", [{}, {1: GOOD}, {1: GOOD, 2: shifted(GOOD, 1e-3)}, {1: NOTHING, 2: NOTHING}, {1: GOOD, 4: GOOD}],
    ids=["none", "one", "nearly", "nothing found", "the same image"],
)
def test_responses_that_may_be_alike_are_not_seen(detections):
    assert identical(detections, IMAGES) == []


def test_an_image_that_is_stored_in_two_formats_is_one_image():
    stored = []
    for kind in ("PNG", "BMP"):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (9, 0, 0)).save(buffer, kind)
        stored.append(buffer.getvalue())
    assert identical({1: GOOD, 2: GOOD}, dict(enumerate(stored, 1))) == []
    assert identical({1: GOOD, 2: GOOD}, {1: stored[0], 2: plain(10)}) == [(1, 2)]


# Fresh bytes against those of the load.


SAMPLES = [(number, photograph(number)) for number in range(24)]


def pixels(image, side=None) -> bytes:
    """Decoded, as a thumbnail where a side is given."""
    decoded = Image.open(io.BytesIO(image)).convert("RGB")
    return (decoded.resize((side, side)) if side else decoded).tobytes()


def seen(image):
    """The response of an honest detector: another one for every other byte."""
    return shifted(GOOD, crc32(image) / 2**30)


@dataclass
class Cache:
    """A detector in made-up time that remembers responses by a key, as many as there is room for.

    The oldest go, or with `bounded` nothing more is learned; it learns what it has computed `times` times. `whole`
    requests are remembered instead of images.
    """

    clock: object
    key: object = bytes
    room: float = np.inf
    bounded: bool = False
    times: int = 1
    whole: bool = False
    known: OrderedDict = field(default_factory=OrderedDict)
    computed: dict = field(default_factory=dict)

    def detect(self, images):
        return self._answer(tuple(images)) if self.whole else [self._answer((image,))[0] for image in images]

    def _answer(self, images):
        key = tuple(map(self.key, images))
        if key in self.known:
            self.known.move_to_end(key)
            return self.known[key]
        self.clock.passed += SECONDS * len(images)
        responses = [seen(image) for image in images]
        self._learn(key, responses)
        return responses

    def _learn(self, key, responses):
        self.computed[key] = self.computed.get(key, 0) + 1
        if self.computed[key] < self.times or (self.bounded and len(self.known) >= self.room):
            return
        self.known[key] = responses
        while len(self.known) > self.room:
            self.known.popitem(last=False)


def looked_at(detect, pattern=ONE, samples=SAMPLES) -> Freshness:
    """What the gate does: a sequential run, the load, and then the turns."""
    for run in (ONE, pattern):
        drive(detect, samples, run)
    found = Freshness(detect, samples, pattern)
    found.measure(LEAST_TURNS)
    return found


def alarms(found: Freshness, most=1.5) -> set:
    rows = {"repeat_speedup": found.repeat_speedup, "fresh_slowdown": found.fresh_slowdown}
    red = {name for name, one in rows.items() if decide(one, most, "<=") == REFUTED}
    return red | ({"overlooked"} if found.overlooked else set())


EVERY = {"repeat_speedup", "fresh_slowdown"}
ROOM = len(SAMPLES)
CACHES = {
    "by bytes": (dict(), EVERY),
    "by pixels": (dict(key=pixels), EVERY),
    "of the last image alone": (dict(room=1), EVERY),
    "of as many images as the load has": (dict(room=ROOM), EVERY),
    "that stops learning": (dict(room=ROOM, bounded=True), {"fresh_slowdown"}),
    "that stops learning at half of the load": (dict(room=ROOM // 2, bounded=True), {"fresh_slowdown"}),
    "that learns what comes twice": (dict(room=ROOM, bounded=True, times=2), {"fresh_slowdown"}),
    "that ignores the upper rows": (dict(room=ROOM, bounded=True, key=lambda image: pixels(image)[128 * 3 * 16:]),
                                    {"fresh_slowdown"}),
    "by a thumbnail": (dict(room=ROOM, bounded=True, key=lambda image: pixels(image, 8)), {"fresh_slowdown"}),
    "by the first kilobyte": (dict(room=ROOM, bounded=True, key=lambda image: image[:1024]), {"fresh_slowdown"}),
    "by a header": (dict(key=lambda image: image[:100]), {"overlooked"}),
    "by width and height": (dict(key=lambda image: Image.open(io.BytesIO(image)).size), {"overlooked"}),
    "by the mean colour": (dict(key=lambda image: round(np.frombuffer(pixels(image), np.uint8).mean())),
                           {"overlooked"}),
}


@pytest.mark.parametrize("case", CACHES)
def test_a_cache_is_seen(clock, case):
    settings, expected = CACHES[case]
    assert expected <= alarms(looked_at(Cache(clock, **settings).detect))


def test_responses_computed_beforehand_are_seen(clock):
    known = OrderedDict(((image,), [seen(image)]) for _, image in SAMPLES)
    prepared = Cache(clock, room=ROOM, bounded=True, known=known)
    assert alarms(looked_at(prepared.detect)) == {"fresh_slowdown"}


def test_a_cache_of_whole_requests_is_seen_in_batches_as_the_load_has_them(clock):
    batches = Cache(clock, whole=True, room=ROOM + ROOM // 4, bounded=True)  # those of the sequential run are of one
    assert alarms(looked_at(batches.detect, LoadPattern(1, 4))) == {"fresh_slowdown"}


def test_a_cache_by_the_size_in_bytes_is_seen(clock):
    # A changed copy has the size of its image, and gets its detections, or another and takes its time.
    assert alarms(looked_at(Cache(clock, room=ROOM, bounded=True, key=len).detect))


def test_a_header_of_more_than_a_kilobyte_hides_no_cache(clock):
    long = [(number, photograph(number, exif=b"Exif\0\0" + bytes(2000))) for number in range(24)]
    assert "overlooked" in alarms(looked_at(Cache(clock, key=lambda image: image[:1024]).detect, samples=long))


@pytest.mark.parametrize("pattern", [ONE, LoadPattern(1, 4)], ids=str)
def test_a_detector_without_a_cache_raises_no_alarm(clock, pattern):
    found = looked_at(Cache(clock, room=0).detect, pattern)
    assert found.fresh_slowdown.value == found.repeat_speedup.value == pytest.approx(1, abs=0.01)
    assert not alarms(found, most=1.1)


def test_images_that_cost_more_than_others_are_not_a_cache(clock):
    def detect(images):
        clock.passed += 1000 * (1 + len(images[0]))
        return [seen(images[0])]

    assert looked_at(detect).fresh_slowdown.value == pytest.approx(1, abs=0.03)


def test_an_image_without_detections_is_not_overlooked(clock):
    assert not looked_at(lambda images: [NOTHING] * len(images)).overlooked


def test_each_turn_has_new_bytes_once_and_the_load_s_own_twice():
    sent = []
    found = Freshness(lambda images: sent.append(images[0]) or [seen(images[0])], SAMPLES[:4], ONE)
    found.measure(8)
    own = {image for _, image in SAMPLES[:4]}
    assert all(a == b for a, b in zip(sent[::2], sent[1::2])) and len(sent) == 4 * 8
    assert len({image for image in sent if image not in own}) == 8
    assert [image in own for image in sent[::2]] == [False, True, True, False] * 4


def test_parts_of_the_load_are_sent_in_its_own_pattern_and_from_all_over_it():
    together, sizes, sent = Barrier(2, timeout=30), set(), set()

    def detect(images):
        together.wait()  # breaks unless there are two callers
        sizes.add(len(images))
        sent.update(images)
        return [seen(image) for image in images]

    Freshness(detect, SAMPLES, LoadPattern(2, 2)).measure(6)
    assert sizes == {2} and sent > {image for _, image in SAMPLES}


def test_a_failed_request_is_an_error_that_names_its_image():
    def lost(images):
        raise RuntimeError("device lost")

    with pytest.raises(InvalidRun, match="for image 0 after 0 responses: RuntimeError: device lost"):
        Freshness(lost, SAMPLES[:1], ONE).measure(1)


# How sure a ratio is.


def judged(ratios, bound) -> tuple:
    """The verdict as the gate reaches it, and of how many turns."""
    turns = LEAST_TURNS
    while True:
        verdict = decide(_ratio(ratios[:turns]), bound, "<=")
        if verdict != UNDECIDED or turns >= MOST_TURNS:
            return verdict
        turns *= 2


def busy(rng, true):
    """Ratios on a busy machine: they scatter by 40 %, and one in ten is off by up to five times, either way."""
    logs = rng.normal(0, 0.35, MOST_TURNS) + (rng.random(MOST_TURNS) < 0.1) * rng.uniform(-1.6, 1.6, MOST_TURNS)
    return true * np.exp(logs)


def test_the_promised_error_is_kept_at_the_bound_on_a_busy_machine():
    rng = np.random.default_rng(0)
    verdicts = [judged(busy(rng, 1.5), 1.5) for _ in range(200)]
    # 5 % are promised for each; 9 % are two and a half standard errors more.
    assert max(verdicts.count(PROVEN), verdicts.count(REFUTED)) <= 18


def test_an_honest_detector_passes_and_a_cache_of_half_the_load_does_not_on_a_busy_machine():
    rng = np.random.default_rng(1)
    assert [judged(busy(rng, 1.0), 1.5) for _ in range(50)].count(PROVEN) >= 49
    half = [busy(rng, 1.0) * np.where(rng.random(MOST_TURNS) < 0.5, 18, 1) for _ in range(50)]
    assert [judged(ratios, 1.5) for ratios in half].count(REFUTED) >= 49


def test_few_turns_decide_nothing_and_many_that_do_not_are_noise():
    few, many = _ratio([1.0] * (LEAST_TURNS - 1)), _ratio(busy(np.random.default_rng(2), 1.5))
    assert (few.low, few.high, few.reason) == (None, None, TOO_FEW) and many.reason == NOISY
    assert few.more(1.5, "<=") == "at least 12 turns are needed" and "96 turns" in many.more(1.5, "<=")
    assert LEAST_TURNS * 2 ** (LOOKS - 1) == MOST_TURNS


@pytest.mark.parametrize(("fails", "is_end"), [
    (lambda call: call > 12, True), (lambda call: call == 12, False), (lambda call: call > 22, False),
    (lambda call: call % 2, False),
])
def test_a_detector_that_never_recovers_is_said_not_to(fails, is_end):
    calls = []

    def detect(images):
        calls.append(len(images))
        if fails(len(calls)):
            raise RuntimeError("device lost")
        return [GOOD] * len(images)

    with pytest.raises(InvalidRun, match="device lost") as error:
        require_answered(drive(detect, SAMPLES, ONE, warm_up=0))
    assert ("none succeeded after it" in str(error.value)) == is_end


# Faults under load that `changed` is there for.


def test_a_detector_that_sheds_load_is_seen():
    both = Barrier(2)

    def detect(images):
        try:
            both.wait(timeout=0.2)  # another request is under way
        except BrokenBarrierError:
            return [seen(image) for image in images]
        return [NOTHING] * len(images)

    reference = {number: seen(image) for number, image in SAMPLES}
    loaded = drive(detect, SAMPLES, LoadPattern(2, 1), warm_up=0, deadline=30).detections
    assert len(changed(reference, loaded)) > 20


@pytest.mark.parametrize("step", [2, 7, 24])
def test_a_detector_that_skips_images_is_seen(step):
    calls = []

    def detect(images):
        calls.append(1)
        return [NOTHING if len(calls) % step == 0 else seen(images[0])]

    reference = {number: seen(image) for number, image in SAMPLES}
    assert len(changed(reference, drive(detect, SAMPLES, ONE, warm_up=0).detections)) == 24 // step
