"""AP of resampled images: equal to pycocotools' on the images as they are and on the resample written out in full."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.accuracy import bootstrap
from harness.accuracy.bootstrap import (
    LEAST_IMAGES,
    average_precision,
    drop_estimate,
    estimates,
    match,
    require_agreement,
    resampled_precisions,
)
from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import InvalidRun, _pycocotools, evaluate
from harness.stats.estimate import PROVEN, REFUTED, decide
from harness.verdict.verdict import ERROR, TOO_FEW
from tests.harness import synthetic
from tests.harness.estimates import low_value_high
from tests.harness.synthetic import NOTHING, SIDE, changed, detected, rows

CATEGORIES = (0, 7, 9)


def scene(seed, images=12, crowds=0.2, step=0.0):
    """COCO annotations and detections at random: near and far boxes, wrong classes, doubles, crowds, empty images.

    With `step` scores are multiples of it, so that many are equal between images, but never within one.
    """
    rng = np.random.default_rng(seed)
    coco = {**synthetic.content(), "annotations": []}
    coco["images"] = [{"id": i, "file_name": f"{i}.jpg", "width": SIDE, "height": SIDE} for i in range(1, images + 1)]
    coco["categories"] = [{"id": k, "name": f"class {k}"} for k in CATEGORIES]
    detections = {}
    for i in range(1, images + 1):
        truth = [random_box(rng) for _ in range(rng.integers(0, 7))]
        labels = rng.integers(0, len(CATEGORIES), len(truth))
        for (x1, y1, x2, y2), label in zip(truth, labels):
            coco["annotations"].append({
                "id": len(coco["annotations"]), "image_id": i, "category_id": CATEGORIES[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(rng.random() < crowds),
            })
        detections[i] = random_answer(rng, truth, labels, step)
    coco["annotations"].append({"id": 9999, "image_id": 1, "category_id": 0, "bbox": [5.0, 5.0, 60.0, 60.0],
                                "area": 3600.0, "iscrowd": 0})
    return coco, detections


def random_box(rng):
    corner, size = rng.uniform(0, 120, 2), rng.uniform(10, 75, 2)
    return [*corner.tolist(), *(corner + size).tolist()]


def random_answer(rng, truth, labels, step):
    sought = [pair for pair in zip(truth, labels) for _ in range(rng.integers(0, 3))]
    found = [(np.array(box) + rng.normal(0, 3, 4).clip(-4, 4), label) for box, label in sought]
    found += [(np.array(random_box(rng)), rng.integers(0, len(CATEGORIES))) for _ in range(rng.integers(0, 5))]
    if not found:
        return NOTHING
    boxes, classes = zip(*found)
    drawn = rng.choice(np.arange(1, 40), len(found), replace=False) * step if step else rng.random(len(found))
    return detected(np.clip(boxes, 0, SIDE), np.sort(drawn)[::-1], classes)


def load(folder, coco):
    folder.mkdir()
    return Dataset.load(*synthetic.write(folder, coco))


def resampled(coco, detections, weights):
    """The dataset in which each image really stands as often as its weight says, copies side by side."""
    images, annotations, copies = [], [], {}
    for image, weight in zip(coco["images"], weights):
        for _ in range(weight):
            copy = len(images) + 1
            images.append({**image, "id": copy, "file_name": f"{copy}.jpg"})
            own = [row for row in coco["annotations"] if row["image_id"] == image["id"]]
            annotations += [{**row, "image_id": copy, "id": len(annotations) + j} for j, row in enumerate(own)]
            copies[copy] = detections[image["id"]]
    return {**coco, "images": images, "annotations": annotations}, copies


def ap_interval(dataset, detections, resamples):
    return estimates(resampled_precisions(dataset, detections, resamples))


def pycocotools_figures(dataset, detections):
    figures = _pycocotools(dataset, detections).figures
    return [figures["AP"], figures["AP50"]]


def counts(drawn, dataset):
    """How often each image of the dataset is among those drawn, [resamples, images]."""
    return np.array([np.bincount(places, minlength=len(dataset)) for places in drawn], np.int32)


def ones(dataset):
    return np.ones((1, len(dataset)), np.int32)


@pytest.mark.parametrize("crowds", [0, 0.4])
@pytest.mark.parametrize("step", [0, 0.02])
@pytest.mark.parametrize("seed", range(8))
def test_equals_pycocotools_on_the_images_as_they_are(tmp_path, seed, crowds, step):
    coco, detections = scene(seed, crowds=crowds, step=step)
    dataset = load(tmp_path / "whole", coco)
    ours = average_precision(match(dataset, detections), ones(dataset))[0]
    assert ours == pytest.approx(pycocotools_figures(dataset, detections), abs=1e-9)


@pytest.mark.parametrize("step", [0, 0.02])
@pytest.mark.parametrize("seed", range(10))
def test_equals_pycocotools_on_the_resample_written_out(tmp_path, seed, step):
    coco, detections = scene(seed, step=step)
    dataset = load(tmp_path / "whole", coco)
    drawn = np.random.default_rng(seed).integers(0, len(dataset), len(dataset))
    weights = np.bincount(drawn, minlength=len(dataset)).astype(np.int32)
    copied, copies = resampled(coco, detections, weights)
    written_out = load(tmp_path / "resample", copied)
    ours = average_precision(match(dataset, detections), weights[None])[0]
    assert ours == pytest.approx(pycocotools_figures(written_out, copies), abs=1e-9)


def test_what_is_larger_than_cocos_areas_is_ignored(tmp_path, coco):
    coco["annotations"][0]["area"] = 2e10
    dataset = load(tmp_path / "large", coco)
    detections = changed(synthetic.perfect(dataset), lambda a: rows(a, [1]), every=3)
    ours = average_precision(match(dataset, detections), ones(dataset))[0]
    assert ours == pytest.approx(pycocotools_figures(dataset, detections), abs=1e-9)


def test_equals_the_evaluation_on_real_detections_of_real_size(made_up_dataset, right_detections):
    worse = changed(right_detections, lambda a: {"boxes": a.boxes + np.float32([9, 0, 9, 0])}, every=3)
    figures = evaluate(made_up_dataset, worse).figures
    interval = ap_interval(made_up_dataset, worse, resamples=50)
    assert (interval["AP"].value, interval["AP50"].value) == pytest.approx((figures["AP"], figures["AP50"]))


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), factor=st.integers(1, 5))
def test_every_image_as_often_as_every_other_changes_nothing(tmp_path_factory, seed, factor):
    coco, detections = scene(seed, images=6)
    dataset = load(tmp_path_factory.mktemp("scene") / "whole", coco)
    matches = match(dataset, detections)
    once, often = (average_precision(matches, factor * ones(dataset)) for factor in (1, factor))
    assert often == pytest.approx(once, abs=1e-12)


def test_chunks_change_nothing(tmp_path, monkeypatch):
    coco, detections = scene(3)
    dataset = load(tmp_path / "whole", coco)
    whole = ap_interval(dataset, detections, resamples=40)
    monkeypatch.setattr(bootstrap, "CHUNK", 1)
    assert ap_interval(dataset, detections, resamples=40) == whole


def test_perfect_detections_are_perfect_in_every_resample(made_up_dataset, right_detections):
    assert low_value_high(ap_interval(made_up_dataset, right_detections, resamples=30)["AP"]) == (1.0, 1.0, 1.0)


def test_no_detections_at_all_score_zero(made_up_dataset):
    nothing = {i: NOTHING for i in made_up_dataset.image_ids}
    assert low_value_high(ap_interval(made_up_dataset, nothing, resamples=30)["AP"]) == (0.0, 0.0, 0.0)


def test_the_interval_covers_the_ap_of_all_images(tmp_path):
    """Samples of 60 of many images: what such samples score on average lies on the right side as often as promised."""
    coco, detections = scene(0, images=900, crowds=0)
    dataset = load(tmp_path / "all", coco)
    matches, rng = match(dataset, detections), np.random.default_rng(0)
    samples = [rng.choice(len(dataset), 60, replace=False) for _ in range(300)]
    truth = average_precision(matches, counts(samples, dataset))[:, 0].mean()
    intervals = []
    for chosen in samples[:80]:
        weights = counts([chosen, *chosen[rng.integers(0, 60, (100, 60))]], dataset)
        intervals.append(estimates(average_precision(matches, weights))["AP"])
    held = [sum(i.low <= truth for i in intervals), sum(i.high >= truth for i in intervals)]
    # Of 80, 76 are promised and 70 are three standard errors less.
    assert min(held) >= 70 and sum(held) < 160


def test_a_paired_drop_is_surer_than_two_intervals(tmp_path):
    coco, detections = scene(1, images=60)
    dataset = load(tmp_path / "whole", coco)
    moved = changed(detections, lambda a: {"boxes": np.clip(a.boxes + np.float32(0.5), 0, SIDE)})
    drop, own = drop_estimate(dataset, detections, moved, 200), ap_interval(dataset, detections, 200)["AP"]
    assert drop.high - drop.low < (own.high - own.low) / 2
    assert drop.low <= drop.value <= drop.high


def test_parity_is_proven_for_the_same_detections_and_refuted_for_half_of_them(tmp_path):
    coco, detections = scene(2, images=60)
    dataset = load(tmp_path / "whole", coco)
    half = {i: a if i % 2 else NOTHING for i, a in detections.items()}
    assert low_value_high(drop_estimate(dataset, detections, detections, 100)) == (0, 0, 0)
    assert decide(drop_estimate(dataset, detections, detections, 100), 0.005, "<=") == PROVEN
    assert decide(drop_estimate(dataset, detections, half, 100), 0.005, "<=") == REFUTED


def off(detections, shift):
    return changed(detections, lambda a: {"boxes": np.clip(a.boxes + np.float32(shift), 0, SIDE)})


@pytest.mark.parametrize(("images", "has_bounds"), [(1, False), (LEAST_IMAGES - 1, False), (LEAST_IMAGES, True)])
def test_a_drop_on_few_images_has_no_bounds(tmp_path, images, has_bounds):
    coco, detections = scene(5, images=images)
    dataset = load(tmp_path / "whole", coco)
    found = drop_estimate(dataset, detections, off(detections, 2))
    figures = [pycocotools_figures(dataset, each)[0] for each in (detections, off(detections, 2))]
    assert found.value == pytest.approx(figures[0] - figures[1])
    assert (found.low is not None, found.high is not None) == (has_bounds, has_bounds)
    if not has_bounds:
        few = f"at least {LEAST_IMAGES} images are needed, there are {images}"
        assert (found.more(0.005, "<="), found.reason) == (few, TOO_FEW)


def test_a_cast_that_costs_too_much_is_hardly_ever_proven_from_the_least_images_on(tmp_path):
    """Samples of a cast that moves every box: it costs more than the bound, which 5 % of them may miss."""
    coco, detections = scene(6, images=200, crowds=0)
    dataset, rng = load(tmp_path / "all", coco), np.random.default_rng(0)
    moved = changed(detections, lambda a: {"boxes": np.clip(a.boxes + rng.normal(0, 2, a.boxes.shape), 0, SIDE)
                                        .astype(np.float32)})
    whole = average_precision(match(dataset, detections), ones(dataset)) - average_precision(match(dataset, moved),
                                                                                          ones(dataset))
    bound, wrong = 0.55 * whole[0, 0], 0  # as 0.005 is of 0.009
    for _ in range(20):
        few = dataset.only(rng.choice(dataset.image_ids, LEAST_IMAGES, replace=False).tolist())
        drop = drop_estimate(few, *({i: each[i] for i in few.image_ids} for each in (detections, moved)), 100)
        wrong += decide(drop, bound, "<=") == PROVEN
    assert whole[0, 0] > 0.003 and wrong <= 3


def test_the_same_images_give_the_same_interval(tmp_path):
    coco, detections = scene(4)
    dataset = load(tmp_path / "whole", coco)
    assert ap_interval(dataset, detections, 50) == ap_interval(dataset, detections, 50)


def test_unsound_detections_are_refused(made_up_dataset, right_detections):
    nan = changed(right_detections, lambda a: {"boxes": a.boxes * np.float32("nan")})
    for bad in (nan, {**right_detections, 99: NOTHING}, dict(list(right_detections.items())[:4])):
        with pytest.raises(InvalidRun):
            ap_interval(made_up_dataset, bad, 10)
        with pytest.raises(InvalidRun):
            drop_estimate(made_up_dataset, right_detections, bad, 10)


def test_a_resample_without_objects_is_invalid(tmp_path, coco):
    coco["annotations"] = coco["annotations"][:1]
    dataset = load(tmp_path / "one", coco)
    with pytest.raises(InvalidRun, match=r"of 200 resamples have no object to find; annotate more images"):
        ap_interval(dataset, {i: NOTHING for i in dataset.image_ids}, 200)


def test_an_impossible_bootstrap_is_an_error(made_up_dataset, right_detections):
    with pytest.raises(ValueError, match="resamples 0: must be"):
        resampled_precisions(made_up_dataset, right_detections, resamples=0)


def test_another_AP_than_the_evaluators_is_invalid(made_up_dataset, right_detections):
    resampled = resampled_precisions(made_up_dataset, right_detections, resamples=3)
    require_agreement(resampled, evaluate(made_up_dataset, right_detections).figures)
    with pytest.raises(InvalidRun, match=r"disagree on AP50 \(1.0, 0.9\): try other versions") as error:
        require_agreement(resampled, {"AP": 1.0, "AP50": 0.9})
    assert error.value.reason == ERROR
