"""The Python of a commit: the running one where its requirements are the same, else an environment made of them."""
from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from harness.text import shown

INCLUDED = re.compile(r"\s*(?:-r|--requirement)[\s=]+(\S+)")
COMPLETE = "complete"  # a file in an environment that was made to its end


class EnvironmentFailed(RuntimeError):
    """An environment could not be made; the message says why."""


def python_of(checkout: Path, requirements: str, running: Path, folder: Path) -> str:
    """The interpreter that has what `requirements`, a file of the checkout, asks for.

    It is this process's own where the same file of `running`, the project that runs, asks for the same. Otherwise it is
    that of an environment below `folder`, made once for each content. Raises EnvironmentFailed.
    """
    wanted = digest(checkout, requirements)
    try:
        is_same = wanted == digest(running, requirements)
    except EnvironmentFailed:
        is_same = False
    return sys.executable if is_same else _made(folder / wanted[:16], checkout / requirements)


def digest(project: Path, requirements: str) -> str:
    """SHA-256 of a requirements file, of those that it includes, and of Python's version. Raises EnvironmentFailed."""
    sha = hashlib.sha256(platform.python_version().encode())
    for path in _files(project, requirements, []):
        sha.update(path.read_bytes() + b"\0")
    return sha.hexdigest()


def _files(project: Path, name: str, found: list[Path]) -> list[Path]:
    path = project / name
    if not path.is_file():
        raise EnvironmentFailed(f"{name}: the commit has no such file; name another by --requirements")
    if path not in found:
        found.append(path)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if included := INCLUDED.match(line):
                _files(project, included[1], found)
    return found


def _made(place: Path, requirements: Path) -> str:
    """The interpreter of the environment, which takes its name only as a whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    python = str(place / "bin" / "python")
    with FileLock(f"{place}.lock"):
        if not (place / COMPLETE).is_file():
            shutil.rmtree(place, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(place)], requirements)
            _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements.name],
                 requirements)
            (place / COMPLETE).write_text("")
    return python


def _run(command: list[str], requirements: Path) -> None:
    ended = subprocess.run(command, cwd=requirements.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if ended.returncode:
        lines = [line for line in ended.stdout.splitlines() if line.strip() and not line.startswith("[notice]")]
        why = shown(lines[-1] if lines else f"exit code {ended.returncode}", 300)
        raise EnvironmentFailed(f"{requirements.name}: its environment could not be made ({why}); check the network "
                                "and the package index, or compare with the same requirements")
