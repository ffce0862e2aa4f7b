"""Percentiles of measured values, by nearest rank: every figure is a value that was really measured."""
from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

QUOTED = (50, 90, 99)


def percentile(values: Sequence[float], p: float) -> float:
    """The smallest measured value that at least `p` percent of the values do not exceed, 0 < p <= 100.

    Nearest rank, no interpolation: the ceil(p / 100 * n)-th smallest (Hyndman and Fan 1996, definition 1).
    Raises ValueError when there are no values, one is NaN, or p is out of range.
    """
    return percentiles(values, (p,))[f"P{p}"]


def percentiles(values: Sequence[float], ps: Sequence[float] = QUOTED) -> dict[str, float]:
    """Percentiles from one sort, keyed "P50", "P90", ..., in the values' unit; errors as `percentile`."""
    if not len(values):
        raise ValueError("a percentile of no values is undefined; measure at least one")
    if any(math.isnan(value) for value in values):
        raise ValueError("a percentile of NaN is undefined; leave failed measurements out before")
    ranked = sorted(values)
    return {f"P{p}": ranked[_rank(p, len(ranked)) - 1] for p in ps}


def _rank(p: float, n: int) -> int:
    if not 0 < p <= 100:
        raise ValueError(f"percentile {p} is out of range; it must be above 0 and at most 100")
    return math.ceil(Fraction(str(p)) * n / 100)  # exact: in floats 7 / 100 * 100 is above 7
