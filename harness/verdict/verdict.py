"""PASS, FAIL or INVALID with the evidence; as a message, a table for the terminal and a results file."""
from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from harness.stats.estimate import NOISY, PROVEN, REFUTED, TOO_FEW, UNDECIDED, Estimate, decide
from harness.text import as_line, printable, shown
from harness.verdict.targets import Target

PASS, FAIL, INVALID = "PASS", "FAIL", "INVALID"

# Why a row is INVALID, for programs; the evidence says it in words. The first two are worth repeating, and a detector
# that gave broken responses is not.
BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR = "broken responses", "other platform", "not judged", "error"
REASONS = (TOO_FEW, NOISY, BROKEN, OTHER_PLATFORM, NOT_JUDGED, ERROR)
COLUMNS = ("verdict", "check", "metric", "value", "bound", "count", "evidence")
NARROWEST_EVIDENCE = 24  # characters
LONGEST_EVIDENCE = 2_000
DITTO = "the same"


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
        """For a log: metric = value, should be >= bound [evidence]."""
        start = "INVALID: " if self.verdict == INVALID else ""
        value = "nothing" if self.value is None else f"{self.value:.6g}"
        return printable(f"{start}{self.metric} = {value}, should be {self.sense} {self.bound:g} [{self.evidence}]")

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON."""
        return asdict(self)


def judge(
    target: Target, value: float | Estimate | None, count: int, *, platform: str, backend: str, evidence: str,
    command: str,
) -> Verdict:
    """PASS or FAIL by the target's bound; INVALID without samples or without a finite value.

    An `Estimate` passes when its bounds prove the target, fails when they refute it, and else is INVALID for its
    reason, as it is without a value; one that is NaN or infinite is a broken detector's.
    """
    details = dict(platform=platform, backend=backend, command=command)
    if count <= 0:
        return invalid(target, f"no samples; {evidence}", BROKEN, **details)
    estimate = value if isinstance(value, Estimate) else Estimate.exactly(value)
    interval = None if estimate.is_exact else (estimate.low, estimate.high)
    if not _is_finite(estimate):
        why = f"the value is {estimate.value}{'' if interval is None else f', its interval {interval}'}; {evidence}"
        return invalid(target, why, estimate.reason if estimate.value is None else BROKEN, **details)
    outcome = decide(estimate, target.bound, target.sense)
    if outcome == UNDECIDED:
        evidence = f"not decided: {_between(*interval)}{estimate.more(target.bound, target.sense)}; {evidence}"
    return Verdict(
        target.check, target.metric, float(estimate.value), target.bound, target.sense, VERDICTS[outcome], int(count),
        evidence=evidence, interval=interval, reason=estimate.reason if outcome == UNDECIDED else "", **details,
    )


VERDICTS = {PROVEN: PASS, REFUTED: FAIL, UNDECIDED: INVALID}


def _is_finite(estimate: Estimate) -> bool:
    bounds = (one for one in (estimate.low, estimate.high) if one is not None)
    return estimate.value is not None and all(map(math.isfinite, (estimate.value, *bounds)))


def _between(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    lowest, highest = ("anything" if bound is None else f"{bound:.5g}" for bound in (low, high))
    return f"it may be from {lowest} to {highest}; "


def invalid(target: Target, why: str, reason: str, *, platform: str, backend: str, command: str) -> Verdict:
    """The target could neither be met nor missed: `why` in words, `reason` one of REASONS."""
    return Verdict(
        target.check, target.metric, None, target.bound, target.sense, INVALID,
        0, platform, backend, evidence=why, command=command, reason=reason,
    )


def table(verdicts: Sequence[Verdict], width: int = 100) -> list[str]:
    """Lines of an aligned table, a header first; evidence is wrapped to `width`, and said once where rows share it.

    Rows that were not judged come last, those of a check on one line. No line has what only a file could have put there
    to confuse a terminal or a CI system.
    """
    judged = [one for one in verdicts if one.reason != NOT_JUDGED]
    rows = [COLUMNS]
    for before, one in zip((None, *judged), judged):
        is_known = before is not None and before.evidence == one.evidence
        rows.append((*_cells(one), DITTO if is_known else _evidence(one)))
    widths = [max(map(len, column)) for column in list(zip(*rows))[:-1]]
    room = max(width - sum(widths) - 2 * len(widths), NARROWEST_EVIDENCE)
    lines = [line for row in rows for line in _lines(row, widths, room)]
    return lines[not judged:] + _not_judged([one for one in verdicts if one.reason == NOT_JUDGED], width)


def _not_judged(verdicts: Sequence[Verdict], width: int) -> list[str]:
    """A line a check and reason: which of its rows were not judged, and why."""
    margin = 2 + max((len(one.check) for one in verdicts), default=0)
    lines = []
    for (check, why), rows in groupby(verdicts, lambda one: (one.check, _evidence(one))):
        metrics = ", ".join(dict.fromkeys(shown(one.metric) for one in rows))
        head = f"{INVALID}  {check.ljust(margin)}"
        lines += _wrapped(head, f"{metrics}: {NOT_JUDGED}, {why}", max(width - len(head), NARROWEST_EVIDENCE))
    return lines


def _evidence(v: Verdict) -> str:
    return " ".join(printable(v.evidence, LONGEST_EVIDENCE).split())


def _cells(v: Verdict) -> tuple[str, ...]:
    value = "-" if v.value is None else f"{v.value:.5g}"
    bound = f"{v.sense} {v.bound:.5g}"
    return v.verdict, v.check, shown(v.metric), value, bound, str(v.count)


def _lines(row: tuple[str, ...], widths: list[int], room: int) -> list[str]:
    aligns = (str.rjust if name in ("value", "count") else str.ljust for name in COLUMNS)
    cells = [align(cell, w) for align, cell, w in zip(aligns, row, widths)]
    return _wrapped("  ".join(cells) + "  ", row[-1], room)


def _wrapped(head: str, text: str, room: int) -> list[str]:
    """The text beside its head, later lines below its start."""
    parts = textwrap.wrap(text, room) or [""]
    return [as_line(((" " * len(head) if number else head) + part).rstrip()) for number, part in enumerate(parts)]
