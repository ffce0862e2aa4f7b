"""Detections under load: they must be sane, and those of a sequential run."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.accuracy.compliance import changed, exchanged
from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import InvalidRun, require_scorable


def exchanged_words(sequential: Mapping[int, Any], known: Mapping[int, Any]) -> str:
    """That images got the detections which a sequential run has for others; '' if none did. Both by image id."""
    pairs = exchanged(sequential, known)
    if not pairs:
        return ""
    image, other = pairs[0]
    return (f"{len(pairs)} of {len(known)} images got the detections of another image, as with batches in the wrong "
            f"order or a buffer that callers share; first image {image} those of image {other}")


def wrong_under_load(dataset: Dataset, sequential: Mapping[int, Any], detections: Mapping[int, Any]) -> str:
    """Why detections under load are not sane or not those of the sequential run; '' if they are.

    All are by image id, of images of the dataset. Those without a sequential detection are looked at for sanity alone.
    """
    known = {image: found for image, found in detections.items() if image in sequential}
    if mixed_up := exchanged_words(sequential, known):
        return mixed_up
    try:
        require_scorable(dataset.only(detections), detections)
        differing = changed(sequential, known)
    except InvalidRun as error:
        return str(error)
    return (f"{len(differing)} of {len(known)} images got other detections under load than in a sequential run, "
            f"first image {differing[0]}") if differing else ""
