"""Datasets in YOLO's format: the same figures as in COCO's, layouts as people have them, errors by file and line."""
from __future__ import annotations

import pytest
from PIL import Image

from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.image_files import ORIENTATION
from harness.accuracy.layouts import read_again
from harness.accuracy.yolo import yolo_dataset
from tests.harness.formats import image, write

DATA = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cup\n  1: can\n"
ROW = "0 0.5 0.5 0.2 0.4\n"  # of 100 x 50 pixels: 40, 15 to 60, 35


def folder_of(tmp_path, labels: str | None = ROW, data: str = DATA, name: str = "a.jpg"):
    """A dataset of one image in split val."""
    image(tmp_path / "images" / "val" / name)
    if labels is not None:
        write((tmp_path / "labels" / "val" / name).with_suffix(".txt"), labels)
    write(tmp_path / "data.yaml", data)
    return tmp_path


def boxes(dataset: Dataset) -> list[list[float]]:
    return [pytest.approx(row["bbox"]) for row in dataset.ground_truth["annotations"]]


def test_a_row_is_centre_and_size_as_fractions(tmp_path):
    found = yolo_dataset(folder_of(tmp_path) / "data.yaml")
    assert (boxes(found), found.size(1), found.category_names) == ([[40, 15, 20, 20]], (100, 50), ["cup", "can"])


def test_the_folder_stands_for_its_data_yaml(tmp_path):
    assert yolo_dataset(folder_of(tmp_path)) == yolo_dataset(tmp_path / "data.yaml")


def test_the_only_yaml_file_of_a_folder_is_taken(tmp_path):
    (folder_of(tmp_path) / "data.yaml").rename(tmp_path / "shop.yml")
    assert len(yolo_dataset(tmp_path)) == 1


@pytest.mark.parametrize("row", [
    "1 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7", "1 0.4 0.5 0.5 0.3 0.6 0.5 0.5 0.7 0.41 0.51", "1.0  0.5\t0.5 0.2 0.4 ",
])
def test_polygons_are_converted_to_their_box(tmp_path, row):
    found = yolo_dataset(folder_of(tmp_path, row))
    assert (boxes(found), found.ground_truth["annotations"][0]["category_id"]) == ([[40, 15, 20, 20]], 1)


def test_keypoints_are_left_out(tmp_path):
    data = DATA + "kpt_shape: [2, 2]\n"
    assert boxes(yolo_dataset(folder_of(tmp_path, "0 0.5 0.5 0.2 0.4 0.1 0.1 0.9 0.9", data))) == [[40, 15, 20, 20]]


@pytest.mark.parametrize("labels", ["", "\n \r\n", None])
def test_an_image_without_rows_has_no_objects(tmp_path, labels):
    folder_of(tmp_path, labels, name="b.jpg")
    assert len(yolo_dataset(folder_of(tmp_path)).annotations_of(2)) == 0


@pytest.mark.parametrize("names", [
    "[cup, can]", "{0: cup, 1: can}", "{1: can, 0: cup}", "['cup', \"can\"]", "\n- cup\n- can\nnc: 2",
])
def test_names_are_a_list_or_a_mapping(tmp_path, names):
    assert yolo_dataset(folder_of(tmp_path, data=f"val: images/val\nnames: {names}\n")).category_names == ["cup", "can"]


def test_names_stay_text(tmp_path):
    data = "val: images/val\nnames: [no, 1, 1.50, ~, Brötchen]\n"
    assert yolo_dataset(folder_of(tmp_path, data=data)).category_names == ["no", "1", "1.50", "~", "Brötchen"]


def test_no_code_in_data_yaml_is_run(tmp_path):
    made = tmp_path / "made"
    yolo_dataset(folder_of(tmp_path, data=f"val: images/val\nnames: !!python/object/apply:os.mkdir [{made}]\n"))
    assert not made.exists()


def test_splits_may_be_null(tmp_path):
    assert yolo_dataset(folder_of(tmp_path, data="path: null\nval: ~\ntest: images/val\nnames: [cup]")).split == "test"


