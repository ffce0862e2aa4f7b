"""Prints the target table that holds, or draws one from a history: `python -m harness.targets`.

With --targets FILE the rows of your own join or replace the published ones, and --platform NAME leaves those that judge
a run there. --from-history PLACE writes a file of bounds for --targets, drawn from the runs that are kept there. Exit
code 0; 1: the history has too few runs, and nothing was written; 2: wrong usage, or a file or place cannot be used.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.files import Unwritable, write
from harness.history.store import History
from harness.places import PlaceError
from harness.targets.drawn import TooFew, drawn, toml
from harness.text import columns, printable, shown
from harness.verdict import own
from harness.verdict.targets import ANY, CHECKS, PUBLISHED, Table, Target, cells, markdown_table

TOO_FEW, USAGE = 1, 2
HEAD = ("check", "metric", "bound", "platform", "source", "date")
LONGEST_SOURCE = 100  # characters in the plain table; --markdown has all of it


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; the module's first lines say which."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.from_history) != bool(given.output) or (given.from_history and not given.platform):
        parser.error("--from-history PLACE, --platform NAME and -o FILE go together: give all three")
    try:
        return _draw(given) if given.from_history else _print(given)
    except TooFew as error:
        print(f"nothing was written: {printable(error)}", file=sys.stderr)
        return TOO_FEW
    except (PlaceError, Unwritable) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.targets", description=__doc__.split(":")[0])
    parser.add_argument("--targets", metavar="FILE", type=_table, default=PUBLISHED,
                        help="bounds of your own (TOML), as the gate's --targets")
    parser.add_argument("--platform", metavar="NAME", type=_name, help="only the rows that judge a run there")
    parser.add_argument("--backend", metavar="NAME", default=ANY, help="with --platform: rows of this backend too")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table, with the whole sources")
    parser.add_argument("--from-history", metavar="PLACE",
                        help="draw bounds from the runs in a folder or at a URL, as the gate's --history")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the file that is written")
    return parser


def _table(text: str) -> Table:
    try:
        return own.read_table(Path(text))
    except own.OwnError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)}: {error}") from None


def _name(text: str) -> str:
    if not own.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be a name such as inf2.xlarge")
    return text


def _print(given: argparse.Namespace) -> int:
    rows = _rows(given.targets, given.platform, given.backend)
    print(printable(markdown_table(rows) if given.markdown else _plain(rows), 2**20))
    return 0


def _rows(table: Table, platform: str | None, backend: str) -> Sequence[Target]:
    """The rows that judge a run on the platform, or all of them."""
    if platform is None:
        return table.targets
    return [row for check in CHECKS for row in table.rows(check, platform, backend)]


def _plain(rows: Sequence[Target]) -> str:
    return "\n".join(columns([HEAD, *map(_short, rows)]))


def _short(row: Target) -> tuple[str, ...]:
    *before, source, day = cells(row)
    return (*before, shown(source, LONGEST_SOURCE), day)


def _draw(given: argparse.Namespace) -> int:
    found = drawn(History(given.from_history), given.platform)
    write(given.output, toml(found.rows).encode())
    print(printable(_plain(found.rows), 2**20))
    for line in found.left_out:
        print(f"left out: {printable(line)}")
    print(f"written: {shown(given.output, 300)}, {len(found.rows)} bounds for --targets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
