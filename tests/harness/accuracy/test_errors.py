"""Each kind of mistake is told apart, costs what hotcoco's TIDE says, and is found in its class, size and image."""
from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version

import hotcoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.accuracy import errors, evaluation
from harness.accuracy.dataset import Dataset
from harness.accuracy.errors import (
    BACKGROUND,
    BOTH,
    CLASS,
    DOUBLE,
    KINDS,
    MISSED,
    PLACE,
    SIZES,
    analyse,
    average_precision,
    judge,
)
from tests.harness.synthetic import NOTHING, content, detected, perfect, write

IMAGES = 12


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Dataset:
    return Dataset.load(*write(tmp_path_factory.mktemp("data"), content(IMAGES)))


def names(found) -> list[str]:
    return [errors.OUTCOMES[code] for code in found.outcomes]


# The first image has a cup at 1, 10 to 51, 50 and a can at 81, 10 to 171, 110.
ALONE = {
    CLASS: ([1, 10, 51, 50], 1), PLACE: ([20, 10, 70, 50], 0), BOTH: ([20, 10, 70, 50], 1),
    BACKGROUND: ([100, 150, 140, 190], 0),
}


@pytest.mark.parametrize("kind", ALONE)
def test_each_kind_is_told_apart(scenes, kind):
    box, label = ALONE[kind]
    found = judge(scenes, 1, detected([box], [0.9], [label]))
    assert names(found) == [kind]
    assert found.is_missed.tolist() == {CLASS: [False, True], PLACE: [False, True]}.get(kind, [True, True])


def test_a_second_detection_of_an_object_is_a_double(scenes):
    box = [1, 10, 51, 50]
    found = judge(scenes, 1, detected([box, box], [0.9, 0.8], [0, 0]))
    assert names(found) == ["right", DOUBLE] and found.found_by.tolist() == [0, -1]


def test_perfect_detections_lose_nothing(scenes):
    found = analyse(scenes, perfect(scenes))
    assert pytest.approx(1) == found.AP50 and not any(found.counts.values())
    assert max(found.lost.values()) == pytest.approx(0) and found.short() == ""
    assert not any(one.mistakes for one in found.images)


def test_no_detections_lose_everything_to_misses(scenes):
    found = analyse(scenes, dict.fromkeys(scenes.image_ids, NOTHING))
    assert found.AP50 == 0 and found.counts[MISSED] == 2 * IMAGES and found.tide is None
    assert all(one.missed == 2 and not one.wrong for one in found.images)


def planted(scenes, kind, images):
    """Perfect detections but for one mistake, with the highest score, in some images."""
    box, label = ALONE.get(kind, ([1, 10, 51, 50], 0))
    detections = perfect(scenes)
    for i in images:
        own = detections[i]
        if kind == MISSED:
            detections[i] = replace(own, boxes=own.boxes[1:], scores=own.scores[1:], classes=own.classes[1:])
        else:
            wrong = detected([box, *own.boxes], [0.95, *own.scores], [label, *own.classes])
            detections[i] = wrong
    return detections


@pytest.mark.parametrize("kind", [CLASS, PLACE, BOTH, BACKGROUND, MISSED])
def test_the_images_with_a_mistake_come_first_and_it_costs_most(scenes, kind):
    """Image 1 alone has the mistake: elsewhere the objects lie a little otherwise, so the box is moved with them."""
    found = analyse(scenes, planted(scenes, kind, [1]))
    assert max(found.lost, key=found.lost.get) == kind and found.counts[kind] == 1
    worst = found.images[0]
    assert (worst.image_id, worst.mistakes) == (1, 1) and worst.cost > 0
    assert (worst.missed == 1) is (kind == MISSED) and sum(one.mistakes for one in found.images) == 1


def test_what_an_image_costs_is_what_the_others_gain_without_it(scenes):
    detections = planted(scenes, BACKGROUND, [1, 2])
    found = analyse(scenes, detections)
    for one in found.images[:3]:
        others = [i for i in scenes.image_ids if i != one.image_id]
        without = analyse(scenes.only(others), {i: detections[i] for i in others})
        assert one.cost is None or one.cost == pytest.approx(without.AP50 - found.AP50)


def random_detections(scenes, seed):
    """Objects that are moved, renamed, doubled, dropped and made up at random."""
    rng, detections = np.random.default_rng(seed), {}
    for i, own in perfect(scenes).items():
        boxes, classes = list(own.boxes), list(own.classes)
        for _ in range(rng.integers(0, 4)):
            pick = rng.integers(0, len(boxes))
            boxes.append(np.clip(boxes[pick] + rng.normal(0, rng.choice([1, 15, 40]), 4), 0, 200))
            classes.append(rng.integers(0, 2))
        kept = [k for k, box in enumerate(boxes) if rng.random() > 0.2 and box[2] > box[0] + 1 and box[3] > box[1] + 1]
        scores = np.sort(rng.random(len(kept)).astype(np.float32).round(2))[::-1]
        detections[i] = detected([boxes[k] for k in rng.permutation(kept)], scores, [classes[k] for k in kept])
    return detections