@pytest.mark.parametrize("name", ["ein Bild.jpg", "größe 猫.jpg", "deep/er/a.b.jpg"])
def test_names_with_spaces_letters_and_folders_are_found(tmp_path, name):
    found = yolo_dataset(folder_of(tmp_path, name=name))
    assert found.file(1) == tmp_path / "images" / "val" / name and boxes(found) == [[40, 15, 20, 20]]


def test_windows_files_are_read(tmp_path):
    folder_of(tmp_path, "\ufeff0 0.5 0.5 0.2 0.4\r\n1 0.5 0.5 0.2 0.4\r\n", "\ufeff" + DATA.replace("\n", "\r\n"))
    assert boxes(yolo_dataset(tmp_path)) == [[40, 15, 20, 20]] * 2


def test_hidden_and_other_files_are_left_out(tmp_path):
    for name in (".DS_Store", "._a.jpg", ".hidden/b.jpg", "val.cache", "notes.txt", "a.npy"):
        write(folder_of(tmp_path) / "images" / "val" / name, "x")
    for name in ("labels/val.cache", "labels/val/.DS_Store", "labels/val/._a.txt", "labels/val/classes.txt"):
        write(tmp_path / name, "x")
    assert len(yolo_dataset(tmp_path)) == 1


def test_images_that_exif_turns_are_upright(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    folder_of(tmp_path)
    image(tmp_path / "images" / "val" / "a.jpg", exif=exif)
    found = yolo_dataset(tmp_path)
    assert (found.size(1), found.turned, boxes(found)) == ((50, 100), {1}, [[20, 30, 10, 40]])


@pytest.mark.parametrize(("wanted", "names"), [("train", ["t.jpg"]), ("val", ["a.jpg"]), (None, ["a.jpg"])])
def test_a_split_is_chosen_and_val_is_the_usual_one(tmp_path, wanted, names):
    image(folder_of(tmp_path) / "images" / "train" / "t.jpg")
    write(tmp_path / "labels" / "train" / "t.txt", ROW)
    found = yolo_dataset(tmp_path, wanted)
    assert ([found.file(i).name for i in found.image_ids], found.split) == (names, wanted or "val")


def test_the_only_split_is_taken(tmp_path):
    assert yolo_dataset(folder_of(tmp_path, data="test: images/val\nval:\nnames: [cup]\n")).split == "test"


def test_the_limit_keeps_the_first_images_by_path(tmp_path):
    folder_of(tmp_path, name="b.jpg")
    found = yolo_dataset(folder_of(tmp_path), limit=1)
    assert [found.file(i).name for i in found.image_ids] == ["a.jpg"]


@pytest.mark.parametrize("path", [".", "", "{name}", "../{name}", "{folder}"])
def test_path_is_relative_to_the_file_its_folder_or_absolute(tmp_path, path):
    folder = tmp_path / "shop"
    data = f"path: {path.format(name='shop', folder=folder)}\nval: images/val\nnames: [cup]\n"
    assert len(yolo_dataset(folder_of(folder, data=data))) == 1


def test_roboflows_paths_are_found(tmp_path):
    image(tmp_path / "valid" / "images" / "a.jpg")
    write(tmp_path / "valid" / "labels" / "a.txt", ROW)
    write(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cup']\n")
    assert boxes(yolo_dataset(tmp_path)) == [[40, 15, 20, 20]]


@pytest.mark.parametrize("line", [
    "./images/val/a.jpg", "images/val/a.jpg", "images\\val\\a.jpg\r", "{folder}/images/val/a.jpg",
])
def test_a_file_may_list_the_images(tmp_path, line):
    folder_of(tmp_path, data="val: val.txt\nnames: [cup]\n")
    write(tmp_path / "val.txt", line.format(folder=tmp_path) + "\n\n")
    assert boxes(yolo_dataset(tmp_path)) == [[40, 15, 20, 20]]


def test_a_split_may_be_several_folders(tmp_path):
    image(folder_of(tmp_path, data="val: [images/val, images/more]\nnames: [cup]\n") / "images" / "more" / "m.jpg")
    found = yolo_dataset(tmp_path)
    assert [row["file_name"] for row in found.ground_truth["images"]] == ["more/m.jpg", "val/a.jpg"]


def test_labels_lie_beside_images_that_are_in_no_folder_of_that_name(tmp_path):
    image(tmp_path / "photos" / "a.jpg")
    write(tmp_path / "photos" / "a.txt", ROW)
    write(tmp_path / "data.yaml", "val: photos\nnames: [cup]\n")
    assert boxes(yolo_dataset(tmp_path)) == [[40, 15, 20, 20]]


def test_what_a_dataset_says_of_itself_finds_it_again(tmp_path):
    found = yolo_dataset(folder_of(tmp_path))
    assert read_again(str(found.annotations), str(found.images), found.split) == found


WRONG_ROWS = {
    "class beyond the names": ("2 0.5 0.5 0.2 0.4", "class 2 must be from 0 to 1, as there are 2 names"),
    "class below 0": ("-1 0.5 0.5 0.2 0.4", "class -1 must be from 0 to 1"),
    "half a class": ("0.5 0.5 0.5 0.2 0.4", "class 0.5 must be from 0 to 1"),
    "pixels": ("0 50 25 20 20", "must be fractions of the image's width and height, from 0 to 1"),
    "NaN": ("0 nan 0.5 0.2 0.4", "must be fractions"),
    "infinite": ("0 inf 0.5 0.2 0.4", "must be fractions"),
    "words": ("cup 0.5 0.5 0.2 0.4", "must be numbers: class, x centre, y centre, width, height"),
    "commas": ("0,0.5,0.5,0.2,0.4", "must be numbers"),
    "a score too": ("0 0.5 0.5 0.2 0.4 0.9", "has 6 values; must be class, x centre"),
    "cut short": ("0 0.5 0.5 0.2", "has 4 values"),
    "no area": ("0 0.5 0.5 0 0.4", "the box of cup must have an area, and has 0x20 pixels"),
    "negative": ("0 0.5 0.5 0.2 -0.4", "must have an area"),
    "outside": ("0 0.95 0.5 0.2 0.4", "inside the 100x50 image to 1 pixel, and is from 85, 15 to 105, 35"),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named_with_file_and_line(tmp_path, case):
    row, what = WRONG_ROWS[case]
    with pytest.raises(DatasetError) as error:
        yolo_dataset(folder_of(tmp_path, f"{ROW}\n{row}\n"))
    assert str(error.value).startswith(f"{tmp_path}/labels/val/a.txt, line 3: ") and what in str(error.value)


def test_a_box_that_leaves_the_image_by_rounding_is_taken(tmp_path):
    assert boxes(yolo_dataset(folder_of(tmp_path, "0 0.905 0.5 0.2 0.4"))) == [[80.5, 15, 20, 20]]


def test_the_first_of_several_wrong_files_is_named_and_the_others_counted(tmp_path):
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        folder_of(tmp_path, "9 0.5 0.5 0.2 0.4", name=name)
    with pytest.raises(DatasetError, match=r"labels/val/a\.txt, line 1: .* \(and 2 more\)"):
        yolo_dataset(tmp_path)


WRONG_DATA = {
    "not YAML": ("names: [cup", "data.yaml, line 1: cannot be read as YAML"),
    "nested without end": ("a: " + "[" * 5_000, "data.yaml: cannot be read as YAML (maximum recursion depth"),
    "too large": ("#" * 2**20 + DATA, "data.yaml: must have at most 1 MB"),
    "aliases": ("a: &a [x]\nb: [*a, *a]\n", "data.yaml, line 2: cannot be read as YAML (aliases are not read)"),
    "a class number twice": ("names:\n  0: cup\n  0: can\n", "line 3: cannot be read as YAML (0 is there twice)"),
    "not a mapping": ("- cup", "must list names and splits"),
    "no names": ("val: images/val", "names must list the classes"),
    "names with a gap": ("val: images/val\nnames: {0: cup, 2: can}", "names must be numbered from 0 to 1"),
    "nested names": ("val: images/val\nnames: [[cup]]", "names must list the classes"),
    "a name twice": ("val: images/val\nnames: [cup, cup]", "names must be unique"),
    "another count": ("val: images/val\nnc: 3\nnames: [cup, can]", "nc is 3 and there are 2 names"),
    "no split": ("names: [cup]", "has the splits none and not val; name the split"),
    "several splits without val": ("train: a\ntest: b\nnames: [cup]", "has the splits train, test and not val"),
    "a folder that is not there": ("val: images/valid\nnames: [cup]", "val is images/valid, which is not in"),
    "a path that is not there": ("path: /no/where\nval: images/val\nnames: [cup]", "path /no/where is not a folder"),
    "an empty folder": ("val: labels\nnames: [cup]", "val has no images in labels"),
    "no folder": ("val: {a: b}\nnames: [cup]", "val is {'a': 'b'}, which is not in"),
    "a folder with an endless name": ("names: [cup]\nval: " + "x" * 5_000, "which is not in"),
    "an image twice": ("val: [images, images/val]\nnames: [cup]", "a.jpg twice; list each image once"),
    "listed images that are not there": ("val: list.txt\nnames: [cup]", "list.txt, line 2: there is no image b.jpg"),
}


@pytest.mark.parametrize("case", WRONG_DATA)
def test_what_is_wrong_with_data_yaml_is_named(tmp_path, case):
    data, what = WRONG_DATA[case]
    write(tmp_path / "list.txt", "images/val/a.jpg\nb.jpg\n")
    with pytest.raises(DatasetError) as error:
        yolo_dataset(folder_of(tmp_path, data=data))
    assert what in str(error.value) and str(tmp_path) in str(error.value)


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(DatasetError, match=r"^split valid: must be one of train, val, which .*data\.yaml has"):
        yolo_dataset(folder_of(tmp_path), "valid")


def test_without_any_labels_the_place_where_they_are_sought_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none of the 1 images of val has labels; .*/labels/val/a\.txt"):
        yolo_dataset(folder_of(tmp_path, None))


def test_folders_behind_links_are_read(tmp_path):
    image(tmp_path / "elsewhere" / "b.jpg")
    (folder_of(tmp_path) / "images" / "val" / "more").symlink_to(tmp_path / "elsewhere")
    assert len(yolo_dataset(tmp_path)) == 2


def test_labels_without_their_image_are_named(tmp_path):
    for name in ("lost", "lost too"):
        write(folder_of(tmp_path) / "labels" / "val" / f"{name}.txt", ROW)
    with pytest.raises(DatasetError, match=r"labels/val/lost too\.txt: there is no image of it in .* \(and 1 more\)"):
        yolo_dataset(tmp_path)


def test_two_images_of_the_same_labels_are_named(tmp_path):
    image(folder_of(tmp_path) / "images" / "val" / "a.png")
    with pytest.raises(DatasetError, match=r"images/val/a\.png: has the same labels as a\.jpg, .*/labels/val/a\.txt;"):
        yolo_dataset(tmp_path)


def test_labels_that_cannot_be_read_are_not_taken_for_none(tmp_path):
    folder_of(tmp_path)
    image(tmp_path / "images" / "val" / "b.jpg")
    (tmp_path / "labels" / "val" / "b.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"labels/val/b\.txt: cannot be read"):
        yolo_dataset(tmp_path)


def test_an_image_without_a_size_is_named(tmp_path):
    write(folder_of(tmp_path) / "images" / "val" / "a.jpg", "not an image")
    with pytest.raises(DatasetError, match=r"images/val/a\.jpg: its size cannot be read"):
        yolo_dataset(tmp_path)


def test_a_label_file_that_is_not_text_is_named(tmp_path):
    (folder_of(tmp_path) / "labels" / "val" / "a.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(DatasetError, match=r"labels/val/a\.txt: is not text in UTF-8"):
        yolo_dataset(tmp_path)


def test_a_folder_without_data_yaml_or_with_several_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"has no data\.yaml"):
        yolo_dataset(tmp_path)
    for name in ("a.yaml", "b.yaml"):
        write(tmp_path / name, DATA)
    with pytest.raises(DatasetError, match=r"a\.yaml, b\.yaml could each be meant"):
        yolo_dataset(tmp_path)
