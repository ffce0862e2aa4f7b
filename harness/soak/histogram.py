"""A histogram of latencies in bins that grow by 0.1 % each: any number of requests in constant memory."""
from __future__ import annotations

import math
from collections import Counter
from typing import Any

from harness.stats.estimate import Estimate
from harness.stats.percentiles import QUOTED, percentile_ranks, rank

GROWTH = 1.001
BINS_PER_E = 1 / math.log(GROWTH)
SHORTEST = 1e-7  # seconds; anything shorter counts as that


class Histogram:
    """Counts of latencies in seconds; a percentile is right to half a bin, 0.05 %."""

    def __init__(self):
        self._counts: Counter = Counter()

    def add(self, seconds: float) -> None:
        self._counts[math.floor(math.log(max(seconds, SHORTEST)) * BINS_PER_E)] += 1

    def merge(self, other: Histogram) -> None:
        self._counts.update(other._counts)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def percentile(self, p: float) -> float | None:
        """The middle of the bin that holds the percentile by nearest rank; None without latencies."""
        return self._at(rank(p, len(self)), 0.5) if self._counts else None

    def bound(self, p: float) -> Estimate | None:
        """The percentile with its exact bounds, widened to the edges of their bins; None without latencies."""
        if not self._counts:
            return None
        ranks = percentile_ranks(len(self), p)
        return Estimate(
            self._at(ranks.own, 0.5),
            low=None if ranks.low is None else self._at(ranks.low, 0),
            high=None if ranks.high is None else self._at(ranks.high, 1),
            count=len(self), needed=ranks.needed,
        )

    def percentiles(self) -> dict[str, Estimate]:
        """P50, P90 and P99 with their bounds, by name; {} without latencies."""
        return {f"P{p}": self.bound(p) for p in QUOTED} if self._counts else {}

    def _at(self, rank: int, place: float) -> float:
        """The rank-th smallest latency, as a place in its bin from the lower edge (0) to the upper one (1)."""
        for number in sorted(self._counts):
            rank -= self._counts[number]
            if rank <= 0:
                return GROWTH ** (number + place)
        raise IndexError(f"rank {rank} is beyond the last latency")

    def coarse(self, bins: int) -> tuple[list[float], list[int]]:
        """(edges in seconds, counts) in at most `bins` bins of equal ratio, for a plot; ([], []) when empty."""
        if not self._counts:
            return [], []
        first, last = min(self._counts), max(self._counts)
        width = math.ceil((last - first + 1) / bins)
        counts = [0] * math.ceil((last - first + 1) / width)
        for number, count in self._counts.items():
            counts[(number - first) // width] += count
        return [GROWTH ** (first + width * place) for place in range(len(counts) + 1)], counts

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON: bin b counts latencies from growth^b to growth^(b + 1) seconds."""
        return {"growth": GROWTH, "counts": sorted(self._counts.items())}
