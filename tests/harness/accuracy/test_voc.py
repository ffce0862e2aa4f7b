"""Datasets in Pascal VOC's format: figures as in COCO's, layouts as people have them, errors by file and line."""
from __future__ import annotations

import pytest
from PIL import Image

from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.evaluation import evaluate
from harness.accuracy.image_files import ORIENTATION
from harness.accuracy.layouts import read_again
from harness.accuracy.voc import voc_dataset
from tests.harness import synthetic
from tests.harness.formats import image, voc_annotation, voc_object, write

CUP, CAN = voc_object("cup", 41, 16, 60, 35), voc_object("can", 1, 1, 100, 50)


def folder_of(tmp_path, xml: str | None = None, name: str = "a.jpg"):
    """A dataset of one image, with a cup and a can."""
    image(tmp_path / "JPEGImages" / name)
    write((tmp_path / "Annotations" / name).with_suffix(".xml"), xml or voc_annotation([CUP, CAN]))
    return tmp_path


def boxes(dataset: Dataset) -> list[list[float]]:
    return [row["bbox"] for row in dataset.ground_truth["annotations"]]


def test_corners_count_pixels_from_1_and_lie_inside_the_box(tmp_path):
    found = voc_dataset(folder_of(tmp_path))
    assert boxes(found) == [[40, 15, 20, 20], [0, 0, 100, 50]]


def test_classes_are_all_that_are_annotated_in_alphabetical_order(tmp_path):
    folder_of(tmp_path, voc_annotation([voc_object("apple & pear", 1, 1, 9, 9)]), "b.jpg")
    write(folder_of(tmp_path) / "ImageSets" / "Main" / "val.txt", "a")
    found = voc_dataset(tmp_path)
    assert (found.category_names, [row["category_id"] for row in found.ground_truth["annotations"]]) == (
        ["apple & pear", "can", "cup"], [2, 1])


def test_difficult_objects_are_neither_right_nor_wrong(tmp_path):
    difficult = voc_object("cup", 1, 1, 20, 20, difficult=1)
    found = voc_dataset(folder_of(tmp_path, voc_annotation([CUP, difficult])))
    seen = synthetic.detected([[0, 0, 20, 20], [40, 15, 60, 35]], [0.9, 0.8], [0, 0])
    assert [row["iscrowd"] for row in found.ground_truth["annotations"]] == [0, 1]
    assert evaluate(found, {1: seen}).figures["AP"] == pytest.approx(1)


