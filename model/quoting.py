"""Makes names and values from files fit for a message: one line, printable and short."""
from __future__ import annotations


def shown(value, longest: int = 60) -> str:
    """The value as printable text of at most about `longest` characters; control characters are escaped."""
    text = str(value)
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:longest])
    return f"{escaped[:longest]}…" if len(text) > longest or len(escaped) > longest else escaped
