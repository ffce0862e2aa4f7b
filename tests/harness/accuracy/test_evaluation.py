"""The accuracy gate cannot fail open: what it says to each input that some evaluator takes for perfect."""
from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.accuracy import evaluation
from harness.accuracy.boxes import box_iou
from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.evaluation import InvalidRun, agreement, evaluate, matched
from harness.accuracy.processes import ProcessError
from harness.verdict.metrics import PRECISIONS
from harness.verdict.verdict import ERROR
from tests.harness import synthetic
from tests.harness.synthetic import NOTHING, changed, detected, rows

NAN, INF = np.float32("nan"), np.float32("inf")


def test_perfect_detections_score_one(made_up_dataset, right_detections):
    assert evaluate(made_up_dataset, right_detections).figures["AP"] == 1.0


def test_figures_are_exactly_the_twelve(made_up_dataset, right_detections):
    assert tuple(evaluate(made_up_dataset, right_detections).figures) == PRECISIONS


def test_a_size_without_ground_truth_is_none(made_up_dataset, right_detections):
    assert evaluate(made_up_dataset, right_detections).figures["APs"] is None


def test_per_class_ap_is_by_name(made_up_dataset, right_detections):
    only_cups = changed(right_detections, lambda a: rows(a, [0]))
    assert evaluate(made_up_dataset, only_cups).per_class == {"cup": 1.0, "can": 0.0}


def test_a_class_without_ground_truth_is_none(tmp_path, coco):
    coco["categories"].append({"id": 3, "name": "box"})
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    assert evaluate(loaded, synthetic.perfect(loaded)).per_class == {"cup": 1.0, "box": None, "can": 1.0}


def test_detections_of_classes_without_ground_truth_are_counted_and_cost_nothing(tmp_path, coco):
    coco["categories"].append({"id": 3, "name": "box"})
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    perfect = synthetic.perfect(loaded)
    place = list(loaded.category_names).index("box")
    more = {i: detected([*a.boxes, a.boxes[0]], [*a.scores, 0.1], [*a.classes, place]) for i, a in perfect.items()}
    before, after = evaluate(loaded, perfect), evaluate(loaded, more)
    assert (before.unscored, after.unscored) == (0, 8) and after.figures["AP"] == before.figures["AP"] == 1.0


def test_images_and_detections_are_counted(made_up_dataset, right_detections):
    score = evaluate(made_up_dataset, {**right_detections, 1: NOTHING})
    assert (score.images, score.detections) == (8, 14)


def test_nothing_of_the_caller_is_changed(made_up_dataset, right_detections):
    before = copy.deepcopy((made_up_dataset.ground_truth, right_detections))
    evaluate(made_up_dataset, right_detections)
    assert repr((made_up_dataset.ground_truth, right_detections)) == repr(before)


def test_evaluators_are_kept_silent(made_up_dataset, right_detections, capfd):
    evaluate(made_up_dataset, right_detections)
    assert capfd.readouterr() == ("", "")


# One test for each way of failing open that is known of COCO evaluators.

BOXES_AND_SCORES_OF_NO_USE = {
    "all boxes NaN": (lambda a: {"boxes": a.boxes * NAN}, 1),
    "all scores NaN": (lambda a: {"scores": a.scores * NAN}, 1),
    "one NaN width in every box": (lambda a: {"boxes": a.boxes * np.float32([1, 1, NAN, 1])}, 1),
    "NaN box on half the images": (lambda a: {"boxes": a.boxes * NAN}, 2),
    "all boxes infinite": (lambda a: {"boxes": np.full_like(a.boxes, INF)}, 1),
    "unknown category on half the images": (lambda a: {"classes": a.classes + np.int32(2)}, 2),
}


@pytest.mark.parametrize("case", BOXES_AND_SCORES_OF_NO_USE)
def test_is_invalid_and_names_the_first_image(made_up_dataset, right_detections, case):
    change, every = BOXES_AND_SCORES_OF_NO_USE[case]
    with pytest.raises(InvalidRun, match=f"detections of {8 // every} of 8 images cannot be scored; first image 1: "):
        evaluate(made_up_dataset, changed(right_detections, change, every))


