"""Makes names, values and messages from files safe for a terminal, a CI log, a plot and a table.

No control or bidirectional character reaches a reader, no line is a command to a CI system, and no text is longer than
a reader can use. A results file keeps everything, because JSON escapes it. Rows are laid out as a table here too.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

NAME = 120  # characters of one name or value
MESSAGE = 8_000  # characters of a whole message

# GitHub Actions runs lines that start with "::", after any blanks, and "##[…]" anywhere; Azure DevOps "##vso[…]" and
# TeamCity "##teamcity[…]".
LINE_COMMAND = re.compile(r"^(\s*):(?=:)")
COMMAND = re.compile(r"#(?=#\w*\[)")


def shown(value: Any, most: int = NAME) -> str:
    """One name or value from a file on one line: control characters escaped, more than `most` characters cut."""
    return _cut(_escaped(str(value)[:most + 1]), most)


def printable(text: Any, most: int = MESSAGE) -> str:
    """A message of one or more lines for a log, escaped as by `shown`; more than `most` characters are cut."""
    lines = str(text)[:most + 1].replace("\r\n", "\n").split("\n")
    return _cut("\n".join(map(_escaped, lines)), most)


def as_line(text: str) -> str:
    """The text as a line of a log that no CI system takes for a command; code that wraps lines applies it to each."""
    return LINE_COMMAND.sub(r"\1\\x3a", text)


def is_plain(text: str) -> bool:
    """Whether `shown` would leave the text as it is, whatever its length."""
    return _escaped(text) == text


def label(name: Any, most: int = 40) -> str:
    """A name for a matplotlib plot: not read as mathematics, nor left out of the legend for a leading underscore."""
    text = shown(name, most).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The rows of a table as lines, its columns two blanks apart; cells at the places `right` stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.rjust(width) if place in right else cell.ljust(width)
                      for place, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def _escaped(line: str) -> str:
    characters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return as_line(COMMAND.sub(r"\\x23", "".join(characters)))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
