"""One arm in a process of its own: started in its checkout with its Python, asked for bursts of load, and ended.

The process runs `probe.py` as a test of the gate of the arm's commit. Whatever becomes of it, the caller gets one
sentence that names the arm.
"""
from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import psutil

from harness.accuracy import stored
from harness.load import generator
from harness.text import shown
from harness.turns.arms import Arm
from harness.turns.checkout import Commit

PROBE = Path(__file__).with_name("probe.py")
NAME = "turns_probe.py"  # of its copy in a checkout
SPEED_IMAGES = 500  # held in memory by each arm
DATASET = {"annotations", "images", "names", "image_ids"}  # facts of a dataset
LARGEST = 2**26  # bytes of a response
GRACE = 10.0  # seconds to end by itself
# What of a log says what went wrong, the best first: wrong options, the first exception, pytest's other errors, else
# the last line.
ERRORS = (
    (0, re.compile(r".*\berror: (\S.*)")),
    (0, re.compile(r"E\s+([\w.]*(?:Error|Exception)\b.*|fixture '\w+' not found)")),
    (0, re.compile(r"E\s+(?!\[)(\S.*)")),
    (-1, re.compile(r"ERROR:? (?!turns_probe)(\S.*)")),
    (-1, re.compile(r"(\S.*)")),
)
FOREIGN = ("PYTHON", "PYTEST_", "GIT_", "TOX_", "COV_")  # variables that are meant for the process that compares


class ArmError(RuntimeError):
    """An arm cannot be measured; the message names it and says why."""


class Place(NamedTuple):
    """Where an arm runs: its commit's checkout, the interpreter, the cache of compiled models and the log to write."""

    arm: Arm
    commit: Commit
    checkout: Path
    python: str
    cache: Path
    log: Path

    def __str__(self) -> str:
        options = f", {shown(' '.join(self.arm.options), 120)}" if self.arm.options else ""
        return f"{self.arm.name} ({self.commit}{options})"

    @property
    def command(self) -> list[str]:
        """The command line that runs the probe.

        The checkout lies within the project that compares. pytest would take that one's settings and conftest.py, hence
        its detector, where it finds the root folder by itself, or takes the value of an option for a path.
        """
        return [self.python, "-m", "pytest", NAME, "-q", "--tb=short", "-p", "no:cacheprovider",
                "-c", str(self.checkout / "pytest.ini"), f"--rootdir={self.checkout}", f"--confcutdir={self.checkout}",
                f"--cache-dir={self.cache}", *self.arm.options]


class Burst(NamedTuple):
    """A short stretch of load: images with detections, wall-clock seconds, and the seconds of each request."""

    images: int
    seconds: float
    latencies: list[float]


class Process:
    """An arm's process. `hello` waits until its detector is loaded; every method may raise ArmError, which ends it."""

    def __init__(self, place: Place, command: list[str] | None = None):
        self._place, self._left = place, b""
        self._line, far = socket.socketpair()
        with far:
            settings = {"socket": far.fileno(), "images": SPEED_IMAGES, "generator": generator.__file__,
                        "stored": stored.__file__}
            self._process = self._started(command or place.command, settings)

    def _started(self, command: list[str], settings: Mapping) -> subprocess.Popen:
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        try:
            shutil.copyfile(PROBE, self._place.checkout / NAME)
            with open(self._place.log, "wb") as log:
                # A session of its own: Ctrl-C is the caller's, and a group is ended as a whole.
                return subprocess.Popen(
                    command, cwd=self._place.checkout, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env={**own, **dict(self._place.arm.variables), "TURNS": json.dumps(settings)},
                    pass_fds=[settings["socket"]], start_new_session=True)
        except OSError as error:
            self._line.close()
            raise ArmError(f"{self._place}: its process could not be started ({error.strerror or error})") from error

    def hello(self, deadline: float) -> dict[str, Any]:
        """The facts of the loaded detector: metadata, versions, dataset."""
        found = self._ask(deadline, do="hello")
        dataset, is_whole = found.get("dataset"), isinstance(found.get("metadata"), dict)
        if not is_whole or not isinstance(dataset, dict) or not dataset.keys() >= DATASET:
            raise self._failed("sent facts that cannot be read")
        if self._place.checkout not in Path(str(found.get("code"))).parents:
            raise self._failed(f"runs {shown(found.get('code'))}, which is not of its commit")
        return found

    def burst(self, deadline: float, **load: int) -> Burst:
        """Measures a burst of load."""
        found = self._ask(deadline, do="burst", **load)
        burst = Burst(*(found.get(name) for name in Burst._fields))
        is_list = isinstance(burst.latencies, list) and len(burst.latencies) > 0
        if not is_list or not all(map(_is_positive, (burst.images, burst.seconds, *burst.latencies))):
            raise self._failed("sent a measurement that cannot be read")
        return burst

    def detections(self, deadline: float, path: Path, **load: int) -> dict[int, stored.Stored]:
        """The detections of the whole dataset by image id; `path` is a new file."""
        found = self._ask(deadline, do="detections", path=str(path), **load)
        try:
            return stored.unpacked(path, str(found.get("digest")))
        except stored.DetectionsError as error:
            raise self._failed(f"sent detections that cannot be read ({error})") from error

    def _ask(self, deadline: float, **request: Any) -> dict[str, Any]:
        try:
            self._line.settimeout(deadline)
            self._line.sendall(json.dumps(request).encode() + b"\n")
            found = json.loads(self._response(monotonic() + deadline))
        except socket.timeout:
            raise self._failed(f"gave no response within {deadline:g} s and was ended") from None
        except (EOFError, OSError):
            raise self._failed("") from None
        except (ValueError, RecursionError):
            raise self._failed("sent a response that cannot be read") from None
        if not isinstance(found, dict):
            raise self._failed("sent a response that cannot be read")
        if "error" in found:
            raise self._failed(f"could not be measured: {shown(found['error'], 500)}")
        return found

    def _response(self, end: float) -> bytes:
        """The next line. Raises EOFError where the process has ended."""
        while b"\n" not in self._left:
            self._line.settimeout(max(end - monotonic(), 1e-3))
            part = self._line.recv(2**16)
            if not part:
                raise EOFError
            self._left += part
            if len(self._left) > LARGEST:
                raise ValueError
        line, _, self._left = self._left.partition(b"\n")
        return line

    def _failed(self, why: str) -> ArmError:
        """The error to raise; '' stands for an end of the process's own."""
        if why:
            self.end(0)
            return ArmError(f"{self._place}: {why}")
        self.end()
        return ArmError(f"{self._place}: its process {_ending(self._process.returncode)}{self._last_words()}")

    def _last_words(self) -> str:
        """What the log says of the reason."""
        with suppress(OSError):
            lines = self._place.log.read_text(encoding="utf-8", errors="replace").splitlines()
            for place, pattern in ERRORS:
                if found := [match[1] for line in lines if (match := pattern.match(line))]:
                    return f": {shown(found[place], 400)}"
        return ""

    def release(self) -> None:
        """Lets the process end by itself; `end` waits for it."""
        self._line.close()

    def end(self, grace: float = GRACE) -> None:
        """Ends the process and all that it has started, by itself within `grace` seconds or by force."""
        children = []
        with suppress(psutil.Error):
            children = psutil.Process(self._process.pid).children(recursive=True)
        self.release()
        with suppress(subprocess.TimeoutExpired):
            if grace:
                self._process.wait(grace)
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        self._process.wait()


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
