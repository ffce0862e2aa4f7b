"""Percentiles of requests that resemble their neighbours, bounded by how much blocks of time differ.

A neighbour, heat or a burst makes many requests slow at once. So the count of requests over a limit is replaced by the
effective number: how many independent requests would say as much, by the variance of the share over the limit in blocks
of time. Its exact binomial bounds are those of the share (Korn and Graubard 1998, "Confidence Intervals for Proportions
with Small Expected Number of Positive Counts Estimated from Survey Data").

The bounds err as seldom as they promise on independent requests, on requests that resemble their neighbours and on
bursts (`python -m benchmarks.promises`). They hold for the images that were sent: a dataset sent whole is not a sample.
No bound covers what did not happen during the measurement: slow stretches that come less than about five times in the
shortest measurement are for the soak to see.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.stats.estimate import Estimate
from harness.stats.intervals import student_t, variance_of_mean
from harness.stats.percentiles import CONFIDENCE, at_most, error_rate, more_needed, rank, requests_needed, share_above

BLOCKS = 24
DOUBT = 0.25  # standard errors added to the blocks' correlation
DISTURBED = 1.25  # times the usual slowdown
MOST_DISTURBED = 1 / 4  # of the blocks
STEPS = 64  # limits tried on either side of a percentile
ROUNDING = 1e-9


class Blocks:
    """Values (any unit) in blocks of time, equally long and in order; ValueError for none, and for NaN.

    `slowdowns` are the most by which the machine can have slowed each block, from 1 on. Noise makes nothing look
    better, so all values count as they are; but as far as blocks differ because the machine slowed some of them, their
    values say as much as on an undisturbed machine.
    """

    def __init__(self, values: Sequence[Sequence[float]], slowdowns: Sequence[float] | None = None):
        self._ranked = [np.sort(np.asarray(block, np.float64)) for block in values]
        self._counts = np.array([len(block) for block in self._ranked], np.float64)
        self._all = np.sort(np.concatenate([*self._ranked, []]))
        if not len(self._all) or math.isnan(self._all[-1]):
            raise ValueError("there is no percentile of no values, or of NaN; measure at least one, and leave failed "
                             "measurements out")
        self._slowdowns = slowdowns

    def __len__(self) -> int:
        return len(self._all)

    def percentile(self, p: float) -> float:
        """The percentile by nearest rank; ValueError for one out of range."""
        return float(self._all[rank(p, len(self)) - 1])

    def bound(self, p: float, confidence: float = CONFIDENCE) -> Estimate:
        """The percentile with the closest tried values that bound the true one, 0.001 <= p <= 99.999.

        At most 100 - p percent are proven to exceed `high` and every larger limit; more are proven to exceed every
        limit below `low`. ValueError for a bad argument.
        """
        test, share = _Test(self, p, confidence), float(share_above(p))
        refuted = self._last_while(test.refutes, self._tried(share, 1.0))
        proven = self._last_while(test.proves, self._tried(share, 0.0))
        return Estimate(test.percentile, self._above(refuted), proven, count=len(self), needed=test.needed)

    def more(self, p: float, limit: float, confidence: float = CONFIDENCE) -> int | None:
        """About how many more values would decide on which side of the limit the percentile is; None if no number."""
        return _Test(self, p, confidence).more(self.over([limit])[0])

    def over(self, limits: Sequence[float]) -> np.ndarray:
        """How many values of each block are above each limit, [limits, blocks]."""
        below = [np.searchsorted(block, limits, "right") for block in self._ranked]
        return self._counts - np.transpose(below)

    def effect(self, over: np.ndarray, confidence: float) -> float:
        """How many values say as much about the share of `over` as one independent value; at least 1.

        Student's t in place of the normal quantile allows for a variance that is known from few blocks only.
        """
        share = over.sum() / len(self)
        if not 0 < share < 1:
            return 1.0
        variance, freedom = variance_of_mean(over - share * self._counts, DOUBT)
        independent = share * (1 - share) * len(self) / len(over) ** 2
        widening = student_t(confidence, freedom) / NormalDist().inv_cdf(confidence)
        return max(variance / independent, 1.0) * widening**2

    def without_noise(self) -> Blocks:
        """The values without the differences between the medians of blocks that go with the machine's slowdown.

        How far they do is the slope of log(median) on log(slowdown), from 0 to 1. Noise that is the same in all blocks,
        or rises where the detector is fast, explains nothing.
        """
        if self._slowdowns is None:
            return self
        factors = np.power(self._slowdowns, self._explained(np.log(self._slowdowns)))
        return Blocks([block / factor for block, factor in zip(self._ranked, factors)])

    def undisturbed(self) -> Blocks:
        """The blocks without those that the machine slowed far more than the others, at most a quarter of them."""
        if self._slowdowns is None:
            return self
        slowdowns = np.asarray(self._slowdowns)
        most = np.sort(slowdowns)[::-1][math.floor(MOST_DISTURBED * len(slowdowns))]
        kept = np.flatnonzero(slowdowns <= max(most, DISTURBED * np.median(slowdowns)))
        has_values = self._counts[kept].any()  # of few and long requests all may lie in the blocks that are left out
        return Blocks([self._ranked[place] for place in kept], slowdowns[kept]) if has_values else self

    def _explained(self, noise: np.ndarray) -> float:
        filled = self._counts > 0
        medians = np.array([block[rank(50, len(block)) - 1] for block in self._ranked if len(block)])
        noise = noise[filled] - noise[filled].mean()
        if not (noise @ noise) or medians.min() <= 0:
            return 0.0
        return float(np.clip(noise @ np.log(medians) / (noise @ noise), 0, 1))

    def _last_while(self, holds, limits: Sequence[float]) -> float | None:
        """The last limit before the first one for which `holds` fails; None if it fails at once."""
        found = None
        for limit, over in zip(limits, self.over(limits)):
            if not holds(over):
                break
            found = limit
        return found

    def _above(self, limit: float | None) -> float | None:
        """The next measured value; there is one, because values above the limit were what refuted it."""
        return None if limit is None else float(self._all[np.searchsorted(self._all, limit, "right")])

    def _tried(self, near: float, far: float) -> list[float]:
        """Measured values to try as limits, from the one that the share `far` exceeds to that of `near`."""
        shares = near + (far - near) * np.linspace(1, 0, STEPS, endpoint=False) ** 2
        places = np.ceil((1 - shares) * len(self)).astype(int) - 1
        return self._all[np.unique(places.clip(0))[::1 if far > near else -1]].tolist()


class _Test:
    """The two one-sided tests of percentile `p` against a limit, each at the stated confidence."""

    def __init__(self, blocks: Blocks, p: float, confidence: float):
        self._blocks = blocks
        self._allowed = share_above(p)
        self._alpha = error_rate(confidence)
        self._confidence = confidence
        self.percentile = blocks.percentile(p)
        # Beyond a limit there may be too few values to show their bursts; then those from the percentile on do, where
        # the machine did not cause them: as they are, or without its noise, whichever resemble each other less.
        undisturbed = blocks.undisturbed()
        self._least = min(_effect_from(one, p, confidence) for one in (undisturbed, undisturbed.without_noise()))
        rarer = max(requests_needed(p, 0, confidence), requests_needed(100 - p, 0, confidence))
        self.needed = math.ceil(rarer * self._least)

    def proves(self, over: np.ndarray) -> bool:
        """Whether at most the allowed share is over a limit, given how many values of each block are."""
        over, count = self._effective(over)
        return at_most(math.ceil(over - ROUNDING), count, self._allowed) <= self._alpha

    def refutes(self, over: np.ndarray) -> bool:
        """Whether more than the allowed share is over a limit, given how many values of each block are."""
        over, count = self._effective(over)
        return at_most(math.ceil(count - over - ROUNDING), count, 1 - self._allowed) <= self._alpha

    def more(self, over: np.ndarray) -> int | None:
        """About how many more values decide; None if no number does."""
        over, count = self._effective(over)
        if not count:
            return None
        wanted = more_needed(count, min(math.ceil(over - ROUNDING), count), self._allowed, self._alpha)
        return None if wanted is None else math.ceil(wanted * len(self._blocks) / count)

    def _effective(self, over: np.ndarray) -> tuple[float, int]:
        """(effective number of values over the limit, effective number of values)."""
        effect = max(self._blocks.effect(over, self._confidence), self._least)
        count = math.floor(len(self._blocks) / effect + ROUNDING)
        return over.sum() / len(self._blocks) * count, count


def _effect_from(blocks: Blocks, p: float, confidence: float) -> float:
    """The effect of the values from percentile `p` on."""
    below = np.nextafter(blocks.percentile(p), -math.inf)
    return blocks.effect(blocks.over([below])[0], confidence)
