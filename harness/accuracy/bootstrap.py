"""Bounds of COCO's average precision by bootstrap over images, and of the paired difference of two detectors.

Which detection matches which object does not depend on other images, so images are matched once. A resample then only
counts each image as often as it was drawn. AP is that of pycocotools: all areas, 100 detections an image, IoU .50:.95.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask

from harness.accuracy.boxes import area
from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import AGREEMENT, InvalidRun, require_scorable
from harness.stats.estimate import TOO_FEW, Estimate, narrowing
from harness.stats.resamples import basic_interval
from harness.verdict.verdict import ERROR

# Computed as pycocotools does: the last bit decides whether a recall reaches a threshold.
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LARGEST = 1e5**2  # square pixels: above it pycocotools ignores
RESAMPLES = 1000
# Resamples of fewer images show too little of how others may differ. A cast that costs 0.009 AP by moving every box a
# little was taken for one that costs at most 0.005 in 49 % of runs with 1 image, 10 % with 5, 5 % with 10, 1 % with 16.
LEAST_IMAGES = 30
CHUNK = 2**18  # counts at a time, so that they stay in the processor's cache


class Hits(NamedTuple):
    """The true positives of one class at one IoU, by falling score: their places in the class, and their images.

    `ignored` are the places of detections that count neither as right nor as wrong.
    """

    places: np.ndarray
    images: np.ndarray
    ignored: np.ndarray


class ClassMatches(NamedTuple):
    """One class: the image of each detection by falling score, the image of each object, and the hits at each IoU."""

    images: np.ndarray
    objects: np.ndarray
    hits: list[Hits]


def resampled_precisions(dataset: Dataset, detections: Mapping[int, Any], resamples: int = RESAMPLES) -> np.ndarray:
    """AP and AP50, float64 [1 + resamples, 2], of the images as they are and of each resample (Efron 1979).

    The resamples depend on the number of images alone, so that the differences of two detectors are those of a paired
    bootstrap. `detections` maps image id -> detections. Raises InvalidRun as `evaluate` and when a resample has no
    object to find, ValueError for no resample.
    """
    if resamples < 1:
        raise ValueError(f"resamples {resamples}: must be at least 1")
    return _precisions(dataset, detections, _weights(len(dataset), resamples))


def require_agreement(resampled: np.ndarray, figures: Mapping[str, float | None]) -> None:
    """Raises InvalidRun where the matching of this room gives other `figures` of the images as they are.

    `resampled` is as of `resampled_precisions`. So a third evaluator confirms AP and AP50, and on every image.
    """
    for name, own in zip(("AP", "AP50"), resampled[0].tolist()):
        if not math.isclose(own, figures[name], rel_tol=0, abs_tol=AGREEMENT):
            raise InvalidRun(f"the gate's own matching and the evaluators disagree on {name} ({own}, {figures[name]}): "
                             "try other versions of hotcoco and pycocotools to find the faulty one", ERROR)


def drop_estimate(
    dataset: Dataset, reference: Mapping[int, Any], candidate: Mapping[int, Any], resamples: int = RESAMPLES
) -> Estimate:
    """How far AP falls from `reference` to `candidate`, both on the same images of every resample.

    There are no bounds for fewer than LEAST_IMAGES images. They are those of a difference in which all images have a
    part, as rounding is. What goes wrong in a few images alone may be in none of those that were drawn.
    `decide(drop, 0.005, "<=")` of harness.stats.estimate is the one-sided test of parity. Errors as
    `resampled_precisions`.
    """
    is_enough = len(dataset) >= LEAST_IMAGES
    weights = _weights(len(dataset), resamples if is_enough else 0)
    before = _precisions(dataset, reference, weights)[:, 0]
    after = before if candidate is reference else _precisions(dataset, candidate, weights)[:, 0]
    if is_enough:
        return narrowing(basic_interval(before - after), len(dataset), "such images")
    few = f"at least {LEAST_IMAGES} images are needed, there are {len(dataset)}"
    return Estimate(float(before[0] - after[0]), more=lambda limit, sense: few)


def average_precision(classes: list[ClassMatches], weights: np.ndarray) -> np.ndarray:
    """AP and AP50, float64 [resamples, 2], with each image counted `weights` (whole numbers [resamples, images]) times.

    It is as if a drawn image stood several times in the dataset, side by side. NaN without an object to find.
    """
    totals, known = np.zeros((len(weights), len(IOUS))), np.zeros(len(weights))
    for matches in classes:
        step = max(1, CHUNK // max(1, len(matches.images)))
        for first in range(0, len(weights), step):
            rows = slice(first, first + step)
            precision, found = _class_precision(matches, weights[rows])
            totals[rows] += precision
            known[rows] += found
    figures = np.column_stack([totals.mean(1), totals[:, 0]])
    return np.divide(figures, known[:, None], out=np.full_like(figures, np.nan), where=known[:, None] > 0)


def match(dataset: Dataset, detections: Mapping[int, Any]) -> list[ClassMatches]:
    """Match every image's detections with its objects, as pycocotools does: by falling score, at each IoU anew.

    An object is matched once, a crowd any number of times; a detection that matches only a crowd is ignored. Images are
    numbered as in `dataset.image_ids`. Raises InvalidRun as `evaluate`.
    """
    require_scorable(dataset, detections)
    found = [detections[i] for i in dataset.image_ids]
    matched = [_match_image(dataset.annotations_of(i), detections[i], dataset.places) for i in dataset.image_ids]
    labels = np.concatenate([one.classes for one in found])
    scores = np.concatenate([one.scores for one in found])
    outcomes = np.concatenate([own for own, _ in matched])
    objects = np.concatenate([own for _, own in matched])
    images = np.repeat(np.arange(len(found)), [len(one.scores) for one in found])
    images_of_objects = np.repeat(np.arange(len(found)), [len(own) for _, own in matched])
    ranked = np.lexsort((-scores, labels))  # stable: equal scores keep the order of the images
    starts = np.searchsorted(labels[ranked], np.arange(1, len(dataset.places)))
    return [
        _class_matches(images[chosen], images_of_objects[objects == k], outcomes[chosen])
        for k, chosen in enumerate(np.split(ranked, starts))
    ]


def _weights(images: int, resamples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, images, images) for _ in range(resamples))
    return np.array([np.ones(images)] + [np.bincount(d, minlength=images) for d in drawn], np.int32)


def _precisions(dataset: Dataset, detections: Mapping[int, Any], weights: np.ndarray) -> np.ndarray:
    precisions = average_precision(match(dataset, detections), weights)
    empty = int(np.isnan(precisions[:, 0]).sum())
    if empty:
        raise InvalidRun(f"{empty} of {len(weights) - 1} resamples have no object to find; annotate more images",
                         TOO_FEW)
    return precisions


def estimates(figures: np.ndarray) -> dict[str, Estimate]:
    """AP and AP50 from figures [1 + resamples, 2], the first row being that of the images as they are.

    The bounds are those of the AP on as many other images of the same kind; each holds at 95 % on its own.
    """
    return {name: basic_interval(column, least=0) for name, column in zip(("AP", "AP50"), figures.T)}


def _match_image(truth: list[dict[str, Any]], detections: Any, index: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The outcomes of an image's detections [n, IoUs] (1 hit, -1 ignored, 0 wrong), and the classes of what to find."""
    ignored = np.array([row["iscrowd"] or row["area"] > LARGEST for row in truth], bool)
    crowd = [bool(row["iscrowd"]) for row in truth]
    labels = np.array([index[row["category_id"]] for row in truth], np.int64)
    overlaps = overlaps_of(truth, detections)
    near = (overlaps >= IOUS[0]) & (detections.classes[:, None] == labels)
    pairs = [(d, g, overlaps[d, g]) for d, g in np.argwhere(near).tolist()]  # by falling score, as detections come
    outcomes = np.zeros((len(overlaps), len(IOUS)), np.int8)
    for level, iou in enumerate(IOUS):
        for d, g in matches_at(pairs, iou, ignored, crowd).items():
            outcomes[d, level] = -1 if ignored[g] else 1
    outcomes[(outcomes == 0) & (area(detections.boxes) > LARGEST)[:, None]] = -1
    return outcomes, labels[~ignored]


