"""Compares two builds of one detector layer by layer, to name the first layer that differs."""
from __future__ import annotations

import numpy as np

# Layers whose outputs are in memory at once.
AT_ONCE = 16


def first_difference(reference, other, image: bytes, tolerance: float) -> str:
    """The first layer in order of execution that differs by more than `tolerance`, with its difference; '' if none.

    Both are `model.detector.Detector` of the same SavedModel. For `tolerance` see `distance`.
    """
    known = set(other.layers())
    names = [name for name in reference.layers() if name in known]
    for start in range(0, len(names), AT_ONCE):
        part = names[start:start + AT_ONCE]
        for name, expected, found in zip(part, reference.outputs(image, part), other.outputs(image, part)):
            off = distance(expected, found)
            if off > tolerance:
                return f"{name}: {off:.2g} of its norm"
    return ""


def distance(expected: np.ndarray, found: np.ndarray) -> float:
    """The norm of the difference as a share of the expected norm; infinite if only one side is finite."""
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    if not np.isfinite(found).all():
        return 0.0 if np.array_equal(expected, found, equal_nan=True) else np.inf
    norm = np.linalg.norm(expected)
    return float(np.linalg.norm(found - expected) / norm) if norm else float(np.any(found))
