"""Whether a detector finds more where red and blue of its images are exchanged: then its input has the other order."""
from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any, Callable

from PIL import Image

from harness.accuracy.dataset import Dataset
from harness.accuracy.off_objects import LEAST, found_objects

IMAGES = 64  # that are shown once more, the first ones with an object
SURE = 3.3  # standard deviations of a sign test, which chance exceeds once in a thousand
QUALITY = 95  # of the JPEG files that are made


def exchanged(encoded: bytes) -> bytes:
    """The image with red and blue exchanged, in the same file format, turned as before. Raises OSError, ValueError."""
    image = Image.open(io.BytesIO(encoded))
    red, green, blue = image.convert("RGB").split()
    file = io.BytesIO()
    settings = {"exif": image.getexif(), **({"quality": QUALITY, "subsampling": 0} if image.format == "JPEG" else {})}
    Image.merge("RGB", (blue, green, red)).save(file, image.format, **settings)
    return file.getvalue()


def better_exchanged(
    dataset: Dataset, detections: Mapping[int, Any], detect: Callable[[list], Mapping[int, Any]],
) -> str:
    """That more objects are found with red and blue exchanged than by `detections`, in words; '' if not.

    `detect` maps the (id, encoded image) of some images to their detections by id. Raises what it raises, OSError and
    ValueError.
    """
    shown = dataset.only([image for image in dataset.image_ids if dataset.annotations_of(image)][:IMAGES])
    again = detect([(image, exchanged(encoded)) for image, encoded in shown])
    before, after = ({one[:2] for one in found_objects(shown, found)} for found in (detections, again))
    gained, lost = len(after - before), len(before - after)
    if gained - lost < max(LEAST, SURE * math.sqrt(gained + lost)):
        return ""
    return (f"with red and blue exchanged in {len(shown)} images it finds {len(after)} objects, {len(before)} as they "
            "are: its input has red, green and blue in another order than it was trained with")
