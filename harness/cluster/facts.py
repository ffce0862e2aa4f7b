"""What a node says of itself, and how the nodes of one run differ where they must not."""
from __future__ import annotations

import hashlib
import os
import platform
import socket
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.machine import facts as machine

ROOT = Path(__file__).resolve().parents[2]
CODE = ("model", "harness", "fixtures")  # folders whose code runs on a node
SHOWN = 12  # characters of a digest
# What must be equal on all nodes and in the process that leads them, and what to do where it is not.
ALIKE = {
    "python": "start every node with the same Python",
    "ray": "install the same version of Ray on every node",
    "numpy": "install the same version of NumPy on every node",
    "code": "give every node the same commit of this project",
}


def own() -> dict[str, Any]:
    """Host, process id, versions of Python, Ray (None without it) and NumPy, digest of the code, the machine."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "python": platform.python_version(),
            "ray": _version("ray"), "numpy": _version("numpy"), "code": code_digest(), "machine": machine.facts()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def code_digest() -> str:
    """SHA-256 of the project's Python files that run on a node, with their names."""
    sha = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            sha.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def differences(here: Mapping[str, Any], nodes: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A line for each version in which a node (name, facts) differs from this process, with what to do."""
    return [f"{name} on {found.get('host')}: {what} is {_short(found.get(what))}, here it is "
            f"{_short(here.get(what))}; {advice}"
            for name, found in nodes for what, advice in ALIKE.items() if found.get(what) != here.get(what)]


def _short(value: Any) -> str:
    text = str(value)
    return text[:SHOWN] if len(text) == 64 else text
