"""Raw head maps turned into boxes, scores and classes in TensorFlow's graph: decoding and suppression."""
from __future__ import annotations

import tensorflow as tf

from model.architecture import Architecture, Yolo


def split_head(head_map, head: Yolo, architecture: Architecture):
    """One raw map [batch, rows, columns, anchors · (5 + classes)] decoded and split, n = rows · columns · anchors.

    → centres and sizes [batch, n, 2] in fractions of the network's input, objectness [batch, n] and classes
    [batch, n, classes] as the network gives them: logits, but probabilities where the head has `new_coords`.
    """
    rows, columns = head_map.shape[1:3]
    anchors = len(head.anchors)
    values = tf.reshape(head_map, [-1, rows * columns * anchors, 5 + head.classes])
    xy, wh, objectness, classes = tf.split(values, [2, 2, 1, head.classes], -1)
    size = tf.constant([architecture.width, architecture.height], tf.float32)
    anchor = tf.tile(tf.constant(head.anchors, tf.float32) / size, [rows * columns, 1])
    cells = tf.stack(tf.meshgrid(tf.range(columns), tf.range(rows)), -1)
    cells = tf.cast(tf.repeat(tf.reshape(cells, [-1, 2]), anchors, axis=0), tf.float32)
    xy, wh = (xy, tf.square(2 * wh)) if head.new_coords else (tf.sigmoid(xy), tf.exp(wh))
    xy = xy * head.scale_x_y - (head.scale_x_y - 1) / 2
    return (xy + cells) / [columns, rows], wh * anchor, objectness[..., 0], classes


def candidates(maps, architecture: Architecture, score_threshold: float):
    """The boxes of every head that may score above the threshold.

    → boxes [batch, n, 4] (x1, y1, x2, y2 as fractions of the network's input), scores [batch, n, classes].
    A class score is objectness × class probability, so a box whose objectness alone is below the threshold
    never needs its class scores: only the n best by objectness are kept, where n is the largest number of
    boxes above the threshold in any image of the batch.
    """
    centres, sizes, objectness, classes = (
        tf.concat(parts, 1) for parts in zip(*map(split_head, maps, architecture.heads, [architecture] * len(maps)))
    )
    # All heads encode alike, as `Architecture` makes sure.
    probability = tf.identity if architecture.heads[0].new_coords else tf.sigmoid
    objectness = probability(objectness)
    most = tf.reduce_max(tf.reduce_sum(tf.cast(objectness > score_threshold, tf.int32), 1))
    objectness, best = tf.math.top_k(objectness, most)
    centres, sizes, classes = (tf.gather(t, best, batch_dims=1) for t in (centres, sizes, classes))
    boxes = tf.concat([centres - sizes / 2, centres + sizes / 2], -1)
    return boxes, objectness[..., None] * probability(classes)


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
