"""Detectors that need no framework, as a node opens them."""
from __future__ import annotations

import time
from contextlib import contextmanager

import numpy as np

from harness.accuracy.stored import Stored


class Double:
    """A detector whose detections depend on an image's bytes alone; `delay` is in seconds a request."""

    metadata, versions = {"names": None}, {"double": "1"}

    def __init__(self, delay: float = 0.0):
        self._delay = float(delay)

    def detect(self, images):
        """One detection an image."""
        time.sleep(self._delay)
        return [_found(image) for image in images]

    def fallback(self, image):
        """It runs as promised."""
        return ""

    def counters(self):
        """It has none."""
        return {}

    def broken(self):
        """Raises."""
        raise ValueError("it is broken")

    def sleep(self, seconds):
        """Hangs for a while."""
        time.sleep(seconds)


def _found(image: bytes) -> Stored:
    size = float(len(image))
    return Stored(np.array([[0, 0, size, size]], np.float32), np.array([0.5], np.float32), np.array([0], np.int32))


@contextmanager
def opened(**arguments):
    """The opener of a node."""
    yield Double(**arguments)
