"""The dataset: what it holds, and that every way of being broken is named with its file."""
from __future__ import annotations

import gzip
import io
import json
import os
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.accuracy.dataset import Dataset, DatasetError, class_indexes
from harness.accuracy.evaluation import evaluate
from harness.accuracy.labelled import labels_of
from harness.accuracy.layouts import coco_folder
from tests.harness import synthetic


def test_iterates_image_ids_and_bytes_in_sorted_order(made_up_dataset):
    assert list(made_up_dataset)[:2] == [(1, b"image 1"), (2, b"image 2")]


def test_category_names_follow_sorted_category_ids(tmp_path, coco):
    coco["categories"].reverse()
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    assert (loaded.category_ids, loaded.category_names) == ([0, 7], ["cup", "can"])


def test_images_without_annotations_are_kept(tmp_path, coco):
    coco["annotations"] = coco["annotations"][:2]
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    assert len(loaded) == len(loaded.ground_truth["images"]) == 8


def test_limit_takes_the_lowest_ids_and_their_annotations(tmp_path, coco):
    coco["images"].reverse()
    loaded = Dataset.load(*synthetic.write(tmp_path, coco), limit=3)
    assert (loaded.image_ids, len(loaded.ground_truth["annotations"])) == ([1, 2, 3], 6)


def test_limit_beyond_the_end_takes_all(tmp_path, coco):
    assert len(Dataset.load(*synthetic.write(tmp_path, coco), limit=99)) == 8


def test_only_some_images_are_a_data_set_of_their_own(made_up_dataset):
    part = made_up_dataset.only([7, 2])
    images = {section: {row[key] for row in part.ground_truth[section]}
              for section, key in (("images", "id"), ("annotations", "image_id"))}
    assert (part.image_ids, images) == ([2, 7], {"images": {2, 7}, "annotations": {2, 7}})


def test_only_the_first_images_are_what_the_limit_gives(made_up_dataset):
    assert made_up_dataset.only([1, 2, 3]) == Dataset.load(made_up_dataset.annotations, made_up_dataset.images, limit=3)


def test_only_some_images_keep_every_category(made_up_dataset):
    part = made_up_dataset.only([1])
    assert (part.category_ids, part.ground_truth["categories"]) == (
        made_up_dataset.category_ids, made_up_dataset.ground_truth["categories"])


def test_only_some_images_are_read_and_sized_as_before(made_up_dataset):
    part = made_up_dataset.only(iter([2]))
    assert (list(part), part.size(2)) == ([(2, b"image 2")], (200, 200))


def test_only_some_images_leave_the_whole_as_it_was(made_up_dataset):
    made_up_dataset.only([2])
    assert (len(made_up_dataset), len(made_up_dataset.ground_truth["annotations"])) == (8, 16)


def test_only_all_images_is_the_same_question(made_up_dataset):
    assert made_up_dataset.only(made_up_dataset.image_ids).sha256 == made_up_dataset.sha256


def test_sizes_are_width_and_height_in_pixels(tmp_path, coco):
    coco["images"][0]["height"] = 300
    assert Dataset.load(*synthetic.write(tmp_path, coco)).size(1) == (200, 300)


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_digest_ignores_the_order_of_rows(tmp_path, coco, section):
    before = Dataset.load(*synthetic.write(tmp_path / "a", coco)).sha256
    coco[section].reverse()
    assert Dataset.load(*synthetic.write(tmp_path / "b", coco)).sha256 == before


CHANGES = [{"bbox": [0.01, 0, 9, 9]}, {"area": 7}, {"iscrowd": 1}, {"category_id": 0}]


@pytest.mark.parametrize("change", CHANGES)
def test_digest_changes_with_the_ground_truth(tmp_path, coco, change):
    before = Dataset.load(*synthetic.write(tmp_path / "a", coco)).sha256
    coco["annotations"][3].update(change)
    assert Dataset.load(*synthetic.write(tmp_path / "b", coco)).sha256 != before


def test_digest_changes_with_the_limit(tmp_path, coco):
    paths = synthetic.write(tmp_path, coco)
    assert Dataset.load(*paths).sha256 != Dataset.load(*paths, limit=7).sha256


