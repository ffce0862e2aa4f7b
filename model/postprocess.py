"""Raw head maps turned into boxes, scores and classes in TensorFlow's graph: decoding and suppression."""
from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.architecture import Architecture, Yolo


def candidates(maps, architecture: Architecture, score_threshold: float):
    """The boxes of every head that may score above the threshold.

    → boxes [batch, n, 4] (x1, y1, x2, y2 as fractions of the network's input), scores [batch, n, classes].
    A class score is objectness × class probability, so a box whose objectness alone is below the threshold
    never needs to be decoded: of each head only the best boxes by objectness are, as many as the image of the
    batch with the most has above the threshold. NaN becomes the score infinity: left as it is, it would be above
    no threshold, and a broken network would seem to see nothing.
    """
    centres, sizes, objectness, classes = (
        tf.concat(parts, 1)
        for parts in zip(*(_promising(m, head, architecture, score_threshold)
                           for m, head in zip(maps, architecture.heads)))
    )
    # All heads encode alike, as `Architecture` makes sure.
    probability = tf.identity if architecture.heads[0].new_coords else tf.sigmoid
    boxes = tf.concat([centres - sizes / 2, centres + sizes / 2], -1)
    return boxes, _nan_to_infinity(probability(objectness)[..., None] * probability(classes))


def _promising(head_map, head: Yolo, architecture: Architecture, score_threshold: float):
    """`split_head` of only those boxes whose objectness may reach the threshold."""
    values, grid = _rows(head_map, head), _grid(head_map, head, architecture)
    objectness = _nan_to_infinity(values[..., OBJECTNESS])
    least = score_threshold if head.new_coords else _logit(score_threshold)
    above = tf.reduce_max(tf.reduce_sum(tf.cast(objectness > least, tf.int32), 1))
    # Whole vectors: the processor rounds the last few of a row otherwise, which then depended on batch-mates.
    most = tf.minimum(-(-above // VECTOR) * VECTOR, objectness.shape[1])
    best = tf.math.top_k(objectness, most).indices
    return _split(tf.gather(values, best, batch_dims=1), tf.gather(grid, best), head)


def split_head(head_map, head: Yolo, architecture: Architecture):
    """One raw map [batch, rows, columns, anchors · (5 + classes)] decoded and split, n = rows · columns · anchors.

    → centres and sizes [batch, n, 2] in fractions of the network's input, objectness [batch, n] and classes
    [batch, n, classes] as the network gives them: logits, but probabilities where the head has `new_coords`.
    """
    return _split(_rows(head_map, head), tf.constant(_grid(head_map, head, architecture)), head)


VECTOR = 16

# Where a box's objectness stands among its numbers: x, y, width, height, objectness, one number per class.
OBJECTNESS = 4


def _rows(head_map, head: Yolo):
    """The map with one row of 5 + classes numbers per box."""
    boxes = head_map.shape[1] * head_map.shape[2] * len(head.anchors)
    return tf.reshape(head_map, [-1, boxes, 5 + head.classes])


def _grid(head_map, head: Yolo, architecture: Architecture) -> np.ndarray:
    """float32 [n, 6] for every box of a map: cell's column and row, one cell's size, anchor's size (in fractions)."""
    rows, columns = head_map.shape[1:3]
    row, column, anchor = np.indices((rows, columns, len(head.anchors))).reshape(3, -1)
    anchors = np.array(head.anchors) / [architecture.width, architecture.height]
    cell = np.broadcast_to([1 / columns, 1 / rows], (len(row), 2))
    return np.hstack([column[:, None], row[:, None], cell, anchors[anchor]]).astype(np.float32)


def _split(values, grid, head: Yolo):
    xy, wh, objectness, classes = tf.split(values, [2, 2, 1, head.classes], -1)
    corner, cell, anchor = tf.split(grid, 3, -1)
    xy, wh = (xy, tf.square(2 * wh)) if head.new_coords else (tf.sigmoid(xy), tf.exp(wh))
    xy = xy * head.scale_x_y - (head.scale_x_y - 1) / 2
    return (xy + corner) * cell, wh * anchor, objectness[..., 0], classes


def _nan_to_infinity(values):
    return tf.where(tf.math.is_nan(values), np.inf, values)


def _logit(probability: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def suppress(boxes, scores, score_threshold: float, iou_threshold: float, max_detections: int):
    """Greedy suppression per class, then the best `max_detections` of all classes.

    → boxes [batch, max, 4], scores [batch, max] falling, classes int32 [batch, max], count int32 [batch];
    rows from count on are zero. Boxes whose IoU with a better one of their class exceeds the threshold go.
    """
    result = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :], scores, max_detections, max_detections, iou_threshold, score_threshold,
        clip_boxes=False,
    )
    return result.nmsed_boxes, result.nmsed_scores, tf.cast(result.nmsed_classes, tf.int32), result.valid_detections


def to_pixels(boxes, frames):
    """Boxes in fractions of the network's input → pixels of the original images, clipped to them.

    `frames` [batch, 6] as `model.preprocess.preprocess` gives them.
    """
    corner, extent, size = (tf.tile(part, [1, 2])[:, None, :] for part in tf.split(frames, 3, -1))
    return tf.clip_by_value((boxes - corner) / extent * size, 0.0, size)
