"""Checks that detections can be scored, before any figure: evaluators take NaN for a perfect match."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BORDER_TOLERANCE = 1.0  # pixels, for rounding in the detector's resize
COLUMNS = {"boxes": (np.float32, 2), "scores": (np.float32, 1), "classes": (np.int32, 1)}  # dtype, dimensions
LEAST_SYSTEMATIC = 10  # detections, below which a property of all of them may be chance
REPEATED = 0.1  # the share of all detections from which on their repetition is worth a word
LEAVES = "box leaves"
MOST = 100  # detections of an image, as COCO scores them


@dataclass(frozen=True)
class Fault:
    """A fault in one image's detections, in words, with the first wrong row and its value."""

    image_id: int
    what: str

    def __str__(self) -> str:
        return f"image {self.image_id}: {self.what}"


def faults(image_id: int, detections: Any, classes: int, width: int, height: int) -> list[Fault]:
    """All faults in one image's detections, an empty list if they are sane; width and height in pixels.

    Expected are boxes float32 [n, 4] as x1, y1, x2, y2 in pixels inside the image, scores float32 [n] in [0, 1],
    falling, classes int32 [n] in [0, `classes`), n at most 100, and an empty `error`.
    """
    if getattr(detections, "error", None):
        return [Fault(image_id, f"has an error for a response: {detections.error}")]
    found = list(malformed(detections)) or _wrong_values(detections, classes, width, height)
    return [Fault(image_id, what) for what in found]


def systematic(detections: Mapping[int, Any], classes: int) -> list[Fault]:
    """Faults that all images share: the same bytes for each, boxes that are shares of the image, classes from 1.

    `detections` maps image id to detections; malformed ones and empty ones are left out. The same bytes for several
    images are what a stuck output buffer gives.
    """
    filled = {image_id: own for image_id, own in detections.items() if not any(malformed(own)) and len(own.scores)}
    if not filled:
        return []
    boxes, labels = (np.concatenate([getattr(own, name) for own in filled.values()]) for name in ("boxes", "classes"))
    found = []
    if len(filled) > 1 and len(set(map(content, filled.values()))) == 1:
        found.append("has the very same detections as every other image that has any")
    if len(boxes) >= LEAST_SYSTEMATIC and 0 < boxes.max() <= 1:
        found.append("all boxes of all images lie within one pixel: they must be pixels, not shares of the image")
    if labels.min() == 1 and labels.max() == classes:
        found.append(f"classes go from 1 to {classes}, must count from 0")
    return [Fault(next(iter(filled)), what) for what in found]


def repeated(detections: Mapping[int, Any]) -> str:
    """That many detections have the box and class of another one of their image, in words; '' if not."""
    rows = [np.column_stack([own.boxes, own.classes]) for own in detections.values()]
    whole, again = sum(map(len, rows)), sum(len(own) - len(np.unique(own, axis=0)) for own in rows)
    if again < max(LEAST_SYSTEMATIC, REPEATED * whole):
        return ""
    return f"{again:,} of {whole:,} detections repeat the box and class of another one: look for what adds them twice"


def content(detections: Any) -> tuple[bytes, ...]:
    """The bytes of detections: equal for equal detections alone."""
    return tuple(getattr(detections, name).tobytes() for name in COLUMNS)


def malformed(detections: Any) -> Iterator[str]:
    """What is wrong with the arrays themselves: types, dimensions, lengths."""
    arrays = {name: getattr(detections, name, None) for name in COLUMNS}
    for name, (dtype, dimensions) in COLUMNS.items():
        array = arrays[name]
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            yield f"{name} is {getattr(array, 'dtype', type(array).__name__)}, must be {np.dtype(dtype)}"
        elif array.ndim != dimensions or array.shape[1:] not in ((), (4,)):
            yield f"{name} has shape {array.shape}, must be {'[n, 4]' if name == 'boxes' else '[n]'}"
    lengths = {name: len(array) for name, array in arrays.items() if np.ndim(array)}
    if len(set(lengths.values())) > 1:
        yield f"lengths differ: {lengths}"
    elif max(lengths.values(), default=0) > MOST:
        yield f"has {max(lengths.values())} detections, must have at most {MOST}"


def _wrong_values(detections: Any, classes: int, width: int, height: int) -> Iterator[str]:
    boxes, scores, labels = detections.boxes, detections.scores, detections.classes
    low, high = -BORDER_TOLERANCE, np.array([width, height], np.float32) + BORDER_TOLERANCE
    # Each row states the condition that must hold: NaN compares false, so it never holds. In the rows below the one for
    # NaN it does, because it is named before.
    checks = (
        ("box is not finite", np.isfinite(boxes), boxes),
        ("score is NaN", ~np.isnan(scores), scores),
        ("score is not in [0, 1]", (scores >= 0) & (scores <= 1) | np.isnan(scores), scores),
        ("score is higher than the one before it", ~(np.append(scores[:1], scores[:-1]) < scores), scores),
        (f"class is not in [0, {classes})", (labels >= 0) & (labels < classes), labels),
        ("box has x1 > x2 or y1 > y2", boxes[:, :2] <= boxes[:, 2:], boxes),
        (f"{LEAVES} the {width} x {height} image", (boxes[:, :2] >= low) & (boxes[:, 2:] <= high), boxes),
    )
    for what, good, values in checks:
        bad = np.flatnonzero(~good.reshape(len(good), -1).all(axis=1)) if len(good) else ()
        if len(bad):
            row = values[bad[0]]
            first = (row.astype(float).round(3) if row.dtype.kind == "f" else row).tolist()
            yield f"{what} (row {bad[0]}: {first}, {len(bad)} of {len(good)} rows)"
