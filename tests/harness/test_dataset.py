"""The data set: what it holds, and that every way of being broken is named with its file."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.dataset import Dataset, DatasetError
from harness.layouts import coco_folder
from tests.harness import synthetic


def test_iterates_image_ids_and_bytes_in_sorted_order(dataset):
    assert list(dataset)[:2] == [(1, b"picture 1"), (2, b"picture 2")]


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


def test_only_some_images_are_a_data_set_of_their_own(dataset):
    part = dataset.only([7, 2])
    images = {section: {row[key] for row in part.ground_truth[section]}
              for section, key in (("images", "id"), ("annotations", "image_id"))}
    assert (part.image_ids, images) == ([2, 7], {"images": {2, 7}, "annotations": {2, 7}})


def test_only_the_first_images_are_what_the_limit_gives(dataset):
    assert dataset.only([1, 2, 3]) == Dataset.load(dataset.annotations, dataset.images, limit=3)


def test_only_some_images_keep_every_category(dataset):
    part = dataset.only([1])
    assert (part.category_ids, part.ground_truth["categories"]) == (
        dataset.category_ids, dataset.ground_truth["categories"])


def test_only_some_images_are_read_and_sized_as_before(dataset):
    part = dataset.only(iter([2]))
    assert (list(part), part.size(2)) == ([(2, b"picture 2")], (200, 200))


def test_only_some_images_leave_the_whole_as_it_was(dataset):
    dataset.only([2])
    assert (len(dataset), len(dataset.ground_truth["annotations"])) == (8, 16)


def test_only_all_images_is_the_same_question(dataset):
    assert dataset.only(dataset.image_ids).sha256 == dataset.sha256


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
    ("annotations", {"id": 0}, "ids must be unique"),
    ("categories", {"id": 0}, "ids must be unique"),
    ("images", {"id": "2"}, "ids must be whole numbers"),
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
    ("annotations", {"iscrowd": None}, "iscrowd must be 0 or 1"),
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


@pytest.mark.parametrize("place", ["annotations area", "annotations bbox", "images width"])
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


def test_a_missing_image_folder_is_named(tmp_path, coco):
    annotations, _ = synthetic.write(tmp_path, coco)
    with pytest.raises(DatasetError, match="nowhere: is no folder"):
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


def test_an_image_that_vanishes_later_is_named(dataset):
    (dataset.images / "2.jpg").unlink()
    with pytest.raises(DatasetError, match=r"2\.jpg: cannot be read"):
        list(dataset)


def test_a_limit_below_one_names_the_option(tmp_path):
    with pytest.raises(DatasetError, match="--limit 0: must be at least 1"):
        Dataset.load(tmp_path / "a.json", tmp_path, limit=0)


def test_a_limit_that_leaves_no_annotation_names_the_option(tmp_path, coco):
    coco["annotations"] = coco["annotations"][-2:]
    with pytest.raises(DatasetError, match=r"--limit 3: .*annotates none"):
        Dataset.load(*synthetic.write(tmp_path, coco), limit=3)


NUMBERS = st.booleans() | st.integers() | st.floats()
VALUES = st.none() | NUMBERS | st.text(max_size=3) | st.lists(NUMBERS, max_size=4)
SECTIONS = ["images", "annotations", "categories"]
FIELDS = ["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "area", "iscrowd", "name"]


@given(section=st.sampled_from(SECTIONS), field=st.sampled_from(FIELDS), value=VALUES)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field_loads_or_is_a_dataset_error(dataset, section, field, value):
    broken = synthetic.content()
    broken[section][0][field] = value
    dataset.annotations.write_text(json.dumps(broken))
    try:
        Dataset.load(dataset.annotations, dataset.images)
    except DatasetError as error:
        assert str(dataset.annotations) in str(error) or str(dataset.images) in str(error)


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
    with pytest.raises(DatasetError, match=r"instances_train.json, instances_val.json could each be meant"):
        coco_folder(folder)


def test_a_folder_without_annotations_is_named(tmp_path):
    with pytest.raises(DatasetError, match=f"{tmp_path}: holds no annotations/instances_"):
        coco_folder(tmp_path)


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(DatasetError, match="has no image folder val, images/val or images"):
        coco_folder(layout(tmp_path, "annotations/instances_val.json"))


def test_real_coco_subset_loads(real):
    loaded = Dataset.load(*coco_folder(real / "coco"))
    assert (len(loaded), len(loaded.ground_truth["annotations"]), len(loaded.category_ids)) == (100, 1006, 80)


def test_real_retail_set_loads(real):
    loaded = Dataset.load(real / "retail/instances.json", real / "retail/images")
    assert (loaded.name, len(loaded), loaded.category_ids) == ("retail", 36, list(range(60)))
