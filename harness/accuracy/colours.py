"""Whether a detector finds more where red and blue of its images are exchanged: then its input has the other order."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Callable

from harness.accuracy.changed_images import red_for_blue
from harness.accuracy.dataset import Dataset
from harness.accuracy.off_objects import LEAST, found_objects

IMAGES = 64  # that are shown once more, the first ones with an object
SURE = 3.3  # standard deviations of a sign test, which chance exceeds once in a thousand


def better_exchanged(
    dataset: Dataset, detections: Mapping[int, Any], detect: Callable[[list], Mapping[int, Any]],
) -> str:
    """That more objects are found with red and blue exchanged than by `detections`, in words; '' if not.

    `detect` maps the (id, encoded image) of some images to their detections by id. Raises what it raises, and
    InvalidRun.
    """
    shown = dataset.only([image for image in dataset.image_ids if dataset.annotations_of(image)][:IMAGES])
    again = detect([(image, red_for_blue(encoded)) for image, encoded in shown])
    before, after = ({one[:2] for one in found_objects(shown, found)} for found in (detections, again))
    gained, lost = len(after - before), len(before - after)
    if gained - lost < max(LEAST, SURE * math.sqrt(gained + lost)):
        return ""
    return (f"with red and blue exchanged in {len(shown)} images it finds {len(after)} objects, {len(before)} as they "
            "are: its input has them exchanged, look at what decodes the image")
