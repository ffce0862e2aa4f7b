"""Reads datasets in Pascal VOC's format: an XML file of boxes for each image, and lists of the images of each split.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/. As VOC defines them, xmin, ymin, xmax and ymax count
pixels from 1 and lie inside the box, so that it reaches from xmin - 1 to xmax. Difficult objects become COCO's crowds:
whether they are found is neither right nor wrong.
"""
from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from harness.accuracy import labelled
from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.labelled import IMAGE_SUFFIXES, Box, Labelled, and_others, chosen_split, files_below, lines_of
from harness.text import shown

ANNOTATIONS, LISTS, IMAGES = "Annotations", "ImageSets/Main", ("JPEGImages", "images")
LINE = "line"  # the attribute of an element that says where it starts in its file
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_dataset(folder: str | Path, split: str | None = None, limit: int | None = None) -> Dataset:
    """Read and check a split of a dataset, by the lists of ImageSets/Main; without lists all of its images.

    Images and XML files may also lie side by side in the folder. Without `split` it is val, or else the only one;
    `limit` keeps the first N images by name. Classes are all that the XML files name, in alphabetical order. Raises
    DatasetError.
    """
    folder = Path(folder)
    place = folder / ANNOTATIONS if (folder / ANNOTATIONS).is_dir() else folder
    files = _by_name(place, {".xml"}, folder)
    if not files:
        raise DatasetError(f"{place}: has no XML files of annotations; name the folder that has {ANNOTATIONS}, or "
                           "images and XML files side by side")
    records = dict(zip(files, labelled.read_each(_record, files.values())))
    names = sorted({box.name for _, boxes in records.values() for box in boxes})
    split, chosen = _chosen(folder, files, names, split)
    images = _images(folder, chosen, chosen if split else files)

    def labelled_of(name: str) -> Labelled:
        size, boxes = records[name]
        return Labelled(images[name], files[name], size or labelled.size_of(images[name]), boxes)

    found = labelled.read_each(labelled_of, chosen)
    if found and all(box.is_crowd for one in found for box in one.boxes):
        raise DatasetError(f"{place}: all objects are difficult, which are not scored, or there are none; annotate "
                           "objects")
    return labelled.dataset(place, split, names, found, limit)


def _by_name(place: Path, suffixes: Collection[str], folder: Path) -> dict[str, Path]:
    """Path below the place, without suffix → file. Only files directly in it where it is the dataset's own folder."""
    found: dict[str, Path] = {}
    for file in files_below(place, suffixes):
        name = file.relative_to(place).with_suffix("").as_posix()
        if place == folder and "/" in name:
            continue
        if name in found:
            raise DatasetError(f"{file}: has the same name as {found[name].name}, so that {name} is unclear; rename "
                               "one of them")
        found[name] = file
    return found


def _record(file: Path) -> tuple[tuple[int, int] | None, list[Box]]:
    """Width and height in pixels, None where the XML file does not say, and the objects. Raises DatasetError."""
    try:
        root = _tree(labelled.labels_of(file))
        return _size(root), [_box(one) for one in root.findall("object")]
    except expat.ExpatError as error:
        raise DatasetError(f"{file}, line {error.lineno}: is not XML ({expat.ErrorString(error.code)}); restore the "
                           "file") from error
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{file}, {error}") from error


def _tree(content: bytes) -> Element:
    """The root of VOC's XML. Raises ExpatError; ValueError for what is not VOC's, and for a DOCTYPE.

    A DOCTYPE may declare entities, which grow without end or name other files.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def start(tag: str, _) -> None:
        builder.start(tag, {LINE: str(parser.CurrentLineNumber)})

    def refuse(*_) -> None:
        raise DoctypeError

    parser.StartElementHandler, parser.EndElementHandler = start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(content, True)
    except DoctypeError:
        raise ValueError(f"line {parser.CurrentLineNumber}: must have no DOCTYPE, which may declare entities; remove "
                         "it") from None
    except (ValueError, LookupError) as error:
        raise ValueError(f"line 1: its encoding is not known ({shown(error)}); convert it to UTF-8") from error
    root = builder.close()
    if root.tag != "annotation":
        raise ValueError(f"line {root.get(LINE)}: must be VOC's annotation, and is {shown(root.tag)}; remove the file")
    return root


class DoctypeError(Exception):
    """An XML file has a DOCTYPE."""


def _size(root: Element) -> tuple[int, int] | None:
    size = root.find("size")
    width, height = (0, 0) if size is None else (int(_number(size, side)) for side in ("width", "height"))
    return (width, height) if width and height else None


def _box(element: Element) -> Box:
    """The box of an object. Raises ValueError."""
    line, name, box = element.get(LINE), (element.findtext("name") or "").strip(), element.find("bndbox")
    if not name:
        raise ValueError(f"line {line}: the object has no name; add its class")
    if box is None:
        raise ValueError(f"line {line}: {shown(name)} has no bndbox; add it")
    is_difficult = element.find("difficult") is not None and _number(element, "difficult") != 0
    left, top, right, bottom = (_number(box, corner) for corner in CORNERS)
    return Box(int(line), name, left - 1, top - 1, right - left + 1, bottom - top + 1, is_difficult)


def _number(element: Element, tag: str) -> float:
    text = element.findtext(tag)
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        what = "is missing" if text is None else f"is {shown(text.strip()) or 'empty'}"
        raise ValueError(f"line {element.get(LINE)}: {tag} {what}; it must be a number")
    return number


def _chosen(folder: Path, records: Collection[str], names: Collection[str], split: str | None) -> tuple[str, list[str]]:
    """The split, '' where nothing is listed, and the names of its images. Raises DatasetError."""
    lists = {file.stem: file for file in files_below(folder / LISTS, {".txt"})}
    # VOC has a list of each class too, such as dog_val: with which images show a dog.
    whole = [name for name in lists if name.rpartition("_")[0] not in names]
    if not whole and not split:
        return "", list(records)
    split = chosen_split(folder / LISTS, whole, split)
    return split, _listed(lists[split], records)


def _listed(file: Path, records: Collection[str]) -> list[str]:
    listed: dict[str, int] = {}
    for number, line in lines_of(file):
        if line in listed:
            raise DatasetError(f"{file}, line {number}: {shown(line)} is in line {listed[line]} too; remove one")
        if line not in records:
            raise DatasetError(f"{file}, line {number}: {shown(line)} has no XML file; add it, or remove the line")
        listed[line] = number
    if not listed:
        raise DatasetError(f"{file}: lists no image; add the names of images, one a line")
    return sorted(listed)


def _images(folder: Path, chosen: list[str], known: Collection[str]) -> dict[str, Path]:
    """Name → image file. Raises DatasetError for a chosen one that is missing, and where all are chosen an unknown one.
    """
    place = next((folder / name for name in IMAGES if (folder / name).is_dir()), folder)
    images = _by_name(place, IMAGE_SUFFIXES, folder)
    for names, others, what in ((chosen, images, "image"), (images if known is not chosen else [], known, "XML file")):
        lost = [name for name in names if name not in others]
        if lost:
            raise DatasetError(f"{place}: there is no {what} of {shown(lost[0])}{and_others(len(lost))}; add it, or "
                               f"list the images to take in {LISTS}/val.txt")
    return images
