"""Each way detections can be unfit is one fault that names image, row and value; fit detections have none."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.accuracy.sanity import content, faults, repeated, systematic
from tests.harness.synthetic import NOTHING, Detections, detected

GOOD = detected([[0, 0, 50, 40], [10, 10, 100, 80]], [0.9, 0.5], [0, 1])


def found(detections) -> list[str]:
    return [str(fault) for fault in faults(7, detections, classes=2, width=100, height=80)]


FIT = {
    "two": GOOD,
    "none": NOTHING,
    "a pixel outside": detected([[-1, -1, 101, 81]], [1], [0]),
    "no area": detected([[5, 5, 5, 5]], [0], [1]),
    "as many as allowed": detected([[0, 0, 1, 1]] * 100, [0.5] * 100, [0] * 100),
}


@pytest.mark.parametrize("good", FIT.values(), ids=FIT)
def test_a_fit_answer_has_no_fault(good):
    assert found(good) == []


def boxes(*rows):
    return {"boxes": np.array(rows, np.float32)}


def scores(*values):
    return {"scores": np.array(values, np.float32)}


FAULTS = [
    ({"boxes": GOOD.boxes.astype(np.float64)}, "boxes is float64, must be float32"),
    ({"scores": GOOD.scores.astype(np.float16)}, "scores is float16, must be float32"),
    ({"classes": GOOD.classes.astype(np.int64)}, "classes is int64, must be int32"),
    ({"scores": [0.9, 0.5]}, "scores is list, must be float32"),
    ({"boxes": None}, "boxes is NoneType, must be float32"),
    ({"boxes": GOOD.boxes.T}, "boxes has shape (4, 2), must be [n, 4]"),
    ({"scores": GOOD.scores[:, None]}, "scores has shape (2, 1), must be [n]"),
    ({"scores": np.float32([0.9])}, "lengths differ: {'boxes': 2, 'scores': 1, 'classes': 2}"),
    (boxes([0, 0, 50, 40], [10, np.nan, 100, 80]), "box is not finite (row 1: [10.0, nan, 100.0,"),
    (boxes([0, 0, np.inf, 40], [0, 0, 1, 1]), "box is not finite (row 0: [0.0, 0.0, inf, 40.0], 1 of 2"),
    (boxes([50, 0, 10, 40], [0, 0, 1, 1]), "box has x1 > x2 or y1 > y2 (row 0"),
    (boxes([0, 40, 10, 10], [0, 0, 1, 1]), "box has x1 > x2 or y1 > y2 (row 0"),
    (boxes([0, 0, 101.5, 40], [0, 0, 1, 1]), "box leaves the 100 x 80 image (row 0"),
    (boxes([0, 0, 10, 40], [0, -1.5, 1, 1]), "box leaves the 100 x 80 image (row 1"),
    (boxes([0, 0, 10, 81.5], [0, 0, 1, 1]), "box leaves the 100 x 80 image (row 0"),
    (scores(1.5, 0.5), "score is not in [0, 1] (row 0: 1.5, 1 of 2 rows)"),
    (scores(0.5, -0.1), "score is not in [0, 1] (row 1"),
    (scores(0.5, np.nan), "score is NaN (row 1: nan"),
    (scores(0.5, 0.6), "score is higher than the one before it (row 1"),
    ({"classes": np.int32([0, 2])}, "class is not in [0, 2) (row 1: 2, 1 of 2 rows)"),
    ({"classes": np.int32([-1, 1])}, "class is not in [0, 2) (row 0: -1, 1 of 2 rows)"),
    ({"error": "truncated JPEG"}, "has an error for a response: truncated JPEG"),
]


@pytest.mark.parametrize(("fields", "message"), FAULTS)
def test_unfit_detections_name_image_row_and_value(fields, message):
    assert found(replace(GOOD, **fields))[0].startswith(f"image 7: {message}")


def test_more_detections_than_the_limit_is_a_fault():
    many = detected([[0, 0, 1, 1]] * 101, [0.5] * 101, [0] * 101)
    assert found(many) == ["image 7: has 101 detections, must have at most 100"]


@pytest.mark.parametrize("thing", [None, 3, [], {}])
def test_something_else_than_detections_is_a_fault(thing):
    assert "boxes is NoneType" in found(thing)[0]


FLOATS = st.floats(-300, 300, width=32) | st.sampled_from([float("nan"), float("inf"), -float("inf")])


@given(
    rows=hnp.arrays(np.float32, (3, 4), elements=FLOATS),
    values=hnp.arrays(np.float32, 3, elements=FLOATS | st.floats(0, 1, width=32)),
    labels=hnp.arrays(np.int32, 3),
)
def test_no_fault_means_the_plain_definition_holds(rows, values, labels):
    plain = (
        all(-1 <= x1 <= x2 <= 101 and -1 <= y1 <= y2 <= 81 for x1, y1, x2, y2 in rows)
        and 1 >= values[0] >= values[1] >= values[2] >= 0
        and all(label in (0, 1) for label in labels)
    )
    assert (not found(Detections(rows, values, labels))) == plain


def test_the_same_detections_for_different_images_are_stale():
    (fault,) = systematic({3: GOOD, 4: NOTHING, 5: replace(GOOD)}, 2)
    assert str(fault) == "image 3: has the very same detections as every other image that has any"


@pytest.mark.parametrize("detections", [{}, {1: GOOD}, {1: NOTHING, 2: NOTHING}, {1: GOOD, 2: FIT["no area"]}])
def test_different_or_empty_answers_are_not_stale(detections):
    assert systematic(detections, 2) == []


def many(boxes, classes=(0,)):
    count = 12
    return {1: Detections(np.float32(np.tile(boxes, (count, 1))), np.float32(np.linspace(0.9, 0.1, count)),
                          np.int32(np.resize(classes, count)))}


@pytest.mark.parametrize(("detections", "words"), [
    (many([[0.1, 0.2, 0.5, 1.0]]), "must be pixels, not shares of the image"),
    (many([[10, 20, 50, 60]], range(1, 9)), "classes go from 1 to 8, must count from 0"),
    (many([[10, 20, 50, 60]], range(8)), ""), (many([[0.1, 0.2, 0.5, 30]]), ""), ({1: NOTHING}, ""), ({}, ""),
])
def test_what_is_wrong_with_all_is_said_once(detections, words):
    found = systematic(detections, 8)
    assert (len(found), words in "".join(map(str, found))) == (int(bool(words)), True)


def test_detections_that_are_there_twice_are_counted():
    boxes = [[0, 0, 50, 40]] * 2 + [[10, 10, 100, 80 + row] for row in range(10)]
    once = detected(boxes, [0.9] * 12, [0, 1] + [0] * 10)
    twice = replace(once, **{name: np.repeat(getattr(once, name), 2, 0) for name in ("boxes", "scores", "classes")})
    assert repeated({1: once, 2: NOTHING}) == ""
    assert repeated({1: once, 2: twice}).startswith("12 of 36 detections repeat the box and class of another one")


def test_equal_answers_have_equal_content():
    copied = Detections(GOOD.boxes.copy(), GOOD.scores.copy(), GOOD.classes.copy(), error="not part of it")
    assert content(GOOD) == content(copied)


CHANGES = {
    "a box by one bit": {"boxes": np.nextafter(GOOD.boxes, np.float32(1e9))},
    "a score by one bit": {"scores": np.nextafter(GOOD.scores, np.float32(0))},
    "a class": {"classes": np.int32([0, 0])},
    "a detection less": {name: getattr(GOOD, name)[:1] for name in ("boxes", "scores", "classes")},
}


@pytest.mark.parametrize("case", CHANGES)
def test_other_answers_have_other_content(case):
    assert content(GOOD) != content(replace(GOOD, **CHANGES[case]))
