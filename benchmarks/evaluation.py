"""What judging many images costs: time of each part, peak memory, and the ratio to pycocotools alone in one run.

`python -m benchmarks.evaluation [--stock] [--parts PART ...] IMAGES ...`, each size in a process of its own. `--stock`
also times pycocotools as it is, which takes half a megabyte an image.
"""
from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.accuracy import bootstrap, confusion, errors, evaluation
from harness.accuracy.dataset import Dataset
from model.detections import Detections

CLASSES, OBJECTS, LIMIT = 80, 7.2, 100  # COCO's: classes, annotations an image, detections an image
SIDE = 640  # pixels


def synthetic(folder: Path, images: int) -> tuple[Dataset, float]:
    """A dataset like COCO's val2017, the same for the same size, and the seconds that loading it took."""
    rng = np.random.default_rng(0)
    count = int(images * OBJECTS)
    owners, classes = rng.integers(1, images + 1, count), _classes(rng, count)
    boxes = _boxes(rng, count).round(2)
    annotations = [
        {"id": n, "image_id": int(i), "category_id": int(k) + 1, "bbox": box.tolist(),
         "area": float(box[2] * box[3]), "iscrowd": int(n % 100 == 0)}
        for n, (i, k, box) in enumerate(zip(owners, classes, boxes), 1)
    ]
    content = {
        "images": [{"id": i, "file_name": "image", "width": SIDE, "height": SIDE} for i in range(1, images + 1)],
        "annotations": annotations, "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(CLASSES)],
    }
    (folder / "image").write_bytes(b"never decoded")
    (folder / "instances.json").write_text(json.dumps(content))
    del content, annotations
    start = time.perf_counter()
    return Dataset.load(folder / "instances.json", folder), time.perf_counter() - start


def detected(dataset: Dataset) -> dict[int, Detections]:
    """Detections down to a score of 0.001, up to LIMIT an image: the objects moved a little, and many wrong ones."""
    rng = np.random.default_rng(1)
    boxes, classes = {i: [] for i in dataset.image_ids}, {i: [] for i in dataset.image_ids}
    for row in dataset.ground_truth["annotations"]:
        boxes[row["image_id"]].append(row["bbox"])
        classes[row["image_id"]].append(row["category_id"] - 1)
    return {i: _of_image(rng, boxes[i], classes[i]) for i in dataset.image_ids}


def _of_image(rng: np.random.Generator, boxes: list, classes: list) -> Detections:
    near = np.array(boxes[:LIMIT]).reshape(-1, 4) + rng.normal(0, 4, (len(boxes[:LIMIT]), 4))
    wrong = int(rng.integers(0, LIMIT - len(near) + 1))
    labels = np.concatenate([np.array(classes[:LIMIT], int), _classes(rng, wrong)])
    scores = np.concatenate([rng.uniform(0.2, 1, len(near)), rng.uniform(0.001, 0.3, wrong)])
    found = np.vstack([near, _boxes(rng, wrong)])
    found[:, 2:] = found[:, :2] + found[:, 2:].clip(1)
    order = np.argsort(-scores)
    return Detections(found[order].clip(0, SIDE).astype(np.float32), scores[order].astype(np.float32),
                      labels[order].astype(np.int32))


def _classes(rng: np.random.Generator, count: int) -> np.ndarray:
    """A few classes are frequent, as people are in COCO."""
    return (CLASSES * rng.random(count) ** 2).astype(int)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    size = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    return np.hstack([rng.random((count, 2)) * (SIDE - size), size])


def _stock(dataset: Dataset, detections: dict[int, Detections]) -> None:
    run = evaluation.prepared(COCO, COCOeval, dataset, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        run.evaluate()
        run.accumulate()
        run.summarize()


def _drop(dataset: Dataset, detections: dict[int, Detections]) -> None:
    """The paired AP drop to a detector whose boxes are a pixel off."""
    moved = {i: one._replace(boxes=(one.boxes + 1).clip(0, SIDE)) for i, one in detections.items()}
    bootstrap.drop_estimate(dataset, detections, moved)


PARTS: dict[str, Callable[[Dataset, dict[int, Detections]], Any]] = {
    "checks": evaluation.require_scorable,
    "confirmation": evaluation._pycocotools,
    "hotcoco": evaluation._hotcoco,
    "matching": bootstrap.match,
    "bootstrap": bootstrap.resampled_precisions,
    "drop": _drop,
    "errors": errors.analyse,
    "confusion": confusion.confusion,
}


def measure(images: int, parts: list[str], with_stock: bool) -> None:
    """Print a row a part: seconds by the clock, seconds of the processor, peak memory so far in MB.

    Memory is that of this process, and of the largest one that it started.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset, seconds = synthetic(Path(folder), images)
        found = detected(dataset)
        print(f"{images:,} images, {len(dataset.ground_truth['annotations']):,} annotations, "
              f"{sum(len(one.scores) for one in found.values()):,} detections; load {os.getloadavg()[0]:.1f}")
        _row("load", seconds)
        took = {name: _timed(name, PARTS[name], dataset, found) for name in parts}
        if with_stock:
            stock = _timed("pycocotools alone", _stock, dataset, found)
            if "confirmation" in took:
                print(f"  confirmation: {took['confirmation'] / stock:.3f} of pycocotools alone")


def _timed(name: str, part: Callable, dataset: Dataset, found: dict[int, Detections]) -> float:
    start, busy = time.perf_counter(), _processor()
    part(dataset, found)
    seconds, busy = time.perf_counter() - start, _processor() - busy
    _row(name, seconds, f"{busy:8.2f} s")
    return seconds


def _row(name: str, seconds: float, processor: str = f"{'':10}") -> None:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    own, other = (resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"  {name:18} {seconds:8.2f} s {processor} {own:8,.0f} MB, its processes {other:,.0f} MB", flush=True)


def _processor() -> float:
    return sum(os.times()[:4])  # of this process and of those that it started


def main() -> None:
    """Measure each size in a fresh process, so that its peak memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="+")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--stock", action="store_true")
    given = parser.parse_args()
    for images in given.images:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(images, given.parts, given.stock))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{images} images: the measurement ended with exit code {process.exitcode}")


if __name__ == "__main__":
    main()
