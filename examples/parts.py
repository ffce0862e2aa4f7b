"""What several examples need: the pixels of an encoded image, and NMS. Needs only NumPy and Pillow."""
from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps


def pixels(encoded: bytes) -> np.ndarray:
    """uint8 [rows, columns, 3] (RGB), upright as the EXIF orientation says. Raises OSError if it cannot be decoded."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def suppressed(boxes, scores, score_threshold: float, iou_threshold: float, most: int) -> tuple:
    """Boxes [n, 4] (x1, y1, x2, y2) and scores [n, classes] → boxes, scores and classes after NMS, by falling score.

    These are at most `most` above the score threshold that greedy NMS per class keeps: a box is dropped if its IoU with
    a better one of its class exceeds the threshold.
    """
    places, classes = np.nonzero(scores > score_threshold)
    boxes, scores = boxes[places], scores[places, classes]
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(best)
        is_other = classes[order] != classes[best]
        order = order[is_other | (_iou(boxes[best], boxes[order]) <= iou_threshold)]
    return boxes[kept], scores[kept], classes[kept]


def _iou(box, others) -> np.ndarray:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inside = sides.clip(min=0).prod(-1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1)
    return inside / np.maximum(areas - inside, np.finfo(np.float32).tiny)  # 0 for boxes that are one point
