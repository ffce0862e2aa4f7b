"""Finds the annotation file and the images of a dataset, in COCO's own layout and in those of exporters."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.accuracy.dataset import FIELDS, Dataset, DatasetError
from harness.accuracy.voc import ANNOTATIONS, voc_dataset
from harness.accuracy.yolo import SUFFIXES, yolo_dataset

# Annotation files by exporter: Roboflow, Label Studio, FiftyOne, labelme2coco, CVAT and others.
KNOWN = ("_annotations.coco.json", "result.json", "labels.json", "annotations.json", "instances*.json", "*coco*.json")
IMAGE_FOLDERS = ("", "images", "data", "JPEGImages", "img", "imgs")
MOST_FILES = 50  # a format with one annotation file per image has thousands
USAGE = "name the annotation file and the image folder"


def coco_folder(folder: str | Path) -> tuple[Path, Path]:
    """Find (annotation file, image folder) in a folder; DatasetError names the candidates when unclear.

    In COCO's layout the images of `annotations/instances_val2017.json` are in `val2017`, `images/val2017` or `images`.
    Otherwise the files that Roboflow, Label Studio, FiftyOne, labelme2coco or CVAT write are looked for, here and one
    folder down, with the images beside them.
    """
    folder = Path(folder)
    candidates = sorted(folder.glob("annotations/instances_*.json"))
    if not candidates:
        return _exported(folder)
    candidates = [file for file in candidates if _image_folder(folder, file, shared=False)] or candidates
    if len(candidates) > 1:
        raise DatasetError(f"{folder}: {_listed(candidates, folder)} could each be meant; {USAGE}")
    images = _image_folder(folder, candidates[0], shared=True)
    if not images:
        part = _part(candidates[0])
        raise DatasetError(f"{folder}: has no image folder {part}, images/{part} or images; add the images, or name "
                           f"the annotation file {candidates[0]} and the image folder")
    return candidates[0], images


def read_again(annotations: str | Path, images: str | Path, split: str) -> Dataset:
    """The whole dataset whose `annotations`, `images` and `split` these are, whatever its format. Raises DatasetError.
    """
    annotations = Path(annotations)
    if annotations.suffix in SUFFIXES:
        return yolo_dataset(annotations, split)
    if annotations.is_dir():
        return voc_dataset(annotations.parent if annotations.name == ANNOTATIONS else annotations, split)
    return Dataset.load(annotations, images)


def _exported(folder: Path) -> tuple[Path, Path]:
    files = _annotation_files(folder)
    if not files:
        raise DatasetError(f"{folder}: has no annotations in COCO's format, neither annotations/instances_*.json nor a "
                           f"file of Roboflow, Label Studio or FiftyOne; {USAGE}")
    found = {file: _images_of(file, folder, content) for file, content in files.items()}
    whole = [file for file, images in found.items() if images]
    if len(whole) == 1:
        return whole[0], found[whole[0]]
    if whole:
        raise DatasetError(f"{folder}: {_listed(whole, folder)} could each be meant; {USAGE}")
    file = next(iter(files))
    raise DatasetError(f"{folder}: the images of {file.relative_to(folder)} are not beside it; name the annotation "
                       f"file {file} and the image folder")


def _annotation_files(folder: Path) -> dict[Path, dict[str, Any]]:
    """The JSON files with COCO's sections, the exporters' own names first, and their content."""
    paths = [path for start in ("", "*/") for name in KNOWN for path in sorted(folder.glob(start + name))]
    paths = paths or sorted((*folder.glob("*.json"), *folder.glob("*/*.json")))
    read = {path: _content(path) for path in dict.fromkeys(paths[:MOST_FILES])}
    return {path: content for path, content in read.items() if content}


def _content(path: Path) -> dict[str, Any]:
    """The file's content if it has COCO's sections, else {}."""
    try:
        content = json.loads(path.read_bytes() if path.is_file() else b"")
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.keys() >= FIELDS.keys() else {}


def _images_of(file: Path, folder: Path, content: dict[str, Any]) -> Path | None:
    """The folder in which all files named in the content are; None if there is none."""
    try:
        names = [row["file_name"].replace("\\", "/") for row in content["images"]]
    except (LookupError, TypeError, AttributeError):  # Dataset.load explains what is wrong with it
        return None
    if not names or not all(names) or "\0" in "".join(names):
        return None
    starts = dict.fromkeys((file.parent, folder, file.parent.parent if file.parent != folder else folder))
    places = [start / name for start in starts for name in (*IMAGE_FOLDERS, file.stem, f"images/{file.stem}")]
    return next((place for place in places if all((place / name).is_file() for name in names)), None)


def _listed(files: list[Path], folder: Path) -> str:
    return ", ".join(str(file.relative_to(folder)) for file in files)


def _part(annotations: Path) -> str:
    return annotations.stem[len("instances_"):]


def _image_folder(folder: Path, annotations: Path, shared: bool) -> Path | None:
    part = _part(annotations)
    places = [folder / part, folder / "images" / part] + [folder / "images"] * shared
    return next((place for place in places if place.is_dir()), None)
