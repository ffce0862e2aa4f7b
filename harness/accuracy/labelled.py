"""What formats with a label file for each image share: splits, image files, lines, and the dataset that they make.

Nothing is written: the labels become a COCO dictionary in memory, which is checked like any other.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from harness.accuracy.dataset import Dataset, DatasetError, fits
from harness.accuracy.image_files import image_size
from harness.text import shown

USUAL_SPLIT = "val"
# What is an image of the dataset, whether a detector decodes it or not: none is left out unnoticed.
IMAGE_SUFFIXES = {".avif", ".bmp", ".dng", ".gif", ".heic", ".jpe", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif",
                  ".tiff", ".webp"}
Item, Read = TypeVar("Item"), TypeVar("Read")


class Box(NamedTuple):
    """An object: place of its class in the names; x, y, width, height in pixels of the upright image."""

    label: int
    x: float
    y: float
    width: float
    height: float
    is_crowd: bool = False


class Labelled(NamedTuple):
    """An image file, its upright width and height in pixels, and its objects."""

    file: Path
    size: tuple[int, int]
    boxes: list[Box]


def chosen_split(place: Path, available: Collection[str], wanted: str | None) -> str:
    """The split that is wanted, or else val, or else the only one. Raises DatasetError."""
    listed = ", ".join(shown(name) for name in available)
    if wanted and wanted not in available:
        raise DatasetError(f"split {shown(wanted)}: must be one of {listed or 'none'}, which {place} has")
    if wanted or USUAL_SPLIT in available:
        return wanted or USUAL_SPLIT
    if len(available) != 1:
        raise DatasetError(f"{place}: has the splits {listed or 'none'} and not {USUAL_SPLIT}; name the split")
    return next(iter(available))


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with one of these suffixes in a folder and those below it, sorted; hidden ones are left out."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in suffixes
                  and not any(part.startswith(".") for part in file.relative_to(folder).parts) and file.is_file())


def text_of(file: Path) -> str:
    """The text of a file, without a byte order mark. Raises DatasetError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); restore the file") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: is not text in UTF-8 ({error.reason}); convert it") from error


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line of a file that is not blank. Raises DatasetError."""
    stripped = enumerate(map(str.strip, text_of(file).splitlines()), 1)
    return ((number, line) for number, line in stripped if line)


def read_each(read: Callable[[Item], Read], items: Iterable[Item]) -> list[Read]:
    """What `read` gives for each item. Raises the first DatasetError, which says how many there are, after the last."""
    found, errors = [], []
    for item in items:
        try:
            found.append(read(item))
        except DatasetError as error:
            errors.append(error)
    if errors:
        others = f" (and {len(errors) - 1} other files have errors)" if len(errors) > 1 else ""
        raise DatasetError(f"{errors[0]}{others}")
    return found


def size_of(image: Path) -> tuple[int, int]:
    """Width and height of an image file as shown, in pixels. Raises DatasetError."""
    size = image_size(image)
    if size is None:
        raise DatasetError(f"{image}: its size cannot be read; restore the image, or remove it with its labels")
    return size.upright


def checked(box: Box, size: tuple[int, int]) -> Box:
    """The box. Raises ValueError for one without area or outside its image."""
    if not (box.width > 0 and box.height > 0):
        raise ValueError(f"box of {box.width:g}x{box.height:g} pixels must have an area; correct or remove it")
    if not fits(box[1:5], *size):
        corners = f"{box.x:g}, {box.y:g} to {box.x + box.width:g}, {box.y + box.height:g}"
        raise ValueError(f"box from {corners} must lie inside the {size[0]}x{size[1]} image to 1 pixel; correct it")
    return box


def dataset(source: Path, split: str, names: Sequence[str], images: Sequence[Labelled], limit: int | None) -> Dataset:
    """The dataset of these images, numbered from 1, and classes. Raises DatasetError."""
    folder = Path(os.path.commonpath([image.file.parent for image in images]))
    boxes = [(number, box) for number, image in enumerate(images, 1) for box in image.boxes]
    content = {
        "images": [{"id": number, "file_name": image.file.relative_to(folder).as_posix(), "width": image.size[0],
                    "height": image.size[1]} for number, image in enumerate(images, 1)],
        "annotations": [{"id": number, "image_id": image, "category_id": box.label, "bbox": list(box[1:5]),
                         "area": box.width * box.height, "iscrowd": int(box.is_crowd)}
                        for number, (image, box) in enumerate(boxes, 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(names)],
    }
    return Dataset.of(source, content, folder, limit, split)