def crowded(folder) -> Dataset:
    """Some objects are crowds, and of every size."""
    coco = content(IMAGES)
    for place, row in enumerate(coco["annotations"]):
        row["iscrowd"] = int(place % 7 == 3)
        row["area"] = (100.0, 2000.0, 20000.0)[place % 3]
    return Dataset.load(*write(folder, coco))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Dataset:
    return crowded(tmp_path_factory.mktemp("mixed"))


@pytest.mark.skipif(tuple(map(int, version("hotcoco").split(".")[:2])) < (1, 3),
                    reason="hotcoco before 1.3 counts several detections of one object in another way")
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_hotcoco(mixed, seed):
    found = analyse(mixed, random_detections(mixed, seed))
    assert found.tide == pytest.approx(found.lost, abs=1e-9) and found.difference < 1e-9


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_AP50_of_each_class_and_size_is_that_of_the_evaluators(mixed, seed):
    detections = random_detections(mixed, seed)
    found = analyse(mixed, detections)
    run = evaluation.prepared(hotcoco.COCO, hotcoco.COCOeval, mixed, detections)
    run.evaluate()
    run.accumulate()
    at_50 = run.eval["precision"][0, :, :, :, -1]  # recall, class, area
    expected = [at_50[:, k, 0].mean() for k in range(2)]
    assert [one.AP50 for one in found.classes] == pytest.approx(expected)
    for place, one in enumerate(found.sizes, 1):
        known = at_50[:, :, place][:, (at_50[:, :, place] > -1).all(0)]
        assert (one.AP50 or 0) == pytest.approx(known.mean() if known.size else 0)


def test_the_sizes_are_coco_s():
    assert list(SIZES) == ["small", "medium", "large"] and SIZES["medium"] == (1024, 9216)


def test_AP_at_one_IoU_is_interpolated_at_101_recalls():
    outcomes = np.array([errors.OUTCOMES.index(one) for one in ("right", "background", "ignored", "right")])
    assert average_precision(outcomes, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(outcomes[:0], 2) == 0


def test_the_record_is_strict_json_and_has_every_image(mixed):
    found = analyse(mixed, random_detections(mixed, 1))
    record = json.loads(json.dumps(found.as_record(), allow_nan=False))
    assert len(record["images"]) == IMAGES and set(record["lost"]) == set(KINDS) and record["by"] == "hotcoco"
    assert record["caveats"][1].startswith("The figures do not add up")


def test_without_hotcoco_the_figures_are_the_gate_s_own(mixed, monkeypatch):
    monkeypatch.setattr(evaluation, "hotcoco", None)
    record = analyse(mixed, random_detections(mixed, 1)).as_record()
    assert (record["by"], record["difference"]) == ("the gate", None)


def test_of_more_detections_than_hotcoco_has_memory_for_the_figures_are_the_gate_s_own(mixed, monkeypatch):
    found = random_detections(mixed, 1)
    monkeypatch.setattr(errors, "MOST_FOR_TIDE", sum(len(one.scores) for one in found.values()) - 1)
    assert analyse(mixed, found).as_record()["by"] == "the gate"


def test_boxes_of_an_image_are_shares_with_their_kind(scenes):
    detections = planted(scenes, CLASS, [1])[1]
    found = list(errors.boxes(scenes, 1, detections))
    assert [one["kind"] for one in found] == [CLASS, "right", "right"]
    assert found[0] == {"kind": CLASS, "name": "can", "score": 0.95, "of": "cup", "box": [0.005, 0.05, 0.255, 0.25]}


def test_a_detection_below_the_score_that_counts_is_not_drawn_and_its_object_is_missed(scenes):
    own = perfect(scenes)[1]
    faint = replace(own, scores=np.array([0.9, 0.1], np.float32))
    assert [one["kind"] for one in errors.boxes(scenes, 1, faint)] == [MISSED, "right"]


def test_the_cost_of_many_images_is_worked_out_for_the_worst_alone(scenes, monkeypatch):
    monkeypatch.setattr(errors, "SHORTLIST", 2)
    found = analyse(scenes, planted(scenes, BACKGROUND, [1, 2, 3]))
    assert [one.cost is None for one in found.images].count(False) == 2
    assert [one.mistakes for one in found.images][:3] == [1, 1, 1]