@pytest.mark.parametrize(("wrong", "words"), [
    ([7, 17, 28, 37, 48, 57, 67, 78, 87, 97], ", regularly about one in 10, cannot"),
    ([3, 4, 11, 30, 31, 52, 55, 70, 88, 99], " cannot"), ([10, 20, 30], " cannot"), (range(1, 101), " cannot"),
])
def test_a_regular_distance_between_wrong_images_is_named(tmp_path, wrong, words):
    dataset = Dataset.load(*synthetic.write(tmp_path, synthetic.content(100)))
    detections = {image: replace(one, scores=one.scores * NAN) if image in wrong else one
                  for image, one in synthetic.perfect(dataset).items()}
    with pytest.raises(InvalidRun, match=f"^detections of {len(wrong)} of 100 images{words} be scored"):
        evaluate(dataset, detections)


def test_boxes_all_zero_score_zero(made_up_dataset, right_detections):
    zero = {
        i: replace(a, boxes=a.boxes * 0, scores=a.scores - np.float32(i / 100)) for i, a in right_detections.items()
    }
    assert evaluate(made_up_dataset, zero).figures["AP"] == 0.0


def test_no_detections_at_all_scores_zero(made_up_dataset, right_detections):
    figures = evaluate(made_up_dataset, dict.fromkeys(right_detections, NOTHING)).figures
    assert (figures["AP"], figures["AR100"]) == (0.0, 0.0)


def test_the_same_answer_for_every_image_is_invalid(made_up_dataset, right_detections):
    with pytest.raises(InvalidRun, match="image 1: has the very same detections as every other image"):
        evaluate(made_up_dataset, dict.fromkeys(right_detections, right_detections[1]))


def test_that_all_are_the_same_is_said_before_what_comes_of_it(made_up_dataset):
    """The boxes of one image leave the smaller ones."""
    own = detected([[0, 0, 900, 900]], [0.9], [0])
    with pytest.raises(InvalidRun, match=r"first image 1: has the very same .*, image 1: box leaves the"):
        evaluate(made_up_dataset, dict.fromkeys(made_up_dataset.image_ids, own))


def test_an_answer_for_an_unknown_image_is_invalid(made_up_dataset, right_detections):
    with pytest.raises(InvalidRun, match="1 unknown images have detections; first 99"):
        evaluate(made_up_dataset, {**right_detections, 99: right_detections[1]})


def test_half_the_images_unanswered_is_invalid(made_up_dataset, right_detections):
    half = {i: right_detections[i] for i in (1, 3, 5, 7)}
    with pytest.raises(InvalidRun, match=r"4 of 8 images have no detections; first 2 \(no response\), 4 .*\.\.\."):
        evaluate(made_up_dataset, half)


def test_an_image_answered_with_an_error_counts_as_unanswered(made_up_dataset, right_detections):
    with pytest.raises(InvalidRun, match=r"1 of 8 images have no detections; first 4 \(truncated JPEG\)"):
        evaluate(made_up_dataset, {**right_detections, 4: replace(NOTHING, error="truncated JPEG")})


def test_something_else_than_detections_is_invalid(made_up_dataset, right_detections):
    with pytest.raises(InvalidRun, match="image 4: boxes is NoneType"):
        evaluate(made_up_dataset, {**right_detections, 4: "boxes"})


def test_ground_truth_of_a_missing_image_is_refused(tmp_path, coco):
    coco["annotations"][0]["image_id"] = 99
    with pytest.raises(DatasetError, match="image_id must be in images"):
        Dataset.load(*synthetic.write(tmp_path, coco))


def test_ground_truth_with_a_duplicate_id_scores_as_without(tmp_path, coco):
    coco["annotations"][0]["id"] = 1
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    assert evaluate(loaded, synthetic.perfect(loaded)).figures["AP"] == 1.0


def test_duplicated_detections_lower_the_figure(made_up_dataset, right_detections):
    twice = changed(right_detections, lambda a: rows(a, [0, 0, 1, 1]))
    assert 0.5 < evaluate(made_up_dataset, twice).figures["AP"] < 0.9


def test_an_annotation_with_id_0_can_be_found(tmp_path, coco):
    coco["annotations"] = coco["annotations"][:1]
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    assert evaluate(loaded, synthetic.perfect(loaded)).figures["AP"] == pytest.approx(1.0)


def test_boxes_are_continuous_without_a_pixel_added(tmp_path, coco):
    # IoU 9.99 / 20 just misses 0.5; with a pixel added to the width it would be 10.99 / 20.
    coco["annotations"] = [{**coco["annotations"][0], "bbox": [0, 0, 20, 9], "area": 180}]
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    half = {**dict.fromkeys(loaded.image_ids, NOTHING), 1: detected([[0, 0, 9.99, 9]], [0.9], [0])}
    assert evaluate(loaded, half).figures["AP50"] == 0.0


