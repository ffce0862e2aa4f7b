"""Detectors that need no framework, as a node opens them, and what may be wrong with one of them."""
from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress

import numpy as np

from harness.accuracy.stored import Stored

OPENER = f"{__name__}:opened"


class Double:
    """A detector whose detections depend on an image's bytes alone; `delay` is in seconds a request."""

    metadata, versions = {"names": None}, {"double": "1"}

    def __init__(self, delay: float, fault: str, after: int):
        self._delay, self._fault, self._left = delay, fault, after

    def detect(self, images):
        """One detection an image."""
        time.sleep(self._delay)
        self._left -= 1
        if self._left >= 0 or not self._fault:
            return [found(image) for image in images]
        return getattr(self, f"_{self._fault}")(images)

    def _wrong(self, images):
        return [found(image, confidence=0.75) for image in images]

    def _nan(self, images):
        return [found(image, confidence=float("nan")) for image in images]

    def _raises(self, images):
        raise ValueError("it is broken")

    def _dies(self, images):
        os._exit(1)

    def _hangs(self, images):
        time.sleep(1e6)

    def fallback(self, image):
        """It runs as promised."""
        return ""

    def counters(self):
        """It has none."""
        return {}

    def broken(self):
        """Raises."""
        raise ValueError("it is broken")

    def visible_cores(self):
        """The NeuronCores that this process is to use."""
        return os.environ.get("NEURON_RT_VISIBLE_CORES")

    def unpicklable(self):
        """Raises what cannot be sent."""
        raise Unpicklable("this", "that")

    def sleep(self, seconds):
        """Hangs for a while."""
        time.sleep(seconds)


class Unpicklable(Exception):
    """An exception that does not survive its way between processes."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def found(image: bytes, confidence: float = 0.5) -> Stored:
    """The detections of an image: one box, as large as the image is long."""
    size = float(len(image))
    return Stored(np.array([[0, 0, size, size]], np.float32), np.array([confidence], np.float32),
                  np.array([0], np.int32))


@contextmanager
def opened(delay: float = 0.0, fault: str = "", after: int = 0, claim: str = ""):
    """The opener of a node. With a `claim`, a path, only the first that opens a detector with it has the fault."""
    if fault == "start":
        raise Unpicklable("this", "that")
    yield Double(float(delay), fault if not claim or _is_first(claim) else "", after)


def _is_first(claim: str) -> bool:
    with suppress(FileExistsError):
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        return True
    return False
