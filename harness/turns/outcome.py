"""What the rounds decide of each metric: DIFFERENT, SAME or UNKNOWN.

The value of a round is the logarithm of B's figure by A's, and the rounds are independent: each has fresh processes.
Student's t over them is asked at looks that are fixed beforehand, and they share the error (Bonferroni). So do the
metrics, by Holm's procedure (1979, Scandinavian Journal of Statistics 6), and each interval is that of its metric's
step: it leaves out 0 where a difference is found, and lies within the least change that matters where it is SAME.

Promise: two arms that are the same are called DIFFERENT in any speed in at most 1 % of comparisons, and two that
differ by more than the least change that matters are called SAME in at most 5 %. `python -m benchmarks.turns` counts.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness.stats.intervals import student_t
from harness.turns.arms import NAMES
from harness.turns.rounds import CONTROL, P50, P90, THROUGHPUT, Round
from harness.verdict.metrics import percent

DIFFERENT, SAME, UNKNOWN = "DIFFERENT", "SAME", "UNKNOWN"
# Of all speeds of a comparison. A false alarm costs somebody a day; what is wrongly called SAME is a loss of little
# more than what matters.
ALARM, ERROR = 0.01, 0.05
# With fewer rounds two processes that are fast or slow by chance may differ in the same way in all of them.
LEAST_ROUNDS = 4
MOST_MORE = 1_000  # rounds: more would not help anybody
SMALLEST = 1e-9  # standard error of a logarithm: of made-up rounds that are all the same
CHECKS = {THROUGHPUT: "throughput", P50: "latency", P90: "latency"}


class Row(NamedTuple):
    """What is known of one metric: `change` from A to B with its bounds, shares of A's figure, or AP.

    `rounds` is how many values it rests on: rounds, or images. `a` and `b` are the arms' own figures. `is_worse`: B was
    found to be worse than A.
    """

    check: str
    metric: str
    outcome: str
    change: float | None
    low: float | None
    high: float | None
    rounds: int
    why: str
    a: float | None = None
    b: float | None = None
    is_worse: bool = False


class Student(NamedTuple):
    """Student's t of one metric: the mean of its logarithms, its standard error, the rounds, the share of an error."""

    mean: float
    error: float
    rounds: int
    share: float

    def reach(self, error: float, rounds: int | None = None) -> float:
        """Half of the interval of this error after so many rounds, with the spread of those measured."""
        wanted = rounds or self.rounds
        spread = self.error * math.sqrt(self.rounds / wanted)
        return student_t(1 - error * self.share / 2, wanted - 1) * spread

    def interval(self, error: float) -> tuple[float, float, float]:
        """The change and its bounds, as shares of A's figure."""
        change, low, high = (math.expm1(self.mean + step * self.reach(error)) for step in (0, -1, 1))
        return change, low, high

    def decides(self, within: float, rounds: int | None = None) -> str:
        """What so many rounds would decide if mean and spread stayed; `within` is a logarithm."""
        if abs(self.mean) + self.reach(ERROR, rounds) <= within:
            return SAME
        return DIFFERENT if abs(self.mean) > self.reach(ALARM, rounds) else UNKNOWN

    def more(self, within: float) -> int | None:
        """How many more rounds would decide about, None for more than a thousand."""
        few, many = self.rounds, self.rounds + MOST_MORE
        if self.decides(within, many) == UNKNOWN:
            return None
        while many - few > 1:  # what so many rounds decide, more of them decide too
            middle = (few + many) // 2
            few, many = (middle, many) if self.decides(within, middle) == UNKNOWN else (few, middle)
        return many - self.rounds


def looks(most: int) -> tuple[int, ...]:
    """The numbers of rounds after which it is looked whether all is decided: 4, doubled, and the most."""
    doubled = []
    while LEAST_ROUNDS * 2 ** len(doubled) < most:
        doubled.append(LEAST_ROUNDS * 2 ** len(doubled))
    return (*doubled, most)


