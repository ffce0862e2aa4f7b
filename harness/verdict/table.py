"""Verdicts as lines for a terminal or a log: one line a row, then the evidence once a check."""
from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from harness.text import as_line, columns, printable, shown
from harness.verdict.metrics import SIGNS, label, margin, value_and_bound
from harness.verdict.targets import CHECKS, RELEASE
from harness.verdict.verdict import INVALID, NOT_JUDGED, PASS, Verdict, counted, without_repeats

COLUMNS = ("verdict", "check", "metric", "value", "bound", "margin", "samples", "")
RIGHT = [COLUMNS.index(name) for name in ("value", "margin", "samples")]  # columns of numbers
LONGEST_NAME = 40  # characters of a metric with its variant
LONGEST_EVIDENCE = 2_000
LEAST_ROOM = 24  # characters beside a check's name


def table(verdicts: Sequence[Verdict], width: int = 120) -> list[str]:
    """Lines of at most `width` characters: a head, a line a row, and below them the evidence of each check.

    The evidence of a check that passes is one line. Rows that were not judged come last, those of a check on one line.
    No line has what only a file could have put there to confuse a terminal or a CI system.
    """
    ordered = sorted(verdicts, key=place)
    judged = [one for one in ordered if one.reason != NOT_JUDGED]
    rows = [COLUMNS, *map(_cells, judged)] if judged else []
    lines = [as_line(line)[:width] for line in columns(rows, RIGHT)]
    not_judged = _not_judged([one for one in ordered if one.reason == NOT_JUDGED], width)
    return lines + _evidence(judged, width) + ([""] if judged and not_judged else []) + not_judged


def outcomes(verdicts: Iterable[Verdict]) -> str:
    """How many rows have which verdict: 14 PASS, 2 INVALID."""
    return counted([one.verdict for one in verdicts])


def place(one: Verdict) -> tuple:
    """Where a verdict stands: the checks in the order of the target table, the run as a whole last."""
    return one.check == RELEASE, CHECKS.index(one.check) if one.check in CHECKS else len(CHECKS), one.variant


def _cells(one: Verdict) -> tuple[str, ...]:
    value, bound = value_and_bound(one.metric, one.value, one.bound)
    return (one.verdict, one.check, _name(one), value, f"{SIGNS.get(one.sense, one.sense)} {bound}",
            "–" if one.verdict == INVALID else margin(one.value, one.bound, one.sense),
            f"{one.count:,}" if one.count else "–", one.reason)


def _name(one: Verdict) -> str:
    return shown(f"{label(one.metric)}, {one.variant}" if one.variant else label(one.metric), LONGEST_NAME)


def _evidence(judged: Sequence[Verdict], width: int) -> list[str]:
    """The evidence of each check, and before it why its rows are INVALID; what one shares with another is said once."""
    lines, said, margin_width = [], {}, 2 + max((len(one.check) for one in judged), default=0)
    for (check, variant), group in groupby(judged, lambda one: (one.check, one.variant)):
        rows = list(group)
        text = "; ".join([*_reasons(rows), *without_repeats(_plain(one.evidence) for one in rows if one.evidence)])
        is_short = all(one.verdict == PASS for one in rows)
        own = f"{check} {variant}".strip()
        first = said.setdefault(text, own) if text and not is_short else own
        lines += beside(check.ljust(margin_width), text if first == own else f"as {first}", width,
                        most_lines=1 if is_short else None)
    return ["", *lines] if lines else []


def _reasons(rows: Sequence[Verdict]) -> list[str]:
    """Why rows are INVALID, each reason once, with the rows that it does not hold for all of."""
    whys = {}
    for one in rows:
        if one.why:
            whys.setdefault(_plain(one.why), []).append(_name(one))
    return [why if len(names) == len(rows) else f"{', '.join(names)}: {why}" for why, names in whys.items()]


def _not_judged(verdicts: Sequence[Verdict], width: int) -> list[str]:
    """A line a check and reason: which of its rows were not judged, and why."""
    lines, margin_width = [], 2 + max((len(one.check) for one in verdicts), default=0)
    for (check, why), rows in groupby(verdicts, lambda one: (one.check, _plain(one.why))):
        names = ", ".join(map(_name, rows))
        lines += beside(f"{INVALID}  {check.ljust(margin_width)}", f"{NOT_JUDGED}, {why}: {names}", width)
    return lines


def _plain(text: str) -> str:
    return " ".join(printable(text, LONGEST_EVIDENCE).split())


def beside(head: str, text: str, width: int, most_lines: int | None = None) -> list[str]:
    """The text beside its head, later lines below its start; what `most_lines` cuts off ends in '…'."""
    parts = textwrap.wrap(text, max(width - len(head), LEAST_ROOM), max_lines=most_lines, placeholder=" …") or [""]
    return [as_line(((" " * len(head) if number else head) + part).rstrip()) for number, part in enumerate(parts)]
