"""Percentiles of requests that resemble their neighbours, bounded by how much blocks of time differ.

A neighbour, heat or a burst makes many requests slow at once. So what counts is not how many requests were over a limit
but how many independent ones would tell as much: the effective number, by the variance of the share over the limit in
blocks of time. Their exact binomial bounds are then those of the share (Korn and Graubard 1998, "Confidence Intervals
for Proportions with Small Expected Number of Positive Counts Estimated from Survey Data").

The bounds err as seldom as they promise on independent requests, on ones that resemble their neighbours and on bursts
(`python -m benchmarks.promises`), for the images that were sent: a dataset sent whole is not a sample of others.
No bound can know of what did not happen while it was measured: a stretch of slow requests that comes less than about
five times in the shortest measurement is seen by the soak, if at all.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.stats.percentiles import (
    CONFIDENCE,
    PercentileBound,
    at_most,
    error_rate,
    more_needed,
    rank,
    requests_needed,
    share_above,
    student_t,
    variance_of_mean,
)

BLOCKS = 24
DOUBT = 0.25  # standard errors by which the blocks' correlation is taken for more than it looks
STEPS = 64  # limits that are tried on either side of a percentile
ROUNDING = 1e-9


class Blocks:
    """Values (any unit) of equally long times that follow one another; ValueError for none, and for NaN."""

    def __init__(self, values: Sequence[Sequence[float]]):
        self._ranked = [np.sort(np.asarray(block, np.float64)) for block in values]
        self._counts = np.array([len(block) for block in self._ranked], np.float64)
        self._all = np.sort(np.concatenate([*self._ranked, []]))
        if not len(self._all) or math.isnan(self._all[-1]):
            raise ValueError("a percentile of no values, or of NaN, is undefined; measure at least one, and leave "
                             "failed measurements out before")

    def __len__(self) -> int:
        return len(self._all)

    def percentile(self, p: float) -> float:
        """As `harness.stats.percentiles.percentile`."""
        return float(self._all[rank(p, len(self)) - 1])

    def bound(self, p: float, confidence: float = CONFIDENCE) -> PercentileBound:
        """The percentile with the closest tried values that bound the true one, 0.001 <= p <= 99.999.

        `high` is proven not to be exceeded by more than 100 - p percent, as is every larger value; `low` is the mirror
        of it: every smaller limit is proven to be exceeded by more. ValueError for a bad argument.
        """
        test, share = _Test(self, p, confidence), float(share_above(p))
        return PercentileBound(
            low=self._above(self._last_while(test.refutes, self._tried(share, 1.0))), estimate=test.estimate,
            high=self._last_while(test.proves, self._tried(share, 0.0)), count=len(self), needed=test.needed,
        )

    def more(self, p: float, limit: float, confidence: float = CONFIDENCE) -> int | None:
        """About how many more values would decide on which side of the limit the percentile is; None: no number."""
        return _Test(self, p, confidence).more(self.over([limit])[0])

    def over(self, limits: Sequence[float]) -> np.ndarray:
        """How many values of each block are above each limit, [limits, blocks]."""
        below = [np.searchsorted(block, limits, "right") for block in self._ranked]
        return self._counts - np.transpose(below)

    def effect(self, over: np.ndarray, confidence: float) -> float:
        """How many values tell as much as one independent one of the share of `over`; at least 1.

        Student's t in place of the normal quantile pays for what so few blocks know of their variance.
        """
        share = over.sum() / len(self)
        if not 0 < share < 1:
            return 1.0
        variance, freedom = variance_of_mean(over - share * self._counts, DOUBT)
        independent = share * (1 - share) * len(self) / len(over) ** 2
        widening = student_t(confidence, freedom) / NormalDist().inv_cdf(confidence)
        return max(variance / independent, 1.0) * widening**2

    def _last_while(self, holds, limits: Sequence[float]) -> float | None:
        """The last of the limits for which, as for all before it, `holds` is true of what is over them."""
        found = None
        for limit, over in zip(limits, self.over(limits)):
            if not holds(over):
                break
            found = limit
        return found

    def _above(self, limit: float | None) -> float | None:
        """The next measured value, which there is: more than none are above it."""
        return None if limit is None else float(self._all[np.searchsorted(self._all, limit, "right")])

    def _tried(self, near: float, far: float) -> list[float]:
        """Values that a share from `far` to `near` of all is above, the farthest first, closer together near `near`."""
        shares = near + (far - near) * np.linspace(1, 0, STEPS, endpoint=False) ** 2
        places = np.ceil((1 - shares) * len(self)).astype(int) - 1
        return self._all[np.unique(places.clip(0))[::1 if far > near else -1]].tolist()


class _Test:
    """Whether percentile `p` is above a limit or not, each at the stated confidence."""

    def __init__(self, blocks: Blocks, p: float, confidence: float):
        self._blocks, self._allowed, self._alpha = blocks, share_above(p), error_rate(confidence)
        self._confidence, self.estimate = confidence, blocks.percentile(p)
        # What lies beyond a limit may be too little to show how it comes; then the highest values so far do.
        self._least = blocks.effect(blocks.over([np.nextafter(self.estimate, -math.inf)])[0], confidence)
        rarer = max(requests_needed(p, 0, confidence), requests_needed(100 - p, 0, confidence))
        self.needed = math.ceil(rarer * self._least)

    def proves(self, over: np.ndarray) -> bool:
        """That at most the allowed share is over a limit, by how many of each block are."""
        over, count = self._effective(over)
        return at_most(math.ceil(over - ROUNDING), count, self._allowed) <= self._alpha

    def refutes(self, over: np.ndarray) -> bool:
        """That more than the allowed share is over a limit."""
        over, count = self._effective(over)
        return at_most(math.ceil(count - over - ROUNDING), count, 1 - self._allowed) <= self._alpha

    def more(self, over: np.ndarray) -> int | None:
        """About how many more values decide, None for no number."""
        over, count = self._effective(over)
        if not count:
            return None
        wanted = more_needed(count, min(math.ceil(over - ROUNDING), count), self._allowed, self._alpha)
        return None if wanted is None else math.ceil(wanted * len(self._blocks) / count)

    def _effective(self, over: np.ndarray) -> tuple[float, int]:
        """(how many of the independent values that tell as much are over the limit, how many there are)."""
        effect = max(self._blocks.effect(over, self._confidence), self._least)
        count = math.floor(len(self._blocks) / effect + ROUNDING)
        return over.sum() / len(self._blocks) * count, count