def test_parts_of_an_object_are_left_out(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    found = voc_dataset(folder_of(tmp_path, voc_annotation([CUP.replace("</object>", f"{part}</object>")])))
    assert (found.category_names, boxes(found)) == (["cup"], [[40, 15, 20, 20]])


def test_an_image_without_objects_is_kept(tmp_path):
    folder_of(tmp_path, voc_annotation([]), "b.jpg")
    assert len(voc_dataset(folder_of(tmp_path)).annotations_of(2)) == 0


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_size_that_is_not_annotated_is_the_files(tmp_path, size):
    assert voc_dataset(folder_of(tmp_path, voc_annotation([CUP], size))).size(1) == (100, 50)


def test_a_size_that_is_not_the_files_is_named(tmp_path):
    with pytest.raises(DatasetError, match="Annotations says 200x100, the file is 100x50; use the images that were"):
        voc_dataset(folder_of(tmp_path, voc_annotation([CUP], (200, 100))))


def test_images_that_exif_turns_are_upright(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image(folder_of(tmp_path, voc_annotation([voc_object("cup", 1, 51, 50, 100)], (50, 100))) / "JPEGImages" / "a.jpg",
          exif=exif)
    found = voc_dataset(tmp_path)
    assert (found.size(1), found.turned, boxes(found)) == ((50, 100), {1}, [[0, 50, 50, 50]])


@pytest.mark.parametrize("name", ["ein Bild 1.jpg", "größe 猫.png", "deep/er/a.b.jpg"])
def test_names_with_spaces_letters_and_folders_are_found(tmp_path, name):
    write(folder_of(tmp_path, name=name) / "ImageSets" / "Main" / "val.txt", f"\ufeff{name[:-4]}\r\n")
    assert voc_dataset(tmp_path).file(1) == tmp_path / "JPEGImages" / name


def test_hidden_and_other_files_are_left_out(tmp_path):
    folder_of(tmp_path)
    for name in ("Annotations/._a.xml", "Annotations/.DS_Store", "JPEGImages/._b.jpg", "JPEGImages/Thumbs.db"):
        write(tmp_path / name, "x")
    assert len(voc_dataset(tmp_path)) == 1


@pytest.mark.parametrize("objects", [[], [voc_object("cup", 1, 1, 20, 20, difficult=1)]])
def test_a_dataset_without_an_object_that_is_scored_is_refused(tmp_path, objects):
    with pytest.raises(DatasetError, match="Annotations: all objects are difficult, which are not scored, or there"):
        voc_dataset(folder_of(tmp_path, voc_annotation(objects)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_xml_in_other_encodings_is_read(tmp_path, encoding):
    file = folder_of(tmp_path) / "Annotations" / "a.xml"
    file.write_text(voc_annotation([voc_object("größe", 41, 16, 60, 35)]).replace("\n", "\r\n"), encoding=encoding)
    assert voc_dataset(tmp_path).category_names == ["größe"]


def test_images_and_xml_files_may_lie_side_by_side(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / f"{name}.jpg")
        write(tmp_path / f"{name}.xml", voc_annotation([CUP]))
    write(tmp_path / "other" / "c.xml", voc_annotation([CAN]))
    found = voc_dataset(tmp_path)
    assert (len(found), found.category_names) == (2, ["cup"])


@pytest.mark.parametrize(("wanted", "names"), [("train", ["t.jpg"]), ("val", ["a.jpg"]), (None, ["a.jpg"])])
def test_a_split_is_chosen_and_val_is_the_usual_one(tmp_path, wanted, names):
    folder_of(tmp_path, name="t.jpg")
    folder_of(tmp_path)
    for split, line in (("train", "t"), ("val", "a"), ("cup_val", "a  1"), ("cup_train", "t -1")):
        write(tmp_path / "ImageSets" / "Main" / f"{split}.txt", line)
    found = voc_dataset(tmp_path, wanted)
    assert ([found.file(i).name for i in found.image_ids], found.split) == (names, wanted or "val")


def test_images_beyond_the_list_need_no_xml_file(tmp_path):
    image(folder_of(tmp_path) / "JPEGImages" / "b.jpg")
    write(tmp_path / "ImageSets" / "Main" / "default.txt", "a\n")
    assert len(voc_dataset(tmp_path)) == 1


def test_the_limit_keeps_the_first_images_by_name(tmp_path):
    folder_of(tmp_path, name="b.jpg")
    found = voc_dataset(folder_of(tmp_path), limit=1)
    assert [found.file(i).name for i in found.image_ids] == ["a.jpg"]


@pytest.mark.parametrize("is_flat", [False, True])
def test_what_a_dataset_says_of_itself_finds_it_again(tmp_path, is_flat):
    if is_flat:
        image(tmp_path / "a.jpg")
        write(tmp_path / "a.xml", voc_annotation([CUP]))
    else:
        write(folder_of(tmp_path) / "ImageSets" / "Main" / "test.txt", "a")
    found = voc_dataset(tmp_path)
    assert read_again(str(found.annotations), str(found.images), found.split) == found


def changed(old: str, new: str) -> str:
    return voc_annotation([CAN, CUP]).replace(old, new)


BOMB = '<!DOCTYPE a [<!ENTITY b "cup"><!ENTITY c "&b;&b;&b;&b;">]>\n'
WRONG_FILES = {
    "cut short": ("<annotation><object>\n<name>", "line 2: is not XML (no element found)"),
    "not closed": ("<annotation>\n</object></annotation>", "line 2: is not XML (mismatched tag)"),
    "empty": ("", "line 1: is not XML"),
    "other XML": ("<html></html>", "line 1: must be VOC's annotation, and is html"),
    "entities that grow": (BOMB + voc_annotation([CUP]), "line 1: must have no DOCTYPE, which may declare entities"),
    "entities that name files": (
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + changed("cup", "&b;"), "must have no DOCTYPE"),
    "an unknown encoding": ('<?xml version="1.0" encoding="none"?>' + changed("", ""), "line 1: its encoding is not"),
    "an encoding of many bytes": ('<?xml version="1.0" encoding="gbk"?>' + changed("", ""), "line 1: its encoding"),
    "an entity of another file": (
        '<!DOCTYPE annotation SYSTEM "voc.dtd">' + changed("cup", "&b;"), "line 1: must have no DOCTYPE"),
    "a class without a name": (changed("<name>cup</name>", "<name> </name>"), "line 3: the object has no name"),
    "no box": (changed(CUP, "<object><name>cup</name></object>\n"), "line 3: cup has no bndbox"),
    "no corner": (changed("<xmin>41</xmin>", ""), "line 3: xmin is missing; it must be a number"),
    "an empty corner": (changed("<xmin>41</xmin>", "<xmin/>"), "line 3: xmin is empty; it must be a number"),
    "a word for a corner": (changed("<xmin>41</xmin>", "<xmin>left</xmin>"), "line 3: xmin is left; it must be"),
    "NaN": (changed("<xmin>41</xmin>", "<xmin>nan</xmin>"), "line 3: xmin is nan; it must be a number"),
    "corners exchanged": (changed("<xmin>41</xmin>", "<xmin>61</xmin>"), "line 3: the box of cup must have an area"),
    "outside": (changed("<xmax>60</xmax>", "<xmax>102</xmax>"), "the box of cup must lie inside the 100x50"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_what_is_wrong_with_an_xml_file_is_named_with_its_line(tmp_path, case):
    xml, what = WRONG_FILES[case]
    write(folder_of(tmp_path) / "Annotations" / "a.xml", xml)
    with pytest.raises(DatasetError) as error:
        voc_dataset(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/Annotations/a.xml, line") and what in str(error.value)


WRONG_LISTS = {
    "an image twice": ("a\nb\n\na", "val.txt, line 4: a is in line 1 too; remove one"),
    "an image without XML": ("a\nc", "val.txt, line 2: c has no XML file; add it, or remove the line"),
    "nothing": ("\n", "val.txt: lists no image"),
}


@pytest.mark.parametrize("case", WRONG_LISTS)
def test_what_is_wrong_with_a_list_is_named_with_its_line(tmp_path, case):
    lines, what = WRONG_LISTS[case]
    folder_of(tmp_path, name="b.jpg")
    write(folder_of(tmp_path) / "ImageSets" / "Main" / "val.txt", lines)
    with pytest.raises(DatasetError) as error:
        voc_dataset(tmp_path)
    assert what in str(error.value)


def test_splits_without_val_are_named(tmp_path):
    for split in ("train", "test"):
        write(folder_of(tmp_path) / "ImageSets" / "Main" / f"{split}.txt", "a")
    with pytest.raises(DatasetError, match=r"ImageSets/Main: has the splits test, train and not val; name the split"):
        voc_dataset(tmp_path)


@pytest.mark.parametrize("listed", [[], ["train"]])
def test_a_split_that_is_not_there_is_named(tmp_path, listed):
    for split in listed:
        write(folder_of(tmp_path) / "ImageSets" / "Main" / f"{split}.txt", "a")
    with pytest.raises(DatasetError, match=f"^split test: must be one of {', '.join(listed) or 'none'}, which "):
        voc_dataset(folder_of(tmp_path), "test")


def test_an_image_that_is_missing_is_named(tmp_path):
    (folder_of(tmp_path) / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match="JPEGImages: there is no image of a; add it, or list the images to take"):
        voc_dataset(tmp_path)


def test_an_image_without_an_xml_file_is_named(tmp_path):
    image(folder_of(tmp_path) / "JPEGImages" / "b.jpg")
    with pytest.raises(DatasetError, match="JPEGImages: there is no XML file of b; add it, or list the images to take"):
        voc_dataset(tmp_path)


def test_two_images_of_one_name_are_named(tmp_path):
    image(folder_of(tmp_path) / "JPEGImages" / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png: has the same name as a\.jpg, so that a is unclear; rename one"):
        voc_dataset(tmp_path)


def test_a_folder_without_xml_files_is_named(tmp_path):
    with pytest.raises(DatasetError, match="has no XML files of annotations; name the folder that has Annotations"):
        voc_dataset(tmp_path)
