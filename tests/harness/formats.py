"""Writes a dataset as YOLO's and Pascal VOC's formats have it, with the numbers unrounded."""
from __future__ import annotations

import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import yaml
from PIL import Image

from harness.accuracy.dataset import Dataset


def image(path: Path, width: int = 100, height: int = 50, **settings) -> Path:
    """A grey image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path, **settings)
    return path


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def as_yolo(dataset: Dataset, folder: Path) -> Path:
    """The data.yaml of the dataset written as split val; an image without objects has no label file."""
    for image_id in dataset.image_ids:
        name = Path(dataset.file(image_id).name)
        (folder / "images" / "val").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dataset.file(image_id), folder / "images" / "val" / name)
        width, height = dataset.size(image_id)
        rows = [_yolo_row(dataset, row, width, height) for row in dataset.annotations_of(image_id)]
        if rows:
            write(folder / "labels" / "val" / name.with_suffix(".txt"), "".join(rows))
    names = dict(enumerate(dataset.category_names))
    return write(folder / "data.yaml", yaml.safe_dump({"path": ".", "val": "images/val", "names": names}))


def _yolo_row(dataset: Dataset, row: dict, width: int, height: int) -> str:
    x, y, w, h = row["bbox"]
    numbers = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
    return f"{dataset.category_ids.index(row['category_id'])} {' '.join(map(repr, numbers))}\n"


def as_voc(dataset: Dataset, folder: Path) -> Path:
    """The folder of the dataset written as split val; crowds are difficult."""
    names = dict(zip(dataset.category_ids, dataset.category_names))
    listed = []
    for image_id in dataset.image_ids:
        file = dataset.file(image_id)
        (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / "JPEGImages" / file.name)
        objects = [voc_object(names[row["category_id"]], *_corners(*row["bbox"]), difficult=row["iscrowd"])
                   for row in dataset.annotations_of(image_id)]
        write(folder / "Annotations" / f"{file.stem}.xml", voc_annotation(objects, dataset.size(image_id)))
        listed.append(file.stem)
    write(folder / "ImageSets" / "Main" / "val.txt", "\n".join(listed))
    return folder


def _corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x + 1, y + 1, x + width, y + height]


def voc_object(name: str, *corners: float, difficult: int = 0) -> str:
    """An object as VOC writes it; corners are xmin, ymin, xmax, ymax."""
    box = "".join(f"<{tag}>{value!r}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners))
    return f"<object><name>{escape(name)}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>\n"


def voc_annotation(objects: list[str], size: tuple[int, int] | None = (100, 50)) -> str:
    """An XML file of VOC; its first object is in line 2."""
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{sides}\n{''.join(objects)}</annotation>"
