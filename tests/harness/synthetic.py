"""A made-up COCO dataset of 2 classes, with an annotation id 0, and the right detections to it."""
from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from harness.accuracy.dataset import Dataset

SIDE = 200  # pixels
RED = (250, 10, 5)


@dataclass(frozen=True)
class Detections:
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    error: str = ""


def detected(boxes, scores, classes) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int32)
    )


NOTHING = detected([], [], [])


def content(count: int = 8) -> dict:
    """COCO annotations: images from 1, categories 0 and 7, a box of 50 x 40 and one of 90 x 100 in each, all elsewhere.

    There is room for `count` up to 700.
    """
    images = [
        {"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(1, count + 1)
    ]
    boxes = [
        {"image_id": i, "category_id": category, "bbox": [float(x + (i - 1) % 8 + 1), float(10 + (i - 1) // 8), *size]}
        for i in range(1, count + 1)
        for category, x, size in ((0, 0, [50.0, 40.0]), (7, 80, [90.0, 100.0]))
    ]
    annotations = [
        {**box, "id": i, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0} for i, box in enumerate(boxes)
    ]
    return {
        "images": images, "annotations": annotations,
        "categories": [{"id": 0, "name": "cup"}, {"id": 7, "name": "can"}],
    }


def write(folder: Path, coco: dict) -> tuple[Path, Path]:
    """Write annotation file and stand-ins for images; gives the two arguments of Dataset.load."""
    annotations, images = folder / "annotations" / "instances_val.json", folder / "val"
    annotations.parent.mkdir(parents=True)
    images.mkdir()
    annotations.write_text(json.dumps(coco))
    for image in coco["images"]:
        (images / str(image["file_name"])).write_bytes(f"image {image['id']}".encode())
    return annotations, images


def perfect(dataset) -> dict[int, Detections]:
    """Every annotation found exactly, with scores 0.9 and 0.8."""
    index = {category: i for i, category in enumerate(dataset.category_ids)}
    detections = {}
    for i in dataset.image_ids:
        rows = [row for row in dataset.ground_truth["annotations"] if row["image_id"] == i]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
        scores = 0.9 - 0.1 * np.arange(len(rows)) / max(1, len(rows) - 1)
        detections[i] = detected(boxes, scores, [index[row["category_id"]] for row in rows])
    return detections


def changed(detections: dict[int, Detections], change, every: int = 1) -> dict[int, Detections]:
    """The detections with every `every`-th one's fields replaced by `change(answer)`."""
    chosen = list(detections)[::every]
    return {i: replace(a, **change(a)) if i in chosen else a for i, a in detections.items()}


def rows(a: Detections, which) -> dict[str, np.ndarray]:
    """The chosen rows of detections, as fields for `changed`."""
    return {"boxes": a.boxes[which], "scores": a.scores[which], "classes": a.classes[which]}


def moved(dataset) -> dict[int, Detections]:
    """Every annotation found more or less: boxes moved by up to a fifth of their size, some of a wrong class."""
    rng = np.random.default_rng(0)
    detections = {}
    for image_id, own in perfect(dataset).items():
        sides = np.tile(own.boxes[:, 2:] - own.boxes[:, :2], 2)
        boxes = own.boxes + rng.uniform(-0.2, 0.2, own.boxes.shape) * sides
        width, height = dataset.size(image_id)
        wrong = rng.random(len(boxes)) < 0.1
        classes = np.where(wrong, (own.classes + 1) % len(dataset.category_ids), own.classes)
        scores = np.sort(rng.random(len(boxes)))[::-1]
        detections[image_id] = detected(boxes.clip(0, (width, height) * 2), scores, classes)
    return {image_id: replace(own, **rows(own, slice(100))) for image_id, own in detections.items()}


def encoded(form: str = "PNG", **settings) -> bytes:
    """A red image as a file of this format."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), RED).save(file, form, **settings)
    return file.getvalue()


def is_red(content: bytes) -> bool:
    red, _, blue = Image.open(io.BytesIO(content)).convert("RGB").getpixel((32, 24))
    return red > blue


def all_red(folder: Path) -> Dataset:
    """Forty red images with two objects each."""
    dataset = Dataset.load(*write(folder, content(40)))
    for image in dataset.image_ids:
        dataset.file(image).write_bytes(encoded())
    return dataset
