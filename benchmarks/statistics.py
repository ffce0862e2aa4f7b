"""CPU time of judging: COCO evaluation and bootstrap: `python -m benchmarks.statistics`.

The detections are simulated and of COCO's size: 5,000 images, about 7 objects and 100 detections each, 80 classes.
"""
from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.accuracy.bootstrap import drop_estimate, estimates, match, resampled_precisions
from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import evaluate
from harness.machine.facts import facts
from model.detections import Detections

CLASSES, WIDTH, HEIGHT = 80, 640, 480
OBJECTS, DETECTIONS = 7, 100  # an image; COCO val2017 has 36,781 objects in 5,000
RESAMPLES = 1000


def boxes(rng, count) -> np.ndarray:
    """Boxes [n, 4] inside the image, with sizes as in COCO."""
    size = np.exp(rng.normal(4, 1, (count, 2))).clip(8, (WIDTH // 2, HEIGHT // 2))
    corner = rng.random((count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.hstack([corner, corner + size])


def found_objects(rng, truth, labels, noise) -> Detections:
    """Several boxes per object, roughly in place and mostly of the right class, among boxes without an object."""
    seen = rng.integers(0, max(len(truth), 1), min(3 * len(truth), DETECTIONS))
    spread = (truth[seen, 2:] - truth[seen, :2]).repeat(2, 1).reshape(-1, 2, 2).swapaxes(1, 2).reshape(-1, 4)
    near = truth[seen] + rng.normal(0, 0.06 + noise, (len(seen), 4)).clip(-0.3, 0.3) * spread
    found = np.vstack([near, boxes(rng, DETECTIONS - len(seen))]).clip(0, (WIDTH, HEIGHT) * 2)
    right = np.where(rng.random(len(seen)) < 0.8, labels[seen], rng.integers(0, CLASSES, len(seen)))
    classes = np.concatenate([right, rng.integers(0, CLASSES, DETECTIONS - len(seen))])
    scores = np.concatenate([rng.beta(2, 2, len(seen)), rng.beta(1, 20, DETECTIONS - len(seen))])
    order = np.argsort(-scores)
    found, scores = found[order].astype(np.float32), scores[order].astype(np.float32)
    return Detections(found, scores, classes[order].astype(np.int32))


def simulated(folder, images) -> tuple[Dataset, dict, dict]:
    """The dataset, detections by image, and those of a slightly less exact detector."""
    rng, coco, detections, worse = np.random.default_rng(0), {"images": [], "annotations": []}, {}, {}
    (folder / "val").mkdir()
    for i in range(1, images + 1):
        truth = boxes(rng, rng.poisson(OBJECTS))
        labels = (CLASSES * rng.random(len(truth)) ** 2).astype(np.int64)
        coco["images"].append({"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT})
        coco["annotations"] += [row(len(coco["annotations"]) + n, i, box, k)
                                for n, (box, k) in enumerate(zip(truth.tolist(), labels.tolist()), 1)]
        detections[i], worse[i] = (
            found_objects(np.random.default_rng(i), truth, labels, noise) for noise in (0, 0.002)
        )
        (folder / "val" / f"{i}.jpg").write_bytes(b"image")
    coco["categories"] = [{"id": k, "name": f"class {k}"} for k in range(CLASSES)]
    (folder / "instances.json").write_text(json.dumps(coco))
    return Dataset.load(folder / "instances.json", folder / "val"), detections, worse


def row(number, image_id, box, label) -> dict:
    x, y, right, bottom = box
    return {"id": number, "image_id": image_id, "category_id": label, "bbox": [x, y, right - x, bottom - y],
            "area": (right - x) * (bottom - y), "iscrowd": int(number % 80 == 0)}


def measured(call) -> tuple:
    """(result of the call, its CPU seconds)."""
    start = time.process_time()
    return call(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.statistics", description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="simulated images (default 5000)")
    images = parser.parse_args().images
    if images < 1:
        parser.error(f"--images {images}: must be at least 1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    with tempfile.TemporaryDirectory() as folder:
        report(*simulated(Path(folder), images))


def report(dataset, detections, worse) -> None:
    """Prints the table, each row as soon as it is measured."""
    machine = facts()
    print(f"{machine['processor']}, one core, NumPy {np.__version__}, load average {machine['load_average'][0]:.2f}, "
          f"{time.strftime('%Y-%m-%d')}\n\n| step | CPU-s | result |\n|---|---|---|", flush=True)
    images = f"{len(dataset):,} images"
    calls = {
        f"matching, {images}": lambda: f"{len(match(dataset, detections))} classes",
        f"AP interval, {images}, {RESAMPLES:,} resamples":
            lambda: estimates(resampled_precisions(dataset, detections, RESAMPLES))["AP"],
        f"paired AP drop, {images}, {RESAMPLES:,} resamples":
            lambda: drop_estimate(dataset, detections, worse, RESAMPLES),
        f"evaluation, {images}": lambda: _evaluated(dataset, detections),
    }
    for name, call in calls.items():
        result, seconds = measured(call)
        print(f"| {name} | {seconds:.2f} | {_text(result)} |", flush=True)


def _evaluated(dataset, detections) -> str:
    evaluation = evaluate(dataset, detections)
    return f"AP {evaluation.figures['AP']:.5f}, {evaluation.evaluator}"


def _text(result) -> str:
    return result if isinstance(result, str) else f"{result.value:.5f}, from {result.low:.5f} to {result.high:.5f}"


if __name__ == "__main__":
    main()