BROKEN_ROWS = [
    ("images", {"id": 1}, "ids must be unique"),
    ("categories", {"id": 0}, "ids must be unique"),
    ("images", {"id": "two"}, "ids must be whole numbers"),
    ("images", {"id": 2.5}, "ids must be whole numbers"),
    ("categories", {"name": "cup"}, "names must be unique"),
    ("categories", {"name": None}, "name must be a text"),
    ("annotations", {"image_id": 99}, "image_id must be in images"),
    ("annotations", {"image_id": [1]}, "image_id must be a whole number"),
    ("annotations", {"category_id": 99}, "category_id must be in categories"),
    ("annotations", {"bbox": [1, 2, 3]}, "bbox must be 4 finite numbers"),
    ("annotations", {"bbox": [1, 2, 3, "4"]}, "bbox must be 4 finite numbers"),
    ("annotations", {"bbox": [1, 2, float("nan"), 4]}, "bbox must be 4 finite numbers"),
    ("annotations", {"bbox": [1, 2, float("inf"), 4]}, "bbox must be 4 finite numbers"),
    ("annotations", {"bbox": [1, 2, 0, 4]}, "width > 0"),
    ("annotations", {"bbox": [1, 2, 3, -4]}, "height > 0"),
    ("annotations", {"bbox": [0, 0, 201.5, 9]}, "inside the image to 1 pixel"),
    ("annotations", {"bbox": [-1.5, 0, 9, 9]}, "inside the image to 1 pixel"),
    ("annotations", {"bbox": [0, 10**400, 9, 9]}, "bbox must be 4 finite numbers"),
    ("annotations", {"area": 0}, "area must be finite and > 0"),
    ("annotations", {"area": float("nan")}, "area must be finite and > 0"),
    ("annotations", {"iscrowd": 2}, "iscrowd must be 0 or 1"),
    ("annotations", {"iscrowd": "yes"}, "iscrowd must be 0 or 1"),
    ("images", {"width": 0}, "width must be a whole number from 1"),
    ("images", {"height": 20.5}, "height must be a whole number from 1"),
    ("images", {"width": True}, "width must be a whole number from 1"),
    ("images", {"file_name": "../secret"}, "file_name must be a path inside the image folder"),
    ("images", {"file_name": "/etc/passwd"}, "file_name must be a path inside the image folder"),
    ("images", {"file_name": ""}, "file_name must be a path inside the image folder"),
]


@pytest.mark.parametrize(("section", "fields", "message"), BROKEN_ROWS)
def test_a_broken_row_is_named_with_the_file(tmp_path, coco, section, fields, message):
    annotations, images = synthetic.write(tmp_path, coco)
    coco[section][1].update(fields)
    annotations.write_text(json.dumps(coco))
    with pytest.raises(DatasetError, match=rf"instances_val\.json: .*{message}.*{section}"):
        Dataset.load(annotations, images)


@pytest.mark.parametrize("place", ["annotations image_id", "annotations bbox", "images width"])
def test_a_missing_field_is_named(tmp_path, coco, place):
    section, field = place.split()
    del coco[section][1][field]
    with pytest.raises(DatasetError, match=rf"instances_val\.json: {field} is missing"):
        Dataset.load(*synthetic.write(tmp_path, coco))


def test_a_box_less_than_a_pixel_outside_is_tolerated(tmp_path, coco):
    coco["annotations"][0]["bbox"] = [-0.9, 0, 201.8, 200.9]
    assert Dataset.load(*synthetic.write(tmp_path, coco))


def test_offenders_are_counted_and_the_first_five_named(tmp_path, coco):
    for row in coco["annotations"]:
        row["area"] = -1
    with pytest.raises(DatasetError, match=r"remove 16 \(annotations 0, 1, 2, 3, 4, ...\)"):
        Dataset.load(*synthetic.write(tmp_path, coco))


NOT_JSON = ["", "no json", '{"images": [', "[" * 100_000, "\xff\xfe{", '{"a": ' + "1" * 5000 + "}"]