def overlaps_of(truth: list[dict[str, Any]], detections: Any) -> np.ndarray:
    """IoU [detections, objects]; with a crowd the share of the detection that lies in it."""
    if not truth or not len(detections.scores):
        return np.zeros((len(detections.scores), len(truth)))
    low, high = np.hsplit(detections.boxes.astype(np.float64), 2)
    return mask.iou(np.hstack([low, high - low]), [row["bbox"] for row in truth], [row["iscrowd"] for row in truth])


def matches_at(pairs: list[tuple], iou: float, ignored: np.ndarray, crowd: list[bool]) -> dict[int, int]:
    """Detection → object that it matches at this IoU.

    `pairs` are (detection, object of its class, IoU) by falling score; `ignored` and `crowd` have a flag an object.
    """
    taken, matches = set(), {}
    for detection, candidates in groupby(pairs, key=lambda pair: pair[0]):
        free = [(overlap, g) for _, g, overlap in candidates if overlap >= iou and (crowd[g] or g not in taken)]
        if free:
            # Objects come before ignored ones; of equal overlaps the later.
            _, g = max(free, key=lambda pair: (not ignored[pair[1]], *pair))
            taken.add(g)
            matches[detection] = g
    return matches


def _class_matches(images: np.ndarray, objects: np.ndarray, outcomes: np.ndarray) -> ClassMatches:
    hits = []
    for column in outcomes.T:
        places = np.flatnonzero(column == 1)
        hits.append(Hits(places, images[places], np.flatnonzero(column == -1)))
    last = max((hit.places[-1] + 1 for hit in hits if len(hit.places)), default=0)
    return ClassMatches(images[:last], objects, hits)  # detections after the last hit do not change the precision


