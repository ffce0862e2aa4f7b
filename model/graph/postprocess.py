"""Turns raw head maps into boxes, scores and classes in TensorFlow's graph: decoding and NMS."""
from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.architecture import Architecture, Yolo
from model.decoding import Profile


def detections(maps, frames, architecture: Architecture, profile: Profile):
    """Raw maps and the frames of the images (`model.graph.preprocess`) → detections, as `suppress` returns them.

    Boxes are in pixels of the original images, clipped to them.
    """
    if profile.centre_scale is not None:
        architecture = architecture.with_centre_scale(profile.centre_scale)
    boxes, scores = candidates(maps, architecture, profile.score_threshold)
    boxes, *others = suppress(in_image(boxes, frames), scores, profile)
    return (to_pixels(boxes, frames), *others)


def candidates(maps, architecture: Architecture, score_threshold: float):
    """The boxes of all heads that may score above the threshold.

    Returns boxes [batch, n, 4] (x1, y1, x2, y2 as fractions of the network's input) and scores [batch, n, classes].
    A class score is objectness × class probability, so a box whose objectness is below the threshold is never decoded.
    Images with fewer such boxes than others in the batch get boxes that score 0. NaN becomes the score infinity,
    because NaN is above no threshold, and a broken network would seem to see nothing.
    """
    new_coords = architecture.heads[0].new_coords  # `Architecture` ensures that all heads have the same
    least = score_threshold if new_coords else _logit(score_threshold)
    per_head = [_promising(head_map, head, architecture, least) for head_map, head in zip(maps, architecture.heads)]
    values, grid, is_chosen = (tf.concat(parts, 1) for parts in zip(*per_head))
    centres, sizes, objectness, classes = _split(values, grid, new_coords)
    boxes = tf.concat([centres - sizes / 2, centres + sizes / 2], -1)
    probability = tf.identity if new_coords else tf.sigmoid
    scores = probability(objectness)[..., None] * probability(classes)
    return boxes, tf.where(is_chosen[..., None], _nan_to_infinity(scores), 0.0)


def _promising(head_map, head: Yolo, architecture: Architecture, least: float) -> tuple:
    """The boxes of one head whose objectness is high enough: their numbers, their grid, and which rows are real."""
    values, grid = _rows(head_map, head), _grid(head_map, head, architecture)
    chosen, is_chosen = _chosen(_nan_to_infinity(values[..., OBJECTNESS]) > least)
    return tf.gather(values, chosen, batch_dims=1), tf.gather(grid, chosen), is_chosen


def _chosen(mask):
    """Mask [batch, n] → the indexes that are True, rows padded to the same length, and which of them are real."""
    count = tf.reduce_sum(tf.cast(mask, tf.int32), 1)
    # Whole vectors, because the processor rounds the last few numbers of a row differently.
    width = (tf.reduce_max(count) + VECTOR - 1) // VECTOR * VECTOR
    where = tf.cast(tf.where(mask), tf.int32)
    image = where[:, 0]
    position = tf.range(tf.size(image)) - tf.gather(tf.cumsum(count, exclusive=True), image)
    shape = tf.stack([tf.size(count), width])
    return tf.scatter_nd(tf.stack([image, position], 1), where[:, 1], shape), tf.sequence_mask(count, width)


def split_head(head_map, head: Yolo, architecture: Architecture):
    """One raw map [batch, rows, columns, anchors · (5 + classes)] decoded and split, n = rows · columns · anchors.

    Returns centres and sizes [batch, n, 2] in fractions of the network's input, objectness [batch, n] and classes
    [batch, n, classes]; the last two are logits, or probabilities if the head has `new_coords`.
    """
    return _split(_rows(head_map, head), tf.constant(_grid(head_map, head, architecture)), head.new_coords)


VECTOR = 16

# The index of objectness in the numbers of a box: x, y, width, height, objectness, one number per class.
OBJECTNESS = 4


def _rows(head_map, head: Yolo):
    """The map with one row of 5 + classes numbers per box."""
    boxes = head_map.shape[1] * head_map.shape[2] * len(head.anchors)
    return tf.reshape(head_map, [-1, boxes, 5 + head.classes])


def _grid(head_map, head: Yolo, architecture: Architecture) -> np.ndarray:
    """float32 [n, 7] for every box of a map: column and row of its cell, size of a cell and of its anchor (fractions),
    and the scale of its centre."""
    rows, columns = head_map.shape[1:3]
    row, column, anchor = np.indices((rows, columns, len(head.anchors))).reshape(3, -1)
    anchors = np.array(head.anchors) / [architecture.width, architecture.height]
    same = np.broadcast_to([1 / columns, 1 / rows, head.scale_x_y], (len(row), 3))
    return np.hstack([column[:, None], row[:, None], same[:, :2], anchors[anchor], same[:, 2:]]).astype(np.float32)


def _split(values, grid, new_coords: bool):
    xy, wh, objectness, classes = tf.split(values, [2, 2, 1, values.shape[-1] - 5], -1)
    corner, cell, anchor, scale = tf.split(grid, [2, 2, 2, 1], -1)
    xy, wh = (xy, tf.square(2 * wh)) if new_coords else (tf.sigmoid(xy), tf.exp(wh))
    xy = xy * scale - (scale - 1) / 2
    return (xy + corner) * cell, wh * anchor, objectness[..., 0], classes


def _nan_to_infinity(values):
    return tf.where(tf.math.is_nan(values), np.inf, values)


