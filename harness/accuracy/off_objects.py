"""How confident boxes lie to the objects of their images: the likely cause of a low AP, in words."""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, NamedTuple

import numpy as np

from harness.accuracy.boxes import box_iou, displacement
from harness.accuracy.dataset import Dataset
from harness.accuracy.sanity import malformed

CONFIDENT = 0.25  # the score from which on a detection is looked at
LOOSE = 0.3  # IoU from which on a box may be one of the object
OF_IMAGE = "the detections are those of the image"  # before or after
BESIDE = "boxes lie beside the objects that they find"
SURE = 4.0  # standard deviations of a sign test, which chance exceeds once in thousands, of several that are made
IMAGES = 1000  # that are looked at, the first ones
LEAST = 10  # objects, below which what they have in common may be chance

Reading = Callable[[np.ndarray, int, int], np.ndarray]

# What boxes may be instead of x1, y1, x2, y2: (boxes [n, 4], width and height of the image) → boxes as they must be.
READINGS: dict[str, Reading] = {
    "mirrored left to right": lambda boxes, width, height: np.array([width, 0, width, 0]) + boxes[:, [2, 1, 0, 3]]
    * [-1, 1, -1, 1],
    "upside down": lambda boxes, width, height: np.array([0, height, 0, height]) + boxes[:, [0, 3, 2, 1]]
    * [1, -1, 1, -1],
    "given as y1, x1, y2, x2": lambda boxes, width, height: boxes[:, [1, 0, 3, 2]],
    "given as x, y, width, height": lambda boxes, width, height: boxes @ np.array(
        [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "given as centre, width and height": lambda boxes, width, height: boxes @ np.array(
        [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]]),
}


class Found(NamedTuple):
    """An object that has a confident box of its class: the place among its image's objects, and both boxes [4]."""

    image_id: int
    place: int
    truth: np.ndarray
    box: np.ndarray


def off_objects(dataset: Dataset, detections: Mapping[int, Any]) -> str:
    """That confident boxes find the objects of another image, or only if read otherwise, or lie beside them, in words.

    '' where nothing hints at that. Detections need not be sane; malformed ones and those that are not finite are left
    out. The other images that are tried are the one before and the one after each.
    """
    dataset = dataset.only(dataset.image_ids[:IMAGES])
    own = found_objects(dataset, detections)
    words, there = max(_otherwise(dataset, detections), key=lambda pair: pair[1])
    if there - len(own) >= max(LEAST, SURE * math.sqrt(there + len(own))):
        return words.format(there=f"{there:,} objects", own=f"{len(own):,}")
    boxes = [np.array([getattr(one, name) for one in own]) for name in ("truth", "box")]
    words = displacement(*boxes) if len(own) >= LEAST else ""
    return words and f"{BESIDE}, in the median {words}: look at what scales them back to the image"


def _otherwise(dataset: Dataset, detections: Mapping[int, Any]) -> Iterator[tuple[str, int]]:
    """(words, the objects that are found) for whatever else the detections may be."""
    ids = dataset.image_ids
    for which, others in (("before", ids[:1] + ids[:-1]), ("after", ids[1:] + ids[-1:])):
        found = _all_found(dataset, zip(others, ids), detections)
        yield (f"{OF_IMAGE} {which}, of which they find {{there}}, and {{own}} of their own: look for "
               "what is kept from one request to the next"), len(list(found))
    for name, reading in READINGS.items():
        found = _all_found(dataset, zip(ids, ids), detections, reading)
        yield (f"boxes are {name}: corrected, they find {{there}}, and {{own}} as they are; look at what turns the "
               "image or makes boxes of the network's output"), len(list(found))


def found_objects(dataset: Dataset, detections: Mapping[int, Any]) -> list[Found]:
    """The objects, without crowds, that have a confident box of their class."""
    return list(_all_found(dataset, zip(dataset.image_ids, dataset.image_ids), detections))


def _all_found(
    dataset: Dataset, images: Iterable[tuple[int, int]], detections: Mapping[int, Any], reading: Reading | None = None,
) -> Iterator[Found]:
    """`images` are pairs of the image whose objects are looked for, and the one whose detections are tried."""
    for objects, tried in images:
        yield from _of_image(dataset, objects, detections[tried], reading)


def _of_image(dataset: Dataset, image_id: int, found: Any, reading: Reading | None) -> Iterator[Found]:
    objects, classes = dataset.objects_of(image_id)
    if not len(objects) or any(malformed(found)) or not len(found.scores) or not np.isfinite(found.boxes).all():
        return
    boxes = reading(found.boxes, *dataset.size(image_id)) if reading else found.boxes
    meant = (classes[:, None] == found.classes) & (found.scores >= CONFIDENT)
    fits = np.where(meant, box_iou(objects, boxes), 0.0)
    for place, (box, own) in enumerate(zip(objects, fits)):
        if own.max() >= LOOSE:
            yield Found(image_id, place, box, boxes[own.argmax()])
