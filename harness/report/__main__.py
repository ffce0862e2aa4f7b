"""Writes report.html of a report folder from what it stored: `python -m harness.report DIR [--beside DIR]`.

Exit code 0: written; 1: written without a section whose file cannot be shown; 2: no such folder, or nothing
was written.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.compare.__main__ import runs_of
from harness.compare.record import RunError
from harness.files import Unwritable
from harness.report.page import write
from harness.text import printable, shown


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; the module's first lines say which."""
    parser = argparse.ArgumentParser(prog="python -m harness.report", description=__doc__.split(":")[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="the report folder of a run")
    parser.add_argument("--beside", metavar="DIR", type=Path, action="append", default=[],
                        help="compare it with this run too, a folder or a published run; several times for several")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        print(f"error: {shown(given.folder)} is not a folder; name the report folder of a run", file=sys.stderr)
        return 2
    try:
        runs = runs_of([given.folder, *given.beside]) if given.beside else []
        *left_out, last = write(given.folder, runs)
    except (RunError, Unwritable) as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    print("\n".join([*left_out, last]))
    return int(bool(left_out))


if __name__ == "__main__":
    sys.exit(main())
