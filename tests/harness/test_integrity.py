"""Answers of another run, of another picture or out of a cache are seen; those of an honest detector are not."""
from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from harness.evaluation import InvalidRun
from harness.integrity import changed, identical, repeat_speedup
from tests.harness.synthetic import NOTHING, answer, rows

GOOD = answer([[0, 0, 50, 40], [10, 10, 100, 80]], [0.9, 0.5], [0, 1])
SECONDS = 1000  # that a picture takes


def shifted(a, pixels):
    return replace(a, boxes=a.boxes + np.float32(pixels))


# Answers under load beside those of a quiet run.

SAME = {
    "equal": GOOD,
    "last digits of a score": replace(GOOD, scores=GOOD.scores + np.float32(1e-4)),
    "a hundredth of a pixel": shifted(GOOD, 0.01),
    "an unsure detection more": answer([*GOOD.boxes, [1, 1, 9, 9]], [*GOOD.scores, 0.2], [*GOOD.classes, 0]),
}


@pytest.mark.parametrize("case", SAME)
def test_rounding_changes_no_answer(case):
    assert changed({1: GOOD}, {1: SAME[case]}) == []


CHANGED = {
    "another class": replace(GOOD, classes=1 - GOOD.classes),
    "a pixel": shifted(GOOD, 1),
    "a detection is lost": replace(GOOD, **rows(GOOD, [0])),
    "a detection more": answer([*GOOD.boxes, [1, 1, 9, 9]], [*GOOD.scores, 0.4], [*GOOD.classes, 0]),
    "nothing": NOTHING,
}


@pytest.mark.parametrize("case", CHANGED)
def test_another_answer_is_seen(case):
    assert changed({1: GOOD}, {1: CHANGED[case]}) == [1]


def test_an_answer_where_there_was_none_is_seen():
    assert changed({1: NOTHING}, {1: GOOD}) == [1]


def test_swapped_answers_are_seen(answers):
    assert changed(answers, {**answers, 3: answers[8], 8: answers[3]}) == [3, 8]


def test_stale_answers_are_seen(answers):
    late = dict(zip(answers, [NOTHING, *answers.values()]))
    assert changed(answers, late) == list(answers)


def test_only_what_was_sent_is_compared(answers):
    assert changed(answers, {2: answers[2]}) == []


def test_an_image_that_the_quiet_run_lacks_is_an_error(answers):
    with pytest.raises(InvalidRun, match="1 answers are for unknown images; first 9"):
        changed(answers, {**answers, 9: GOOD})


# The very same bytes for different pictures.

PICTURES = {1: b"a", 2: b"b", 3: b"c", 4: b"a"}


def test_the_same_detections_for_different_pictures_are_seen():
    assert identical({1: GOOD, 2: shifted(GOOD, 1), 3: replace(GOOD)}, PICTURES) == [(1, 3)]


@pytest.mark.parametrize(
    "answers", [{}, {1: GOOD}, {1: GOOD, 2: shifted(GOOD, 1e-3)}, {1: NOTHING, 2: NOTHING}, {1: GOOD, 4: GOOD}],
    ids=["none", "one", "nearly", "nothing found", "the same picture"],
)
def test_answers_that_may_be_alike_are_not_seen(answers):
    assert identical(answers, PICTURES) == []


def test_a_picture_that_is_stored_in_two_formats_is_one_picture():
    stored = []
    for kind in ("PNG", "BMP"):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (9, 0, 0)).save(buffer, kind)
        stored.append(buffer.getvalue())
    assert identical({1: GOOD, 2: GOOD}, dict(enumerate(stored, 1))) == []
    assert identical({1: GOOD, 2: GOOD}, {1: stored[0], 2: picture(10)}) == [(1, 2)]


# The same picture again.


def picture(shade) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


SAMPLES = [(shade, picture(shade)) for shade in (0, 80, 160)]


@pytest.fixture
def detector(clock):
    """A function: (key of a cache or None, how many answers it holds) → a detector that takes its time to compute."""

    def build(key, room=1000):
        known = {}

        def detect(images):
            if key is None or key(images[0]) not in known:
                clock.passed += SECONDS
                known[key and key(images[0])] = True
                for oldest in list(known)[:-room]:
                    del known[oldest]
            return [SimpleNamespace(error="")]

        return detect

    return build


def pixels(image) -> bytes:
    return Image.open(io.BytesIO(image)).tobytes()


def test_a_detector_without_a_cache_is_as_fast_again(detector):
    assert repeat_speedup(detector(None), SAMPLES, rounds=3, deadline=1e9) == 1


CACHES = {"by bytes": (bytes,), "by pixels": (pixels,), "of the last picture alone": (bytes, 1)}


@pytest.mark.parametrize("case", CACHES)
def test_a_cache_is_seen(detector, case):
    assert repeat_speedup(detector(*CACHES[case]), SAMPLES, rounds=3, deadline=1e9) > SECONDS / 10


def test_a_cache_is_seen_by_a_detector_that_knows_all_the_pictures(detector):
    detect = detector(pixels)
    for _, image in SAMPLES:
        detect([image])
    assert repeat_speedup(detect, SAMPLES, rounds=3, deadline=1e9) > SECONDS / 10


def test_pictures_that_cost_more_than_others_are_no_cache(clock):
    def detect(images):
        clock.passed += 1000 * (1 + pixels(images[0])[-3])
        return [SimpleNamespace(error="")]

    assert repeat_speedup(detect, SAMPLES, rounds=3, deadline=1e9) == pytest.approx(1, abs=0.01)


def test_each_picture_is_new_once_and_seen_again_once(detector):
    sent = []
    repeat_speedup(lambda images: sent.append(images[0]) or [SimpleNamespace(error="")], SAMPLES, rounds=4)
    assert (len(sent), len(set(sent))) == (2 * 3 * 4, 3 * 4)


def test_the_picture_that_comes_again_looks_like_the_first():
    sent = []
    repeat_speedup(lambda images: sent.append(images[0]) or [SimpleNamespace(error="")], SAMPLES[:1], rounds=1)
    differing = np.abs(np.asarray(Image.open(io.BytesIO(sent[0])), int) - np.asarray(Image.new("RGB", (32, 32))))
    assert differing[8:, 8:].max() <= 8


def test_a_failed_request_is_an_error_that_names_its_image():
    def lost(images):
        raise RuntimeError("device lost")

    with pytest.raises(InvalidRun, match="6 of 6 requests failed; the first, for image 0: RuntimeError: device lost"):
        repeat_speedup(lost, SAMPLES, rounds=3)
