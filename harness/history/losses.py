"""Where accuracy was lost between two runs: to which mistakes, in which classes and sizes, and in which images."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.accuracy.dataset import Dataset
from harness.accuracy.errors import KINDS, WORDS, Errors, judge, unfound
from harness.compare.record import Figure

CLASS = "AP/"  # before the name of a class, in the metric of its AP
SIZES = {"APs": "small", "APm": "medium", "APl": "large"}


class Part(NamedTuple):
    """AP of a class or a size, or AP50 lost to a kind of mistake, in two runs; None where a run has none."""

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


def kinds(before: Errors, after: Errors) -> list[Part]:
    """AP50 lost to each kind of mistake in two runs, by how much more it costs, the most first."""
    parts = [Part(WORDS[kind], before.costs[kind], after.costs[kind]) for kind in KINDS]
    return sorted(parts, key=lambda part: -part.change)


def images(dataset: Dataset, before: Mapping[int, Any], after: Mapping[int, Any]) -> list[Image]:
    """The images in which objects were lost or gained, by falling loss; both map image id → detections.

    Which objects a confident detection finds is for the error analysis to say. KeyError for an image without
    detections.
    """
    found = []
    for row in dataset.ground_truth["images"]:
        image = row["id"]
        was_unfound, is_unfound = (unfound(judge(dataset, image, own[image])) for own in (before, after))
        found.append(Image(image, row["file_name"], int((is_unfound & ~was_unfound).sum()),
                           int((was_unfound & ~is_unfound).sum())))
    return sorted((one for one in found if one.lost or one.gained), key=lambda one: one.gained - one.lost)
