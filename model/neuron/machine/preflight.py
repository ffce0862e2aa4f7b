"""What a preflight finds: one row for each thing looked at, and the verdict over all of them."""
from __future__ import annotations

import textwrap
from typing import NamedTuple

OK, MISSING, WRONG, UNKNOWN = "ok", "missing", "wrong", "unknown"
WIDTH = 120


class Check(NamedTuple):
    """One row: what was looked at, how it is, what was found, what mends it, and whether the backend needs it."""

    name: str
    status: str
    found: str
    fix: str = ""
    needed: bool = True

    @property
    def blocks(self) -> bool:
        """Whether the Neuron backend cannot be relied on because of it; what cannot be told does not block."""
        return self.needed and self.status in (MISSING, WRONG)


class Diagnosis(NamedTuple):
    """All checks of a machine, and whether it has Inferentia chips at all."""

    checks: list[Check]
    has_chips: bool

    @property
    def ready(self) -> bool:
        """Whether everything is there that the Neuron backend needs."""
        return not any(check.blocks for check in self.checks)

    def summary(self) -> str:
        """The verdict in one sentence."""
        if not self.has_chips:
            return "There is no Inferentia (Inf1) device on this machine; the CPU rehearsal (make gate) works without."
        blocking = ", ".join(dict.fromkeys(check.name for check in self.checks if check.blocks))
        if blocking:
            return f"--backend neuron cannot be relied on before these are mended: {blocking}."
        return "Everything that --backend neuron needs is here."

    def table(self) -> str:
        """The checks as text, each with what mends it below, and the summary."""
        lines = [f"{'status':<8} {'check':<18} found"]
        for check in self.checks:
            start = f"{check.status:<8} {check.name:<18} "
            lines += textwrap.wrap(_printable(check.found), WIDTH, initial_indent=start, subsequent_indent=" " * 28,
                                   break_on_hyphens=False)
            # On one line however long, so that a command can be copied.
            lines += [f"{'':<28}→ {_printable(check.fix)}"] if check.fix else []
        return "\n".join([*lines, "", self.summary()])


def _printable(text: str) -> str:
    """Other people's process names and variables must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
