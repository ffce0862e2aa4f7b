"""Where accuracy was lost between two runs: in which classes and sizes, and in which images."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import box_iou
from harness.compare.record import Figure

CLASS = "AP/"  # before the name of a class, in the metric of its AP
SIZES = {"APs": "small", "APm": "medium", "APl": "large"}
CONFIDENT = 0.25  # score of a detection that a user would be shown
FOUND = 0.5  # IoU from which on an object is found


class Part(NamedTuple):
    """AP of a class or a size in two runs; None where a run has none."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After less before; None where one is missing."""
        return None if None in (self.before, self.after) else self.after - self.before


class Image(NamedTuple):
    """An image and how many of its objects only the earlier run found (`lost`) and only the new one (`gained`)."""

    image_id: int
    file_name: str
    lost: int
    gained: int


def classes(before: Mapping[tuple[str, str], Figure], after: Mapping[tuple[str, str], Figure]) -> list[Part]:
    """The classes by how much AP they lost, the most first, from the figures of two runs."""
    names = dict.fromkeys(metric.removeprefix(CLASS) for figures in (before, after) for check, metric in figures
                          if check == "accuracy" and metric.startswith(CLASS))
    return _by_loss([Part(name, *_values(f"{CLASS}{name}", before, after)) for name in names])


def sizes(before: Mapping[tuple[str, str], Figure], after: Mapping[tuple[str, str], Figure]) -> list[Part]:
    """The same of COCO's sizes."""
    return _by_loss([Part(name, *_values(metric, before, after)) for metric, name in SIZES.items()])


def _values(metric: str, *runs: Mapping[tuple[str, str], Figure]) -> list[float | None]:
    found = (figures.get(("accuracy", metric)) for figures in runs)
    return [figure.estimate.value if figure and figure.estimate else None for figure in found]


def _by_loss(parts: list[Part]) -> list[Part]:
    return sorted((part for part in parts if part.change is not None), key=lambda part: part.change)


def images(dataset: Dataset, before: Mapping[int, Any], after: Mapping[int, Any]) -> list[Image]:
    """The images in which objects were lost or gained, by falling loss; both map image id → detections.

    An object is found by a detection of its class with a score from 0.25 on and an IoU from 0.5 on, each by one. Crowds
    do not count. KeyError for an image without detections.
    """
    index = {category: k for k, category in enumerate(dataset.category_ids)}
    objects: dict[int, list] = {image: [] for image in dataset.image_ids}
    for row in dataset.ground_truth["annotations"]:
        if not row["iscrowd"]:
            objects[row["image_id"]].append((*row["bbox"], index[row["category_id"]]))
    found = []
    for row in dataset.ground_truth["images"]:
        image = row["id"]
        earlier, now = (_found(objects[image], own[image]) for own in (before, after))
        found.append(Image(image, row["file_name"], len(earlier - now), len(now - earlier)))
    return sorted((one for one in found if one.lost or one.gained), key=lambda one: one.gained - one.lost)


def _found(objects: list[tuple], detections: Any) -> set[int]:
    """The places of the objects that a confident detection finds: the best detections choose first."""
    if not objects:
        return set()
    truth = np.array([one[:4] for one in objects], np.float64)
    truth[:, 2:] += truth[:, :2]
    labels, taken = np.array([one[4] for one in objects]), set()
    confident = np.flatnonzero(detections.scores >= CONFIDENT)
    overlaps = box_iou(detections.boxes[confident], truth)
    overlaps[detections.classes[confident][:, None] != labels] = 0
    for own in overlaps[np.argsort(-detections.scores[confident], kind="stable")]:
        free = [place for place in np.flatnonzero(own >= FOUND).tolist() if place not in taken]
        if free:
            taken.add(max(free, key=own.__getitem__))
    return taken
