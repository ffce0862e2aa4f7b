"""Detections as a file, so that those of two runs can be matched later.

One NumPy archive: image ids, how many detections each has, and the boxes, scores and classes of all of them, in order.
"""
from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILE = "detections.npz"
LARGEST = 2**30  # bytes, unpacked: 100 detections in each of 400,000 images
FIELDS = {"image_ids": (np.int64, 1), "counts": (np.int64, 1), "boxes": (np.float32, 2), "scores": (np.float32, 1),
          "classes": (np.int32, 1)}


class Stored(NamedTuple):
    """The detections of one image, fields as of the detector's own."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    error: str = ""


class DetectionsError(ValueError):
    """The file cannot be read; the message says what is wrong and what to do."""


def packed(detections: Mapping[int, Any]) -> bytes:
    """The content of the file for detections by image id, each with `boxes` [n, 4], `scores` and `classes` [n].

    Equal detections are equal files, in whatever order the images came.
    """
    ids = sorted(detections)
    own = [detections[image] for image in ids]
    content = io.BytesIO()
    np.savez_compressed(
        content, image_ids=np.array(ids, np.int64),
        counts=np.array([len(one.scores) for one in own], np.int64),
        boxes=np.concatenate([*(one.boxes for one in own), np.empty((0, 4), np.float32)]).astype(np.float32),
        scores=np.concatenate([*(one.scores for one in own), []]).astype(np.float32),
        classes=np.concatenate([*(one.classes for one in own), []]).astype(np.int32),
    )
    return content.getvalue()


def digest(content: bytes) -> str:
    """What a run says of its file, so that another run's is not taken for it."""
    return hashlib.sha256(content).hexdigest()


def unpacked(path: str | Path, expected: str) -> dict[int, Stored]:
    """Image id → detections of the file with the digest `expected`.

    Raises DetectionsError for a file that is missing, damaged, too large or another run's.
    """
    try:
        content = _content(Path(path))
        if digest(content) != expected:
            raise ValueError("its digest is not the one of the run record: it is another run's")
        return opened(content)
    except (OSError, ValueError) as error:
        why = f"cannot be read ({str(error)[:200]}); run the gate again with --report"
        raise DetectionsError(f"{path}: {why}") from error


def opened(content: bytes) -> dict[int, Stored]:
    """Image id → detections of what `packed` has made. Raises DetectionsError for what is damaged or too large."""
    try:
        arrays = _arrays(content)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise DetectionsError(str(error)[:200]) from error
    ends = np.cumsum(arrays["counts"])
    parts = (np.split(arrays[name], ends[:-1]) for name in ("boxes", "scores", "classes"))
    return {int(image): Stored(*own) for image, *own in zip(arrays["image_ids"], *parts)}


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError("it is not a file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.stat().st_size:,} bytes, at most {LARGEST:,} are read")
    return path.read_bytes()


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(one.file_size for one in archive.infolist())
    if size > LARGEST:
        raise ValueError(f"{size:,} bytes of content, at most {LARGEST:,} are read")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in FIELDS}
    _require_whole(arrays)
    return arrays


def _require_whole(arrays: dict[str, np.ndarray]) -> None:
    for name, (kind, dimensions) in FIELDS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != dimensions:
            raise ValueError(f"{name} is {arrays[name].dtype} in {arrays[name].ndim} dimensions")
    counts, total = arrays["counts"], len(arrays["scores"])
    if len(counts) != len(set(arrays["image_ids"].tolist())) or (counts < 0).any() or counts.sum() != total:
        raise ValueError("its counts are not those of its images")
    if arrays["boxes"].shape != (total, 4) or len(arrays["classes"]) != total:
        raise ValueError("boxes, scores and classes are not equally many")
    if not (np.isfinite(arrays["boxes"]).all() and np.isfinite(arrays["scores"]).all()):
        raise ValueError("a box or score is not finite")
