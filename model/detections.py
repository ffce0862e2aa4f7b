"""The answer for one image, as every detector gives it. Runs on Python 3.7 and needs NumPy alone."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Detections(NamedTuple):
    """The answer for one image.

    `boxes` float32 [n, 4]: x1, y1, x2, y2 in pixels of the original image, upright as its EXIF orientation says;
    `scores` float32 [n] in [0, 1], falling; `classes` int32 [n]: index into the detector's classes. Where the image
    could not be answered, `error` says why and the arrays are empty.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    error: str = ""