def test_crowds_neither_help_nor_hurt(tmp_path, coco):
    coco["annotations"][1]["iscrowd"] = 1
    loaded = Dataset.load(*synthetic.write(tmp_path, coco))
    assert evaluate(loaded, synthetic.perfect(loaded)).figures["AP"] == 1.0


# Two evaluators.

def test_both_evaluators_are_named(made_up_dataset, right_detections):
    pytest.importorskip("hotcoco", reason="pip install hotcoco to compare two evaluators")
    assert evaluate(made_up_dataset, right_detections).evaluator.split()[0::3] == ["pycocotools", "hotcoco"]


def test_without_hotcoco_the_evaluator_says_alone(made_up_dataset, right_detections, monkeypatch):
    monkeypatch.setattr(evaluation, "hotcoco", None)
    assert evaluate(made_up_dataset, right_detections).evaluator.endswith(" alone")


@pytest.mark.parametrize("other", [0.9, 1.00001, None])
def test_evaluators_that_differ_in_a_figure_are_invalid(made_up_dataset, right_detections, monkeypatch, other):
    right = evaluation._pycocotools(made_up_dataset, right_detections)
    monkeypatch.setattr(evaluation, "hotcoco", object())
    wrong = right._replace(figures={**right.figures, "AP75": other})
    monkeypatch.setattr(evaluation, "_hotcoco", lambda *_: wrong)
    with pytest.raises(InvalidRun, match=rf"pycocotools and hotcoco disagree on AP75 \(1.0, {other}\)"):
        evaluate(made_up_dataset, right_detections)


def test_evaluators_that_differ_in_a_class_are_invalid(made_up_dataset, right_detections, monkeypatch):
    right = evaluation._pycocotools(made_up_dataset, right_detections)
    wrong = right._replace(per_class={**right.per_class, "can": 0.5})
    monkeypatch.setattr(evaluation, "hotcoco", object())
    monkeypatch.setattr(evaluation, "_hotcoco", lambda *_: wrong)
    with pytest.raises(InvalidRun, match="disagree on AP of class can"):
        evaluate(made_up_dataset, right_detections)


def test_pycocotools_that_gives_no_figures_is_invalid(made_up_dataset, right_detections, monkeypatch):
    def fails(*_):
        raise ProcessError("the process of pycocotools ended with exit code -9")

    monkeypatch.setattr(evaluation, "confirmed", fails)
    with pytest.raises(InvalidRun, match="ended with exit code -9") as error:
        evaluate(made_up_dataset, right_detections)
    assert error.value.reason == ERROR


