"""Names and values from files, made fit for a message: one line, printable and short."""
from __future__ import annotations

LONGEST = 60


def shown(value, longest: int = LONGEST) -> str:
    """The value as printable text of about `longest` characters at most; what a terminal would obey is escaped."""
    text = str(value)
    escaped = "".join(map(_printable, text[:longest]))
    return f"{escaped[:longest]}…" if len(text) > longest or len(escaped) > longest else escaped


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