def _class_precision(matches: ClassMatches, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean precision over recall thresholds [resamples, IoUs], 0 without objects; whether there are any [resamples]."""
    objects = weights[:, matches.objects].sum(1)
    counted = weights[:, matches.images]
    seen = np.cumsum(counted, axis=1, dtype=np.int32)
    reached, offsets = _recalls_reached(objects)
    precision = np.zeros((len(weights), len(IOUS)))
    for level, hits in enumerate(matches.hits):
        if len(hits.places):
            right = np.cumsum(weights[:, hits.images], axis=1, dtype=np.int32)
            judged = seen[:, hits.places] - _ignored_before(counted, hits)
            precision[:, level] = _interpolated(right, judged, reached, offsets)
    return precision, objects > 0


def _ignored_before(counted: np.ndarray, hits: Hits) -> np.ndarray | int:
    """The number of ignored detections before each hit."""
    ignored = hits.ignored[hits.ignored < hits.places[-1]]
    if not len(ignored):
        return 0
    sums = np.zeros((len(counted), len(ignored) + 1), np.int64)
    np.cumsum(counted[:, ignored], axis=1, out=sums[:, 1:])
    return sums[:, np.searchsorted(ignored, hits.places)]


def _interpolated(right: np.ndarray, judged: np.ndarray, reached: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The mean of the best precision at or beyond each recall threshold; a hit counts for those it reaches first.

    `right` and `judged` [resamples, hits] are running counts, `reached[offsets + right]` the thresholds reached.
    """
    best = right / np.maximum(judged, 1)
    best = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    first = np.diff(reached[offsets[:, None] + right], axis=1, prepend=0)
    return np.einsum("ij,ij->i", best, first) / len(RECALLS)


def _recalls_reached(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many recall thresholds each number of hits, from 0 to all, reaches; where each resample's numbers start.

    Resamples with equally many objects share theirs. Without objects no threshold is reached.
    """
    sizes, which = np.unique(objects, return_inverse=True)
    tables = [np.searchsorted(RECALLS, np.arange(n + 1) / n, "right") if n else np.zeros(1, np.int64) for n in sizes]
    starts = np.concatenate([[0], np.cumsum(sizes[:-1] + 1)]).astype(np.int64)
    return np.concatenate(tables), starts[which]
