"""From raw maps to boxes: decoding by darknet's formulas, suppression as a plain loop would do it, nothing lost."""
from __future__ import annotations

from dataclasses import replace
from functools import cache
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from model.architecture import Architecture, Convolutional, Route, Yolo
from model.decoding import Profile, profile_for
from model.graph import postprocess
from model.graph.postprocess import candidates, detections, in_image, suppress, to_pixels
from model.graph.preprocess import preprocess
from tests.model.samples import encode, pixels

CLASSES = 3
ANCHORS = (((10.0, 14.0), (23.0, 27.0)), ((37.0, 58.0), (81.0, 82.0)))


def architecture(scale_x_y=(1.05, 1.2), new_coords=False) -> Architecture:
    """Two heads of two anchors on an oblong input, at strides 8 and 16."""
    filters = 2 * (5 + CLASSES)
    fine, coarse = (Yolo(a, CLASSES, s, new_coords) for a, s in zip(ANCHORS, scale_x_y))
    return Architecture(64, 32, (
        Convolutional(filters, stride=8), fine, Route((0,)), Convolutional(filters, stride=2), coarse,
    ))


def profile(score_threshold, iou_threshold, most, diou_beta=None) -> Profile:
    return Profile(score_threshold=score_threshold, iou_threshold=iou_threshold, max_detections=most,
                   diou_beta=diou_beta)


def random_maps(new_coords=False, batch=2, seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(batch, 4, 8, 2 * (5 + CLASSES)), (batch, 2, 4, 2 * (5 + CLASSES))]
    draw = rng.random if new_coords else lambda shape, dtype: rng.standard_normal(shape, dtype) * 2
    return [draw(shape, np.float32) for shape in shapes]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def darknet_boxes(raw, head: Yolo, width, height):
    """One image's map → (x1, y1, x2, y2, class scores) of every box; as darknet's get_yolo_box, cell by cell."""
    rows, columns, _ = raw.shape
    found = []
    for row in range(rows):
        for column in range(columns):
            for n, (anchor_width, anchor_height) in enumerate(head.anchors):
                x, y, w, h, objectness, *classes = raw[row, column].astype(np.float64).reshape(2, -1)[n]
                if head.new_coords:
                    w, h = (2 * w) ** 2, (2 * h) ** 2
                else:
                    x, y, w, h, objectness = sigmoid(x), sigmoid(y), np.exp(w), np.exp(h), sigmoid(objectness)
                    classes = sigmoid(np.array(classes))
                shift = (head.scale_x_y - 1) / 2
                x, y = (column + x * head.scale_x_y - shift) / columns, (row + y * head.scale_x_y - shift) / rows
                w, h = w * anchor_width / width, h * anchor_height / height
                found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, *(objectness * np.array(classes))])
    return np.array(found)


def sorted_rows(rows) -> np.ndarray:
    return rows[np.lexsort(rows.T[:4])]


