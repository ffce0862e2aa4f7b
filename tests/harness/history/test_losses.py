"""Where accuracy was lost: classes and sizes from the figures, images from the objects that were found."""
from __future__ import annotations

import pytest

from harness.accuracy import errors
from harness.accuracy.dataset import Dataset
from harness.history import losses
from harness.history.losses import Image, Part
from tests.harness.compare.runs import row
from tests.harness.history.past import run
from tests.harness.synthetic import NOTHING, content, detected, perfect, write


def figures(**aps):
    found = [row("accuracy", metric.replace("_", "/"), ap) for metric, ap in aps.items()]
    return run(100.0, found=found).figures


def test_classes_and_sizes_by_falling_loss():
    before, after = figures(AP_cup=0.5, AP_can=0.6, APs=0.2, APm=0.3, AP_new=None), figures(
        AP_cup=0.4, AP_can=0.7, APs=0.1, APm=0.0, AP_new=0.5)
    assert losses.classes(before, after) == [Part("cup", 0.5, 0.4), Part("can", 0.6, 0.7)]
    assert [part.name for part in losses.sizes(before, after)] == ["medium", "small"]


@pytest.fixture
def drawn(tmp_path) -> Dataset:
    return Dataset.load(*write(tmp_path, content(4)))


def test_images_by_how_many_objects_they_lost(drawn):
    before = perfect(drawn)
    first, second, third, _ = drawn.image_ids
    after = {**before, first: NOTHING, second: part(before[second], [0])}
    earlier = {**before, third: part(before[third], [1])}
    assert losses.images(drawn, earlier, after) == [
        Image(first, "1.jpg", 2, 0), Image(second, "2.jpg", 1, 0), Image(third, "3.jpg", 0, 1)]


def test_kinds_of_mistakes_by_how_much_more_they_cost(drawn):
    before = perfect(drawn)
    moved = {image: detected(own.boxes + 15, own.scores, own.classes) for image, own in before.items()}
    worst, *others = losses.kinds(errors.analyse(drawn, before), errors.analyse(drawn, moved))
    assert worst.name == "wrong place" and worst.before == 0 and worst.after >= 0.5
    assert all(other.change <= 0.01 for other in others)


def part(own, places):
    return detected(own.boxes[places], own.scores[places], own.classes[places])


@pytest.mark.parametrize("fault", ["class", "place", "score"])
def test_an_object_is_found_by_a_confident_detection_of_its_class_in_its_place(drawn, fault):
    before, image = perfect(drawn), drawn.image_ids[0]
    own = before[image]
    worse = {"class": detected(own.boxes, own.scores, 1 - own.classes),
             "place": detected(own.boxes + 60, own.scores, own.classes),
             "score": detected(own.boxes, own.scores * 0.2, own.classes)}[fault]
    assert losses.images(drawn, before, {**before, image: worse}) == [Image(image, "1.jpg", 2, 0)]


def test_one_detection_finds_one_object(drawn):
    before, image = perfect(drawn), drawn.image_ids[0]
    own = before[image]
    twice = detected(own.boxes[[0, 0]], own.scores, own.classes[[0, 0]])
    assert losses.images(drawn, before, {**before, image: twice}) == [Image(image, "1.jpg", 1, 0)]


def test_crowds_do_not_count(tmp_path):
    coco = content(1)
    coco["annotations"][0]["iscrowd"] = 1
    coco["annotations"][0]["segmentation"] = []
    dataset = Dataset.load(*write(tmp_path, coco))
    image, = dataset.image_ids
    [one] = losses.images(dataset, perfect(dataset), {image: NOTHING})
    assert one.lost == 1
