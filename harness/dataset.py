"""A detection data set in COCO layout: found, checked as a whole, then handed out image by image."""
from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

from harness.text import shown

BORDER_TOLERANCE = 1.0  # pixels: a few official COCO boxes end just outside their image
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
    "categories": ("id", "name"),
}


class DatasetError(ValueError):
    """The data set cannot be used; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A checked COCO data set; iterating gives (image id, bytes of the encoded image) by rising id.

    `category_ids` rise and `category_names` follow them: a detector's class index points into both.
    `ground_truth` is a COCO dictionary of the chosen images alone, with only the fields that scoring reads;
    `sha256` is the digest of it, so equal digests mean the same question was asked.
    """

    name: str
    annotations: Path
    images: Path
    image_ids: list[int]
    category_ids: list[int]
    category_names: list[str]
    ground_truth: dict[str, list[dict[str, Any]]]
    sha256: str

    @classmethod
    def load(cls, annotations: str | Path, images: str | Path, limit: int | None = None) -> Dataset:
        """Read and check an annotation file and its image folder; `limit` keeps the N lowest image ids.

        Raises DatasetError. Format: https://cocodataset.org/#format-data (object detection).
        """
        annotations, images = Path(annotations), Path(images)
        if limit is not None and limit < 1:
            raise DatasetError(f"--limit {limit}: must be at least 1; leave it out to take every image")
        content = _read(annotations)
        _check(annotations, content)
        chosen = _restrict(content, limit)
        if not chosen["annotations"]:
            raise DatasetError(f"--limit {limit}: {annotations} annotates none of these images; raise it")
        _check_files(annotations, images, chosen["images"])
        return cls(
            name=images.name if images.name != "images" else images.resolve().parent.name,
            annotations=annotations,
            images=images,
            image_ids=_ids(chosen["images"]),
            category_ids=_ids(chosen["categories"]),
            category_names=[category["name"] for category in chosen["categories"]],
            ground_truth=chosen,
            sha256=_digest(chosen),
        )

    def only(self, image_ids: Iterable[int]) -> Dataset:
        """The same data set with these of its images alone."""
        kept = set(image_ids)
        truth = {
            "images": [row for row in self.ground_truth["images"] if row["id"] in kept],
            "annotations": [row for row in self.ground_truth["annotations"] if row["image_id"] in kept],
            "categories": self.ground_truth["categories"],
        }
        image_ids = [i for i in self.image_ids if i in kept]
        return replace(self, image_ids=image_ids, ground_truth=truth, sha256=_digest(truth))

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return ((image_id, self.image_bytes(image_id)) for image_id in self.image_ids)

    def image_bytes(self, image_id: int) -> bytes:
        """The encoded image as it lies on disk; KeyError for an unknown id, DatasetError if unreadable."""
        path = self.images / self._records[image_id]["file_name"]
        try:
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the image") from error

    def size(self, image_id: int) -> tuple[int, int]:
        """Width and height in pixels, as annotated; KeyError for an unknown id."""
        record = self._records[image_id]
        return record["width"], record["height"]

    @cached_property
    def _records(self) -> dict[int, dict[str, Any]]:
        return {record["id"]: record for record in self.ground_truth["images"]}


def coco_folder(folder: str | Path) -> tuple[Path, Path]:
    """Find (annotation file, image folder) in a COCO folder; DatasetError names the candidates when unclear.

    The image folder of `annotations/instances_val2017.json` is `val2017`, `images/val2017` or `images`.
    """
    folder = Path(folder)
    candidates = sorted(folder.glob("annotations/instances_*.json"))
    if not candidates:
        raise DatasetError(f"{folder}: holds no annotations/instances_*.json; name a folder in COCO layout")
    if len(candidates) > 1:
        candidates = [file for file in candidates if _image_folder(folder, file, shared=False)] or candidates
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise DatasetError(f"{folder}/annotations: {names} could each be meant; keep one and its images")
    images = _image_folder(folder, candidates[0], shared=True)
    if not images:
        part = _part(candidates[0])
        raise DatasetError(f"{folder}: has no image folder {part}, images/{part} or images; add the images")
    return candidates[0], images


def _digest(ground_truth: dict) -> str:
    return hashlib.sha256(json.dumps(ground_truth).encode()).hexdigest()


def _part(annotations: Path) -> str:
    return annotations.stem[len("instances_"):]


def _image_folder(folder: Path, annotations: Path, shared: bool) -> Path | None:
    part = _part(annotations)
    places = [folder / part, folder / "images" / part] + [folder / "images"] * shared
    return next((place for place in places if place.is_dir()), None)


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); name an annotation file") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: is not JSON, or cut short ({error}); restore the file") from error
    return {section: _section(path, content, section) for section in FIELDS}


