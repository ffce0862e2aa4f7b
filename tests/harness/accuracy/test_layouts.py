"""The layouts that exporters write are found; what is unclear is named with the options to give instead."""
from __future__ import annotations

import json

import pytest

from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.layouts import coco_folder
from tests.harness import synthetic


def layout(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    return folder


@pytest.mark.parametrize("place", ["val", "images/val", "images"])
def test_the_image_folder_is_found(tmp_path, place):
    folder = layout(tmp_path, "annotations/instances_val.json", place)
    assert coco_folder(folder) == (folder / "annotations/instances_val.json", folder / place)


@pytest.mark.parametrize("place", ["val", "images/val"])
def test_of_several_annotation_files_the_one_with_images_is_taken(tmp_path, place):
    folder = layout(tmp_path, "annotations/instances_train.json", "annotations/instances_val.json", place)
    assert coco_folder(folder)[0].name == "instances_val.json"


@pytest.mark.parametrize("places", [("train", "val"), ("images",)])
def test_several_possible_annotation_files_are_named(tmp_path, places):
    folder = layout(tmp_path, "annotations/instances_train.json", "annotations/instances_val.json", *places)
    with pytest.raises(DatasetError, match=r"train.json, annotations/instances_val.json could each .* image folder"):
        coco_folder(folder)


def test_a_folder_without_annotations_is_named(tmp_path):
    with pytest.raises(DatasetError, match=f"{tmp_path}: has no annotations in COCO's .* name the annotation file"):
        coco_folder(tmp_path)


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(DatasetError, match="has no image folder val, images/val or images"):
        coco_folder(layout(tmp_path, "annotations/instances_val.json"))


# Exporter: (annotation file, image folder, what file names start with, the folder that is then the image folder).
EXPORTS = {
    "Roboflow, one part": ("valid/_annotations.coco.json", "valid", "", "valid"),
    "Roboflow, the part itself": ("_annotations.coco.json", ".", "", "."),
    "Label Studio": ("result.json", "images", "images/", "."),
    "Label Studio on Windows": ("result.json", "images", "images\\", "."),
    "FiftyOne": ("labels.json", "data", "", "data"),
    "labelme2coco": ("annotations.json", "JPEGImages", "JPEGImages/", "."),
    "CVAT": ("annotations/instances_default.json", "images/default", "", "images/default"),
    "VIA": ("via_project_coco.json", ".", "", "."),
    "own names": ("boxes.json", "images", "", "images"),
    "YOLOX": ("annotations/train.json", "train", "", "train"),
}


def export(folder, annotations, images, start=""):
    """Two images and their annotations at these places."""
    coco = synthetic.content(2)
    (folder / annotations).parent.mkdir(parents=True, exist_ok=True)
    (folder / images).mkdir(parents=True, exist_ok=True)
    for image in coco["images"]:
        (folder / images / image["file_name"]).write_bytes(b"image")
        image["file_name"] = start + image["file_name"]
    (folder / annotations).write_text(json.dumps(coco))
    return folder


@pytest.mark.parametrize("exporter", EXPORTS)
def test_an_exporters_layout_is_found_and_loads(tmp_path, exporter):
    annotations, images, start, expected = EXPORTS[exporter]
    found = coco_folder(export(tmp_path, annotations, images, start))
    assert found == (tmp_path / annotations, tmp_path / expected) and len(Dataset.load(*found)) == 2


def test_several_parts_are_named_with_what_chooses_one(tmp_path):
    for part in ("train", "valid", "test"):
        export(tmp_path, f"{part}/_annotations.coco.json", part)
    with pytest.raises(DatasetError, match=r"test/_annotations.coco.json, train/_annotations.coco.json, valid/"
                                           r"_annotations.coco.json could each be meant; name the annotation file"):
        coco_folder(tmp_path)


def test_annotations_without_their_images_are_named_with_what_to_name(tmp_path):
    export(tmp_path, "result.json", "elsewhere/deep/images")
    message = f"the images of result.json are not beside it; name the annotation file {tmp_path}/result.json and"
    with pytest.raises(DatasetError, match=message):
        coco_folder(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[", '{"images": 3, "annotations": [], "categories": []}',
                                     '{"images": [{"file_name": 7}], "annotations": [], "categories": []}'])
def test_other_json_is_not_taken_for_annotations(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(DatasetError, match="name the annotation file"):
        coco_folder(tmp_path)
