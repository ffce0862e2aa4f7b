"""PASS, FAIL or INVALID with the evidence; as a message, a table for the terminal and a results file."""
from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable, NamedTuple

from harness.statistics import PROVEN, UNDECIDED, Interval, decide
from harness.targets import Target

PASS, FAIL, INVALID = "PASS", "FAIL", "INVALID"

# Why a row is INVALID, for programs; the evidence says it in words. The first two are worth repeating, and a detector
# that gave broken responses is not.
TOO_FEW, NOISY = "too few samples", "noisy machine"
BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR = "broken responses", "other platform", "not judged", "error"
REASONS = (TOO_FEW, NOISY, BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR)
COLUMNS = ("verdict", "check", "metric", "value", "bound", "count", "evidence")
NARROWEST_EVIDENCE = 24  # characters
DITTO = "the same"


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

    `reason` is one of REASONS where the row is INVALID, else ''.
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

    @property
    def is_undecided(self) -> bool:
        """Whether something was measured, and too little to tell."""
        return self.verdict == INVALID and self.value is not None

    def message(self) -> str:
        """One line: metric = value, should be >= bound [evidence]."""
        start = "INVALID: " if self.verdict == INVALID else ""
        value = "nothing" if self.value is None else f"{self.value:.6g}"
        return f"{start}{self.metric} = {value}, should be {self.sense} {self.bound:g} [{self.evidence}]"

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON."""
        return asdict(self)


def judge(
    target: Target, value: float | Estimate | None, count: int, *, platform: str, backend: str, evidence: str,
    command: str,
) -> Verdict:
    """PASS or FAIL by the target's bound; INVALID without samples or without a finite value.

    An `Estimate` passes when its bounds prove the target, fails when they refute it, and else is INVALID.
    """
    details = dict(platform=platform, backend=backend, command=command)
    if count <= 0:
        return invalid(target, f"no samples; {evidence}", BROKEN, **details)
    low, value, high, more, reason = value if isinstance(value, Estimate) else Estimate(value, value, value)
    if value is None or not all(number is None or math.isfinite(number) for number in (low, value, high)):
        bounds = "" if low is value is high else f", its interval {(low, high)}"
        return invalid(target, f"the value is {value}{bounds}; {evidence}", BROKEN, **details)
    outcome = decide(Interval(low, value, high), target.bound, target.sense)
    if outcome == UNDECIDED:
        between = "" if low is high is None else f"it may be {_between(low, high)}; "
        evidence = f"not decided: {between}{more(target.bound, target.sense)}; {evidence}"
    return Verdict(
        target.check, target.metric, float(value), target.bound, target.sense,
        {PROVEN: PASS, UNDECIDED: INVALID}.get(outcome, FAIL), int(count), evidence=evidence,
        interval=None if low is value is high else (low, high), reason=reason if outcome == UNDECIDED else "", **details,
    )


def _between(low: float | None, high: float | None) -> str:
    return f"from {'anything' if low is None else f'{low:.5g}'} to {'anything' if high is None else f'{high:.5g}'}"


def invalid(target: Target, why: str, reason: str, *, platform: str, backend: str, command: str) -> Verdict:
    """The target could neither be met nor missed: `why` in words, `reason` one of REASONS."""
    return Verdict(
        target.check, target.metric, None, target.bound, target.sense, INVALID,
        0, platform, backend, evidence=why, command=command, reason=reason,
    )


def table(verdicts: Sequence[Verdict], width: int = 100) -> list[str]:
    """Lines of an aligned table, a header first; evidence is wrapped to `width`, and said once where rows share it."""
    rows = [COLUMNS]
    for before, one in zip((None, *verdicts), verdicts):
        is_known = before is not None and before.evidence == one.evidence
        rows.append((*_cells(one), DITTO if is_known else one.evidence))
    widths = [max(map(len, column)) for column in list(zip(*rows))[:-1]]
    room = max(width - sum(widths) - 2 * len(widths), NARROWEST_EVIDENCE)
    return [line for row in rows for line in _lines(row, widths, room)]


def _cells(v: Verdict) -> tuple[str, ...]:
    value = "-" if v.value is None else f"{v.value:.5g}"
    bound = f"{v.sense} {v.bound:g}"
    return v.verdict, v.check, v.metric, value, bound, str(v.count)


def _lines(row: tuple[str, ...], widths: list[int], room: int) -> list[str]:
    aligns = (str.rjust if name in ("value", "count") else str.ljust for name in COLUMNS)
    cells = [align(cell, w) for align, cell, w in zip(aligns, row, widths)]
    head = "  ".join(cells) + "  "
    wrapped = textwrap.wrap(row[-1], room) or [""]
    return [((" " * len(head) if part else head) + text).rstrip() for part, text in enumerate(wrapped)]
