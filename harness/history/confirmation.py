"""Confirms a loss against stored runs: the baseline's commit and this one are measured again, in turns.

A stored run is of another hour, so a bad day can look like a bad commit. `python -m harness.turns` measures both
commits alternately; only what it finds worse too is worse.
"""
from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.text import shown
from harness.turns.outcome import DIFFERENT, SAME, UNKNOWN

# What measuring in turns has no figure of, and the figure that stands for it.
STANDS_FOR = {
    ("soak", "images_per_second"): ("throughput", "images_per_second"),
    ("jitter", "P50_seconds"): ("latency", "P50_seconds"), ("jitter", "P90_seconds"): ("latency", "P90_seconds"),
}
LONGEST = 4 * 3600  # seconds: two builds, and rounds until the command can answer


class Confirmation(NamedTuple):
    """What measuring in turns found of one metric: outcome, change as a share of A's with its bounds, and rounds."""

    outcome: str
    change: float | None
    low: float | None
    high: float | None
    rounds: int

    def __str__(self) -> str:
        if None in (self.change, self.low, self.high):
            return f"{self.outcome} after {self.rounds} rounds in turns"
        change, low, high = (f"{100 * one:+.1f} %" for one in (self.change, self.low, self.high))
        return f"{self.outcome}, {change} ({low} to {high}) in {self.rounds} rounds in turns"


class Unconfirmed(RuntimeError):
    """Nothing was measured again; the message says why."""


def command(before: str, after: str, options: Sequence[str] = ()) -> list[str]:
    """What measures two revisions in turns with these options of the gate; `.` is the working tree."""
    both = ["--both", shlex.join(options)] if options else []
    return [sys.executable, "-m", "harness.turns", f"A={before}", f"B={after}", "--only", "speed", *both]


def measured_in_turns(
    arguments: Sequence[str], root: Path, seconds: float = LONGEST
) -> dict[tuple[str, str], Confirmation]:
    """Runs such a command in the project's folder; what it found by (check, metric). Raises Unconfirmed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "turns.json")
        try:
            ended = subprocess.run([*arguments, "--json", str(path)], cwd=root, stdin=subprocess.DEVNULL, text=True,
                                   errors="replace", capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise Unconfirmed(f"measuring in turns took longer than {seconds / 3600:g} hours") from None
        except OSError as error:
            raise Unconfirmed(f"{arguments[0]} cannot be started ({error.strerror})") from None
        if not path.is_file():
            lines = [line for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
            raise Unconfirmed(shown(lines[-1] if lines else f"the command ended with {ended.returncode}", 300))
        return _read(path)


def _read(path: Path) -> dict[tuple[str, str], Confirmation]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {(row["check"], row["metric"]): _confirmation(row) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unconfirmed(f"what it wrote cannot be read ({type(error).__name__}: {shown(error)})") from error


def _confirmation(row: dict[str, Any]) -> Confirmation:
    if row["outcome"] not in (DIFFERENT, SAME, UNKNOWN):
        raise ValueError(f"outcome {row['outcome']!r}")
    numbers = (None if row[name] is None else float(row[name]) for name in ("change", "low", "high"))
    return Confirmation(row["outcome"], *numbers, int(row["rounds"]))
