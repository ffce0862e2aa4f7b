"""Makes names and values from files fit for a message: one line, printable and short."""
from __future__ import annotations

LONGEST = 60


def shown(value, longest: int = LONGEST) -> str:
    """The value as printable text of at most about `longest` characters; control characters are escaped."""
    text = str(value)
    escaped = "".join(map(_printable, text[:longest]))
    return f"{escaped[:longest]}…" if len(text) > longest or len(escaped) > longest else escaped


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
