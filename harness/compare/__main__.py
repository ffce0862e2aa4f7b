"""Compares two or more runs: `python -m harness.compare DIR DIR … [--plot FILE]`. The first is the baseline.

Each DIR is what the gate's --report has written, or the name of a published run. Exit code 0: everything that both runs
have was compared, and every claim is PASS; 1: something was not comparable, a run is broken, or a claim is FAIL or
INVALID; 2: wrong usage, or a folder without a run.
"""
from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase

from harness.compare import claims, table
from harness.compare.comparison import Compared, compare
from harness.compare.record import FILE, Run, RunError, read
from harness.files import Unwritable
from harness.text import printable, shown
from harness.verdict.cost import Price, UnknownPrice, prices_of_one_date
from harness.verdict.table import outcomes
from harness.verdict.table import table as verdict_table
from harness.verdict.verdict import NOT_JUDGED, PASS, Verdict

SUFFIXES = (".svg", ".png", ".pdf")  # of a plot
PUBLISHED = Path(__file__).with_name("published")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; the module's first lines say which."""
    given = _parser().parse_args(arguments)
    try:
        runs = runs_of(given.folders)
        prices, priced = _prices(runs, given.prices)
        rows = {other.name: compare(runs[0], other, prices) for other in runs[1:]}
        command = shlex.join(["python", "-m", "harness.compare", *map(str, given.folders)])
        verdicts = claims.judged(runs, prices, command)
        _print(runs, rows, verdicts, priced)
        if given.plot:
            import_module("harness.compare.plot").write(given.plot, runs, rows)  # matplotlib takes a second
            print(f"written: {shown(given.plot, 300)}")
    except (RunError, Unwritable) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    code = exit_code(rows.values(), verdicts)
    print(f"exit code {code}" + (f": {outcomes(verdicts)} of the article's claims" if verdicts else ""))
    return code


def exit_code(compared: Sequence[Sequence[Compared]], verdicts: Sequence[Verdict]) -> int:
    """0 where all that both runs have was compared and every claim is PASS, else 1."""
    rows = [row for own in compared for row in own]
    failed = any(row.reason not in ("", NOT_JUDGED) for row in rows) or not any(row.change for row in rows)
    return int(failed or any(verdict.verdict != PASS for verdict in verdicts))


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(sorted(path.name for path in PUBLISHED.iterdir() if (path / FILE).is_file()))
    parser = argparse.ArgumentParser(prog="python -m harness.compare", description=__doc__.split(":")[0])
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path,
                        help=f"the report folder of a run, or a published run: {names}")
    parser.add_argument("--plot", metavar="FILE", type=_plot, help="draw the ratios into FILE (.svg, .png or .pdf)")
    parser.add_argument("--prices", metavar="DATE", type=_date, default=date.today().isoformat(),
                        help="charge prices of this date or before, such as 2020-10-07 (default: the newest)")
    return parser


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be a date such as 2020-10-07") from error


def _plot(text: str) -> Path:
    path = Path(text)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{shown(text)}: must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{shown(text)}: folder {shown(path.parent)} does not exist; make it first")
    return path


def runs_of(folders: Sequence[Path]) -> list[Run]:
    """The runs of the folders, named A, B, C … in order. Raises RunError, also for a run that is given twice."""
    if not 2 <= len(folders) <= len(ascii_uppercase):
        given = f"{len(folders)} folder{'s' if len(folders) > 1 else ''}"
        raise RunError(f"{given}: give 2 to {len(ascii_uppercase)} to compare")
    runs = [read(_found(folder), name) for name, folder in zip(ascii_uppercase, folders)]
    for earlier, run in combinations(runs, 2):
        if run.content == earlier.content:
            raise RunError(f"{table.place(run)} is the same run as {table.place(earlier)}: name another, a run is not "
                           "compared with itself")
    return runs


def _found(folder: Path) -> Path:
    """The folder itself, or that of the published run with its name."""
    published = PUBLISHED / folder
    return published if not folder.exists() and folder.name == str(folder) and published.is_dir() else folder


def _prices(runs: Sequence[Run], on: str) -> tuple[dict[str, Price] | None, str]:
    """The prices of one date by instance type, and in words which."""
    try:
        prices = prices_of_one_date({run.instance for run in runs}, on)
    except UnknownPrice as error:
        return None, f"no cost: {error}"
    words = ", ".join(f"{name} ${one.dollars_per_hour:g}/h" for name, one in sorted(prices.items()))
    one = next(iter(prices.values()))
    return prices, f"prices: {words} ({one.purchase}, {one.region}, {one.date}, {one.source})"


def _print(runs: Sequence[Run], rows: dict[str, list[Compared]], verdicts: Sequence[Verdict], priced: str) -> None:
    print("\n".join(table.described(runs)))
    for other in runs[1:]:
        print("", *table.table(runs[0], other, rows[other.name]), sep="\n")
    print("", *table.wrapped("", f"{priced}. {table.CAVEAT}"), sep="\n")
    if verdicts:
        print("", *verdict_table(verdicts, table.WIDTH), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
