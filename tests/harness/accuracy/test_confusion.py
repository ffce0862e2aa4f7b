"""Boxes that fit with classes that do not are hinted at; other low figures are not."""
from __future__ import annotations

import numpy as np

from harness.accuracy.confusion import Confusion, confusion
from tests.harness.synthetic import NOTHING, changed


def test_right_classes_give_no_hint(made_up_dataset, right_detections):
    found = confusion(made_up_dataset, right_detections)
    assert found == Confusion(16, 16, 16, {}) and not found.hint()


def test_swapped_classes_are_hinted_at_with_an_example(made_up_dataset, right_detections):
    found = confusion(made_up_dataset, changed(right_detections, lambda a: {"classes": 1 - a.classes}))
    assert found == Confusion(16, 16, 0, {"cup": "can", "can": "cup"})
    assert "16 of 16 objects have a box of IoU 0.5, and 0 of these boxes the right class" in found.hint()
    assert "such as cup as can: the class names are not in the order" in found.hint()


def test_boxes_elsewhere_are_not_called_confused(made_up_dataset, right_detections):
    moved = changed(right_detections, lambda a: {"classes": 1 - a.classes, "boxes": a.boxes + np.float32(60)})
    assert not confusion(made_up_dataset, moved).hint()


def test_no_detections_are_not_called_confused(made_up_dataset, right_detections):
    assert confusion(made_up_dataset, dict.fromkeys(right_detections, NOTHING)) == Confusion(16, 0, 0, {})


def test_two_classes_in_each_others_place_are_hinted_at_among_many_right_ones():
    assert Confusion(100, 90, 80, {"cup": "can", "can": "cup"}).hint()
    assert not Confusion(100, 90, 80, {"cup": "can"}).hint()