def _section(path: Path, content: Any, section: str) -> list[dict[str, Any]]:
    rows = content.get(section) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DatasetError(f"{path}: has no list of objects '{section}'; use COCO's object detection format")
    if not rows:
        raise DatasetError(f"{path}: '{section}' is empty; nothing could be measured, add {section}")
    return rows


def _check(path: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    for section, rows in content.items():
        places = [place for place, row in enumerate(rows) if not _whole(row.get("id"), 0)]
        _refuse(path, "ids must be whole numbers from 0", f"{section} at place", places)
        _refuse(path, "ids must be unique", section, _repeated(_ids(rows)))
    for section, field, must, good in RULES:
        rows = content[section]
        _refuse(path, f"{field} is missing", section, (row["id"] for row in rows if field not in row))
        _refuse(path, f"{field} must be {must}", section, (row["id"] for row in rows if not good(row[field])))
    names = (category["name"] for category in content["categories"])
    _refuse(path, "names must be unique", "categories", _repeated(names))
    _check_references(path, **content)


def _check_references(path: Path, images: list, annotations: list, categories: list) -> None:
    sizes = {row["id"]: (row["width"], row["height"]) for row in images}
    named = set(_ids(categories))
    unseen = (row["id"] for row in annotations if row["image_id"] not in sizes)
    _refuse(path, "image_id must be in images", "annotations", unseen)
    unnamed = (row["id"] for row in annotations if row["category_id"] not in named)
    _refuse(path, "category_id must be in categories", "annotations", unnamed)
    outside = (row["id"] for row in annotations if not _fits(row["bbox"], *sizes[row["image_id"]]))
    _refuse(path, "bbox must lie inside the image to 1 pixel", "annotations", outside)


def _refuse(path: Path, must: str, what: str, offenders: Iterable[Any]) -> None:
    offenders = list(offenders)
    if offenders:
        first = ", ".join(map(shown, offenders[:5])) + (", ..." if len(offenders) > 5 else "")
        raise DatasetError(f"{path}: {must}; correct or remove {len(offenders)} ({what} {first})")


def _restrict(content: dict[str, Any], limit: int | None) -> dict[str, list[dict[str, Any]]]:
    # Only what scoring reads, in one order: formatting and segmentations then do not change the digest.
    rows = {section: _trimmed(content[section], fields) for section, fields in FIELDS.items()}
    rows["images"] = rows["images"][:limit]
    kept = set(_ids(rows["images"]))
    rows["annotations"] = [row for row in rows["annotations"] if row["image_id"] in kept]
    return rows


def _trimmed(rows: list[dict[str, Any]], fields: tuple[str, ...]) -> list[dict[str, Any]]:
    return sorted(({field: row[field] for field in fields} for row in rows), key=itemgetter("id"))


def _check_files(annotations: Path, folder: Path, images: list[dict[str, Any]]) -> None:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: is no folder; name the image folder of {annotations}")
    bad = [image["file_name"] for image in images if not _readable(folder / image["file_name"])]
    _refuse(folder, "images must be there, readable and not empty", "files", bad)


def _readable(path: Path) -> bool:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0 and os.access(path, os.R_OK)


def _ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def _repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < 2**53  # evaluators carry ids as doubles


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # False for NaN too


def _inside(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and not os.path.isabs(name) and ".." not in Path(name).parts


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_finite, box)) and min(box[2:]) > 0


def _fits(box: list[float], width: int, height: int) -> bool:
    x, y, w, h = map(float, box)
    return max(-x, -y, x + w - width, y + h - height) <= BORDER_TOLERANCE


# Section, field, what it must be, whether it is; references between sections are checked after these.
RULES = (
    ("images", "width", "a whole number from 1", lambda width: _whole(width, 1)),
    ("images", "height", "a whole number from 1", lambda height: _whole(height, 1)),
    ("images", "file_name", "a path inside the image folder", _inside),
    ("categories", "name", "a text", lambda name: isinstance(name, str) and name),
    ("annotations", "image_id", "a whole number from 0", lambda image_id: _whole(image_id, 0)),
    ("annotations", "category_id", "a whole number from 0", lambda category_id: _whole(category_id, 0)),
    ("annotations", "bbox", "4 finite numbers x, y, width > 0, height > 0", _is_box),
    ("annotations", "area", "finite and > 0", lambda area: _finite(area) and area > 0),
    ("annotations", "iscrowd", "0 or 1", lambda crowd: type(crowd) is int and crowd in (0, 1)),
)