FORMS = {
    "plain": {"scale_x_y": (1.0, 1.0)},
    "scaled centres": {},
    "new coordinates": {"scale_x_y": (2.0, 2.0), "new_coords": True},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_boxes_and_scores_are_darknets(form):
    arch, maps = architecture(**form), random_maps(form.get("new_coords", False))
    boxes, scores = candidates([tf.constant(m) for m in maps], arch, 0.0)
    for image in range(2):
        expected = [darknet_boxes(m[image], head, arch.width, arch.height) for m, head in zip(maps, arch.heads)]
        ours = np.concatenate([boxes[image], scores[image]], -1)
        np.testing.assert_allclose(sorted_rows(ours), sorted_rows(np.concatenate(expected)), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.001, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_choosing_by_objectness_first_loses_no_detection(form, threshold):
    arch, maps = architecture(**form), random_maps(form.get("new_coords", False))
    chosen = suppress(*candidates(maps, arch, threshold), profile(threshold, 0.45, 100))
    all_boxes = suppress(*candidates(maps, arch, 0.0), profile(threshold, 0.45, 100))
    for ours, expected in zip(chosen, all_boxes):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_an_image_does_not_change_its_batch_mates_boxes():
    arch, maps = architecture(), random_maps(batch=3)
    together = suppress(*candidates(maps, arch, 0.1), profile(0.1, 0.45, 50))
    alone = suppress(*candidates([m[1:2] for m in maps], arch, 0.1), profile(0.1, 0.45, 50))
    for ours, expected in zip(together, alone):
        np.testing.assert_allclose(ours[1:2], expected, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_seen_the_answer_is_empty_and_of_full_shape():
    maps = [np.full_like(m, -20) for m in random_maps()]
    boxes, scores, classes, count = suppress(*candidates(maps, architecture(), 0.5), profile(0.5, 0.45, 7))
    assert (boxes.shape, scores.shape, classes.shape, count.numpy().tolist()) == ((2, 7, 4), (2, 7), (2, 7), [0, 0])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("channels", [slice(None), 4], ids=["everything", "objectness"])
def test_nan_in_one_cell_comes_out_as_an_impossible_score_of_its_own_image(form, channels):
    maps = random_maps(form.get("new_coords", False))
    maps[0][0, 1, 1, channels] = np.nan
    _, scores, _, count = suppress(*candidates(maps, architecture(**form), 0.01), profile(0.01, 0.45, 10))
    assert count[0] > 0 and scores[0, 0] == np.inf and np.isfinite(scores[1]).all()


def test_nan_everywhere_is_not_taken_for_a_picture_without_objects():
    maps = [np.full_like(m, np.nan) for m in random_maps()]
    _, scores, _, count = suppress(*candidates(maps, architecture(), 0.5), profile(0.5, 0.45, 10))
    assert count.numpy().tolist() == [10, 10] and np.isinf(scores).all()


def overlap(one, two) -> np.float32:
    """Intersection over union; nothing for a box without area."""
    x1, y1, x2, y2 = np.maximum(one[:2], two[:2]).tolist() + np.minimum(one[2:], two[2:]).tolist()
    inside = max(x2 - x1, 0) * max(y2 - y1, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return np.float32(inside) / np.float32(sum(areas) - inside) if sum(areas) > inside else np.float32(0)


def closeness(one, two, diou_beta) -> float:
    """What suppression compares with its threshold: IoU, less the distance of the centres where it counts."""
    if diou_beta is None:
        return overlap(one, two)
    centres = [(box[:2] + box[2:]).astype(float) / 2 for box in (one, two)]
    diagonal = np.maximum(one[2:], two[2:]).astype(float) - np.minimum(one[:2], two[:2])
    c = (diagonal ** 2).sum()
    return overlap(one, two) - ((((centres[0] - centres[1]) ** 2).sum() / c) ** diou_beta if c else 0)


def greedy(boxes, scores, p: Profile) -> list[tuple]:
    """(score, class, box) of plain greedy suppression of one image, best first."""
    between = cache(lambda i, j: closeness(boxes[i], boxes[j], p.diou_beta))  # every class asks for the same pairs
    found = []
    for label in range(scores.shape[1]):
        kept = []
        for i in np.argsort(-scores[:, label], kind="stable"):
            if scores[i, label] > p.score_threshold and all(
                between(*sorted((i, j))) <= p.iou_threshold for j in kept
            ):
                kept.append(i)
        found += [(float(scores[i, label]), label, tuple(boxes[i].tolist())) for i in kept]
    return sorted(found, key=lambda row: -row[0])[:p.max_detections]


def suppressed(boxes, scores, p: Profile) -> list[tuple]:
    batch = suppress(tf.constant(boxes[None]), tf.constant(scores[None]), p)
    (found, values, labels, (count,)) = (t.numpy() for t in (*(part[0] for part in batch[:3]), batch[3]))
    assert not found[count:].any() and not values[count:].any() and not labels[count:].any()
    rows = zip(values[:count].tolist(), labels[:count].tolist(), map(tuple, found[:count].tolist()))
    return list(rows)


# Corners on a coarse grid: identical, nested, touching and empty boxes are frequent.
CORNERS = st.lists(st.integers(0, 4), min_size=4, max_size=4)
THRESHOLDS = st.sampled_from([0.0, 0.25, 0.45, 0.5, 1.0])
BETAS = st.sampled_from([None, 0.6, 1.0])


def as_boxes(corners) -> np.ndarray:
    grid = np.array(corners, np.float32).reshape(-1, 2, 2)
    return np.concatenate([grid.min(1), grid.max(1)], -1)


def different_scores(count, classes, seed) -> np.ndarray:
    """No two alike, all above 0."""
    order = np.random.default_rng(seed).permutation(classes * count) + 1
    return (order / (classes * count + 1)).reshape(-1, classes).astype(np.float32)


def is_decided(boxes, p: Profile) -> bool:
    """Whether no pair is so close to the threshold that rounding decides; IoU of these boxes is exact."""
    pairs = [(one, two) for i, one in enumerate(boxes) for two in boxes[:i]]
    return p.diou_beta is None or all(
        abs(closeness(one, two, p.diou_beta) - p.iou_threshold) > 1e-5 for one, two in pairs
    )


@settings(max_examples=100)
@given(st.lists(CORNERS, max_size=12), st.integers(0, 2**31), THRESHOLDS, THRESHOLDS, st.integers(1, 8), BETAS)
@example([], 0, 0.0, 0.45, 3, None)
@example([], 0, 0.0, 0.45, 3, 1.0)
@example([[1, 1, 1, 3]] * 4, 0, 0.0, 0.45, 8, None)
@example([[1, 1, 1, 3]] * 4, 0, 0.0, 0.45, 8, 0.6)
@example([[0, 0, 2, 2]] * 9, 0, 0.0, 1.0, 3, None)
@example([[2, 2, 2, 2]] * 3, 0, 0.0, 0.45, 3, 1.0)
def test_suppression_is_the_greedy_loop(corners, seed, score_threshold, iou_threshold, most, beta):
    boxes, p = as_boxes(corners), profile(score_threshold, iou_threshold, most, beta)
    assume(is_decided(boxes, p))
    scores = different_scores(len(boxes), 2, seed)
    assert suppressed(boxes, scores, p) == greedy(boxes, scores, p)


@settings(max_examples=60)
@given(st.integers(0, 60), st.integers(1, 6), st.integers(0, 2**31), THRESHOLDS, THRESHOLDS, st.integers(1, 20),
       st.sampled_from([1, 3]), st.sampled_from([3, 12, 48]))
def test_looking_at_the_best_scores_first_changes_nothing(
    count, classes, seed, score_threshold, iou_threshold, most, sampled, prefix
):
    rng = np.random.default_rng(seed)
    boxes, p = as_boxes(rng.integers(0, 5, (count, 4))), profile(score_threshold, iou_threshold, most)
    scores = different_scores(count, classes, seed)
    with mock.patch.multiple(postprocess, PREFIX=prefix, SAMPLED=sampled):
        assert suppressed(boxes, scores, p) == greedy(boxes, scores, p)


@pytest.mark.parametrize("spread", [1.0, 40.0], ids=["few survive", "the best fill the result"])
def test_of_thousands_of_scores_the_answer_is_the_same(spread):
    rng = np.random.default_rng(0)
    corner = rng.random((600, 2), np.float32) * spread
    boxes = np.concatenate([corner, corner + 0.5 + rng.random((600, 2), np.float32)], 1)
    p = profile(0.001, 0.45, 100)
    scores = different_scores(600, 8, 0)
    assert [row[:2] for row in suppressed(boxes, scores, p)] == [row[:2] for row in greedy(boxes, scores, p)]


@settings(max_examples=20)
@given(st.lists(st.tuples(CORNERS, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12), THRESHOLDS, BETAS)
def test_of_boxes_with_tied_scores_each_is_kept_or_yields_to_a_kept_one(rows, iou_threshold, beta):
    boxes, p = as_boxes([corners for corners, *_ in rows]), profile(0.0, iou_threshold, 100, beta)
    assume(is_decided(boxes, p))
    scores = np.array([values for _, *values in rows], np.float32) / 4
    kept = suppressed(boxes, scores, p)
    for label in (0, 1):
        ours = [(score, np.array(box)) for score, c, box in kept if c == label]
        for (i, (_, one)) in enumerate(ours):
            assert all(closeness(one, two, beta) <= iou_threshold for _, two in ours[:i]), "two kept boxes overlap"
        for box, score in zip(boxes, scores[:, label]):
            is_kept = any(s == score and (b == box).all() for s, b in ours)
            yields = any(s >= score and closeness(b, box, beta) > iou_threshold for s, b in ours)
            assert score <= 0 or is_kept or yields, f"lost {box} {score}"


@pytest.mark.parametrize("beta", [None, 1.0])
def test_of_too_many_the_best_of_all_classes_are_kept(beta):
    boxes = as_boxes([[i, 0, i + 1, 1] for i in range(10)])
    scores = np.linspace(0.1, 0.9, 20, dtype=np.float32).reshape(10, 2)
    kept = suppressed(boxes, scores, profile(0.0, 0.45, 5, beta))
    assert [row[0] for row in kept] == sorted(scores.ravel().tolist())[:-6:-1]


def test_distance_of_centres_saves_a_box_that_iou_would_suppress():
    boxes = np.array([[0, 0, 4, 2], [1, 0, 5, 2]], np.float32)  # IoU 0.6, d / c = 1 / 29
    scores = np.array([[0.9], [0.8]], np.float32)
    found = [len(suppressed(boxes, scores, profile(0.1, 0.58, 10, beta))) for beta in (None, 1.0)]
    assert found == [1, 2]


@pytest.mark.parametrize("beta", [None, 0.6])
def test_images_of_a_batch_are_suppressed_each_for_itself(beta):
    rng = np.random.default_rng(0)
    boxes = np.stack([as_boxes(rng.integers(0, 9, (40, 4))) for _ in range(3)])
    scores = np.stack([different_scores(40, 4, seed) * scale for seed, scale in enumerate((1, 0.01, 0.5))])
    p = profile(0.005, 0.45, 20, beta)
    together = suppress(tf.constant(boxes), tf.constant(scores.astype(np.float32)), p)
    for image in range(3):
        alone = suppress(tf.constant(boxes[image:image + 1]),
                         tf.constant(scores[image:image + 1].astype(np.float32)), p)
        for ours, expected in zip(together, alone):
            np.testing.assert_array_equal(ours[image:image + 1], expected)


def frame_of(resize, width, height, side=64):
    return preprocess(tf.constant([encode(pixels(width, height))]), side, side, resize)[1]


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("width, height", [(120, 90), (30, 77), (64, 64), (300, 7)])
def test_the_whole_picture_in_the_networks_input_is_the_whole_picture_in_pixels(resize, width, height):
    frame = frame_of(resize, width, height)
    left, top, inner_width, inner_height = frame.numpy()[0, :4]
    box = [[[left, top, left + inner_width, top + inner_height]]]
    found = to_pixels(in_image(tf.constant(box), frame), frame)
    np.testing.assert_allclose(found, [[[0, 0, width, height]]], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("resize, expected", {"stretch": [32, 36, 64, 54], "letterbox": [32, 33.2, 64, 58.8]}.items())
def test_a_box_in_pixels_lies_where_it_lay_in_the_input(resize, expected):
    box = tf.constant([[[0.25, 0.4, 0.5, 0.6]]])  # letterboxed, 128 x 90 fills rows 9 to 53 of 64
    frame = frame_of(resize, 128, 90)
    np.testing.assert_allclose(to_pixels(in_image(box, frame), frame)[0, 0], expected, atol=1e-3)


def test_boxes_are_clipped_to_the_picture():
    box = tf.constant([[[-3.0, 0.5, 0.5, 9.0]]])
    np.testing.assert_allclose(to_pixels(box, frame_of("stretch", 120, 90))[0, 0], [0, 45, 60, 90], rtol=1e-5)


def test_heads_with_swapped_anchors_give_other_boxes():
    arch, maps = architecture(), random_maps()
    layers = [replace(x, anchors=x.anchors[::-1]) if isinstance(x, Yolo) else x for x in arch.layers]
    one, two = (candidates(maps, a, 0.0)[0] for a in (arch, replace(arch, layers=tuple(layers))))
    assert not np.allclose(one, two)


def test_a_profile_with_a_centre_scale_of_its_own_reads_the_heads_with_it():
    arch, maps = architecture(), random_maps()
    frames = tf.constant([[0.0, 0.0, 1.0, 1.0, 64.0, 32.0]] * 2)
    plain = architecture(scale_x_y=(1.0, 1.0))
    aws, darknet, unscaled = (
        detections(maps, frames, a, profile_for(a, name, score_threshold=0.1))[0]
        for a, name in ((arch, "aws"), (arch, "darknet"), (plain, "darknet"))
    )
    np.testing.assert_array_equal(aws, unscaled)
    assert not np.allclose(aws, darknet)
