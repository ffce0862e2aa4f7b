"""Is an answer fit to be scored? Evaluators take NaN for a perfect match, so this comes before any figure."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BORDER_TOLERANCE = 1.0  # pixels, for rounding in the detector's resize
COLUMNS = {"boxes": (np.float32, 2), "scores": (np.float32, 1), "classes": (np.int32, 1)}  # dtype, dimensions


@dataclass(frozen=True)
class Fault:
    """What is wrong with one image's answer, with the first offending row and its value."""

    image_id: int
    what: str

    def __str__(self) -> str:
        return f"image {self.image_id}: {self.what}"


def faults(
    image_id: int, detections: Any, classes: int, width: int, height: int, limit: int = 100
) -> list[Fault]:
    """Everything wrong with one answer for an image of width x height pixels; an empty list means sane.

    Expects boxes float32 [n, 4] as x1, y1, x2, y2 in pixels inside the image, scores float32 [n] in [0, 1],
    falling, classes int32 [n] in [0, `classes`), n at most `limit`, and an empty `error`.
    """
    if getattr(detections, "error", None):
        return [Fault(image_id, f"was not answered: {detections.error}")]
    malformed = list(_malformed(detections, limit))
    found = malformed or _wrong_values(detections, classes, width, height)
    return [Fault(image_id, what) for what in found]


def stale(answers: Mapping[int, Any]) -> list[Fault]:
    """One fault when several images got detections and all of them the very same bytes, else an empty list.

    `answers` maps image id to sane detections. A stuck output buffer looks like this.
    """
    filled = {image_id: answer for image_id, answer in answers.items() if len(answer.scores)}
    if len(filled) < 2 or len(set(map(content, filled.values()))) > 1:
        return []
    return [Fault(next(iter(filled)), "has the very same detections as every other image that has any")]


def content(detections: Any) -> tuple[bytes, ...]:
    """The bytes of an answer: equal for equal answers alone."""
    return tuple(getattr(detections, name).tobytes() for name in COLUMNS)


def _malformed(detections: Any, limit: int) -> Iterator[str]:
    arrays = {name: getattr(detections, name, None) for name in COLUMNS}
    for name, (dtype, dimensions) in COLUMNS.items():
        array = arrays[name]
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            yield f"{name} is {getattr(array, 'dtype', type(array).__name__)}, should be {np.dtype(dtype)}"
        elif array.ndim != dimensions or array.shape[1:] not in ((), (4,)):
            yield f"{name} has shape {array.shape}, should be {'[n, 4]' if name == 'boxes' else '[n]'}"
    lengths = {name: len(array) for name, array in arrays.items() if np.ndim(array)}
    if len(set(lengths.values())) > 1:
        yield f"lengths differ: {lengths}"
    elif max(lengths.values(), default=0) > limit:
        yield f"has {max(lengths.values())} detections, should have at most {limit}"


def _wrong_values(detections: Any, classes: int, width: int, height: int) -> Iterator[str]:
    boxes, scores, labels = detections.boxes, detections.scores, detections.classes
    low, high = -BORDER_TOLERANCE, np.array([width, height], np.float32) + BORDER_TOLERANCE
    # Each row states what is good: NaN compares false and so is never taken for good.
    checks = (
        ("box is not finite", np.isfinite(boxes), boxes),
        ("score is not in [0, 1]", (scores >= 0) & (scores <= 1), scores),
        ("score is higher than the one before it", np.append(scores[:1], scores[:-1]) >= scores, scores),
        (f"class is not in [0, {classes})", (labels >= 0) & (labels < classes), labels),
        ("box has x1 > x2 or y1 > y2", boxes[:, :2] <= boxes[:, 2:], boxes),
        (f"box leaves the {width} x {height} image", (boxes[:, :2] >= low) & (boxes[:, 2:] <= high), boxes),
    )
    for what, good, values in checks:
        bad = np.flatnonzero(~good.reshape(len(good), -1).all(axis=1)) if len(good) else ()
        if len(bad):
            yield f"{what} (row {bad[0]}: {values[bad[0]].tolist()}, {len(bad)} of {len(good)} rows)"
