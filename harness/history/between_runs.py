"""What the difference between a new run and earlier ones says, by how much runs of one detector differ anyway.

What varies from run to run on one machine (temperature, memory layout, other tenants) is not in the interval of any
single run, however long. So the new value is held against the median of the last runs, with a prediction interval by
Student's t on the spread between them. Where both runs saw the same images, AP has an interval of its own instead: that
of the paired bootstrap.

Two errors are bounded, each where it is made. A metric is worse or better only by the corrected test of Holm (1979)
over the whole family of metrics: of a hundred comparisons of a detector with itself, five raise an alarm in any metric
at most, two or three of them for the worse. That a metric is not worse by more than what matters is shown by its own
bound at 95 %, without a correction, because a run is as good as its baseline only if every metric is (Berger 1982).
`python -m benchmarks.between_runs` counts both.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from harness.compare.comparison import BETTER, DIFFERENCE, RATIO, WORSE
from harness.stats.estimate import Estimate
from harness.stats.intervals import INTERVAL_CONFIDENCE, student_p, student_t

LEAST_RUNS, MOST_RUNS = 3, 10  # of a baseline: fewer show too little of how runs differ, older ones are another time's
FAMILY_ERROR = 0.05  # alarms, for better or worse, among comparisons of a detector with itself
SAME, UNKNOWN = "same", "cannot tell"  # beside BETTER and WORSE


@dataclass(frozen=True)
class Change:
    """How far a metric of a new run is from that of `runs` earlier ones.

    `shift` is the new value less the earlier one on the scale of the test: the logarithm for a ratio. `error` is the
    standard error of the shift and `freedom` its degrees of freedom; both are None where one run shows no spread.
    `noise`, on the same scale, is by how much the machine may have made the new run worse than the earlier ones: a loss
    of no more than that is not shown.
    """

    before: float
    after: float
    how: str
    sense: str
    shift: float
    error: float | None
    freedom: float | None
    runs: int
    is_paired: bool = False
    noise: float = 0.0

    @property
    def p(self) -> float:
        """How often runs of one detector differ by as much, beyond the noise; 1 where that is not known."""
        shift = abs(self.shift)
        if (self.shift > 0) == (self.sense == "<="):
            shift = max(shift - self.noise, 0.0)
        if self.error is None:
            return 1.0
        return student_p(shift / self.error, self.freedom) if self.error else float(not shift)

    @property
    def estimate(self) -> Estimate:
        """The change as a share of the earlier value, or as a difference; each bound holds with 95 %."""
        reach = self._reach(INTERVAL_CONFIDENCE)
        if reach is None:
            return Estimate(self._change(self.shift))
        return Estimate(*(self._change(self.shift + step) for step in (0, -reach, reach)))

    @property
    def loss(self) -> Estimate:
        """The change in the direction that is worse, below 0 for a gain; each bound holds with 95 %."""
        change = self.estimate
        if self.sense == "<=":
            return change
        value, low, high = (None if one is None else -one for one in (change.value, change.high, change.low))
        return Estimate(value, low, high)

    @property
    def is_few(self) -> bool:
        """Whether what is undecided lacks images or runs, rather than a quiet machine."""
        return self.is_paired or (self.runs < MOST_RUNS and not self.noise)

    def visible(self, family: int) -> float | None:
        """The least loss that would be found in a family of so many metrics; None where the spread is not known."""
        reach = self._reach(1 - FAMILY_ERROR / family / 2)
        if reach is None:
            return None
        return abs(self._change(reach if self.sense == "<=" else -reach))

    def _reach(self, confidence: float) -> float | None:
        return None if self.error is None else self.error * student_t(confidence, self.freedom)

    def _change(self, shift: float) -> float:
        return math.expm1(shift) if self.how == RATIO else shift


def between_runs(
    before: Sequence[float], after: float, how: str, sense: str, spread_of: Sequence[float] = ()
) -> Change:
    """The change from the median of earlier runs, with the spread between them, or between other runs `spread_of`.

    Those are used where fewer than three runs are compared with. ValueError for a ratio of a value that is not above 0,
    a value that is not finite, or no earlier run.
    """
    values, others, now = (_scaled(own, how) for own in (before, spread_of, [after]))
    if not len(values):
        raise ValueError("there is no earlier run to compare with")
    shown = others if len(values) < LEAST_RUNS and len(others) > len(values) else values
    error = freedom = None
    if len(shown) > 1:
        error = float(np.std(shown, ddof=1)) * math.sqrt(1 + _variance_of_median(len(values)))
        freedom = len(shown) - 1
    return Change(median(before), after, how, sense, float(now[0] - np.median(values)), error, freedom, len(values))


def paired(before: Sequence[float], after: Sequence[float], images: int) -> Change:
    """The change of AP of the same images: first its values, then those of the same resamples of the images.

    ValueError unless both have as many, more than two of them.
    """
    if len(before) != len(after) or len(before) < 3:
        raise ValueError(f"{len(before)} and {len(after)} resamples: must be as many, so that they can be paired")
    differences = np.subtract(after, before)
    error = float(differences[1:].std(ddof=1))
    return Change(before[0], after[0], DIFFERENCE, ">=", float(differences[0]), error, max(images - 1, 1), 1, True)


def _scaled(values: Sequence[float], how: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all() or (how == RATIO and (values <= 0).any()):
        raise ValueError("a value that is not above 0 has no ratio" if how == RATIO else "a value is not finite")
    return np.log(values) if how == RATIO else values


def _variance_of_median(count: int) -> float:
    """As a share of that of one value: 1/n is the mean's, and at most π/2 of it the median's from three values on."""
    return (math.pi / 2 if count > 2 else 1) / count


def holm(chances: Sequence[float]) -> list[float]:
    """Chances corrected for how many they are, in the same order (Holm 1979)."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    corrected, most = [0.0] * len(chances), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, (len(chances) - place) * chances[index]))
        corrected[index] = most
    return corrected


@dataclass(frozen=True)
class Outcome:
    """What a change says: one of BETTER, WORSE, SAME and UNKNOWN, and the chance after the correction."""

    change: Change
    outcome: str
    chance: float


def outcomes(changes: Sequence[Change], least: Sequence[float]) -> list[Outcome]:
    """What each change of a family says, where a loss of up to `least` does not matter."""
    return [Outcome(change, _outcome(change, chance, most), chance)
            for change, chance, most in zip(changes, holm([change.p for change in changes]), least)]


def _outcome(change: Change, chance: float, least: float) -> str:
    loss, is_seen = change.loss, chance <= FAMILY_ERROR
    if is_seen and loss.value < 0:
        return BETTER
    if loss.high is not None and loss.high <= least:
        return SAME
    is_enough = change.is_paired or change.runs >= LEAST_RUNS
    return WORSE if is_seen and loss.value > 0 and is_enough else UNKNOWN
