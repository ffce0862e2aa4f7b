"""Reads datasets in YOLO's format: a data.yaml, images, and a text file of boxes for each.

Format: https://docs.ultralytics.com/datasets/detect/. Rows of other tasks are read for their boxes: polygons
(segmentation, oriented boxes) by their bounds, keypoints without the points.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from harness.accuracy import labelled
from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.labelled import IMAGE_SUFFIXES, Box, Labelled, and_others, chosen_split, files_below, lines_of
from harness.text import shown

SUFFIXES = (".yaml", ".yml")
SPLITS = ("train", "val", "test")
MOST_MEGABYTES = 1  # of a data.yaml: more than ten thousand names
NOTHING = ("", "~", "null")
NO_LABELS = "classes.txt"  # the names, which Label Studio and LabelImg put beside the labels
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
    split = chosen_split(file, [name for name in data if name in (*SPLITS, split)], split)
    images = _images(file, data, split)
    found = labelled.read_each(partial(_labelled, names=names, has_points="kpt_shape" in data), images)
    if not any(one.boxes for one in found):
        raise DatasetError(f"{file}: none of the {len(images)} images of {split} has labels; they are looked for in "
                           f"files such as {_label_file(images[0])}")
    return labelled.dataset(file, split, names, found, limit)


def _data_file(place: Path) -> Path:
    if not place.is_dir():
        return place
    others = sorted(file for suffix in SUFFIXES for file in place.glob(f"[!.]*{suffix}"))
    found = [place / "data.yaml"] if (place / "data.yaml").is_file() else others
    if len(found) != 1:
        which = f"{', '.join(file.name for file in found)} could each be meant" if found else "has no data.yaml"
        raise DatasetError(f"{place}: {which}; name the file that lists names and splits")
    return found[0]


class _Loader(yaml.BaseLoader):
    """Leaves every scalar text, as a class may be named `no` or `1`; refuses aliases, which could grow, and keys twice.
    """

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not read", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"{shown(key.value)} is there twice", problem_mark=key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def _content(file: Path) -> dict[str, Any]:
    """The entries that have a value. Raises DatasetError."""
    try:
        data = yaml.load(labelled.text_of(file, MOST_MEGABYTES), Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise DatasetError(f"{file}{f', line {mark.line + 1}' if mark else ''}: cannot be read as YAML ({shown(why)}); "
                           "correct it") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{file}: must list names and splits, as YOLO's data.yaml does; name another file")
    return {key: value for key, value in data.items() if value not in NOTHING}


def _names(file: Path, data: dict[str, Any]) -> list[str]:
    names = data.get("names")
    if isinstance(names, dict):
        order = [str(number) for number in range(len(names))]
        if set(names) != set(order):
            raise DatasetError(f"{file}: names must be numbered from 0 to {len(names) - 1}, each once; correct them")
        names = [names[number] for number in order]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{file}: names must list the classes; add them in the order of their numbers")
    if data.get("nc", str(len(names))) != str(len(names)):
        raise DatasetError(f"{file}: nc is {shown(data['nc'])} and there are {len(names)} names; correct one of them")
    return names


def _images(file: Path, data: dict[str, Any], split: str) -> list[Path]:
    """The images of a split, sorted, as absolute paths. Raises DatasetError."""
    root, entries = _root(file, data), data[split] if isinstance(data[split], list) else [data[split]]
    images = sorted(Path(os.path.abspath(image))
                    for entry in entries for image in _of_entry(file, root, split, str(entry)))
    if not images:
        raise DatasetError(f"{file}: {split} has no images in {shown(', '.join(map(str, entries)))}; correct it")
    for image, after in zip(images, images[1:]):
        if image == after:
            raise DatasetError(f"{file}: {split} has the image {image} twice; list each image once")
        if _label_file(image) == _label_file(after):
            raise DatasetError(f"{after}: has the same labels as {image.name}, {_label_file(image)}; rename one of the "
                               "images and its labels")
    return images


def _root(file: Path, data: dict[str, Any]) -> Path:
    """The folder that splits are relative to. Ultralytics looks for it in the folder of all datasets."""
    given = str(data.get("path", "."))
    places = (file.parent / given, file.parent.parent / given, Path(given))
    found = next((place for place in places if os.path.isdir(place)), None)
    if not found:
        raise DatasetError(f"{file}: path {shown(given)} is not a folder; correct it, or remove it if {file.name} lies "
                           "in the dataset's own folder")
    return found


def _of_entry(file: Path, root: Path, split: str, entry: str) -> Iterator[Path]:
    """The images of a folder, or of a file that lists them."""
    # Roboflow writes ../valid/images for a folder beside data.yaml.
    place = next((place for place in (root / entry, root / entry.removeprefix("../")) if os.path.exists(place)), None)
    if place is None:
        raise DatasetError(f"{file}: {split} is {shown(entry)}, which is not in {root}; correct it or path")
    return _of_folder(Path(os.path.abspath(place))) if place.is_dir() else _listed(place, root)


def _of_folder(folder: Path) -> Iterator[Path]:
    images, place = files_below(folder, IMAGE_SUFFIXES), _label_file(folder / "any").parent
    used = {NO_LABELS, *map(_label_file, images)}
    # Labels beside their images lie among other texts.
    lost = [] if place == folder else [file for file in files_below(place, {".txt"}) if not used & {file, file.name}]
    if lost:
        raise DatasetError(f"{lost[0]}: there is no image of it in {folder}{and_others(len(lost))}; restore the image, "
                           "or remove the labels")
    yield from images


def _listed(file: Path, root: Path) -> Iterator[Path]:
    for number, line in lines_of(file):
        name = line.replace("\\", "/")
        image = next((place / name for place in (file.parent, root) if os.path.isfile(place / name)), None)
        if not image:
            raise DatasetError(f"{file}, line {number}: there is no image {shown(name)}; correct or remove it")
        yield image


def _label_file(image: Path) -> Path:
    before, images, after = image.as_posix().rpartition("/images/")
    return Path(f"{before}/labels/{after}" if images else image).with_suffix(".txt")


def _labelled(image: Path, names: list[str], has_points: bool) -> Labelled:
    file, size, boxes = _label_file(image), labelled.size_of(image), []
    for number, line in lines_of(file) if os.path.lexists(file) else ():
        try:
            boxes.append(_box(number, line.split(), names, size, has_points))
        except ValueError as error:
            raise DatasetError(f"{file}, line {number}: {error}") from None
    return Labelled(image, file, size, boxes)


def _box(line: int, row: list[str], names: list[str], size: tuple[int, int], has_points: bool) -> Box:
    """The box of a row. Raises ValueError."""
    is_wrong = f"; correct {shown(' '.join(row))}"
    try:
        label, *numbers = map(float, row)
    except ValueError:
        raise ValueError(f"must be numbers: {ROW}{is_wrong}") from None
    if label not in range(len(names)):
        raise ValueError(f"class {shown(row[0])} must be from 0 to {len(names) - 1}, as there are {len(names)} names; "
                         "correct it or the names")
    numbers = numbers[:4] if has_points else numbers
    if len(numbers) < 4 or len(numbers) % 2:
        raise ValueError(f"has {len(row)} values; must be {ROW}, or a class and the corners of a polygon{is_wrong}")
    if not all(abs(number) <= MOST for number in numbers):  # false for NaN
        raise ValueError(f"must be fractions of the image's width and height, from 0 to 1{is_wrong}")
    x, y, w, h = numbers if len(numbers) == 4 else _bounds(numbers[::2], numbers[1::2])
    width, height = size
    return Box(line, names[int(label)], (x - w / 2) * width, (y - h / 2) * height, w * width, h * height)


def _bounds(xs: list[float], ys: list[float]) -> tuple[float, float, float, float]:
    """Centre and size of the box around a polygon."""
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
