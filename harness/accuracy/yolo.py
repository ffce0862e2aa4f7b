"""Reads datasets in YOLO's format: a data.yaml, images, and a text file of boxes for each.

Format: https://docs.ultralytics.com/datasets/detect/. Rows of other tasks are read for their boxes: polygons
(segmentation, oriented boxes) by their bounds, keypoints without the points.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.labelled import (
    IMAGE_SUFFIXES,
    Box,
    Labelled,
    checked,
    chosen_split,
    dataset,
    files_below,
    lines_of,
    read_each,
    size_of,
    text_of,
)
from harness.text import shown

SUFFIXES = (".yaml", ".yml")
SPLITS = ("train", "val", "test")
MOST = 1.01  # a fraction of width or height, rounded by whoever wrote it
ROW = "class, x centre, y centre, width, height"


def yolo_dataset(place: str | Path, split: str | None = None, limit: int | None = None) -> Dataset:
    """Read and check a split of a dataset: `place` is its data.yaml, or the folder that has it.

    Without `split` it is val, or else the only one; `limit` keeps the first N images by path. An image without a label
    file has no objects. Raises DatasetError.
    """
    file = _data_file(Path(place))
    data = _content(file)
    names = _names(file, data)
    split = chosen_split(file, [name for name in data if data[name] and name in (*SPLITS, split)], split)
    images = _images(file, data, split)
    found = read_each(partial(_labelled, classes=len(names), has_points="kpt_shape" in data), images)
    if not any(image.boxes for image in found):
        raise DatasetError(f"{file}: none of the {len(images)} images of {split} has labels; they are looked for in "
                           f"files such as {_label_file(images[0])}")
    return dataset(file, split, names, found, limit)


def _data_file(place: Path) -> Path:
    if not place.is_dir():
        return place
    others = sorted(file for suffix in SUFFIXES for file in place.glob(f"[!.]*{suffix}"))
    found = [place / "data.yaml"] if (place / "data.yaml").is_file() else others
    if len(found) != 1:
        which = f"{', '.join(file.name for file in found)} could each be meant" if found else "has no data.yaml"
        raise DatasetError(f"{place}: {which}; name the file that lists names and splits")
    return found[0]


def _content(file: Path) -> dict[str, Any]:
    try:
        # Every scalar stays text: a class named `no` or `1` is not a truth value or a number.
        data = yaml.load(text_of(file), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DatasetError(f"{file}: is not YAML ({' '.join(str(error).split())[:200]}); correct it") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{file}: must list names and splits, as YOLO's data.yaml does; name another file")
    return data


def _names(file: Path, data: dict[str, Any]) -> list[str]:
    names, count = data.get("names") or [], data.get("nc")
    if isinstance(names, dict):
        order = [str(number) for number in range(len(names))]
        if set(names) != set(order):
            raise DatasetError(f"{file}: names must be numbered from 0 to {len(names) - 1}, each once; correct them")
        names = [names[number] for number in order]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{file}: names must list the classes; add them in the order of their numbers")
    if count and count != str(len(names)):
        raise DatasetError(f"{file}: nc is {shown(count)} and there are {len(names)} names; correct one of them")
    return names


def _images(file: Path, data: dict[str, Any], split: str) -> list[Path]:
    """The images of a split, sorted, as absolute paths. Raises DatasetError."""
    root, entries = _root(file, data), data[split] if isinstance(data[split], list) else [data[split]]
    images = [Path(os.path.abspath(image)) for entry in entries for image in _of_entry(file, root, split, str(entry))]
    if not images:
        raise DatasetError(f"{file}: {split} has no images in {shown(', '.join(map(str, entries)))}; correct it")
    twice = next((image for image, after in zip(sorted(images), sorted(images)[1:]) if image == after), None)
    if twice:
        raise DatasetError(f"{file}: {split} has the image {twice} twice; list each image once")
    return sorted(images)


def _root(file: Path, data: dict[str, Any]) -> Path:
    """The folder that splits are relative to. Ultralytics looks for it in the folder of all datasets."""
    given = str(data.get("path") or ".")
    places = (file.parent / given, file.parent.parent / given, Path(given))
    found = next((place for place in places if place.is_dir()), None)
    if not found:
        raise DatasetError(f"{file}: path {shown(given)} is not a folder; correct it, or remove it if {file.name} lies "
                           "in the dataset's own folder")
    return found


def _of_entry(file: Path, root: Path, split: str, entry: str) -> Sequence[Path]:
    """The images of a folder, or of a file that lists them."""
    # Roboflow writes ../valid/images for a folder beside data.yaml.
    place = next((place for place in (root / entry, root / entry.removeprefix("../")) if place.exists()), None)
    if place is None:
        raise DatasetError(f"{file}: {split} is {shown(entry)}, which is not in {root}; correct it or path")
    return files_below(place, IMAGE_SUFFIXES) if place.is_dir() else list(_listed(place, root))


def _listed(file: Path, root: Path) -> Iterator[Path]:
    for number, line in lines_of(file):
        name = line.replace("\\", "/")
        image = next((place / name for place in (file.parent, root) if (place / name).is_file()), None)
        if not image:
            raise DatasetError(f"{file}, line {number}: there is no image {shown(name)}; correct or remove it")
        yield image


def _label_file(image: Path) -> Path:
    before, images, after = image.as_posix().rpartition("/images/")
    return Path(f"{before}/labels/{after}" if images else image).with_suffix(".txt")


def _labelled(image: Path, classes: int, has_points: bool) -> Labelled:
    file, size, boxes = _label_file(image), size_of(image), []
    for number, line in lines_of(file) if file.exists() else ():
        try:
            boxes.append(checked(_box(line.split(), classes, size, has_points), size))
        except ValueError as error:
            raise DatasetError(f"{file}, line {number}: {error}") from None
    return Labelled(image, size, boxes)


def _box(row: list[str], classes: int, size: tuple[int, int], has_points: bool) -> Box:
    """The box of a row. Raises ValueError."""
    try:
        label, *numbers = map(float, row)
    except ValueError:
        raise ValueError(f"must be numbers: {ROW}; correct {shown(' '.join(row))}") from None
    if label not in range(classes):
        raise ValueError(f"class {shown(row[0])} must be from 0 to {classes - 1}, as there are {classes} names; "
                         "correct it or the names")
    numbers = numbers[:4] if has_points else numbers
    if len(numbers) < 4 or len(numbers) % 2:
        raise ValueError(f"has {len(row)} values; must be {ROW}, or a class and the corners of a polygon")
    if not all(abs(number) <= MOST for number in numbers):  # false for NaN
        raise ValueError(f"must be fractions of the image's width and height, from 0 to 1; correct "
                         f"{shown(' '.join(row))}")
    width, height = size
    if len(numbers) == 4:
        x, y, w, h = numbers
        return Box(int(label), (x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    left, right, top, bottom = min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])
    return Box(int(label), left * width, top * height, (right - left) * width, (bottom - top) * height)
