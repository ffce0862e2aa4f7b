"""pycocotools' figures, class by class, in a fraction of its time and memory.

pycocotools itself matches detections with objects, in the images that have an object of the class. In all others each
detection is wrong, which takes no loop. The sums over images are pycocotools' own in numpy, equal to the last bit.
"""
from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from harness.accuracy.processes import in_processes

FEW = 20_000  # detections that are evaluated before processes would have started


class Outcomes(NamedTuple):
    """The n detections of a class: images, scores and places in their image [n]; hits and ignored ones [IoUs, n]."""

    images: np.ndarray
    scores: np.ndarray
    places: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray


class Curves(NamedTuple):
    """pycocotools' `precision` [IoUs, recalls, categories, areas, limits], and `recall`, the same without recalls."""

    precision: np.ndarray
    recall: np.ndarray


class SharedMatches(COCOeval):
    """pycocotools, which matches an image's objects once for all areas where either all of them count or none does.

    Which objects count decides their order, and only that order decides the matches.
    """

    def evaluateImg(self, imgId: int, catId: int, aRng: list[float], maxDet: int) -> dict[str, Any]:
        """As in COCOeval; the first area of an image is always matched by pycocotools."""
        first = self.__dict__.setdefault("first", {}).get(imgId)
        objects = self._gts[imgId, catId]
        ignored = {bool(one["ignore"] or not aRng[0] <= one["area"] <= aRng[1]) for one in objects}
        if first is None or len(ignored) > 1 or len(set(first["gtIgnore"].tolist())) > 1:
            made = super().evaluateImg(imgId, catId, aRng, maxDet)
            self.first.setdefault(imgId, made)
            return made
        flag, hits = ignored.pop(), first["dtMatches"] != 0
        outside = np.array([not aRng[0] <= self.cocoDt.anns[i]["area"] <= aRng[1] for i in first["dtIds"]], bool)
        return {**first, "aRng": aRng, "gtIgnore": np.full(len(objects), int(flag)),
                "dtIgnore": np.where(hits, flag, outside)}


def confirmed(ground_truth: dict[str, list[dict[str, Any]]], rows: np.ndarray, cores: int = 1) -> COCOeval:
    """A COCOeval with `eval` and `stats` as after evaluate, accumulate and summarize.

    `rows` are the detections, float64 [n, 7]: image id, x, y, width, height, score, category id, by rising image id.
    Many detections are shared out to so many processes, class by class. Raises ProcessError. Source:
    pycocotools.cocoeval.COCOeval.
    """
    run = COCOeval(iouType="bbox")
    run.params.catIds = np.array(sorted(category["id"] for category in ground_truth["categories"]))
    if cores == 1 or len(rows) <= FEW:
        curves = _curves(ground_truth["annotations"], rows, run.params.catIds)
    else:
        curves = _shared_out(ground_truth["annotations"], rows, run.params.catIds, cores)
    run.eval = {"params": run.params, **curves._asdict()}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints a table
        run.summarize()
    return run


def _shared_out(annotations: list[dict[str, Any]], rows: np.ndarray, categories: np.ndarray, cores: int) -> Curves:
    """The curves from so many processes. Each has about as many detections: the classes are dealt out by size."""
    counts = [np.count_nonzero(rows[:, 6] == category) for category in categories]
    shares = [share for share in (np.argsort(counts)[first::cores] for first in range(cores)) if len(share)]
    questions = []
    for share in shares:
        own = categories[share]
        known = set(own.tolist())
        questions.append(([row for row in annotations if row["category_id"] in known], rows[np.isin(rows[:, 6], own)],
                          own))
    found = in_processes(_curves, questions)
    order = np.argsort(np.concatenate(shares))
    return Curves(*(np.concatenate(part, axis)[(slice(None),) * axis + (order,)]
                    for axis, part in zip((2, 1), zip(*found))))


def _curves(annotations: list[dict[str, Any]], rows: np.ndarray, categories: np.ndarray) -> Curves:
    p = Params(iouType="bbox")
    counts = len(categories), len(p.areaRng), len(p.maxDets)
    precision = np.full((len(p.iouThrs), len(p.recThrs), *counts), -1.0)
    recall = np.full((len(p.iouThrs), *counts), -1.0)
    objects = defaultdict(list)
    for row in annotations:
        objects[row["category_id"]].append(row)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for k, category in enumerate(categories.tolist()):
            if objects[category]:
                _fill(precision[:, :, k], recall[:, k], objects[category], rows[rows[:, 6] == category])
    return Curves(precision, recall)


