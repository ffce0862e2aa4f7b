"""The detections of one image, as every detector returns them. Runs on Python 3.7 and needs only NumPy."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Detections(NamedTuple):
    """The detections of one image.

    `boxes` float32 [n, 4]: x1, y1, x2, y2 in pixels of the original image, upright as its EXIF orientation says;
    `scores` float32 [n] in [0, 1], falling; `classes` int32 [n]: index into the detector's classes. If the image
    could not be processed, `error` says why and the arrays are empty.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    error: str = ""