@pytest.mark.parametrize("text", NOT_JSON, ids=["empty", "text", "cut", "deep", "utf-16", "long number"])
def test_a_file_that_is_not_json_is_named(tmp_path, coco, text):
    annotations, images = synthetic.write(tmp_path, coco)
    annotations.write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match=r"instances_val\.json: is not JSON, or cut short"):
        Dataset.load(annotations, images)


FOREIGN = {
    "gzip": (gzip.compress(b"{}"), "is compressed by gzip; unpack it"),
    "zip": (b"PK\x03\x04rest", "is a zip archive; unpack it"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS.* lfs pull"),
    "page": (b"\n<!DOCTYPE html><title>403</title>", "is HTML or XML, as a failed download leaves it"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_another_kind_of_file_is_called_by_its_name(tmp_path, coco, case):
    annotations, images = synthetic.write(tmp_path, coco)
    content, message = FOREIGN[case]
    annotations.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"instances_val\.json: {message}"):
        Dataset.load(annotations, images)


def fractions(x, y, w, h):
    return [x / 200, y / 200, w / 200, h / 200]


def corners(x, y, w, h):
    return [x, y, x + w, y + h]


def beside(x, y, w, h):
    return [x + 100, y, w, h]


OTHER_BOXES = {
    "fractions": (fractions, (200, 200), "these are fractions of the image, from 0 to 1: multiply by"),
    "corners": (corners, (200, 200), "these are x1, y1, x2, y2: subtract"),
    "turned images": (beside, (200, 300), "these fit where an image's width and height change places"),
}


@pytest.mark.parametrize("case", OTHER_BOXES)
def test_boxes_of_another_kind_are_called_so(tmp_path, coco, case):
    other, (width, height), message = OTHER_BOXES[case]
    for row in coco["images"]:
        row.update(width=width, height=height)
    for row in coco["annotations"]:
        row["bbox"] = other(*row["bbox"])
    with pytest.raises(DatasetError, match=rf"bbox must be x, y, width, height in pixels; {message}"):
        Dataset.load(*synthetic.write(tmp_path, coco))


def test_one_box_that_fits_another_kind_alone_is_only_outside(tmp_path, coco):
    coco["annotations"][3]["bbox"] = [150.0, 10.0, 190.0, 60.0]
    with pytest.raises(DatasetError, match=r"bbox must lie inside the image to 1 pixel; correct or remove 1 "):
        Dataset.load(*synthetic.write(tmp_path, coco))


@pytest.mark.parametrize(("named", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_file_names_may_have_another_unicode_form_than_the_annotations(tmp_path, coco, named, stored):
    for row in coco["images"]:
        row["file_name"] = unicodedata.normalize(named, f"Küche {row['id']}.jpg")
    annotations, images = synthetic.write(tmp_path, coco)
    same = Dataset.load(annotations, images)
    for path in list(images.iterdir()):
        path.rename(images / unicodedata.normalize(stored, path.name))
    found = Dataset.load(annotations, images)
    assert found.image_bytes(3) == b"image 3" and found.sha256 == same.sha256


def test_the_identity_of_a_dataset_is_that_of_its_images_too(tmp_path, coco):
    annotations, images = synthetic.write(tmp_path, coco)
    loaded = Dataset.load(annotations, images)
    before = loaded.identity()
    assert before == Dataset.load(annotations, images).identity()
    (images / "5.jpg").write_bytes(b"another")
    assert Dataset.load(annotations, images).identity() != before
    assert Dataset.load(annotations, images).sha256 == loaded.sha256


@pytest.mark.parametrize("value", [[], 3, {}, {"images": {}}, {"images": [1]}])
def test_json_that_is_not_coco_is_named(tmp_path, coco, value):
    annotations, images = synthetic.write(tmp_path, coco)
    annotations.write_text(json.dumps(value))
    with pytest.raises(DatasetError, match=r"instances_val\.json: has no list of objects 'images'"):
        Dataset.load(annotations, images)


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_an_empty_section_is_named(tmp_path, coco, section):
    coco[section] = []
    with pytest.raises(DatasetError, match=rf"instances_val\.json: '{section}' is empty"):
        Dataset.load(*synthetic.write(tmp_path, coco))


def test_a_missing_annotation_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere\.json: cannot be read"):
        Dataset.load(tmp_path / "nowhere.json", tmp_path)


def test_a_pipe_is_named_and_not_waited_at(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DatasetError, match=r"pipe\.json: is not a regular file; "):
        Dataset.load(tmp_path / "pipe.json", tmp_path)
    with pytest.raises(DatasetError, match=r"pipe\.json: is not a regular file; "):
        labels_of(tmp_path / "pipe.json")
    with pytest.raises(DatasetError):
        coco_folder(tmp_path)


def test_a_missing_image_folder_is_named(tmp_path, coco):
    annotations, _ = synthetic.write(tmp_path, coco)
    with pytest.raises(DatasetError, match="nowhere: is not a folder"):
        Dataset.load(annotations, tmp_path / "nowhere")


DAMAGES = {"gone": lambda path: None, "empty": Path.touch, "folder": Path.mkdir}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_image_is_named(tmp_path, coco, damage):
    annotations, images = synthetic.write(tmp_path, coco)
    (images / "3.jpg").unlink()
    DAMAGES[damage](images / "3.jpg")
    with pytest.raises(DatasetError, match=r"not empty; correct or remove 1 \(files 3.jpg\)"):
        Dataset.load(annotations, images)


def test_an_image_name_with_a_nul_is_named(tmp_path, coco):
    annotations, images = synthetic.write(tmp_path, coco)
    coco["images"][1]["file_name"] = "a\0b"
    annotations.write_text(json.dumps(coco))
    with pytest.raises(DatasetError, match="readable"):
        Dataset.load(annotations, images)


def test_an_image_that_vanishes_later_is_named(made_up_dataset):
    (made_up_dataset.images / "2.jpg").unlink()
    with pytest.raises(DatasetError, match=r"2\.jpg: cannot be read"):
        list(made_up_dataset)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_names_the_limit(tmp_path, coco, limit):
    with pytest.raises(DatasetError, match=f"limit {limit}: must be at least 1"):
        Dataset.load(*synthetic.write(tmp_path, coco), limit=limit)


def test_a_limit_that_leaves_no_annotation_names_the_limit(tmp_path, coco):
    coco["annotations"] = coco["annotations"][-2:]
    with pytest.raises(DatasetError, match=r"limit 3: .*annotates none"):
        Dataset.load(*synthetic.write(tmp_path, coco), limit=3)


NUMBERS = st.booleans() | st.integers() | st.floats()
VALUES = st.none() | NUMBERS | st.text(max_size=3) | st.lists(NUMBERS, max_size=4)
SECTIONS = ["images", "annotations", "categories"]
FIELDS = ["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "area", "iscrowd", "name"]


@given(section=st.sampled_from(SECTIONS), field=st.sampled_from(FIELDS), value=VALUES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field_loads_or_is_a_dataset_error(made_up_dataset, section, field, value):
    broken = synthetic.content()
    broken[section][0][field] = value
    made_up_dataset.annotations.write_text(json.dumps(broken))
    try:
        Dataset.load(made_up_dataset.annotations, made_up_dataset.images)
    except DatasetError as error:
        assert str(made_up_dataset.annotations) in str(error) or str(made_up_dataset.images) in str(error)


# What exporters write otherwise and means the same.

SAME = {
    "no iscrowd": lambda coco: [row.pop("iscrowd") for row in coco["annotations"]],
    "null iscrowd": lambda coco: [row.update(iscrowd=None) for row in coco["annotations"]],
    "iscrowd as a truth value": lambda coco: [row.update(iscrowd=False) for row in coco["annotations"]],
    "no area": lambda coco: [row.pop("area") for row in coco["annotations"]],
    "null area": lambda coco: [row.update(area=None) for row in coco["annotations"]],
    "ids as text": lambda coco: [row.update(id=str(row["id"])) for row in coco["images"] + coco["categories"]],
    "references as text": lambda coco: [row.update(image_id=str(row["image_id"])) for row in coco["annotations"]],
    "ids with a decimal point": lambda coco: [row.update(category_id=float(row["category_id"]))
                                              for row in coco["annotations"]],
    "sizes with a decimal point": lambda coco: [row.update(width=float(row["width"])) for row in coco["images"]],
    "sizes as text": lambda coco: [row.update(height=str(row["height"])) for row in coco["images"]],
}


@pytest.mark.parametrize("case", SAME)
def test_what_means_the_same_is_the_same_question(tmp_path, coco, case):
    expected = Dataset.load(*synthetic.write(tmp_path / "a", coco)).sha256
    SAME[case](coco)
    assert Dataset.load(*synthetic.write(tmp_path / "b", coco)).sha256 == expected


@pytest.mark.parametrize("ids", [[0] * 16, [None] * 16, [f"a{i}" for i in range(16)]], ids=["one", "none", "text"])
def test_nothing_depends_on_the_ids_of_annotations(tmp_path, coco, ids):
    for row, number in zip(coco["annotations"], ids):
        row["id"] = number
    first = Dataset.load(*synthetic.write(tmp_path / "a", coco))
    coco["annotations"].reverse()
    second = Dataset.load(*synthetic.write(tmp_path / "b", coco))
    assert len(first.ground_truth["annotations"]) == 16 and first.sha256 == second.sha256


def test_annotations_without_boxes_say_what_to_add(tmp_path, coco):
    for row in coco["annotations"]:
        row["segmentation"] = [row.pop("bbox") * 2]
    with pytest.raises(DatasetError, match=r"bbox is missing \(add the bounds .* segmentations are not scored\)"):
        Dataset.load(*synthetic.write(tmp_path, coco))


def test_crowds_alone_are_refused_with_their_number(tmp_path, coco):
    for row in coco["annotations"]:
        row["iscrowd"] = 1
    with pytest.raises(DatasetError, match=r"16 of 16 annotations are crowds \(iscrowd 1\), which are not scored"):
        Dataset.load(*synthetic.write(tmp_path, coco))


# Files and what the annotations say of them.

def real_images(folder, coco, size=(200, 200), form="JPEG", **options):
    """The dataset with images of this size that can be decoded."""
    paths = synthetic.write(folder, coco)
    for image in coco["images"]:
        Image.new("RGB", size).save(paths[1] / image["file_name"], form, **options)
    return paths


def turned(orientation) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_files_of_another_size_than_annotated_are_refused_with_both_sizes(tmp_path, coco, form):
    message = r"/1\.jpg: instances_val\.json says 200x200, the file is 100x50; .* \(and so are 7 others\)"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(*real_images(tmp_path, coco, (100, 50), form))


def test_swapped_width_and_height_are_called_so(tmp_path, coco):
    coco["images"][2].update(width=300)
    paths = real_images(tmp_path, coco)
    Image.new("RGB", (200, 300)).save(paths[1] / "3.jpg")
    with pytest.raises(DatasetError, match=r"/3\.jpg: .* says 300x200, the file is 200x300, width and height swapped"):
        Dataset.load(*paths)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_image_upright(tmp_path, coco, form, orientation):
    for image in coco["images"]:
        image["height"] = 300
    stored = (300, 200) if orientation >= 5 else (200, 300)
    loaded = Dataset.load(*real_images(tmp_path, coco, stored, form, exif=turned(orientation)))
    assert loaded.turned == (set(range(1, 9)) if orientation > 1 else set())


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_of_the_image_as_stored_are_refused_with_its_orientation(tmp_path, coco, orientation):
    for image in coco["images"]:
        image["height"] = 300
    message = f"EXIF orientation {orientation} turns the 200x300 file to 300x200, instances_val.json says 200x300"
    with pytest.raises(DatasetError, match=message):
        Dataset.load(*real_images(tmp_path, coco, (200, 300), exif=turned(orientation)))


def test_a_file_of_any_declared_size_is_sized_and_not_decoded(tmp_path, coco):
    huge = encoded_png(20_000, 20_000)
    coco["images"][0].update(width=20_000, height=20_000)
    paths = real_images(tmp_path, coco)
    (paths[1] / "1.jpg").write_bytes(huge)
    assert Dataset.load(*paths).size(1) == (20_000, 20_000)


def encoded_png(width, height) -> bytes:
    """A PNG that declares this size and holds a pixel."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()[:16] + struct.pack(">II", width, height) + buffer.getvalue()[24:29] + (
        struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">II", width, height) + buffer.getvalue()[24:29]))
        + buffer.getvalue()[33:])


@pytest.mark.parametrize("name", ["val/{}.jpg", "val\\\\{}.jpg"])
def test_names_that_start_with_the_image_folder_are_found(tmp_path, coco, name):
    paths = synthetic.write(tmp_path, coco)
    for image in coco["images"]:
        image["file_name"] = name.replace("\\\\", "\\").format(image["id"])
    paths[0].write_text(json.dumps(coco))
    assert Dataset.load(*paths).image_bytes(2) == b"image 2"


# Classes: whose order counts.

@pytest.mark.parametrize("names", [("cup", "can"), ("Cup", "CAN"), ("c-up", "c an")])
def test_classes_in_the_same_order_are_the_same_question(made_up_dataset, names):
    assert made_up_dataset.with_classes(names) is made_up_dataset


def test_classes_in_another_order_move_the_annotations(made_up_dataset):
    other = made_up_dataset.with_classes(["can", "bottle", "cup"])
    moved = {row["category_id"] for row in other.annotations_of(1) if row["bbox"][2] == 50}
    assert (other.category_ids, other.category_names, moved) == ([0, 1, 2], ["can", "bottle", "cup"], {2})


def test_detections_in_the_detectors_order_score_as_before(made_up_dataset, right_detections):
    other = made_up_dataset.with_classes(["can", "bottle", "cup"])
    moved = synthetic.changed(right_detections, lambda a: {"classes": np.int32([2, 0])[a.classes]})
    expected, found = evaluate(made_up_dataset, right_detections), evaluate(other, moved)
    assert (found.figures["AP"], found.per_class["can"], found.per_class["bottle"]) == (
        expected.figures["AP"], expected.per_class["can"], None)


@pytest.mark.parametrize(("names", "unknown"), [
    (("cup", "can"), []), (("can", "cup", "bottle"), []), (("cup",), ["can"]), (("mug", "tin"), ["cup", "can"]),
    (("cup", "Can", "CAN"), ["can"]), ((), ["cup", "can"]),
])
def test_annotated_categories_that_are_no_class_are_known(made_up_dataset, names, unknown):
    assert made_up_dataset.unknown_to(names) == unknown


def test_cocos_categories_are_known_by_darknets_names():
    cocos = ["airplane", "motorcycle", "potted plant", "couch", "tv", "dining table"]
    assert class_indexes(DARKNETS, cocos) == dict(zip(cocos, range(6)))


DARKNETS = ["aeroplane", "motorbike", "pottedplant", "sofa", "tvmonitor", "diningtable"]


def with_root(coco, name="objects", parent="none"):
    for row in coco["categories"]:
        row["supercategory"] = name
    coco["categories"].append({"id": 3, "name": name, "supercategory": parent})
    return coco


def test_a_category_that_only_groups_the_others_is_the_root(tmp_path, coco):
    loaded = Dataset.load(*synthetic.write(tmp_path, with_root(coco)))
    assert (loaded.root, loaded.without_root().category_names) == ("objects", ["cup", "can"])


NO_ROOT = {
    "annotated": lambda coco: coco["annotations"][0].update(category_id=3),
    "its own parent": lambda coco: coco["categories"][2].update(supercategory="objects"),
    "groups only some": lambda coco: coco["categories"][0].update(supercategory="dishes"),
}


@pytest.mark.parametrize("case", NO_ROOT)
def test_other_categories_are_no_root(tmp_path, coco, case):
    NO_ROOT[case](with_root(coco))
    assert Dataset.load(*synthetic.write(tmp_path, coco)).root == ""


def test_real_coco_subset_loads(real):
    loaded = Dataset.load(*coco_folder(real / "coco"))
    assert (len(loaded), len(loaded.ground_truth["annotations"]), len(loaded.category_ids)) == (100, 1006, 80)


def test_real_retail_set_loads(real):
    loaded = Dataset.load(real / "retail/instances.json", real / "retail/images")
    assert (loaded.name, len(loaded), loaded.category_ids) == ("retail", 36, list(range(60)))
