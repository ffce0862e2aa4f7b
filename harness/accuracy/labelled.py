"""What formats with a label file for each image share: splits, files, lines, and the dataset that they make.

Nothing is written: the labels become a COCO dictionary in memory, which is checked like any other.
"""
from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from harness.accuracy.dataset import Dataset, DatasetError, content_of, fits
from harness.accuracy.image_files import image_size
from harness.text import shown

USUAL_SPLIT = "val"
MOST_MEGABYTES = 64  # of a file of labels: a list of a million images
# What is an image of the dataset, whether a detector decodes it or not: none is left out unnoticed.
IMAGE_SUFFIXES = {".avif", ".bmp", ".dng", ".gif", ".heic", ".jpe", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif",
                  ".tiff", ".webp"}
Item, Read = TypeVar("Item"), TypeVar("Read")


class Box(NamedTuple):
    """An object: its line in the label file, its class, and x, y, width, height in pixels of the upright image."""

    line: int
    name: str
    x: float
    y: float
    width: float
    height: float
    is_crowd: bool = False


class Labelled(NamedTuple):
    """An image file, its label file, its upright width and height in pixels, and its objects."""

    image: Path
    labels: Path
    size: tuple[int, int]
    boxes: list[Box]


def chosen_split(place: Path, available: Collection[str], wanted: str | None) -> str:
    """The split that is wanted, or else val, or else the only one. Raises DatasetError."""
    listed = ", ".join(map(shown, available)) or "none"
    if wanted and wanted not in available:
        raise DatasetError(f"split {shown(wanted)}: must be one of {listed}, which {place} has")
    if wanted or USUAL_SPLIT in available:
        return wanted or USUAL_SPLIT
    if len(available) != 1:
        raise DatasetError(f"{place}: has the splits {listed} and not {USUAL_SPLIT}; name the split")
    return next(iter(available))


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with one of these suffixes in a folder and those below it, sorted; hidden ones are left out."""
    below = map(Path, glob.glob(f"{glob.escape(str(folder))}/**/*", recursive=True))
    return sorted(file for file in below if file.suffix.lower() in suffixes and file.is_file())


def labels_of(file: Path, most_megabytes: float = MOST_MEGABYTES) -> bytes:
    """The content of a file. Raises DatasetError, also for a file that is too large to be one of labels."""
    most = int(most_megabytes * 2**20)
    content = content_of(file, "restore the file", most + 1)
    if len(content) > most:
        raise DatasetError(f"{file}: must have at most {most_megabytes} MB; name the file of labels")
    return content


def text_of(file: Path, most_megabytes: float = MOST_MEGABYTES) -> str:
    """The text of a file, without a byte order mark. Raises DatasetError."""
    try:
        return labels_of(file, most_megabytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: is not text in UTF-8 ({error.reason}); convert it") from error


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line of a file that is not blank. Raises DatasetError."""
    lines = io.StringIO(text_of(file), newline=None)  # not splitlines(), which splits at more than editors do
    return ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip())


def read_each(read: Callable[[Item], Read], items: Iterable[Item]) -> list[Read]:
    """What `read` gives for each item. Raises the first DatasetError, which says how many there are, after the last."""
    found, errors = [], []
    for item in items:
        try:
            found.append(read(item))
        except DatasetError as error:
            errors.append(error)
    if errors:
        raise DatasetError(f"{errors[0]}{and_others(len(errors))}")
    return found


def and_others(count: int) -> str:
    """What a message says of files beside the first that it names."""
    return f" (and {count - 1} more)" if count > 1 else ""


def size_of(image: Path) -> tuple[int, int]:
    """Width and height of an image file as shown, in pixels. Raises DatasetError."""
    size = image_size(image)
    if size is None:
        raise DatasetError(f"{image}: its size cannot be read; restore the image, or remove it with its labels")
    return size.upright


def dataset(source: Path, split: str, names: Sequence[str], images: Sequence[Labelled], limit: int | None) -> Dataset:
    """The dataset of these images, numbered from 1, and classes. Raises DatasetError."""
    read_each(_check_boxes, images)
    folder = Path(os.path.commonpath([one.image.parent for one in images]))
    label = {name: number for number, name in enumerate(names)}
    boxes = [(number, box) for number, one in enumerate(images, 1) for box in one.boxes]
    content = {
        "images": [{"id": number, "file_name": one.image.relative_to(folder).as_posix(), "width": one.size[0],
                    "height": one.size[1]} for number, one in enumerate(images, 1)],
        "annotations": [{"id": number, "image_id": image, "category_id": label[box.name],
                         "bbox": [box.x, box.y, box.width, box.height], "area": box.width * box.height,
                         "iscrowd": int(box.is_crowd)} for number, (image, box) in enumerate(boxes, 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }
    return Dataset.of(source, content, folder, limit, split)


def _check_boxes(labelled: Labelled) -> None:
    """Raises DatasetError for a box without area or outside its image."""
    width, height = labelled.size
    for line, name, *box, _ in labelled.boxes:
        x, y, w, h = box
        where = f"{labelled.labels}, line {line}: the box of {shown(name)}"
        if not (w > 0 and h > 0):
            raise DatasetError(f"{where} must have an area, and has {w:g}x{h:g} pixels; correct or remove it")
        if not fits(box, width, height):
            raise DatasetError(f"{where} must lie inside the {width}x{height} image to 1 pixel, and is from "
                               f"{x:g}, {y:g} to {x + w:g}, {y + h:g}; correct it")
