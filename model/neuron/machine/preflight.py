"""The results of a preflight: one row per check, and a summary."""
from __future__ import annotations

import textwrap
from typing import NamedTuple

OK, MISSING, WRONG, UNKNOWN = "ok", "missing", "wrong", "unknown"
WIDTH = 120


class Check(NamedTuple):
    """One row: name, status, finding, a command that fixes it, and whether the backend needs it."""

    name: str
    status: str
    found: str
    fix: str = ""
    needed: bool = True

    @property
    def blocks(self) -> bool:
        """Whether the Neuron backend will not work because of it; an unknown status does not block."""
        return self.needed and self.status in (MISSING, WRONG)


class Diagnosis(NamedTuple):
    """All checks of a machine, and whether it has Inferentia chips."""

    checks: list[Check]
    has_chips: bool

    @property
    def ready(self) -> bool:
        """Whether the machine has everything that the Neuron backend needs."""
        return not any(check.blocks for check in self.checks)

    def summary(self) -> str:
        """The result in one sentence."""
        if not self.has_chips:
            return "This machine has no Inferentia (Inf1) device; the gate also runs on the CPU."
        blocking = ", ".join(dict.fromkeys(check.name for check in self.checks if check.blocks))
        if blocking:
            return f"The Neuron backend will not work until these are fixed: {blocking}."
        unknown = ", ".join(dict.fromkeys(check.name for check in self.checks if check.status == UNKNOWN))
        if unknown:
            return f"Nothing that is known to be needed is missing, but this is unknown or unproven: {unknown}."
        return "This machine has everything that the Neuron backend needs."

    def table(self) -> str:
        """The checks as text, each with its fix below, and the summary."""
        lines = [f"{'status':<8} {'check':<18} found"]
        for check in self.checks:
            start = f"{check.status:<8} {check.name:<18} "
            lines += textwrap.wrap(_printable(check.found), WIDTH, initial_indent=start, subsequent_indent=" " * 28,
                                   break_on_hyphens=False)
            # On one line, however long, so that the command can be copied.
            lines += [f"{'':<28}→ {_printable(check.fix)}"] if check.fix else []
        return "\n".join([*lines, "", self.summary()])


def _printable(text: str) -> str:
    """The text without control characters, because names of processes and variables may hold some."""
    return "".join(c if c.isprintable() else "?" for c in text)