def _fill(precision: np.ndarray, recall: np.ndarray, objects: list[dict[str, Any]], found: np.ndarray) -> None:
    """Writes one class's `precision` [IoUs, recalls, areas, limits] and `recall` [IoUs, areas, limits]."""
    beside = np.isin(found[:, 0], [row["image_id"] for row in objects])
    matched, apart = _matched(objects, found[beside]), found[~beside]
    p = matched.params
    count = len(p.imgIds)
    for a, area in enumerate(p.areaRng):
        images = matched.evalImgs[a * count:(a + 1) * count]
        scored = sum(int((one["gtIgnore"] == 0).sum()) for one in images)
        if scored:
            outcomes = _joined(_of_images(images), _wrong(apart, area, len(p.iouThrs), p.maxDets[-1]))
            for m, limit in enumerate(p.maxDets):
                recall[:, a, m], precision[:, :, a, m] = _curve(outcomes, limit, scored, p.recThrs)


def _matched(objects: list[dict[str, Any]], found: np.ndarray) -> COCOeval:
    """pycocotools after evaluate, on the images of these objects of one class."""
    truth = {
        "images": [{"id": i} for i in {row["image_id"] for row in objects}],
        "categories": [{"id": objects[0]["category_id"]}], "annotations": objects,
    }
    run = SharedMatches(*loaded(COCO, truth, found), "bbox")
    run.evaluate()
    return run


def loaded(coco: Any, ground_truth: dict[str, list[dict[str, Any]]], rows: np.ndarray) -> tuple[Any, Any]:
    """Ground truth and detections in the class `coco` of an evaluator; `rows` as of `confirmed`."""
    truth = _indexed(coco, ground_truth)
    # pycocotools cannot load an empty list.
    return truth, truth.loadRes(rows) if len(rows) else _indexed(coco, {**ground_truth, "annotations": []})


def _indexed(coco: Any, content: dict[str, list[dict[str, Any]]]) -> Any:
    # Ids from 1, because pycocotools takes a match with annotation id 0 for no match. It writes into them: copies.
    made = coco()
    made.dataset = {**content, "annotations": [{**row, "id": i} for i, row in enumerate(content["annotations"], 1)]}
    made.createIndex()
    return made


def _of_images(images: list[dict[str, Any]]) -> Outcomes:
    counts = [len(one["dtScores"]) for one in images]
    return Outcomes(
        np.repeat([one["image_id"] for one in images], counts),
        np.concatenate([one["dtScores"] for one in images]),
        np.concatenate([np.arange(count) for count in counts]),
        np.concatenate([one["dtMatches"] != 0 for one in images], axis=1),
        np.concatenate([one["dtIgnore"] for one in images], axis=1).astype(bool),
    )


def _wrong(found: np.ndarray, area: list[float], ious: int, limit: int) -> Outcomes:
    """Detections in images without an object of the class: never a hit, ignored outside the area."""
    found = found[np.lexsort((-found[:, 5], found[:, 0]))]
    places = np.arange(len(found)) - np.searchsorted(found[:, 0], found[:, 0])
    found, places = found[places < limit], places[places < limit]
    sizes = found[:, 3] * found[:, 4]
    ignored = np.tile((sizes < area[0]) | (sizes > area[1]), (ious, 1))
    return Outcomes(found[:, 0], found[:, 5], places, np.zeros_like(ignored), ignored)


def _joined(a: Outcomes, b: Outcomes) -> Outcomes:
    """Both by falling score; equal scores by image, then by place, as pycocotools' stable sort leaves them."""
    both = Outcomes(*(np.concatenate(pair, axis=-1) for pair in zip(a, b)))
    order = np.lexsort((both.places, both.images, -both.scores))
    return Outcomes(*(column[..., order] for column in both))


def _curve(outcomes: Outcomes, limit: int, objects: int, recalls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The recall [IoUs] and the precision [IoUs, recalls] of the first `limit` detections of each image."""
    kept = outcomes.places < limit
    hits, judged = outcomes.hits[:, kept], ~outcomes.ignored[:, kept]
    right = np.cumsum(hits & judged, axis=1).astype(float)
    wrong = np.cumsum(~hits & judged, axis=1)
    precision = right / (wrong + right + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.pad(best, ((0, 0), (0, 1)))  # recalls that are never reached have precision 0
    reached = right / objects
    at = [own[np.searchsorted(seen, recalls)] for own, seen in zip(best, reached)]
    return (reached[:, -1] if kept.any() else np.zeros(len(reached))), np.array(at)
