"""Runs a soak: load on a detector for minutes or hours, in windows, journaled so that a killed one can be resumed.

After AWS's published run on Inferentia: two hours, comparing the images a second of each 30 seconds.
"""
from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Callable

from harness.load.generator import SHORTEST, Detect, Load, LoadPattern, Request, drive
from harness.machine.facts import facts
from harness.machine.noise import NoiseMonitor
from harness.machine.sampler import Sampler
from harness.soak.journal import Journal, JournalError
from harness.soak.reader import JournalReader, summarise
from harness.soak.result import SoakResult
from harness.soak.schema import COMPLETE, FAILED, LONGEST_ERROR, UTC, VERSION

PUBLISHED_SECONDS, WINDOW_SECONDS = 7200.0, 30.0  # of the published run
LEAST_WINDOWS, LEAST_WINDOW_SECONDS = 30, 0.5


def window_seconds_for(seconds: float) -> float:
    """The seconds of a window: 30, or less to have 30 windows in a short soak, but at least 0.5."""
    return min(WINDOW_SECONDS, max(LEAST_WINDOW_SECONDS, seconds / LEAST_WINDOWS))


@dataclass(frozen=True)
class Plan:
    """A load pattern for at least `seconds`, in windows of equal length; ValueError for an impossible length."""

    seconds: float
    window_seconds: float
    pattern: LoadPattern

    def __post_init__(self):
        if not 0 < self.window_seconds <= self.seconds < math.inf:
            raise ValueError(f"windows of {self.window_seconds:g} s in a soak of {self.seconds:g} s: must be above 0 s "
                             "and at most as long as the soak")

    @property
    def windows(self) -> int:
        return math.ceil(self.seconds / self.window_seconds - 1e-9)

    def as_record(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "window_seconds": self.window_seconds, "windows": self.windows,
                **asdict(self.pattern)}


def run_soak(
    detect: Detect, samples, plan: Plan, journal_path: str | Path, identity: dict[str, Any], *, deadline: float,
    wrong: Callable[[dict[int, Any]], str] | None = None, resume: bool = False,
    extra: Callable[[], dict] | None = None, progress: Callable[[int], Any] = lambda windows: None,
    before_window: Callable[[int], Any] = lambda number: None,
) -> None:
    """Run window after window and journal everything; `summarise` gives the result.

    Beside the load `NoiseMonitor` watches the machine. The images of a window continue where the one before ended. A
    request that raises, breaks the contract of the call or misses the deadline is journaled and ends the soak as
    failed. So do a window's detections (the first of each image by its id) if `wrong` gives a reason, '' if there is
    none. `identity` (for strict JSON) says what is measured; this machine becomes part of it.

    With `resume` a soak that was cut short continues at its first incomplete window: JournalError if its identity,
    machine or plan differs, or if it is over (`is_over`). Without it an older journal is kept as `….previous`. `extra`
    gives further numbers to sample each second; `progress` gets the number of windows that have become complete.
    `before_window` gets the number of each window, which opens when it returns: so that machines open theirs together.
    KeyboardInterrupt, and what `progress` or `before_window` raises, leave a journal that can be resumed. Raises
    ValueError as `drive`, and JournalError if the journal cannot be written.
    """
    identity = _here(identity)
    path, reader = Path(journal_path), JournalReader()
    with Journal(path, reader.add if resume else None) as journal:
        past = reader.result()
        if resume:
            if ended := _end(past):
                raise JournalError(f"{path}: cannot resume, because this soak is over ({ended}, {len(past.windows)} of "
                                   f"{past.planned} windows); start a new one without resuming")
            _require_same(past, path, {**identity, **plan.as_record()})
        noise = NoiseMonitor(past.reference or None)
        send = partial(drive, detect, samples, plan.pattern, deadline=deadline)
        session = _Session(send, plan, journal, wrong or (lambda detections: ""), progress, before_window, noise,
                           windows=len(past.windows), requests=past.requests)
        journal.add({
            "kind": "session", "number": len(past.sessions) + 1, "version": VERSION,
            "utc": datetime.now(timezone.utc).strftime(UTC), "identity": identity, "plan": plan.as_record(),
            "reference": noise.iterations,
        })
        with noise, Sampler(journal.add, journal.seconds, extra):
            is_complete = session.run()
        journal.add({"kind": "finish", "outcome": COMPLETE if is_complete else FAILED,
                     "why": session.why[:LONGEST_ERROR]})