def outcomes(rounds: Sequence[Round], within: float, most: int, round_seconds: float) -> list[Row]:
    """A row for each metric that every round has; `within` is the least change that matters, as a share of A's.

    `most` is the number of rounds that the looks are planned for, and `round_seconds` what one takes.
    """
    few = f"{len(rounds)} of at least {LEAST_ROUNDS} rounds were measured; give it more time"
    if not rounds:
        return [Row(CHECKS[THROUGHPUT], THROUGHPUT, UNKNOWN, None, None, None, 0, few)]
    metrics = [metric for metric in CHECKS if all(metric in one.values[arm] for one in rounds for arm in NAMES)]
    if len(rounds) < LEAST_ROUNDS:
        changes = {metric: math.expm1(float(_logarithms(rounds, metric).mean())) for metric in metrics}
        return [Row(CHECKS[metric], metric, UNKNOWN, change, None, None, len(rounds), few, *_typical(rounds, metric))
                for metric, change in changes.items()]
    tests, control = _holm(rounds, metrics, 1 / len(looks(most))), control_test(rounds, most)
    return [_row(metric, tests[metric], control, rounds, math.log1p(within), round_seconds) for metric in metrics]


def control_test(rounds: Sequence[Round], most: int) -> Student:
    """The test of the reference workload beside B's bursts against that beside A's, which must not differ."""
    return _test(rounds, CONTROL, 1 / len(looks(most)))


def _holm(rounds: Sequence[Round], metrics: Sequence[str], share: float) -> dict[str, Student]:
    """Metric → its test at its step of Holm's procedure; what comes after the first that is not found has its error."""
    first = {metric: _test(rounds, metric, share) for metric in metrics}
    ranked = sorted(first, key=lambda metric: -abs(first[metric].mean) / first[metric].error)
    found, left = {}, len(ranked)
    for metric in ranked:
        found[metric] = first[metric]._replace(share=share / left)
        if abs(found[metric].mean) > found[metric].reach(ALARM):
            left = max(left - 1, 1)
    return found


def _test(rounds: Sequence[Round], metric: str, share: float) -> Student:
    logarithms = _logarithms(rounds, metric)
    error = max(float(logarithms.std(ddof=1)) / math.sqrt(len(logarithms)), SMALLEST)
    return Student(float(logarithms.mean()), error, len(logarithms), share)


def _logarithms(rounds: Sequence[Round], metric: str) -> np.ndarray:
    return np.array([math.log(one.values["B"][metric] / one.values["A"][metric]) for one in rounds])


def _typical(rounds: Sequence[Round], metric: str) -> Iterator[float]:
    """The geometric means of A's and B's figures."""
    for arm in NAMES:
        yield math.exp(float(np.mean([math.log(one.values[arm][metric]) for one in rounds])))


def _row(metric, test: Student, control: Student, rounds, within: float, round_seconds: float) -> Row:
    outcome = test.decides(within)
    change, low, high = test.interval(ERROR if outcome == SAME else ALARM)
    if outcome == DIFFERENT and _is_suspect(control, test):
        outcome = UNKNOWN
        why = (f"the reference workload differed by {percent(abs(math.expm1(control.mean)))} too: the machine did not "
               "treat both alike; stop other work and repeat")
    else:
        why = _why(metric, outcome, test, within, round_seconds)
    is_worse = outcome == DIFFERENT and _is_worse(metric, test.mean)
    return Row(CHECKS[metric], metric, outcome, change, low, high, test.rounds, why, *_typical(rounds, metric),
               is_worse)


def _is_worse(metric: str, mean: float) -> bool:
    return (mean < 0) == (metric == THROUGHPUT)


def _is_suspect(control: Student, test: Student) -> bool:
    """Whether the machine treated the arms differently, and by enough to explain half of what was found."""
    return abs(control.mean) > control.reach(ERROR) and 2 * abs(control.mean) >= abs(test.mean)


def _why(metric: str, outcome: str, test: Student, within: float, round_seconds: float) -> str:
    share = percent(abs(math.expm1(test.mean)))
    if outcome == DIFFERENT:
        return f"B is {'worse' if _is_worse(metric, test.mean) else 'better'} by {share}"
    if outcome == SAME:
        return f"less than the {percent(math.expm1(within))} that matter"
    more = test.more(within)
    if more is None:
        return f"more than {MOST_MORE:,} more rounds would be needed"
    return f"about {more:,} more round{'s' if more > 1 else ''} would decide, {_duration(more * round_seconds)}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
