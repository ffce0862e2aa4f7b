"""Waiting in tests: never without an end, and never judged by the clock of a busy machine."""
from __future__ import annotations

import time

PATIENCE = 60.0  # seconds that only something that hangs takes


def until(happened, seconds: float = PATIENCE):
    """The first true value of `happened()`. Raises AssertionError if there is none within so many seconds."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, f"did not happen within {seconds:g} s"
        time.sleep(0.01)
    return found
