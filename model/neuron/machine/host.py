"""Read-only access to a machine: its files, environment variables and tools. Tests use a planted one."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# The folders of neuron-ls and neuron-monitor (aws-neuronx-tools, seldom on PATH), and of modinfo on Debian.
TOOL_FOLDERS = ("opt/aws/neuron/bin", "usr/sbin", "sbin")
LONGEST = 1 << 20  # bytes to read of a file or a tool's output; /proc/cpuinfo of 96 cores has a fifth
# The driver's files, below the root.
SYSFS = "sys/devices/virtual/neuron_device"


class Output(NamedTuple):
    """A tool's output, and the problem in one clause ('' if it succeeded)."""

    text: str
    problem: str


@dataclass(frozen=True)
class Host:
    """A machine. `root` holds sys, dev, proc and opt; `environment` has PATH and the NEURON_* variables."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def text(self, path: str) -> str | None:
        """The stripped text of a small file below the root; None if it is missing, not readable or empty."""
        try:
            with open(self.root / path, "rb") as file:
                return file.read(LONGEST).decode(errors="replace").strip() or None
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The whole number ≥ 0 in a file, or None."""
        text = self.text(path) or ""
        return int(text) if re.fullmatch("[0-9]{1,20}", text) else None

    def glob(self, *patterns: str) -> list[str]:
        """The paths below the root that match one of the patterns, in order."""
        return sorted(str(path.relative_to(self.root)) for pattern in patterns for path in self.root.glob(pattern))

    def numbered(self, pattern: str) -> dict[int, Path]:
        """{number at the end of the name: file} of the files that match a pattern below the root, in order."""
        ends = ((re.search(r"[0-9]+$", path.name), path) for path in self.root.glob(pattern))
        return dict(sorted((int(end[0]), path) for end, path in ends if end))

    def on_path(self, tool: str) -> str | None:
        """The tool's path if it is on PATH."""
        return shutil.which(tool, path=self.environment.get("PATH", ""))

    def tool(self, name: str) -> str | None:
        """The tool's path if it is on PATH or in its usual folder."""
        return self.on_path(name) or shutil.which(name, path=os.pathsep.join(str(self.root / f) for f in TOOL_FOLDERS))

    def ask(self, name: str, *arguments: str, seconds: float = 5) -> Output:
        """Runs a tool wherever `tool` finds it."""
        tool = self.tool(name)
        return self.run([tool, *arguments], seconds) if tool else Output("", f"{name} is not installed")

    def run(self, command: list[str], seconds: float) -> Output:
        """Runs a tool for at most so many seconds, then ends it and its children."""
        name = Path(command[0]).name
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            try:
                process = self.start(command, output, errors)
            except OSError as error:
                return Output("", f"{name} cannot be run: {error.strerror}")
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                return Output(_read(output), f"{name} did not end within {seconds:g} s")
            finally:
                stop(process)
            last = (_read(errors).strip().splitlines() or ["no reason given"])[-1]
            return Output(_read(output), f"{name} ended with {code}: {last[:200]}" if code else "")

    def start(self, command: list[str], output, errors) -> subprocess.Popen:
        """Starts a tool in a new session, with its output into two open files. Raises OSError."""
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                env=dict(self.environment), start_new_session=True)


HERE = Host()


def stop(process: subprocess.Popen) -> None:
    """Ends a tool that still runs, and its children."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(file) -> str:
    file.seek(0)
    return file.read(LONGEST).decode(errors="replace")