@st.composite
def noisy(draw):
    """8 images with up to 6 random boxes each on 200 x 200 pixels; scores are coarse, so that ties occur."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    detections = {}
    for image_id in range(1, 9):
        count = rng.integers(0, 7)
        corners = np.sort(rng.uniform(0, 200, (count, 2, 2)), axis=1).reshape(count, 4)
        scores = np.sort(rng.integers(0, 5, count) / 5)[::-1]
        detections[image_id] = detected(corners, scores, rng.integers(0, 2, count))
    return detections


@given(found=noisy(), keep=st.integers(0, 8))
@settings(max_examples=25)
def test_evaluators_agree_on_random_answers_with_ties(tmp_path_factory, found, keep):
    loaded = Dataset.load(*synthetic.write(tmp_path_factory.mktemp("data"), synthetic.content()))
    mixed = {i: a if i > keep else found[i] for i, a in synthetic.perfect(loaded).items()}
    assert 0.0 <= evaluate(loaded, mixed).figures["AP"] <= 1.0


@pytest.mark.parametrize(("annotations", "images"), [
    ("coco/annotations/instances_val2017.json", "coco/val2017"), ("retail/instances.json", "retail/images"),
])
def test_evaluators_agree_on_real_ground_truth(real, annotations, images):
    loaded = Dataset.load(real / annotations, real / images)
    clipped = changed(synthetic.perfect(loaded), lambda a: rows(a, slice(100)))
    assert evaluate(loaded, clipped).figures["AP"] > 0.95


# Parity of two sets of detections.

def brute_force(reference, candidate, min_score, iou):
    counts = {}
    for i in reference:
        found = total = 0
        free = list(range(len(candidate[i].scores)))
        a, b = reference[i], candidate[i]
        for box, score, label in zip(a.boxes, a.scores, a.classes):
            if score < min_score:
                continue
            total += 1
            same = [(plain_overlap(box, b.boxes[j]), -j) for j in free if b.classes[j] == label]
            best, j = max(same, default=(0, 0))
            if best >= iou:
                found += 1
                free.remove(-j)
        counts[i] = found, total
    return counts


def plain_overlap(a, b):
    return 1.0 if max(abs(float(one) - float(other)) for one, other in zip(a, b)) <= 0.5 else plain_iou(a, b)


def plain_iou(a, b):
    a, b = [float(v) for v in a], [float(v) for v in b]
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


@given(reference=noisy(), candidate=noisy(), iou=st.sampled_from([0.05, 0.1, 0.3]))
def test_matched_is_the_greedy_definition(reference, candidate, iou):
    assert matched(reference, candidate, 0.25, iou) == brute_force(reference, candidate, 0.25, iou)


@given(reference=noisy())
def test_answers_match_themselves_whole(reference):
    sure = {i: int((a.scores >= 0.25).sum()) for i, a in reference.items()}
    assert matched(reference, reference) == {i: (count, count) for i, count in sure.items()}


PAIR = {1: detected([[0, 0, 100, 100], [0, 0, 100, 99]], [0.9, 0.8], [0, 0])}


@pytest.mark.parametrize(("candidate", "expected"), [
    (PAIR[1], (2, 2)),
    (detected([[0, 0, 100, 100]], [0.9], [0]), (1, 2)),
    (detected([[0, 0, 100, 100]] * 2, [0.9, 0.1], [0, 1]), (1, 2)),
    (detected([[0, 0, 100, 100], [0, 0, 100, 80]], [0.9, 0.1], [0, 0]), (1, 2)),
    (NOTHING, (0, 2)),
])
def test_a_candidate_box_is_used_once_and_only_for_its_class(candidate, expected):
    assert matched(PAIR, {1: candidate}) == {1: expected}


def test_boxes_without_area_match_their_like():
    """As those that a detector has clipped at the edge of the image: of the same detector all must match."""
    edge = {1: detected([[0, 10, 0, 90], [0, 100, 50, 100]], [0.9, 0.8], [0, 0])}
    near, far = ({1: replace(edge[1], boxes=edge[1].boxes + by)} for by in (np.float32(0.4), np.float32(3)))
    assert [agreement(edge, other).share for other in (edge, near, far)] == [1.0, 1.0, 0.0]


SURE = {1: detected([[10 * n, 0, 10 * n + 9, 9] for n in range(20)], np.linspace(0.99, 0.8, 20), [0] * 20)}


@pytest.mark.parametrize(("change", "share", "is_reverse"), [
    (lambda own: own, 1.0, False),
    (lambda own: detected(own.boxes[:9], own.scores[:9], own.classes[:9]), 0.45, False),
    (lambda own: detected(np.vstack([own.boxes, own.boxes + 300]), np.tile(own.scores, 2), [0] * 40), 0.5, True),
    (lambda own: detected(own.boxes, np.where(np.arange(20) < 9, own.scores, 0.3), own.classes), 0.45, False),
    (lambda own: detected(own.boxes, own.scores - 0.15, own.classes), 1.0, False),
    (lambda own: NOTHING, 0.0, False),
], ids=["the same", "lost", "made up", "no longer sure", "a little less sure", "nothing"])
def test_detections_that_were_lost_made_up_or_doubted_do_not_agree(change, share, is_reverse):
    agreed = agreement(SURE, {1: change(SURE[1])})
    assert (agreed.share, agreed.is_reverse) == (pytest.approx(share), is_reverse)


def test_detections_where_the_reference_has_none_do_not_agree():
    agreed = agreement({1: NOTHING}, SURE)
    assert (agreed.share, agreed.is_reverse, agreed.words("B")) == (
        0.0, True, "0 of 20 confident detections of B matched")
    assert agreement({1: NOTHING}, {1: NOTHING}).share is None


@pytest.mark.parametrize("candidate", [{}, {1: NOTHING, 2: NOTHING}, {1: replace(NOTHING, error="lost")}])
def test_a_candidate_that_answered_other_images_is_invalid(candidate):
    with pytest.raises(InvalidRun):
        matched(PAIR, candidate)


def test_a_reference_that_did_not_answer_is_invalid():
    with pytest.raises(InvalidRun, match=r"1 of 1 images have no detections; first 1 \(lost\)"):
        matched({1: replace(NOTHING, error="lost")}, PAIR)


def test_iou_of_two_boxes_without_area_is_zero():
    assert box_iou(np.zeros((1, 4), np.float32), np.zeros((2, 4), np.float32)).tolist() == [[0.0, 0.0]]


def test_figures_are_plain_json(made_up_dataset, right_detections):
    score = evaluate(made_up_dataset, right_detections)
    assert json.dumps([score.figures, score.per_class], allow_nan=False)
