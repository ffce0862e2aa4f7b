"""Lists the runs of a history: `python -m harness.history PLACE`, a folder or a URL such as s3://bucket/prefix.

Exit code 0: all that was to be listed was read; 1: something was left out, and is named; 2: wrong usage, or the place
cannot be read.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.compare.record import Run
from harness.history import key
from harness.history.store import History
from harness.places import PlaceError
from harness.text import printable, shown
from harness.verdict.verdict import counted

NEWEST = 50  # runs that are listed by default
MOST_LINES = 20  # about what was left out
ROW = "{:<20}  {:<12}  {:<19}  {:<25}  {}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; the module's first lines say which."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        history = History(given.place)
    except PlaceError as error:
        parser.error(f"PLACE: {error}")
    try:
        found, left_out = history.runs(most=given.last or None)
    except PlaceError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    print(ROW.format("end (UTC)", "commit", "key", "verdicts", "baseline"))
    print(*map(_row, found), sep="\n")
    for line in left_out[:MOST_LINES]:
        print(f"left out: {printable(line)}")
    more = f", {len(left_out)} left out" if left_out else ""
    print(f"{len(found)} runs{more}")
    return int(bool(left_out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.history", description=__doc__.split(":")[0])
    parser.add_argument("place", metavar="PLACE", help="a folder, or a URL such as s3://bucket/prefix")
    parser.add_argument("--last", metavar="N", type=_count, default=NEWEST,
                        help="list the newest N; 0: all (default: %(default)s)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be a whole number from 0")
    return int(text)


def _row(run: Run) -> str:
    counts = counted([figure.verdict for figure in run.figures.values()])
    commit = run.commit.get("hash", "–")[:12]
    objections = "yes" if run.is_baseline else f"no: {'; '.join(run.objections)}"
    return ROW.format(run.date, commit, key.digest(run.key), counts, shown(objections))


if __name__ == "__main__":
    sys.exit(main())
