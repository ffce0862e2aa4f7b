"""A dataset in YOLO's and in Pascal VOC's format has the figures that it has in COCO's."""
from __future__ import annotations

from pathlib import Path

import pytest

from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import evaluate
from harness.accuracy.voc import voc_dataset
from harness.accuracy.yolo import yolo_dataset
from tests.harness import synthetic
from tests.harness.formats import as_voc, as_yolo, image

REAL = {
    "retail": ("retail/instances.json", "retail/images"),
    "COCO": ("coco/annotations/instances_val2017.json", "coco/val2017"),
}
# Format: (writes it, reads it, whether it has crowds).
FORMATS = {"YOLO": (as_yolo, yolo_dataset, False), "VOC": (as_voc, voc_dataset, True)}


def made_up(folder: Path) -> Dataset:
    """A dataset with boxes between pixels and a crowd."""
    coco = synthetic.content(24)
    for row in coco["annotations"]:
        row["bbox"] = [side + row["id"] % 7 / 7 for side in row["bbox"]]
    coco["annotations"][-1]["iscrowd"] = 1
    annotations, images = synthetic.write(folder, coco)
    for row in coco["images"]:
        image(images / row["file_name"], row["width"], row["height"])
    return Dataset.load(annotations, images)


def expressible(dataset: Dataset, has_crowds: bool) -> Dataset:
    """The dataset without what label files have no words for: areas of masks, and classes without objects."""
    rows = [{**row, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": row["iscrowd"] * has_crowds}
            for row in dataset.ground_truth["annotations"]]
    used = {row["category_id"] for row in rows}
    categories = [row for row in dataset.ground_truth["categories"] if row["id"] in used]
    truth = {**dataset.ground_truth, "annotations": rows, "categories": categories}
    return Dataset.of(dataset.annotations, truth, dataset.images)


def figures_agree(original: Dataset, form: str, folder: Path) -> None:
    written, read, has_crowds = FORMATS[form]
    original = expressible(original, has_crowds)
    converted = read(written(original, folder)).with_classes(original.category_names)
    found = synthetic.moved(original)
    by_name = {original.file(i).name: found[i] for i in original.image_ids}
    ours = evaluate(original, found)
    theirs = evaluate(converted, {i: by_name[converted.file(i).name] for i in converted.image_ids})
    assert 0.1 < ours.figures["AP"] < 0.9
    assert theirs.figures == pytest.approx(ours.figures, abs=1e-9)
    assert theirs.per_class == {name: ap and pytest.approx(ap, abs=1e-9) for name, ap in ours.per_class.items()}


@pytest.mark.parametrize("form", FORMATS)
def test_figures_are_those_in_cocos_format(tmp_path, form):
    figures_agree(made_up(tmp_path / "original"), form, tmp_path / "converted")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REAL)
def test_figures_of_photographs_are_those_in_cocos_format(real, tmp_path, name, form):
    annotations, images = REAL[name]
    figures_agree(Dataset.load(real / annotations, real / images), form, tmp_path)
