"""An engine in a process of its own, so that a crash or hang affects only its row of the table.

Each engine has its own thread pools and math libraries, which may conflict in one process.
"""
from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from benchmarks.case import EngineError
from benchmarks.engines import version

SECONDS_TO_END = 5


class Loaded(NamedTuple):
    """The first message of an engine: its version and the head maps of the case's image, or why it cannot run."""

    version: str
    maps: list
    note: str


class EngineProcess:
    """One engine in a spawned interpreter, which computes only while `load` or `turn` waits for it.

    Both raise EngineError if the process crashes or gives no response within `deadline` seconds.
    """

    def __init__(self, engine, case_file, deadline: float):
        context = multiprocessing.get_context("spawn")
        self.deadline = deadline
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, engine, str(case_file)), daemon=True)
        self._process.start()
        theirs.close()

    def load(self) -> Loaded:
        """The process's first message."""
        return self._receive("loading")

    def turn(self, images: int) -> list[float]:
        """Seconds of each of so many images, after one image that is not timed."""
        with suppress(OSError):  # `_receive` reports a process that has ended
            self._connection.send(images)
        seconds, note = self._receive("computing")
        if note:
            raise EngineError(note)
        return seconds

    def close(self) -> None:
        self._process.kill()
        self._process.join(SECONDS_TO_END)
        self._connection.close()

    def _receive(self, doing):
        if not self._connection.poll(self.deadline):
            raise EngineError(f"hung while {doing}: no response within {self.deadline:g} s")
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise EngineError(f"crashed while {doing}: {self._death()}") from None

    def _death(self) -> str:
        self._process.join(SECONDS_TO_END)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}"
        memory = "; is there too little memory?" if -code == signal.SIGKILL else ""
        return f"its process was killed by signal {-code} ({signal.Signals(-code).name}){memory}"


def _serve(connection, engine, case_file) -> None:
    """The process: loads the engine, then computes the number of images in each message until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts
    os.dup2(2, 1)  # output of libraries is not part of the table
    run, image, loaded = _load(engine, case_file)
    connection.send(loaded)
    with suppress(EOFError):
        while True:
            connection.send(_turn(run, image, connection.recv()))


def _load(engine, case_file) -> tuple:
    release = ""
    try:
        release = version(engine)
        case = pickle.loads(Path(case_file).read_bytes())
        run = engine.prepare(case)
        maps = [np.array(head) for head in run(case.image)]
        return run, case.image, Loaded(release, maps, "")
    except Exception as error:  # any error of a rival becomes its row
        return None, None, Loaded(release, [], note(error))


def _turn(run, image, images: int) -> tuple[list, str]:
    try:
        run(image)  # not timed: brings its weights back into the caches and its threads back to work
        return [_timed(run, image) for _ in range(images)], ""
    except Exception as error:  # as above
        return [], note(error)


def _timed(run, image) -> float:
    start = perf_counter()
    run(image)
    return perf_counter() - start


def note(error) -> str:
    """The error in one line of a table."""
    kind = "" if isinstance(error, EngineError) else f"{type(error).__name__}: "
    return f"{kind}{(str(error).strip().splitlines() or [''])[0][:160]}"
