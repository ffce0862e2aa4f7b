"""A detection dataset in COCO's format: checked as a whole, then handed out image by image."""
from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from harness.accuracy.image_files import ImageSize, image_size
from harness.text import shown

BORDER_TOLERANCE = 1.0  # pixels: a few official COCO boxes end just outside their image
GENERAL_NAMES = ("images", "JPEGImages")  # of image folders: the one above says whose they are
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
    "categories": ("id", "name"),
}


class DatasetError(ValueError):
    """The dataset cannot be used; the message names the file, what is wrong and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A checked COCO dataset; iterating gives (image id, bytes of the encoded image) by rising id.

    `category_ids` rise and `category_names` follow them: a detector's class index points into both.
    `ground_truth` is a COCO dictionary of the chosen images alone, with only the fields that scoring reads;
    `sha256` is its digest, so equal digests mean equal ground truth. `turned` are the ids of the images that their EXIF
    orientation turns; boxes and sizes are those of the upright image. `root` names the category that only groups all
    the others and has no annotation, as in Roboflow's exports; '' if there is none. `split` is the part that was chosen
    where `annotations` is a file of several.
    """

    name: str
    annotations: Path
    images: Path
    image_ids: list[int]
    category_ids: list[int]
    category_names: list[str]
    ground_truth: dict[str, list[dict[str, Any]]]
    sha256: str
    turned: frozenset[int] = frozenset()
    root: str = ""
    split: str = ""

    @classmethod
    def load(cls, annotations: str | Path, images: str | Path, limit: int | None = None) -> Dataset:
        """Read and check an annotation file and its image folder; `limit` keeps the N lowest image ids.

        Raises DatasetError. Format: https://cocodataset.org/#format-data (object detection).
        """
        return cls.of(Path(annotations), _read(Path(annotations)), Path(images), limit)

    @classmethod
    def of(cls, annotations: Path, content: dict[str, list[dict[str, Any]]], images: Path, limit: int | None = None,
           split: str = "") -> Dataset:
        """Check a COCO dictionary that was read from `annotations`, and its image folder. Raises DatasetError."""
        if limit is not None and limit < 1:
            raise DatasetError(f"limit {limit}: must be at least 1; leave it out to take every image")
        _check(annotations, content)
        chosen = _restrict(content, limit)
        if not chosen["annotations"]:
            raise DatasetError(f"limit {limit}: {annotations} annotates none of these images; raise it")
        _check_crowds(annotations, chosen["annotations"])
        _name_as_stored(images, chosen["images"])
        place = _image_place(annotations, images, chosen["images"])
        return cls(
            name=images.name if images.name not in GENERAL_NAMES else images.resolve().parent.name,
            annotations=annotations,
            images=place,
            image_ids=_ids(chosen["images"]),
            category_ids=_ids(chosen["categories"]),
            category_names=[category["name"] for category in chosen["categories"]],
            ground_truth=chosen,
            sha256=_digest(chosen),
            turned=_turned(annotations, place, chosen["images"]),
            root=_root(content),
            split=split,
        )

    def identity(self) -> str:
        """A digest of the ground truth and of every image file: equal for the same data alone. Raises DatasetError."""
        whole = hashlib.sha256(self.sha256.encode())
        for _, content in self:
            whole.update(hashlib.sha256(content).digest())
        return whole.hexdigest()

    def unknown_to(self, names: Sequence[str]) -> list[str]:
        """The names of annotated categories that are not among these classes."""
        index = class_indexes(names, self.category_names)
        used = {row["category_id"] for row in self.ground_truth["annotations"]}
        named = zip(self.category_ids, self.category_names)
        return [name for number, name in named if number in used and name not in index]

    def with_classes(self, names: Sequence[str]) -> Dataset:
        """The same dataset with its categories in the order of a detector's classes, all of which it then has.

        Categories that are not among the classes are left out, so they must not be annotated (`unknown_to`). Names
        match as `class_indexes` says. Where the order is the same already, nothing changes.
        """
        index = class_indexes(names, self.category_names)
        if [index.get(name) for name in self.category_names] == list(range(len(names))):
            return self
        number = {i: index[name] for i, name in zip(self.category_ids, self.category_names) if name in index}
        rows = [{**row, "category_id": number[row["category_id"]]} for row in self.ground_truth["annotations"]]
        categories = [{"id": place, "name": name} for place, name in enumerate(names)]
        truth = {**self.ground_truth, "annotations": rows, "categories": categories}
        return replace(self, ground_truth=truth, sha256=_digest(truth), category_names=list(names),
                       category_ids=list(range(len(names))))

    def without_root(self) -> Dataset:
        """The same dataset without the category that `root` names."""
        return self.with_classes([name for name in self.category_names if name != self.root])

    def only(self, image_ids: Iterable[int]) -> Dataset:
        """The dataset restricted to these images."""
        kept = set(image_ids)
        truth = {
            "images": [row for row in self.ground_truth["images"] if row["id"] in kept],
            "annotations": [row for row in self.ground_truth["annotations"] if row["image_id"] in kept],
            "categories": self.ground_truth["categories"],
        }
        image_ids = [i for i in self.image_ids if i in kept]
        return replace(self, image_ids=image_ids, ground_truth=truth, sha256=_digest(truth), turned=self.turned & kept)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return ((image_id, self.image_bytes(image_id)) for image_id in self.image_ids)

    def image_bytes(self, image_id: int) -> bytes:
        """The encoded image from disk; KeyError for an unknown id, DatasetError if unreadable."""
        return content_of(self.file(image_id), "restore the image")

    def file(self, image_id: int) -> Path:
        """The image's file; KeyError for an unknown id."""
        return self.images / self._records[image_id]["file_name"]

    def size(self, image_id: int) -> tuple[int, int]:
        """Width and height in pixels, as annotated; KeyError for an unknown id."""
        record = self._records[image_id]
        return record["width"], record["height"]

    def annotations_of(self, image_id: int) -> list[dict[str, Any]]:
        """The annotations of the image in the ground truth."""
        return self._annotations.get(image_id, [])

    def objects_of(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Its objects without crowds: boxes x1, y1, x2, y2 in pixels, float64 [n, 4], and class indexes [n]."""
        rows = [row for row in self.annotations_of(image_id) if not row["iscrowd"]]
        corner, extent = np.hsplit(np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4), 2)
        return np.hstack([corner, corner + extent]), np.array([self.places[row["category_id"]] for row in rows], int)

    @cached_property
    def places(self) -> dict[int, int]:
        """Category id → place of the category, which is a detector's class index."""
        return {category: place for place, category in enumerate(self.category_ids)}

    @cached_property
    def _annotations(self) -> dict[int, list[dict[str, Any]]]:
        rows: dict[int, list[dict[str, Any]]] = {}
        for row in self.ground_truth["annotations"]:
            rows.setdefault(row["image_id"], []).append(row)
        return rows

    @cached_property
    def _records(self) -> dict[int, dict[str, Any]]:
        return {record["id"]: record for record in self.ground_truth["images"]}


def class_indexes(names: Sequence[str], known: Iterable[str]) -> dict[str, int]:
    """Known name → place of the one of `names` that means the same; names that match none or several are left out.

    Names may differ in upper and lower case, spaces, - and _, and as darknet's names for COCO differ from COCO's own.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
        if _folded(name) != name:
            places.setdefault(_folded(name), []).append(place)
    meant = {name: places.get(name) or places.get(_folded(name), []) for name in known}
    found = {name: numbers[0] for name, numbers in meant.items() if len(numbers) == 1}
    count = Counter(found.values())
    return {name: place for name, place in found.items() if count[place] == 1}


# VOC's words, which darknet's coco.names uses for COCO's.
SYNONYMS = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}


def _folded(name: str) -> str:
    plain = name.casefold().translate(str.maketrans("", "", " -_"))
    return SYNONYMS.get(plain, plain)


def _digest(ground_truth: dict) -> str:
    # A Mac stores the letters of names in another Unicode form than others do.
    text = unicodedata.normalize("NFC", json.dumps(ground_truth, ensure_ascii=False))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_of(path: Path, advice: str, most: int = -1) -> bytes:
    """The content of a file, or its first `most` bytes. Raises DatasetError, which ends with what to do.

    A pipe would be waited at for ever, a device may never end.
    """
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DatasetError(f"{path}: is not a regular file; {advice}")
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {advice}") from error


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    stored = content_of(path, "name an annotation file")
    try:
        content = json.loads(stored)
    except (ValueError, RecursionError) as error:
        why = _foreign(stored) or f"is not JSON, or cut short ({error}); restore the file"
        raise DatasetError(f"{path}: {why}") from error
    sections = {section: _section(path, content, section) for section in FIELDS}
    for section, fields in PLAIN.items():
        for row in sections[section]:
            row.update({field: _plain(row[field]) for field in fields if field in row})
    for row in sections["images"]:
        if isinstance(row.get("file_name"), str):
            row["file_name"] = row["file_name"].replace("\\", "/")  # as Windows writes it
    for row in sections["annotations"]:
        _complete(row)
    return sections


# What a file that should be JSON may be, by its first bytes, and what to do.
FOREIGN = {
    b"\x1f\x8b": "is compressed by gzip; unpack it with gunzip",
    b"PK\x03\x04": "is a zip archive; unpack it, and name the annotation file in it",
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself; fetch it with git lfs pull",
    b"<": "is HTML or XML, as a failed download leaves it; fetch it again",
}


def _foreign(content: bytes) -> str:
    return next((what for start, what in FOREIGN.items() if content.lstrip().startswith(start)), "")


# Numbers that some exporters write as text or with a decimal point: "7" or 7.0 for 7.
PLAIN = {
    "images": ("id", "width", "height"), "annotations": ("image_id", "category_id", "iscrowd"), "categories": ("id",),
}


def _plain(value: Any) -> Any:
    """The whole number that the value stands for; any other value as it is."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _complete(row: dict[str, Any]) -> None:
    """Add the fields that formats like COCO's leave out, as pycocotools' `loadRes` does."""
    crowd, box = row.get("iscrowd"), row.get("bbox")
    row["iscrowd"] = int(crowd or 0) if crowd is None or isinstance(crowd, bool) else crowd
    if row.get("area") is None and _is_box(box):
        row["area"] = box[2] * box[3]


def _section(path: Path, content: Any, section: str) -> list[dict[str, Any]]:
    rows = content.get(section) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DatasetError(f"{path}: has no list of objects '{section}'; use COCO's object detection format")
    if not rows:
        raise DatasetError(f"{path}: '{section}' is empty; nothing could be measured, add {section}")
    return rows


def _check(path: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    for section in ("images", "categories"):  # nothing refers to the ids of annotations
        rows = content[section]
        places = [place for place, row in enumerate(rows) if not _whole(row.get("id"))]
        _refuse(path, "ids must be whole numbers from 0", f"{section} at place", places)
        _refuse(path, "ids must be unique", section, _repeated(_ids(rows)))
    for section, field, must, good in RULES:
        rows = content[section]
        missing = f"{field} is missing{MISSING.get(field, '')}"
        _refuse(path, missing, section, _labels(rows, lambda row, field=field: field not in row))
        _refuse(path, f"{field} must be {must}", section,
                _labels(rows, lambda row, field=field, good=good: not good(row[field])))
    _refuse(path, "names must be unique", "categories", _repeated(row["name"] for row in content["categories"]))
    _check_references(path, **content)


def _check_references(path: Path, images: list, annotations: list, categories: list) -> None:
    sizes = {row["id"]: (row["width"], row["height"]) for row in images}
    named = set(_ids(categories))
    _refuse(path, "image_id must be in images", "annotations",
            _labels(annotations, lambda row: row["image_id"] not in sizes))
    _refuse(path, "category_id must be in categories", "annotations",
            _labels(annotations, lambda row: row["category_id"] not in named))
    boxes = [(row["bbox"], *sizes[row["image_id"]]) for row in annotations]
    outside = _labels(annotations, lambda row: not fits(row["bbox"], *sizes[row["image_id"]]))
    many = len(outside) >= MANY * len(boxes)
    for advice, explains in (FRACTIONS if not outside else OTHER_BOXES if many else {}).items():
        if all(explains(*one) for one in boxes):
            raise DatasetError(f"{path}: bbox must be x, y, width, height in pixels; {advice}")
    _refuse(path, "bbox must lie inside the image to 1 pixel", "annotations", outside)


def _labels(rows: list, is_wrong: Callable[[dict], bool]) -> list:
    """The ids of the wrong rows, or their places."""
    return [row.get("id", f"at place {place}") for place, row in enumerate(rows) if is_wrong(row)]


def _check_crowds(path: Path, annotations: list[dict[str, Any]]) -> None:
    if all(row["iscrowd"] for row in annotations):
        count = len(annotations)
        raise DatasetError(f"{path}: {count} of {count} annotations are crowds (iscrowd 1), which are not scored; "
                           "annotate objects one by one, or set iscrowd 0 where they are")


def _root(content: dict[str, Any]) -> str:
    used = {row["category_id"] for row in content["annotations"]}
    for row in content["categories"]:
        others = [other for other in content["categories"] if other is not row]
        is_unused = row["id"] not in used and row.get("supercategory") != row["name"]
        if is_unused and others and all(other.get("supercategory") == row["name"] for other in others):
            return row["name"]
    return ""


def _refuse(path: Path, must: str, what: str, offenders: Sequence[Any]) -> None:
    if offenders:
        first = ", ".join(map(shown, offenders[:5])) + (", ..." if len(offenders) > 5 else "")
        raise DatasetError(f"{path}: {must}; correct or remove {len(offenders)} ({what} {first})")


def _restrict(content: dict[str, Any], limit: int | None) -> dict[str, list[dict[str, Any]]]:
    # Only the fields that scoring reads, in one order, so that formatting and segmentations do not change the digest.
    content = {**content, "annotations": _numbered(content["annotations"])}
    rows = {section: sorted(({field: row[field] for field in fields} for row in content[section]), key=itemgetter("id"))
            for section, fields in FIELDS.items()}
    rows["images"] = rows["images"][:limit]
    kept = set(_ids(rows["images"]))
    rows["annotations"] = [row for row in rows["annotations"] if row["image_id"] in kept]
    return rows


def _numbered(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations with their ids, or with new ones where these are not unique whole numbers."""
    ids = [row.get("id") for row in annotations]
    if all(map(_whole, ids)) and len(set(ids)) == len(ids):
        return annotations
    by_content = sorted(annotations, key=lambda row: [row["image_id"], row["category_id"], row["bbox"], row["area"]])
    return [{**row, "id": number} for number, row in enumerate(by_content, 1)]


def _name_as_stored(folder: Path, images: list[dict[str, Any]]) -> None:
    """Writes file names as the folder has them: a Mac's zip has letters in another Unicode form than the JSON."""
    absent = [row for row in images if not row["file_name"].isascii() and not (folder / row["file_name"]).exists()]
    if absent:
        stored = {unicodedata.normalize("NFC", name): name for name in _files_below(folder)}
        for row in absent:
            row["file_name"] = stored.get(unicodedata.normalize("NFC", row["file_name"]), row["file_name"])


def _files_below(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in names)


def _image_place(annotations: Path, folder: Path, images: list[dict[str, Any]]) -> Path:
    """The folder that file names are relative to: the image folder, or its parent where names include the folder."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: is not a folder; name the image folder of {annotations}")
    bad = _missing(folder, images)
    if len(bad) == len(images) and not _missing(folder.parent, images):
        return folder.parent
    _refuse(folder, "images must be there, readable and not empty", "files", bad)
    return folder


def _missing(folder: Path, images: list[dict[str, Any]]) -> list[str]:
    return [image["file_name"] for image in images if not _readable(folder / image["file_name"])]


def _turned(annotations: Path, folder: Path, images: list[dict[str, Any]]) -> frozenset[int]:
    """The ids of the images that EXIF turns. Raises DatasetError where a file has another size than annotated."""
    sizes = {row["id"]: image_size(folder / row["file_name"]) for row in images}
    wrong = [row for row in images if sizes[row["id"]] and sizes[row["id"]].upright != (row["width"], row["height"])]
    if wrong:
        found, annotated = sizes[wrong[0]["id"]], (wrong[0]["width"], wrong[0]["height"])
        others = f" (and so are {len(wrong) - 1} others)" if len(wrong) > 1 else ""
        raise DatasetError(f"{folder / wrong[0]['file_name']}: {_contradiction(found, annotated, annotations)}{others}")
    return frozenset(number for number, size in sizes.items() if size and size.orientation != 1)


def _contradiction(found: ImageSize, annotated: tuple[int, int], annotations: Path) -> str:
    says = f"{annotations.name} says {annotated[0]}x{annotated[1]}"
    if found.orientation != 1:
        return (f"its EXIF orientation {found.orientation} turns the {found.width}x{found.height} file to "
                f"{found.upright[0]}x{found.upright[1]}, {says}; annotate it upright, or remove the EXIF orientation")
    swapped = ", width and height swapped" if found.upright == annotated[::-1] else ""
    return (f"{says}, the file is {found.width}x{found.height}{swapped}; use the images that were annotated, or scale "
            "width, height and boxes")


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


def _whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value < 2**53  # evaluators carry ids as doubles


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # False for NaN too


def _inside(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and not os.path.isabs(name) and ".." not in Path(name).parts


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_finite, box)) and min(box[2:]) > 0


def fits(box: Sequence[float], width: int, height: int) -> bool:
    """Whether a box x, y, width, height lies inside an image, to BORDER_TOLERANCE."""
    x, y, w, h = map(float, box)
    return max(-x, -y, x + w - width, y + h - height) <= BORDER_TOLERANCE


def _is_fraction(box: list[float], width: int, height: int) -> bool:
    return min(width, height) > 2 and max(box[0] + box[2], box[1] + box[3]) <= 1 + 1e-3


def _has_two_corners(box: list[float], width: int, height: int) -> bool:
    x1, y1, x2, y2 = box
    return x2 > x1 and y2 > y1 and fits([x1, y1, x2 - x1, y2 - y1], width, height)


# What boxes may be in place of COCO's where all of them fit it, and what to do: inside of their images, and outside.
MANY = 0.25  # of all boxes, from which on it is not a few boxes that are wrong
FRACTIONS = {"these are fractions of the image, from 0 to 1: multiply by its width and height": _is_fraction}
OTHER_BOXES = {
    "these are x1, y1, x2, y2: subtract": _has_two_corners,
    "these fit where an image's width and height change places: correct its size":
        lambda box, width, height: fits(box, height, width),
}
# Advice where a field is missing.
MISSING = {
    "bbox": " (add the bounds x, y, width, height of each object; segmentations are not scored)",
    "width": " (add the image's width in pixels)", "height": " (add the image's height in pixels)",
}
# Section, field, requirement in words, its check; references between sections are checked after these.
RULES = (
    ("images", "width", "a whole number from 1", lambda width: _whole(width, least=1)),
    ("images", "height", "a whole number from 1", lambda height: _whole(height, least=1)),
    ("images", "file_name", "a path inside the image folder", _inside),
    ("categories", "name", "a text", lambda name: isinstance(name, str) and name),
    ("annotations", "image_id", "a whole number from 0", _whole),
    ("annotations", "category_id", "a whole number from 0", _whole),
    ("annotations", "bbox", "4 finite numbers x, y, width > 0, height > 0", _is_box),
    ("annotations", "area", "finite and > 0", lambda area: _finite(area) and area > 0),
    ("annotations", "iscrowd", "0 or 1", lambda crowd: type(crowd) is int and crowd in (0, 1)),
)