def is_over(journal_path: str | Path, plan: Plan, identity: dict[str, Any]) -> bool:
    """Whether the soak of the journal has ended, so that `summarise` gives all there is to judge.

    JournalError if the journal cannot be read, or if the soak has ended and its identity or plan differs. The machine
    may differ, because nothing more is measured.
    """
    past = summarise(journal_path)
    if not _end(past):
        return False
    measured_there = {**_here(identity), "machine": past.identity.get("machine")}
    _require_same(past, Path(journal_path), {**measured_there, **plan.as_record()})
    return True


def _end(past: SoakResult) -> str:
    """How a soak ended; '' for one that was cut short or goes on."""
    return past.finished or (FAILED if past.failed_requests else "")


def _here(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity with this machine, as a journal gives it back. ValueError for what strict JSON cannot hold."""
    return json.loads(json.dumps({"machine": this_machine(), **identity}, allow_nan=False))


def this_machine() -> dict[str, Any]:
    """The facts of this machine that must be equal for windows to belong to one soak."""
    known = facts()
    return {"host": platform.node(), **{name: known[name] for name in ("processor", "cores", "memory")}}


def _require_same(past: SoakResult, path: Path, wanted: dict) -> None:
    known = {**past.identity, **past.plan}
    for name in [*known, *wanted]:
        if known.get(name) != wanted.get(name):
            raise JournalError(f"{path}: cannot resume, because {name} was {known.get(name)!r} when this soak started "
                               f"and is {wanted.get(name)!r} now; restore it, or start a new soak without resuming")


class _RequestFailed(Exception):
    """Ends a window at once."""


@dataclass
class _Session:
    """The part of a soak that one process runs, after the windows and requests of those before it.

    `send` drives the load. An open loop has the same arrivals in each window, so that windows do not differ by it.
    """

    send: Callable[..., Load]
    plan: Plan
    journal: Journal
    wrong: Callable[[dict[int, Any]], str]
    progress: Callable[[int], Any]
    before_window: Callable[[int], Any]
    noise: NoiseMonitor
    windows: int
    requests: int
    why: str = ""

    def run(self) -> bool:
        """Whether every window is complete; if not, a request failed or `why` says how the detections are wrong."""
        self.progress(self.windows)
        if self._journal_failures(self.send(seconds=SHORTEST, first=self.requests)):  # no time for more than warm-up
            return False
        for number in range(self.windows + 1, self.plan.windows + 1):
            if not self._window(number):
                return False
            self.progress(1)
        return True

    def _window(self, number: int) -> bool:
        self.before_window(number)
        opened = perf_counter()
        self.journal.add({"kind": "opening", "at": self.journal.seconds(opened)})
        try:
            load = self.send(seconds=self.plan.window_seconds, first=self.requests, warm_up=0,
                             observe=self._observe)
        except _RequestFailed:
            return False
        conditions = self.noise.between(opened, perf_counter())
        if self._journal_failures(load):
            return False
        if load.detections and (found := self.wrong(load.detections)):
            self.why = f"wrong detections in window {number}: {found}"
            return False
        self.requests += len(load.requests)
        closed = opened + self.plan.window_seconds
        start = min((request.start for request in load.requests), default=opened)
        if start >= closed:  # the machine stood still for the whole window
            start = opened
        self.journal.add({"kind": "window", "number": number, "start": self.journal.seconds(start),
                           "end": self.journal.seconds(closed), "conditions": conditions._asdict()})
        return True

    def _observe(self, request: Request) -> None:
        self.journal.add_request(request)
        if request.error:
            raise _RequestFailed

    def _journal_failures(self, load: Load) -> bool:
        """Journal failures of the warm-up and requests past the deadline, which nobody observed; whether any."""
        for request in load.failed:
            self.journal.add_request(request)
        return bool(load.failed)