def _logit(probability: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def suppress(boxes, scores, profile: Profile):
    """Greedy NMS per class, then the best `max_detections` of all classes.

    Returns boxes [batch, max, 4], scores [batch, max] falling, classes int32 [batch, max], count int32 [batch];
    later rows are zero.
    """
    by_iou = profile.diou_beta is None
    return (_suppress_by_iou if by_iou else _suppress_by_distance)(boxes, scores, profile)


# NMS first takes about the best PREFIX scores of an image; every SAMPLED-th box gives an estimate of their limit.
PREFIX, SAMPLED = 2048, 8


def _suppress_by_iou(boxes, scores, profile):
    """NMS of the best few thousand scores. If they do not fill the result, NMS of all: only better scores decide
    whether a box is kept."""
    all_above = tf.fill(tf.shape(scores)[:1], profile.score_threshold)
    above = tf.maximum(_score_of_rank(scores, PREFIX), all_above)
    first = _combined_nms(*_scoring(boxes, scores, above), profile)
    is_whole = tf.reduce_all((first[3] == profile.max_detections) | (above <= all_above))
    return tf.cond(is_whole, lambda: first, lambda: _combined_nms(boxes, scores, profile))


def _score_of_rank(scores, rank):
    """A score [batch] that about `rank` others of the image exceed, 0 if there are fewer."""
    sample = tf.reshape(scores[:, ::SAMPLED], [tf.shape(scores)[0], -1])
    best = rank // SAMPLED
    return tf.reduce_min(tf.math.top_k(tf.pad(sample, [[0, 0], [0, best]]), best, sorted=False).values, 1)


def _combined_nms(boxes, scores, profile):
    result = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :], scores, profile.max_detections, profile.max_detections, profile.iou_threshold,
        profile.score_threshold, clip_boxes=False,
    )
    return result.nmsed_boxes, result.nmsed_scores, tf.cast(result.nmsed_classes, tf.int32), result.valid_detections


def _scoring(boxes, scores, above):
    """Only the boxes with a score above `above` [batch], best first; their lower scores become 0."""
    scores = tf.where(scores > above[:, None, None], scores, 0.0)
    best = tf.reduce_max(scores, 2)
    count = tf.reduce_max(tf.reduce_sum(tf.cast(best > 0, tf.int32), 1))
    chosen = tf.math.top_k(best, count).indices
    return tf.gather(boxes, chosen, batch_dims=1), tf.gather(scores, chosen, batch_dims=1)


def _suppress_by_distance(boxes, scores, profile):
    """Picks the best remaining score and removes the boxes that it suppresses, `max_detections` times."""
    boxes, scores = _scoring(boxes, scores, tf.fill(tf.shape(scores)[:1], profile.score_threshold))
    batch, boxes_there, classes = tf.unstack(tf.shape(scores))
    # One box that scores 0, so that there is always one to pick.
    boxes, scores = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]), tf.pad(scores, [[0, 0], [0, 1], [0, 0]])

    def pick(step, scores, picked):
        flat = tf.reshape(scores, [batch, -1])
        best = tf.argmax(flat, 1, tf.int32)[:, None]
        score, index, label = tf.gather(flat, best, batch_dims=1), best // classes, best % classes
        box = tf.gather(boxes, index, batch_dims=1)
        overlaps = _distance_iou(box, boxes, profile.diou_beta) > profile.iou_threshold
        removed = overlaps | (tf.range(boxes_there + 1) == index)
        of_class = tf.range(classes) == label
        scores = tf.where(removed[:, :, None] & of_class[:, None, :], 0.0, scores)
        row = tf.concat([box[:, 0], score, tf.cast(label, tf.float32)], 1)
        return step + 1, scores, picked.write(step, tf.where(score > 0, row, 0.0))

    picked = tf.TensorArray(tf.float32, profile.max_detections, element_shape=[None, 6])
    _, _, picked = tf.while_loop(
        lambda step, *_: step < profile.max_detections, pick, [0, scores, picked],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, None, None]), None],
    )
    found, values, labels = tf.split(tf.transpose(picked.stack(), [1, 0, 2]), [4, 1, 1], 2)
    count = tf.reduce_sum(tf.cast(values[..., 0] > 0, tf.int32), 1)
    return found, values[..., 0], tf.cast(labels[..., 0], tf.int32), count


def _distance_iou(one, others, beta):
    """IoU − (d / c)^beta of boxes (see `Profile`); only IoU if both are one point."""
    (low, high), (lows, highs) = (tf.split(boxes, 2, -1) for boxes in (one, others))
    inside = tf.reduce_prod(tf.maximum(tf.minimum(high, highs) - tf.maximum(low, lows), 0), -1)
    areas = tf.reduce_prod(high - low, -1) + tf.reduce_prod(highs - lows, -1)
    distance = tf.reduce_sum(tf.square((low + high - lows - highs) / 2), -1)
    diagonal = tf.reduce_sum(tf.square(tf.maximum(high, highs) - tf.minimum(low, lows)), -1)
    apart = tf.math.divide_no_nan(distance, diagonal) ** beta
    return tf.math.divide_no_nan(inside, areas - inside) - apart


def in_image(boxes, frames):
    """Boxes in fractions of the network's input → fractions of the images, which may fill only a part of it.

    `frames` [batch, 6] are those of `model.graph.preprocess.preprocess`.
    """
    corner, extent, _ = _frame(frames)
    return (boxes - corner) / extent


def to_pixels(boxes, frames):
    """Boxes in fractions of the images → pixels of the original images, clipped to them."""
    *_, size = _frame(frames)
    return tf.clip_by_value(boxes * size, 0.0, size)


def _frame(frames):
    return [tf.tile(part, [1, 2])[:, None, :] for part in tf.split(frames, 3, -1)]
