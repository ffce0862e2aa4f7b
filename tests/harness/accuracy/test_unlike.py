"""The likely cause of a red row is named: what every fault does to the detections, in words with its size."""
from __future__ import annotations

import numpy as np
import pytest

from harness.accuracy.boxes import displacement
from harness.accuracy.evaluation import SCORE_GAP, agreement
from harness.accuracy.unlike import unmatched
from model.detections import Detections
from tests.harness.synthetic import NOTHING

NAMES = ["car", "bus", "dog"]


def made(seed=0, count=8) -> dict[int, Detections]:
    """Ten images, each with as many confident detections far from each other, those of class 0 most often."""
    rng, found = np.random.default_rng(seed), {}
    for image in range(1, 11):
        corners = np.stack([np.arange(count) * 100, rng.integers(0, 300, count)], 1) + 10.0
        boxes = np.hstack([corners, corners + rng.integers(30, 80, (count, 2))]).astype(np.float32)
        scores = np.sort(rng.uniform(0.6, 1, count))[::-1].astype(np.float32)
        found[image] = Detections(boxes, scores, (np.arange(count) % 3).astype(np.int32))
    return found


def only(one: Detections, kept) -> Detections:
    return one._replace(boxes=one.boxes[kept], scores=one.scores[kept], classes=one.classes[kept])


def doubled(one: Detections) -> Detections:
    return only(one, np.repeat(np.arange(len(one.scores)), 2))


WHOLE = np.array([1, 1, 1, 1], np.float32)
FAULTS = {
    "halved scores": (lambda one: one._replace(scores=one.scores / 2),
                      "80 have another score, in the median 0.50 × the reference's, nearly all alike"),
    "another class": (lambda one: one._replace(classes=np.where(one.classes == 0, 1, one.classes).astype(np.int32)),
                      "of the 30 unmatched 30 have another class, 30 of them bus in place of car"),
    "a class is lost": (lambda one: only(one, one.classes != 2),
                        "of class 2 (dog) the reference has 20 and the cast none; of the 20 unmatched 20 have"),
    "all are lost": (lambda one: NOTHING, "of the 80 unmatched 80 have no counterpart"),
    "moved": (lambda one: one._replace(boxes=one.boxes + 9 * WHOLE),
              "have another place, in the median 9 pixels right, 9 pixels down, of the same size"),
    "twice": (doubled, "of the 80 unmatched 80 have a double"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_lacks_a_match_is_said_with_its_cause(fault):
    change, words = FAULTS[fault]
    reference = made()
    candidate = {image: change(one) for image, one in reference.items()}
    found = agreement(reference, candidate)
    said = unmatched(reference, candidate, SCORE_GAP, found.is_reverse, NAMES, "the cast")
    assert words in said
    assert f"of the {found.total - found.matched:,} unmatched" in said


def test_a_class_that_the_other_finds_with_less_confidence_is_not_called_lost():
    reference = made()
    candidate = {image: one._replace(scores=one.scores * np.float32(0.2)) for image, one in reference.items()}
    assert "the cast none" not in unmatched(reference, candidate, SCORE_GAP, False, NAMES, "the cast")


def test_a_few_of_a_kind_are_left_out():
    reference = made()
    candidate = {image: one._replace(scores=one.scores / 2) for image, one in reference.items()}
    candidate[1] = only(candidate[1], candidate[1].classes > 0)
    assert "no counterpart" not in unmatched(reference, candidate, SCORE_GAP, False, NAMES, "the cast")


def test_the_same_detections_leave_nothing_to_say():
    assert unmatched(made(), made(), SCORE_GAP, False, NAMES, "the cast") == ""


def test_what_was_made_up_is_told_from_what_was_lost():
    reference = {image: only(one, one.classes != 2) for image, one in made().items()}
    assert agreement(reference, made()).is_reverse
    said = unmatched(reference, made(), SCORE_GAP, True, NAMES, "the cast")
    assert said == ("of class 2 (dog) the reference has none and the cast 20; "
                    "of the 20 unmatched 20 have no counterpart, 20 of them dog")


@pytest.mark.parametrize(("change", "words"), [
    (lambda boxes: boxes, ""), (lambda boxes: boxes + 1.5, ""),
    (lambda boxes: boxes + np.array([-7, 0, -7, 0]), "7 pixels left, of the same size"),
    (lambda boxes: boxes + np.array([0, -3, 0, -3]), "3 pixels up"),
    (lambda boxes: boxes * np.array([1, 1, 1, 1.2]), "taller"),
    (lambda boxes: boxes * 0.8, "20% narrower, 20% shorter"),
])
def test_a_displacement_is_said_with_direction_and_size(change, words):
    boxes = np.concatenate([one.boxes for one in made().values()])
    said = displacement(boxes, change(boxes))
    assert words in said and bool(said) == bool(words)
