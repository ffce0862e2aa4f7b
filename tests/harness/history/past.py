"""Histories of runs that nobody measured: speeds of a detector, one run an hour."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.compare.record import Run, parsed
from harness.files import as_json
from harness.history.store import History
from tests.harness.compare.runs import COMMIT, record, rows

STEADY = (100.0, 101.0, 99.0, 100.5, 99.5)
KEY = record()["key"]


def hashed(number: int) -> dict:
    """What git says of the commit of this number."""
    return {**COMMIT, "hash": f"{number:07x}" + 33 * "0", "title": f"Change {number}"}


def content(speed: float, hour: int = 0, **fields) -> bytes:
    """The record of a run at this speed, whose times are the inverse; of a commit of its own."""
    origin = {"kind": "measured", "date": f"2026-11-{1 + hour // 24:02}T{hour % 24:02}:00:00Z", "source": "pytest"}
    usual = {"found": rows(speed, 2 / speed), "commit": hashed(hour), "origin": origin}
    return as_json(record(**{**usual, **fields}))


def history(folder: Path, speeds: Sequence[float] = STEADY, **fields) -> History:
    """A history with a run at each of these speeds."""
    kept = History(folder)
    for hour, speed in enumerate(speeds):
        kept.add(content(speed, hour, **fields))
    return kept


def run(speed: float, hour: int = 500, **fields) -> Run:
    """A new run at this speed."""
    return parsed(content(speed, hour, **fields), Path("report"), "new")
