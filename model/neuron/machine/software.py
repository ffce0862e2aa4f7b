"""The Neuron software of a machine: kernel driver, system packages, and the distributions of an interpreter.

Sources: SDK docs, pages "Neuron Driver release notes" and "Neuron Sysfs User Guide"; aws-neuron-tensorflow, setup.py.
"""
from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from model.neuron.machine.host import Host

PROBE = Path(__file__).with_name("probe.py")
DISTRIBUTIONS = ("tensorflow-neuron", "tensorflow-neuronx", "neuron-cc", "tensorflow", "protobuf", "numpy")


class InterpreterError(ValueError):
    """The given program is not a Python interpreter; the message names it."""


class Driver(NamedTuple):
    """The kernel module `neuron`. `version` is None if unknown; `source` says where it was found."""

    version: str | None
    loaded: bool
    source: str


class Interpreter(NamedTuple):
    """A Python and its distributions (name → version); `neuron_cc` is the compiler that the framework would find."""

    path: str
    python: str
    system: str
    versions: dict[str, str]
    bundles_runtime: bool
    neuron_cc: str | None


def release(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version: 1.24.0.0+4c32dd9 → (1, 24, 0, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def driver(host: Host) -> Driver | None:
    """The loaded driver, else the installed one, else None."""
    version = host.text("sys/module/neuron/version")
    if version:
        return Driver(version, True, "/sys/module/neuron")
    modules = host.text("proc/modules") or ""
    loaded = any(line.startswith("neuron ") for line in modules.splitlines())
    shown = host.ask("modinfo", "-F", "version", "neuron")
    installed = None if shown.problem else shown.text.strip() or None
    return Driver(installed, loaded, "modinfo") if installed or loaded else None


def packages(host: Host, *names: str) -> dict[str, str] | None:
    """{name: version} of those system packages that are installed; None where neither dpkg nor rpm can be asked."""
    dpkg, rpm = host.tool("dpkg-query"), host.tool("rpm")
    if dpkg:
        command = [dpkg, "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n", *names]
    elif rpm:
        command = [rpm, "-q", "--qf", "installed %{NAME} %{VERSION}\n", *names]
    else:
        return None
    rows = [line.split() for line in host.run(command, 5).text.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}


def interpreter(host: Host, python: str = sys.executable) -> Interpreter:
    """A Python (3.7 or newer) and its distributions, none of which is imported. Raises InterpreterError."""
    shown, problem = host.run([str(python), "-c", PROBE.read_text(encoding="utf-8"), *DISTRIBUTIONS], 30)
    try:
        return Interpreter(str(python), **json.loads(shown.strip().splitlines()[-1]))
    except (IndexError, TypeError, ValueError):
        why = problem or "its output is not that of Python"
        raise InterpreterError(f"{python}: must be a Python 3.7 or newer that runs: {why}") from None
