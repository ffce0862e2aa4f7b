"""Where a metric has changed for good: steps in the series of a detector's runs, by two methods.

apache-otava finds them (E-divisive with Student's t: Fleming et al. 2023, "Hunter"); it takes a single outlier for two
steps and needs neither size nor length. So a step counts only with three runs on either side, and from a least size of
the medians on, which outliers do not move. A test by ranks, which outliers do not move either, says which of the steps
it finds too: `agreed`. Without apache-otava its own steps are all there are, and none is agreed.
"""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Callable, NamedTuple

import numpy as np

from harness.compare.comparison import RATIO

MISSING = ("change points by ranks alone, because apache-otava is not installed: "
           "pip install --no-deps -r requirements-history.txt")
LEAST_POINTS = 3  # runs on either side of a step
LEAST_RATIO, LEAST_DIFFERENCE = 0.02, 0.002  # of a step: a share of speed, a difference of AP
OTAVA_P, RANKS_P = 0.001, 0.01  # otava's own default; the ranks only say whether they agree
WINDOW = 50  # otava's default
NEAR = 2  # runs by which two methods may differ about the place of one step
PERMUTATIONS = 999


class Step(NamedTuple):
    """A step of a series: the index of the first value after it, the medians before and after, and who found it."""

    index: int
    before: float
    after: float
    agreed: bool


def steps(values: Sequence[float], how: str) -> list[Step]:
    """The steps of a series in the order of its runs. Values of a ratio must be above 0, all must be finite."""
    values = np.asarray(values, np.float64)
    if len(values) < 2 * LEAST_POINTS:
        return []
    least = float(np.log1p(LEAST_RATIO)) if how == RATIO else LEAST_DIFFERENCE
    scaled = np.log(values) if how == RATIO else values
    by_ranks = _lasting(scaled, rank_steps(scaled), least)
    finder = otava()
    found = _lasting(scaled, finder(values), least) if finder else by_ranks
    parts = [float(np.median(part)) for part in np.split(values, found)]
    return [Step(place, before, after, finder is not None and any(abs(place - other) <= NEAR for other in by_ranks))
            for place, before, after in zip(found, parts, parts[1:])]


def rank_steps(values: np.ndarray) -> list[int]:
    """Indices at which the ranks of the values before and after differ by more than chance explains, in order.

    The series is cut where Wilcoxon's statistic of the two parts is largest, if at most one in 100 random orders of the
    values has a larger one, and each part again. The random orders are always the same.
    """
    if len(values) < 2 * LEAST_POINTS:
        return []
    ranks = _ranks(values)
    place, size = _best_cut(ranks[None])
    shuffled = np.random.default_rng(0).permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)
    chance = (1 + np.sum(_best_cut(shuffled)[1] >= size)) / (1 + PERMUTATIONS)
    if chance > RANKS_P:
        return []
    cut = int(place[0])
    return [*rank_steps(values[:cut]), cut, *(cut + other for other in rank_steps(values[cut:]))]


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1, the mean of their ranks for equal values."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _best_cut(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row: the number of values before the cut at which the parts' ranks differ most, and by how much."""
    n = ranks.shape[1]
    before = np.arange(LEAST_POINTS, n - LEAST_POINTS + 1)
    sums = np.cumsum(ranks, axis=1)[:, before - 1]
    sizes = np.abs(sums - before * (n + 1) / 2) / np.sqrt(before * (n - before))
    best = sizes.argmax(axis=1)
    return before[best], np.take_along_axis(sizes, best[:, None], axis=1)[:, 0]


def _lasting(values: np.ndarray, places: Sequence[int], least: float) -> list[int]:
    """The places that stay when steps next to too few values, and those whose medians differ too little, are left out.

    One at a time, the smallest first, because the parts beside it become one.
    """
    places = sorted(set(places))
    while places:
        parts = np.split(values, places)
        medians = [float(np.median(part)) for part in parts]
        sizes = [abs(after - before) for before, after in zip(medians, medians[1:])]
        short = [place for place in range(len(places)) if min(map(len, parts[place:place + 2])) < LEAST_POINTS]
        weakest = min(short or range(len(places)), key=sizes.__getitem__)
        if not short and sizes[weakest] >= least:
            break
        del places[weakest]
    return places


@cache
def otava() -> Callable[[np.ndarray], list[int]] | None:
    """A function: values → the places where apache-otava sees a change; None where it is not installed.

    Only its analysis is imported, which needs NumPy and SciPy alone.
    """
    try:
        analysis = import_module("otava.analysis")
    except ImportError:
        return None

    def places(values: np.ndarray) -> list[int]:
        if not np.ptp(values):
            return []
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # SciPy's, where the values before or after a step do not vary at all
            found, _ = analysis.compute_change_points(values.tolist(), window_len=WINDOW, max_pvalue=OTAVA_P)
        return [int(one.index) for one in found]

    return places
