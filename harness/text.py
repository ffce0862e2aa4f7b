"""Names, values and messages that come from files, made fit for a terminal, a CI log, a plot and a table.

Whatever a file says, no control or bidirectional character reaches a reader, no line is one that a CI system would take
for a command, and nothing is longer than a reader can use. A results file keeps everything: JSON escapes it by itself.
"""
from __future__ import annotations

import re
from typing import Any

NAME = 120  # characters of one name or value
MESSAGE = 8_000  # characters of a whole message

# GitHub Actions runs a line that starts so, after any blanks, and "##[…]" wherever it stands; Azure DevOps "##vso[…]"
# and TeamCity "##teamcity[…]".
LINE_COMMAND = re.compile(r"^(\s*):(?=:)")
COMMAND = re.compile(r"#(?=#\w*\[)")


def shown(value: Any, most: int = NAME) -> str:
    """One name or value of a file on one line: control characters escaped, more than `most` characters cut."""
    return _cut(_escaped(str(value)[:most + 1]), most)


def printable(text: Any, most: int = MESSAGE) -> str:
    """A message of one or more lines for a log: every line as of `shown`, no line a command, its end cut off."""
    lines = str(text)[:most + 1].replace("\r\n", "\n").split("\n")
    return _cut("\n".join(map(_escaped, lines)), most)


def as_line(text: str) -> str:
    """The text as a line of a log that no CI system takes for a command. What wraps lines applies it to each."""
    return LINE_COMMAND.sub(r"\1\\x3a", text)


def is_plain(text: str) -> bool:
    """Whether `shown` leaves a text of this length as it is."""
    return _escaped(text) == text


def label(name: Any, most: int = 40) -> str:
    """A name for a matplotlib plot: no mathematics, and not left out of the legend for a leading underscore."""
    text = shown(name, most).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _escaped(line: str) -> str:
    characters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return as_line(COMMAND.sub(r"\\x23", "".join(characters)))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
