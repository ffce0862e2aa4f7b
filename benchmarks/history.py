"""Time to choose runs from a long history: `python -m benchmarks.history [PLACE]`.

Fills an empty folder, or a URL, with runs of several keys, and shows how long it takes to list all of them, to read the
newest baselines of one key, and to read all of that key. Published figures fill the records to the size of a real one.
"""
from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

from harness.compare import __main__ as comparison
from harness.compare.record import FILE
from harness.files import as_json
from harness.history import key
from harness.history.store import History
from harness.machine.facts import facts

RUNS, KEYS, NEWEST = 10_000, 20, 10
RESAMPLES, ROWS = 1001, 120  # of a run on COCO
START = datetime(2020, 1, 1, tzinfo=timezone.utc)


def record(number: int) -> bytes:
    """The record of a run: every second one is of a clean commit."""
    run = json.loads((comparison.PUBLISHED / "aws-inf1-soak" / FILE).read_text(encoding="utf-8"))
    date = (START + timedelta(hours=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = {**run["rows"][0], "verdict": "PASS", "decisive": True}
    rows = [{**row, "metric": f"figure {place}"} for place in range(ROWS)]
    return as_json({
        **run, "origin": {"kind": "measured", "date": date, "source": "python -m benchmarks.history"},
        "key": one_key(number % KEYS), "commit": {"hash": f"{number:040x}", "clean": number // KEYS % 2 == 0},
        "resampled_AP": [0.5 + 1e-9 * place for place in range(RESAMPLES)], "rows": rows,
    })


def one_key(number: int) -> dict:
    return {"detector": str(number), "tensorflow": "2.10.1"}


def timed(what: str, work: Callable) -> None:
    """Prints what the work gives and the seconds that it takes."""
    start = time.perf_counter()
    found = work()
    print(f"{what}: {time.perf_counter() - start:.2f} s, {found:,} runs")


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__.split(":")[0])
    parser.add_argument("place", metavar="PLACE", nargs="?", help="an empty folder or URL (default: a folder in /tmp)")
    parser.add_argument("--runs", metavar="N", type=int, default=RUNS, help="how many (default: %(default)s)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        measure(History(given.place or Path(folder) / "history"), given.runs)


def measure(history: History, count: int) -> None:
    """Fills the history and prints the times."""
    print(f"{facts()['processor']}, {facts()['cores']} cores; records of {len(record(0)) / 1e3:.0f} kB")
    wanted = key.digest(one_key(0))
    with patch.object(os, "fsync", lambda handle: None):  # a disk that waits is not what is timed
        timed("fill", lambda: len([history.add(record(number)) for number in range(count)]))
    timed("list", lambda: len(history.listing().entries))
    for how in ("first time", "again"):
        timed(f"list, read the newest {NEWEST} baselines of a key, {how}", lambda: len(
            history.runs(lambda entry: entry.key == wanted and entry.is_baseline, NEWEST).runs))
    timed("list, read all of a key", lambda: len(history.runs(lambda entry: entry.key == wanted).runs))


if __name__ == "__main__":
    main()
