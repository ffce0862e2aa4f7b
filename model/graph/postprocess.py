"""Raw head maps turned into boxes, scores and classes in TensorFlow's graph: decoding and suppression."""
from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.architecture import Architecture, Yolo
from model.decoding import Profile


def detections(maps, frames, architecture: Architecture, profile: Profile):
    """Raw maps and the pictures' frames (`model.graph.preprocess`) → what the profile reports, as `suppress` gives it.

    Boxes are in pixels of the original images, clipped to them.
    """
    if profile.centre_scale is not None:
        architecture = architecture.with_centre_scale(profile.centre_scale)
    boxes, scores = candidates(maps, architecture, profile.score_threshold)
    boxes, *others = suppress(in_picture(boxes, frames), scores, profile)
    return (to_pixels(boxes, frames), *others)


def candidates(maps, architecture: Architecture, score_threshold: float):
    """The boxes of every head that may score above the threshold.

    → boxes [batch, n, 4] (x1, y1, x2, y2 as fractions of the network's input), scores [batch, n, classes].
    A class score is objectness × class probability, so a box whose objectness alone is below the threshold
    never needs to be decoded. Images with fewer such boxes than their batch-mates get boxes that score 0. NaN
    becomes the score infinity: left as it is, it would be above no threshold, and a broken network would seem to
    see nothing.
    """
    new_coords = architecture.heads[0].new_coords  # all heads encode alike, as `Architecture` makes sure
    least = score_threshold if new_coords else _logit(score_threshold)
    values, grid, is_chosen = (
        tf.concat(parts, 1)
        for parts in zip(*(_promising(m, head, architecture, least) for m, head in zip(maps, architecture.heads)))
    )
    centres, sizes, objectness, classes = _split(values, grid, new_coords)
    boxes = tf.concat([centres - sizes / 2, centres + sizes / 2], -1)
    probability = tf.identity if new_coords else tf.sigmoid
    scores = probability(objectness)[..., None] * probability(classes)
    return boxes, tf.where(is_chosen[..., None], _nan_to_infinity(scores), 0.0)


def _promising(head_map, head: Yolo, architecture: Architecture, least: float):
    """The rows and grid of only those boxes whose objectness exceeds `least`, and which of the rows are real."""
    values, grid = _rows(head_map, head), _grid(head_map, head, architecture)
    chosen, is_chosen = _chosen(_nan_to_infinity(values[..., OBJECTNESS]) > least)
    return tf.gather(values, chosen, batch_dims=1), tf.gather(grid, chosen), is_chosen


def _chosen(mask):
    """Mask [batch, n] → the indexes that are True, each row filled up to the longest's, and which of them are real."""
    count = tf.reduce_sum(tf.cast(mask, tf.int32), 1)
    # Whole vectors: the processor rounds the last few of a row otherwise, which then depended on batch-mates.
    width = (tf.reduce_max(count) + VECTOR - 1) // VECTOR * VECTOR
    where = tf.cast(tf.where(mask), tf.int32)
    image = where[:, 0]
    position = tf.range(tf.size(image)) - tf.gather(tf.cumsum(count, exclusive=True), image)
    shape = tf.stack([tf.size(count), width])
    return tf.scatter_nd(tf.stack([image, position], 1), where[:, 1], shape), tf.sequence_mask(count, width)


def split_head(head_map, head: Yolo, architecture: Architecture):
    """One raw map [batch, rows, columns, anchors · (5 + classes)] decoded and split, n = rows · columns · anchors.

    → centres and sizes [batch, n, 2] in fractions of the network's input, objectness [batch, n] and classes
    [batch, n, classes] as the network gives them: logits, but probabilities where the head has `new_coords`.
    """
    return _split(_rows(head_map, head), tf.constant(_grid(head_map, head, architecture)), head.new_coords)


VECTOR = 16

# Where a box's objectness stands among its numbers: x, y, width, height, objectness, one number per class.
OBJECTNESS = 4


def _rows(head_map, head: Yolo):
    """The map with one row of 5 + classes numbers per box."""
    boxes = head_map.shape[1] * head_map.shape[2] * len(head.anchors)
    return tf.reshape(head_map, [-1, boxes, 5 + head.classes])


