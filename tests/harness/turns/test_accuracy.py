"""Detections of two arms on the same images: equal without a test, or how far apart, and where."""
from __future__ import annotations

import numpy as np
import pytest

from harness.accuracy.dataset import Dataset
from harness.turns.accuracy import compared
from harness.turns.outcome import DIFFERENT, SAME, UNKNOWN
from tests.harness import synthetic


@pytest.fixture
def scenes(tmp_path) -> Dataset:
    return Dataset.load(*synthetic.write(tmp_path, synthetic.content(60)))


@pytest.fixture
def right(scenes) -> dict:
    return synthetic.perfect(scenes)


def moved(detections: dict, pixels: float, images=None) -> dict:
    """The detections with every box of these images, or of all, so many pixels to the right."""
    shift = np.array([pixels, 0, pixels, 0], np.float32)
    return {image: synthetic.detected(own.boxes + shift * (images is None or image in images), own.scores, own.classes)
            for image, own in detections.items()}


def test_equal_detections_are_equal_without_a_test(scenes, right):
    ap, matched = compared(scenes, right, moved(right, 0))
    assert (ap.outcome, ap.change, ap.low, ap.high, ap.rounds) == (SAME, 0, 0, 0, 60)
    assert matched.outcome == SAME and "equal detections in all 60 images" in ap.why and not ap.is_worse


def test_boxes_in_the_wrong_place_are_worse(scenes, right):
    ap, matched = compared(scenes, right, moved(right, 12))
    assert ap.outcome == matched.outcome == DIFFERENT and ap.is_worse and matched.is_worse
    assert ap.high < 0 and ap.change == pytest.approx(-0.55) and ap.a == pytest.approx(1)
    assert "classes that lost most AP: cup" in ap.why  # the smaller box loses more of its overlap
    assert matched.b < 0.95 and "images with most unmatched: " in matched.why


def test_the_other_way_round_they_are_better_and_no_row_is_worse(scenes, right):
    ap, matched = compared(scenes, moved(right, 12), right)
    assert ap.outcome == DIFFERENT and ap.low > 0 and "better by" in ap.why
    assert not ap.is_worse and not matched.is_worse


def test_boxes_that_move_by_less_than_anything_sees_are_the_same(scenes, right):
    assert [row.outcome for row in compared(scenes, right, moved(right, 0.01))] == [SAME, SAME]


def test_the_image_that_lost_most_is_named(scenes, right):
    _, matched = compared(scenes, right, moved(right, 12, images={17}))
    assert matched.outcome == SAME and "images with most unmatched: 17 (" in matched.why


def test_one_image_that_differs_may_leave_ap_undecided(scenes, right):
    ap, _ = compared(scenes, right, moved(right, 20, images={17}), within=0.001)
    assert ap.outcome == UNKNOWN and "more such images would decide" in ap.why


def test_detections_that_cannot_be_scored_are_the_arms_own_fault(scenes, right):
    broken = {**right, 5: synthetic.detected([[float("nan")] * 4], [0.9], [0])}
    row, = compared(scenes, right, broken)
    assert row.outcome == DIFFERENT and row.is_worse and "B gives detections that cannot be scored" in row.why
    row, = compared(scenes, broken, right)
    assert row.outcome == UNKNOWN and not row.is_worse and "A gives detections" in row.why


def test_an_image_without_detections_is_the_arms_own_fault(scenes, right):
    missing = {image: own for image, own in right.items() if image != 9}
    row, = compared(scenes, right, missing)
    assert row.is_worse and "1 of 60 images have no detections" in row.why


def test_a_detector_that_sees_nothing_matches_nothing(scenes, right):
    nothing = dict.fromkeys(right, synthetic.NOTHING)
    ap, matched = compared(scenes, right, nothing)
    assert ap.is_worse and ap.b == 0 and matched.b == 0
    assert compared(scenes, nothing, right)[1].outcome == DIFFERENT
