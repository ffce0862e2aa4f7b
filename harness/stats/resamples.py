"""Bounds of a figure from the same figure of bootstrap resamples."""
from __future__ import annotations

import numpy as np

from harness.stats.estimate import Estimate
from harness.stats.intervals import INTERVAL_CONFIDENCE
from harness.stats.percentiles import error_rate


def basic_interval(
    figures: np.ndarray, confidence: float = INTERVAL_CONFIDENCE, least: float = -1.0, most: float = 1.0
) -> Estimate:
    """The first of the figures, that of the data as they are, with bounds by the others, those of the resamples.

    They are those of the basic interval (Davison and Hinkley 1997), of the resamples' errors about their own mean: a
    figure such as AP rises when images repeat, and the bounds are those of as many different images. `least` and `most`
    are what the figure can be. Each bound holds with `confidence`.
    """
    value, resampled = float(figures[0]), np.asarray(figures[1:], np.float64)
    alpha = error_rate(confidence)
    errors = np.quantile(resampled - resampled.mean(), (1 - alpha, alpha))
    low, high = (value - errors).clip(least, most).tolist()
    return Estimate(value, low, high)
