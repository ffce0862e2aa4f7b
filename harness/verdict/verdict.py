"""PASS, FAIL or INVALID with the evidence, for each row of the target table."""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Callable, NamedTuple

from harness.stats.percentiles import PROVEN, UNDECIDED, Interval, decide
from harness.text import printable
from harness.verdict.metrics import SIGNS, label, shown, value_and_bound
from harness.verdict.targets import Target

PASS, FAIL, INVALID = "PASS", "FAIL", "INVALID"

# Why a row is INVALID, for programs; the evidence says it in words. The first two are worth repeating, and a detector
# that gave broken responses is not.
TOO_FEW, NOISY = "too few samples", "noisy machine"
BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR = "broken responses", "other platform", "not judged", "error"
REASONS = (TOO_FEW, NOISY, BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR)


class Estimate(NamedTuple):
    """A measured value and what bounds the true one (None: nothing yet).

    `more` says in words what would decide for a bound that lies between, given that bound and its sense; `reason` is
    the reason of the row that is then INVALID.
    """

    low: float | None
    estimate: float
    high: float | None
    more: Callable[[float, str], str] = lambda bound, sense: "measure more"
    reason: str = TOO_FEW


@dataclass(frozen=True)
class Verdict:
    """The outcome for one target row; value and bound in the metric's unit, `count` the samples behind it.

    Where the row is INVALID, `reason` is one of REASONS and `why` says it in words; else both are ''. `evidence` is
    what was measured and how. `variant` names the cast or the scenario where a check judges several.
    """

    check: str
    metric: str
    value: float | None
    bound: float
    sense: str
    verdict: str
    count: int
    platform: str
    backend: str
    evidence: str
    command: str
    interval: tuple[float | None, float | None] | None = None
    reason: str = ""
    why: str = ""
    variant: str = ""

    @property
    def is_undecided(self) -> bool:
        """Whether something was measured, and too little to decide."""
        return self.verdict == INVALID and self.value is not None

    def short(self) -> str:
        """Value and bound as a person writes them: P99 61.0 ms, must be ≤ 51.8 ms."""
        value, bound = value_and_bound(self.metric, self.value, self.bound)
        name = f"{label(self.metric)} ({self.variant})" if self.variant else label(self.metric)
        return f"{name} {value}, must be {SIGNS.get(self.sense, self.sense)} {bound}"

    def message(self) -> str:
        """For a log: the verdict with its reason, value and bound, and the evidence."""
        verdict = f"{self.verdict} ({self.reason})" if self.reason else self.verdict
        return printable(f"{verdict}: {self.short()}: {self.statement()}")

    def statement(self) -> str:
        """Why the row is INVALID, if it is, and the evidence."""
        return "; ".join(part for part in (self.why, self.evidence) if part)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON, in which the evidence says all."""
        return {**asdict(self), "evidence": self.statement()}


def judge(
    target: Target, value: float | Estimate | None, count: int, *, evidence: str, **details
) -> Verdict:
    """PASS or FAIL by the target's bound; INVALID without samples or without a finite value.

    An `Estimate` passes when its bounds prove the target, fails when they refute it, and else is INVALID for its
    reason, as it is without a value; one that is NaN or infinite is a broken detector's. `details` are the other fields
    of the verdict: platform, backend, command and variant.
    """
    if count <= 0:
        return invalid(target, "no samples", BROKEN, evidence=evidence, **details)
    low, value, high, more, reason = value if isinstance(value, Estimate) else Estimate(value, value, value)
    if value is None or not all(number is None or math.isfinite(number) for number in (low, value, high)):
        bounds = "" if low is value is high else f", its interval {(low, high)}"
        return invalid(target, f"the value is {value}{bounds}", reason if value is None else BROKEN,
                       evidence=evidence, **details)
    outcome = decide(Interval(low, value, high), target.bound, target.sense)
    why = ""
    if outcome == UNDECIDED:
        between = "" if low is high is None else f"it may be {_between(target.metric, low, high)}; "
        why = f"not decided: {between}{more(target.bound, target.sense)}"
    return Verdict(
        target.check, target.metric, float(value), target.bound, target.sense,
        {PROVEN: PASS, UNDECIDED: INVALID}.get(outcome, FAIL), int(count), evidence=evidence,
        interval=None if low is value is high else (low, high),
        reason=reason if outcome == UNDECIDED else "", why=why, **details,
    )


def _between(metric: str, low: float | None, high: float | None) -> str:
    lowest, highest = ("anything" if bound is None else shown(metric, bound) for bound in (low, high))
    return f"from {lowest} to {highest}"


def invalid(target: Target, why: str, reason: str, *, evidence: str = "", **details) -> Verdict:
    """The target could neither be met nor missed: `why` in words, `reason` one of REASONS.

    `details` as for `judge`.
    """
    return Verdict(target.check, target.metric, None, target.bound, target.sense, INVALID, 0, evidence=evidence,
                   reason=reason, why=why, **details)
