"""Bounds of a figure from the same figure of bootstrap resamples."""
from __future__ import annotations

import numpy as np

from harness.stats.estimate import Estimate
from harness.stats.intervals import INTERVAL_CONFIDENCE


def basic_interval(figures: np.ndarray, least: float = -1.0) -> Estimate:
    """The first of the figures, that of the data as they are, with bounds by the others, those of the resamples.

    They are those of the basic interval (Davison and Hinkley 1997), of the resamples' errors about their own mean: a
    figure such as AP rises when images repeat, and the bounds are those of as many different images. The figure is from
    `least` to 1. Each bound holds at 95 %.
    """
    value, resampled = float(figures[0]), np.asarray(figures[1:], np.float64)
    errors = np.quantile(resampled - resampled.mean(), (INTERVAL_CONFIDENCE, 1 - INTERVAL_CONFIDENCE))
    low, high = (value - errors).clip(least, 1).tolist()
    return Estimate(value, low, high)