def _grid(head_map, head: Yolo, architecture: Architecture) -> np.ndarray:
    """float32 [n, 7] for every box of a map: cell's column and row, one cell's size, anchor's size (in fractions), and
    the scale of its centre."""
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
    """Greedy suppression per class, then the best `max_detections` of all classes.

    → boxes [batch, max, 4], scores [batch, max] falling, classes int32 [batch, max], count int32 [batch];
    rows from count on are zero.
    """
    by_iou = profile.diou_beta is None
    return (_suppress_by_iou if by_iou else _suppress_by_distance)(boxes, scores, profile)


# So many scores of an image are looked at first, and every so many-th box is asked how high they are.
PREFIX, SAMPLED = 2048, 8


def _suppress_by_iou(boxes, scores, profile):
    """Whether a score is kept depends on better scores only: where the best few thousand fill the answer, the rest
    need not be looked at. Where they do not, all are."""
    all_above = tf.fill(tf.shape(scores)[:1], profile.score_threshold)
    above = tf.maximum(_score_of_rank(scores, PREFIX), all_above)
    first = _combined_nms(*_scoring(boxes, scores, above), profile)
    is_whole = tf.reduce_all((first[3] == profile.max_detections) | (above <= all_above))
    return tf.cond(is_whole, lambda: first, lambda: _combined_nms(boxes, scores, profile))


def _score_of_rank(scores, rank):
    """A score [batch] that about `rank` others of the image exceed, 0 where it has fewer."""
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
    """Picks the best score left and strikes out what yields to it, as often as there are answers to give."""
    boxes, scores = _scoring(boxes, scores, tf.fill(tf.shape(scores)[:1], profile.score_threshold))
    batch, boxes_there, classes = tf.unstack(tf.shape(scores))
    # One box that scores nothing, so that there always is one to pick.
    boxes, scores = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]), tf.pad(scores, [[0, 0], [0, 1], [0, 0]])

    def pick(step, scores, picked):
        flat = tf.reshape(scores, [batch, -1])
        best = tf.argmax(flat, 1, tf.int32)[:, None]
        score, index, label = tf.gather(flat, best, batch_dims=1), best // classes, best % classes
        box = tf.gather(boxes, index, batch_dims=1)
        yields = _distance_iou(box, boxes, profile.diou_beta) > profile.iou_threshold
        struck = yields | (tf.range(boxes_there + 1) == index)
        of_class = tf.range(classes) == label
        scores = tf.where(struck[:, :, None] & of_class[:, None, :], 0.0, scores)
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
    """IoU − (d / c)^beta of the boxes; IoU alone where both lie in one point."""
    (low, high), (lows, highs) = (tf.split(boxes, 2, -1) for boxes in (one, others))
    inside = tf.reduce_prod(tf.maximum(tf.minimum(high, highs) - tf.maximum(low, lows), 0), -1)
    areas = tf.reduce_prod(high - low, -1) + tf.reduce_prod(highs - lows, -1)
    distance = tf.reduce_sum(tf.square((low + high - lows - highs) / 2), -1)
    diagonal = tf.reduce_sum(tf.square(tf.maximum(high, highs) - tf.minimum(low, lows)), -1)
    apart = tf.math.divide_no_nan(distance, diagonal) ** beta
    return tf.math.divide_no_nan(inside, areas - inside) - apart


def in_picture(boxes, frames):
    """Boxes in fractions of the network's input → fractions of the pictures, which need not fill it.

    `frames` [batch, 6] as `model.graph.preprocess.preprocess` gives them.
    """
    corner, extent, _ = _frame(frames)
    return (boxes - corner) / extent


def to_pixels(boxes, frames):
    """Boxes in fractions of the pictures → pixels of the original images, clipped to them."""
    *_, size = _frame(frames)
    return tf.clip_by_value(boxes * size, 0.0, size)


def _frame(frames):
    return [tf.tile(part, [1, 2])[:, None, :] for part in tf.split(frames, 3, -1)]
