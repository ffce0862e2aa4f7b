"""How boxes lie to the objects is said: beside them, in another image, or only if they are read otherwise."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import InvalidRun, require_scorable
from harness.accuracy.off_objects import READINGS, off_objects
from tests.harness import synthetic
from tests.harness.synthetic import changed


@pytest.fixture
def ragged_dataset(tmp_path) -> Dataset:
    """Twenty images with two objects each, both at one place, which is another in each."""
    content = synthetic.content(20)
    for row in content["annotations"]:
        row.update(bbox=[float(row["image_id"] * 61 % 160), 10.0, 40.0, 60.0], area=2400.0)
    return Dataset.load(*synthetic.write(tmp_path, content))


def test_boxes_that_lie_beside_their_objects_are_said_to(made_up_dataset, right_detections):
    assert off_objects(made_up_dataset, right_detections) == ""
    moved = changed(right_detections, lambda one: {"boxes": one.boxes + np.float32(6)})
    said = off_objects(made_up_dataset, moved)
    assert said == (
        "boxes lie beside the objects that they find, in the median 6 pixels right, 6 pixels down, of the same size: "
        "look at what scales them back to the image")


def test_what_cannot_be_scored_says_so_too(made_up_dataset, right_detections):
    moved = changed(right_detections, lambda one: {"boxes": one.boxes - np.float32(12)})
    with pytest.raises(InvalidRun, match="in the median 12 pixels left, 12 pixels up, of the same size"):
        require_scorable(made_up_dataset, moved)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_said_of_boxes_that_are_no_numbers(made_up_dataset, right_detections, value):
    broken = changed(right_detections, lambda one: {"boxes": one.boxes * np.float32(value)})
    assert off_objects(made_up_dataset, broken) == ""


@pytest.mark.parametrize(("step", "which"), [(1, "before"), (-1, "after")])
def test_the_detections_of_another_image_are_known_by_its_objects(ragged_dataset, step, which):
    right = synthetic.perfect(ragged_dataset)
    stale = {i: right[(i - 1 - step) % 20 + 1] for i in right}
    said = off_objects(ragged_dataset, stale)
    assert said.startswith(f"the detections are those of the image {which}, of which they find 38 obj")
    assert off_objects(ragged_dataset, right) == ""


def test_a_few_more_by_chance_are_no_cause(ragged_dataset):
    right = synthetic.perfect(ragged_dataset)
    images = list(right)
    few = {image: right[image] if image in images[:3] else synthetic.NOTHING for image in images}
    few |= {image: replace(right[image], boxes=mirrored(right[image].boxes, *ragged_dataset.size(image)))
            for image in images[3:9]}
    assert off_objects(ragged_dataset, few) == ""


def mirrored(boxes, width, height):
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def turned(boxes, width, height):
    return np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)


def axes_exchanged(boxes, width, height):
    return boxes[:, [1, 0, 3, 2]]


def with_size(boxes, width, height):
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def with_centre(boxes, width, height):
    return np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])


FAULTS = mirrored, turned, axes_exchanged, with_size, with_centre


@pytest.mark.parametrize(("fault", "words"), list(zip(FAULTS, READINGS)))
def test_boxes_of_another_convention_are_named_by_it(ragged_dataset, fault, words):
    right = synthetic.perfect(ragged_dataset)
    wrong = {image: replace(one, boxes=fault(one.boxes, *ragged_dataset.size(image)).astype(np.float32))
             for image, one in right.items()}
    assert off_objects(ragged_dataset, wrong).startswith(f"boxes are {words}: corrected, they find 40 objects, and ")
