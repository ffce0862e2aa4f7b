"""Finds classes in the wrong order: boxes fit the objects, but their classes do not."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.accuracy.boxes import box_iou
from harness.accuracy.dataset import Dataset

FITS = 0.5  # IoU
SEEN = 3  # found objects of a class from which on it is called confused


class Confusion(NamedTuple):
    """How many `objects` there are (without crowds), how many have a box that fits, and how many the right class too.

    `mostly` maps a class to the other one that more than half of its found objects got.
    """

    objects: int
    found: int
    right: int
    mostly: dict[str, str]

    def hint(self) -> str:
        """Why accuracy is low and what to do, if the classes are the cause; else ''."""
        if 2 * self.found < self.objects or (2 * self.right >= self.found and len(self.mostly) < 2):
            return ""
        example = next((f", such as {one} as {other}" for one, other in self.mostly.items()), "")
        return (f"the boxes fit and the classes do not: {self.found} of {self.objects} objects have a box of IoU "
                f"{FITS:g}, and {self.right} of these boxes the right class; the classes are confused{example}: the "
                "class names are not in the order of the detector's classes, correct it")


def confusion(dataset: Dataset, detections: Mapping[int, Any]) -> Confusion:
    """The classes of the best-scored box that fits each object; `detections` maps image id → sane detections."""
    pairs = Counter(pair for image_id in dataset.image_ids for pair in _pairs(dataset, image_id, detections[image_id]))
    objects = sum(not row["iscrowd"] for row in dataset.ground_truth["annotations"])
    right = sum(count for (true, seen), count in pairs.items() if true == seen)
    return Confusion(objects, sum(pairs.values()), right, _mostly(pairs, dataset.category_names))


def _pairs(dataset: Dataset, image_id: int, found: Any) -> list[tuple[int, int]]:
    """(class of the object, class of the best-scored box that fits it) for each object that has one."""
    boxes, true = dataset.objects_of(image_id)
    if not len(boxes) or not len(found.scores):
        return []
    fits = box_iou(boxes, found.boxes) >= FITS
    best = found.classes[fits.argmax(1)].tolist()  # scores fall, so the first is the best
    return [pair for pair, is_found in zip(zip(true.tolist(), best), fits.any(1)) if is_found]


def _mostly(pairs: Counter, names: list[str]) -> dict[str, str]:
    total = Counter(true for true, _ in pairs.elements())
    return {names[true]: names[seen] for (true, seen), count in sorted(pairs.items())
            if true != seen and total[true] >= SEEN and 2 * count > total[true]}
