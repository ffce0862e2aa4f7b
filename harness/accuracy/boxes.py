"""Boxes as x1, y1, x2, y2 in pixels: their areas, how far they overlap, and how some lie to others."""
from __future__ import annotations

import numpy as np

SAME_CORNERS = 0.5  # pixels
LEAST_SHIFT, LEAST_STRETCH = 2.0, 0.05  # pixels and a share of the size, from which on they are worth a word


def area(boxes: np.ndarray) -> np.ndarray:
    """The area of each box, as float64."""
    return (boxes[..., 2:].astype(np.float64) - boxes[..., :2]).prod(-1)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each box of `a` [n, 4] with each of `b` [m, 4], as float64 [n, m]."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    union = area(a) + area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As `box_iou`, and 1 where all corners are so near that a box without area has its like."""
    if not (len(a) and len(b)):
        return np.zeros((len(a), len(b)))
    apart = np.abs(a.astype(np.float64)[:, None] - b).max(-1)
    return np.where(apart <= SAME_CORNERS, 1.0, box_iou(a, b))


def displacement(boxes: np.ndarray, others: np.ndarray) -> str:
    """How the others [n, 4] differ from the boxes [n, 4], each from its own, in the median, in words; '' if alike."""
    boxes, others = boxes.astype(np.float64), others.astype(np.float64)
    sizes, other_sizes = (one[:, 2:] - one[:, :2] for one in (boxes, others))
    shifts = np.median(others[:, :2] + other_sizes / 2 - boxes[:, :2] - sizes / 2, axis=0)
    stretches = np.median(other_sizes / np.maximum(sizes, 1.0), axis=0) - 1
    moved = [f"{round(abs(by), 1):g} pixels {after if by > 0 else before}" for by, before, after in (
        (shifts[0], "left", "right"), (shifts[1], "up", "down")) if abs(by) >= LEAST_SHIFT]
    sized = [f"{abs(by):.0%} {more if by > 0 else less}" for by, less, more in (
        (stretches[0], "narrower", "wider"), (stretches[1], "shorter", "taller")) if abs(by) >= LEAST_STRETCH]
    return ", ".join(moved + (sized or ["of the same size"])) if moved or sized else ""
