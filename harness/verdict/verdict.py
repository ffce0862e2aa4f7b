"""PASS, FAIL or INVALID with the evidence, for each row of the target table."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.stats.estimate import NOISY, PROVEN, REFUTED, TOO_FEW, UNDECIDED, Estimate, decide
from harness.text import printable
from harness.verdict.metrics import SIGNS, label, shown, value_and_bound
from harness.verdict.targets import Target

PASS, FAIL, INVALID = "PASS", "FAIL", "INVALID"

# Why a row is INVALID, for programs; the evidence says it in words. The first two are worth repeating, and a detector
# that gave broken responses is not.
BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR = "broken responses", "other platform", "not judged", "error"
NOT_COMPARABLE = "not comparable"  # of two runs alone
REASONS = (TOO_FEW, NOISY, BROKEN, OTHER_PLATFORM, NOT_COMPARABLE, NOT_JUDGED, ERROR)


def rows_not_judged(count: int) -> str:
    """How many rows nobody judged, for a sentence."""
    return "1 row was not judged" if count == 1 else f"{count} rows were not judged"


def counted(names: Sequence[str]) -> str:
    """How many rows have which verdict, or were not judged, in words: 14 PASS, 2 INVALID."""
    return ", ".join(f"{names.count(name)} {name}" for name in (PASS, FAIL, INVALID, NOT_JUDGED) if name in names)


@dataclass(frozen=True)
class Verdict:
    """The outcome for one target row; value and bound in the metric's unit, `count` the samples behind it.

    Where the row is INVALID, `reason` is one of REASONS and `why` says it in words; else both are '', but for the check
    `history`, of which `why` always says what changed. `evidence` is what was measured and how. `variant` names the
    cast or the scenario where a check judges several.
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
        return {**vars(self), "evidence": self.statement()}


def without_repeats(evidence: Iterable[str]) -> list[str]:
    """The evidence of a check's rows, each once; of one that goes on after another's only what comes after it."""
    found: list[str] = []
    for one in dict.fromkeys(evidence):
        start = max((len(other) + len("; ") for other in found if one.startswith(f"{other}; ")), default=0)
        found.append(one[start:])
    return found


def judge(target: Target, value: float | Estimate | None, count: int, *, evidence: str, **details) -> Verdict:
    """PASS or FAIL by the target's bound; INVALID without samples or without a finite value.

    An `Estimate` passes when its bounds prove the target, fails when they refute it, and else is INVALID for its
    reason, as it is without a value; one that is NaN or infinite is a broken detector's. `details` are the other fields
    of the verdict: platform, backend, command and variant.
    """
    if count <= 0:
        return invalid(target, "no samples", BROKEN, evidence=evidence, **details)
    estimate = value if isinstance(value, Estimate) else Estimate.exactly(value)
    interval = None if estimate.is_exact else (estimate.low, estimate.high)
    if not _is_finite(estimate):
        why = f"the value is {estimate.value}{'' if interval is None else f', its interval {interval}'}"
        if estimate.value is None and estimate.reason == NOT_JUDGED:
            why = estimate.more(target.bound, target.sense)
        return invalid(target, why, estimate.reason if estimate.value is None else BROKEN, evidence=evidence, **details)
    outcome = decide(estimate, target.bound, target.sense)
    is_open = outcome == UNDECIDED
    return Verdict(
        target.check, target.metric, float(estimate.value), target.bound, target.sense, VERDICTS[outcome], int(count),
        evidence=evidence, interval=interval, reason=estimate.reason if is_open else "",
        why=_undecided(target, estimate) if is_open else "", **details,
    )


VERDICTS = {PROVEN: PASS, REFUTED: FAIL, UNDECIDED: INVALID}


def _is_finite(estimate: Estimate) -> bool:
    bounds = (one for one in (estimate.low, estimate.high) if one is not None)
    return estimate.value is not None and all(map(math.isfinite, (estimate.value, *bounds)))


def _undecided(target: Target, estimate: Estimate) -> str:
    """Why the estimate neither proves nor refutes the target, and what would decide."""
    more = estimate.more(target.bound, target.sense)
    if estimate.low is None and estimate.high is None:
        return f"not decided: {more}"
    lowest, highest = ("anything" if bound is None else shown(target.metric, bound)
                       for bound in (estimate.low, estimate.high))
    return f"not decided: it may be from {lowest} to {highest}; {more}"


def invalid(target: Target, why: str, reason: str, *, evidence: str = "", **details) -> Verdict:
    """The target could neither be met nor missed: `why` in words, `reason` one of REASONS.

    `details` as for `judge`.
    """
    return Verdict(target.check, target.metric, None, target.bound, target.sense, INVALID, 0, evidence=evidence,
                   reason=reason, why=why, **details)
