"""A comparison as lines for a terminal or a log, none too long for it or a command to a CI system."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from harness.compare.comparison import RATIO, SHARE, Compared, differing, known_by_one
from harness.compare.record import Run
from harness.text import as_line, columns, printable, shown
from harness.verdict.metrics import label, percent
from harness.verdict.metrics import shown as value_text
from harness.verdict.table import beside

WIDTH = 120  # characters of a line at most
RIGHT = (1, 2)  # the columns of values
# Figures that other checks have too.
OF_SOAK = {("soak", "images_per_second"), ("soak", "dollars_per_million"),
           *(("jitter", f"{name}_seconds") for name in ("P50", "P90", "P99"))}
LONGEST_ENGINE = 12  # characters
PLACE = 44  # characters of a folder
CAVEAT = ("Intervals are those of these runs. What differs between one run and the next on the same machine is not in "
          "them: repeat a run before you trust a small difference.")


def described(runs: Sequence[Run]) -> list[str]:
    """What each run is: its name, folder, platform, detector and dataset, and of a published one the source."""
    lines = []
    for run in runs:
        lines += wrapped(f"{run.name}  ", f"{place(run)}: {title(run)}; {_subject(run)}")
        lines += [f"   {shown(run.source, 300)}"] if run.is_published else []  # whole, so that it can be followed
    return lines


def title(run: Run) -> str:
    """What a run is, on one line: platform, backend and cast, machine, date."""
    machine = run.machine.get("processor")
    cores = run.machine.get("cores")
    where = f", {machine}, {cores} cores" if machine else ""
    how = "published" if run.is_published else "measured"
    engine = str(run.build.get("engine") or "")
    backend = f"{run.backend} {run.cast}" + (f" ({engine})" if 0 < len(engine) <= LONGEST_ENGINE else "")
    return shown(f"{run.platform}, {backend}{where}, {how} {run.date[:10]}", 200)


def place(run: Run) -> str:
    """The run's folder, its end where it is long; of a published one the name."""
    text = shown(run.folder.name if run.is_published else run.folder, 400)
    return text if len(text) <= PLACE else f"…{text[-PLACE:]}"


def table(base: Run, other: Run, rows: Sequence[Compared]) -> list[str]:
    """A head, a line a figure, then what explains the differences and why figures were not compared."""
    head = ("figure", base.name, other.name, f"{other.name} against {base.name}", f"{other.name} is")
    lines = [as_line(line[:WIDTH]) for line in columns([head, *map(cells, rows)], RIGHT)]
    return lines + _reasons(rows) + _notes(base, other)


def change_text(row: Compared) -> str:
    """The change with its interval as a person writes it; '' without one."""
    if row.change is None:
        return ""
    value, low, high = row.change.value, row.change.low, row.change.high
    text = _number(row, value) + (" ×" if row.spec.how == RATIO else "")
    if row.change.is_exact:
        return text
    if low is None and high is None:
        return f"{text} (no interval)"
    if None in (low, high):
        return f"{text} ({'at most' if low is None else 'at least'} {_number(row, high if low is None else low)})"
    return f"{text} ({_number(row, low)} to {_number(row, high)})"


def figure_name(row: Compared) -> str:
    """The figure in words."""
    return label(row.spec.metric) + (" in the soak" if (row.spec.check, row.spec.metric) in OF_SOAK else "")


def _number(row: Compared, value: float) -> str:
    if row.spec.how == RATIO:
        return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
    if row.spec.how == SHARE or row.spec.metric == "drift":
        return percent(value)
    return f"{value:+.4f}"


def cells(row: Compared) -> tuple[str, ...]:
    """What a line says of a figure: its name, both values, the change, and what it is or why it is INVALID."""
    values = (value_text(row.spec.metric, one and one.value) for one in (row.base, row.other))
    verdict = row.outcome if row.change is not None else f"INVALID, {row.reason}"
    return (figure_name(row), *values, change_text(row), verdict)


def _reasons(rows: Sequence[Compared]) -> list[str]:
    """Why figures were not compared, each reason once."""
    missing = sorted((row for row in rows if row.why), key=lambda row: row.why)
    lines = []
    for why, group in groupby(missing, lambda row: row.why):
        own = list(group)
        names = "all figures" if len(own) == len(rows) else ", ".join(map(figure_name, own))
        lines += wrapped("  ", f"{names}: {why}")
    return ["", "INVALID:", *lines] if lines else []


def _notes(base: Run, other: Run) -> list[str]:
    lines = []
    if words := differing(base, other):
        lines += wrapped("differs: ", "; ".join(words))
    if words := known_by_one(base, other):
        lines += wrapped("not published, so not checked: ", ", ".join(words))
    return ["", *lines] if lines else []


def _subject(run: Run) -> str:
    detector, data = run.detector, run.dataset
    size = f" {detector['width']}x{detector['height']}" if {"width", "height"} <= set(detector) else ""
    return shown(f"{detector.get('name', 'unknown detector')}{size}, {data.get('name', 'unknown dataset')}, "
                 f"{data.get('images', 'unknown number of')} images", 200)


def wrapped(head: str, words: str) -> list[str]:
    """The words in lines of at most WIDTH characters, later lines below the start of the first."""
    return beside(head, " ".join(printable(words).split()), WIDTH)
