"""Writes the parts of docs/ that are made from the code: `python -m tests.generated`. A test holds them to it."""
from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Callable

from fixtures import exit_codes
from harness.verdict import claims, loads, targets
from tests import rooms, words
from tests.fixtures import misbehaving

DOCS = Path(__file__).resolve().parent.parent / "docs"

# The name of a part → what makes its text.
PARTS: dict[str, Callable[[], str]] = {
    "targets": targets.markdown_table,
    "loads": loads.markdown_table,
    "claims": claims.markdown_table,
    "exit_codes": exit_codes.markdown_table,
    "faults": misbehaving.markdown_table,
    "rooms": rooms.markdown_table,
    "words": words.markdown_table,
}
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def renewed(text: str) -> str:
    """The page with each generated part as the code makes it now. KeyError for a part that nothing makes."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


def without_parts(text: str) -> str:
    """The page without its generated parts: what a person wrote."""
    return PART.sub("", text)


def main(arguments=None) -> int:
    argparse.ArgumentParser(prog="python -m tests.generated", description=__doc__.split(":")[0]).parse_args(arguments)
    for page in sorted(DOCS.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"written: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
