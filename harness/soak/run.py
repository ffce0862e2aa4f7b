"""A soak: load on a detector for minutes or hours, in windows, journaled so that a killed one can be carried on.

After AWS's published run on Inferentia: two hours, and the images a second of each 30 seconds compared.
"""
from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any, Callable

from harness.load.generator import SHORTEST, Detect, Load, Request, Shape, drive
from harness.machine.facts import facts
from harness.machine.noise import NoiseMonitor
from harness.machine.sampler import Sampler
from harness.soak.journal import Journal, JournalError, read
from harness.soak.result import Fold, Soak
from harness.soak.schema import COMPLETE, FAILED, LONGEST_ERROR, VERSION

PUBLISHED_SECONDS, WINDOW_SECONDS = 7200.0, 30.0  # of the published run
LEAST_WINDOWS, LEAST_WINDOW_SECONDS = 30, 0.5


def window_seconds_for(seconds: float) -> float:
    """30 s; less for a soak so short that it would have fewer than 30 windows, but never less than 0.5 s."""
    return min(WINDOW_SECONDS, max(LEAST_WINDOW_SECONDS, seconds / LEAST_WINDOWS))


@dataclass(frozen=True)
class Plan:
    """Load of this shape for so many seconds at least, in windows of equal length."""

    seconds: float
    window_seconds: float
    shape: Shape

    def __post_init__(self):
        if not 0 < self.window_seconds <= self.seconds < math.inf:
            raise ValueError(f"windows of {self.window_seconds:g} s in a soak of {self.seconds:g} s cannot be: a "
                             "window is above 0 s and at most as long as the soak")

    @property
    def windows(self) -> int:
        return math.ceil(self.seconds / self.window_seconds - 1e-9)

    def as_record(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "window_seconds": self.window_seconds, "windows": self.windows,
                **asdict(self.shape)}


def run_soak(
    detect: Detect, samples, plan: Plan, journal_path: str | Path, identity: dict[str, Any], *, deadline: float,
    wrong: Callable[[dict[int, Any]], str] | None = None, resume: bool = False,
    extra: Callable[[], dict] | None = None, progress: Callable[[int], Any] | None = None,
) -> None:
    """Runs window after window and journals everything; `summarise` says what came of it.

    Beside the load `NoiseMonitor` watches the machine; the images go on where the window before has ended. A request
    that raises, breaks the contract of the call or misses the deadline is journaled and ends the soak as failed. So do
    answers of a window, the first of each image by its id, of which `wrong` says why they are none ('' if they are).
    `identity` (for strict JSON) says what is measured; this machine is made part of it. With `resume` a soak that was
    cut short goes on at its first window that is not complete: JournalError if it was of another identity, machine or
    plan, or is over, of which `is_over` says more. Without, an older journal is kept as `….previous`. `extra` gives
    further numbers, to be sampled each second; `progress` gets the number of windows that have become complete.
    KeyboardInterrupt leaves a journal that can be resumed. Raises ValueError as `drive`, and JournalError
    if the journal cannot be written.
    """
    identity, fold = _here(identity), Fold()
    with Journal(journal_path, fold.add if resume else None) as journal:
        past = fold.soak()
        if resume:
            _require_resumable(past, Path(journal_path), {**identity, **plan.as_record()})
        noise = NoiseMonitor(past.reference or None)
        session = _Session(detect, samples, plan, journal, past, deadline, wrong or (lambda answers: ""),
                           progress or (lambda windows: None), noise)
        journal.add({
            "kind": "session", "number": len(past.sessions) + 1, "version": VERSION, "utc": _utc(),
            "identity": identity, "plan": plan.as_record(), "reference": noise.iterations,
        })
        with noise, Sampler(journal.add, journal.seconds, extra):
            is_complete = session.run()
        journal.add({"kind": "finish", "outcome": COMPLETE if is_complete else FAILED,
                     "why": session.why[:LONGEST_ERROR]})


def summarise(journal_path: str | Path) -> Soak:
    """What the journal shows, of a soak that is over, was cut short or goes on. JournalError if it cannot be read."""
    fold = Fold()
    for record in read(journal_path):
        fold.add(record)
    return fold.soak()


def is_over(journal_path: str | Path, plan: Plan, identity: dict[str, Any]) -> bool:
    """Whether the journal is that of a soak that has come to its end, so that `summarise` says all there is to judge.

    JournalError if the journal cannot be read, or if it is over and was of another identity or plan. The machine may be
    another: nothing is measured any more.
    """
    past = summarise(journal_path)
    if _end(past):
        measured_there = {**_here(identity), "machine": past.identity.get("machine")}
        _require_same(past, Path(journal_path), {**measured_there, **plan.as_record()})
    return bool(_end(past))


def _end(past: Soak) -> str:
    """How a soak has ended; an empty text for one that was cut short or goes on."""
    return past.finished or (FAILED if past.failed_requests else "")


def _here(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity with this machine, as it is read from a journal. ValueError for what strict JSON cannot say."""
    return json.loads(json.dumps({"machine": this_machine(), **identity}, allow_nan=False))


def this_machine() -> dict[str, Any]:
    """What must be the same for windows to be those of one soak."""
    known = facts()
    return {"host": platform.node(), **{name: known[name] for name in ("processor", "cores", "memory")}}


def _require_resumable(past: Soak, path: Path, wanted: dict) -> None:
    if _end(past):
        raise JournalError(f"{path}: this soak is over ({_end(past)}, {len(past.windows)} of {past.planned} "
                           "windows): start a new one, without resuming")
    _require_same(past, path, wanted)


def _require_same(past: Soak, path: Path, wanted: dict) -> None:
    known = {**past.identity, **past.plan}
    for name in [*known, *wanted]:
        if known.get(name) != wanted.get(name):
            raise JournalError(f"{path}: this soak was started with {name} {known.get(name)!r} and cannot go on with "
                               f"{wanted.get(name)!r}: restore that, or start a new one, without resuming")


def _utc() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class _RequestFailed(Exception):
    """Ends a window at once."""


class _Session:
    """What one process does of a soak."""

    def __init__(self, detect, samples, plan: Plan, journal: Journal, past: Soak, deadline: float, wrong, progress,
                 noise: NoiseMonitor):
        self._detect, self._samples, self._plan, self._journal = detect, samples, plan, journal
        self._deadline, self._progress, self._done = deadline, progress, len(past.windows)
        self._first, self._wrong, self.why, self._noise = past.requests, wrong, "", noise

    def run(self) -> bool:
        """Whether every window is complete; else a request has failed, or `why` says what was wrong with answers."""
        self._progress(self._done)
        if not self._warm_up():
            return False
        for number in range(self._done + 1, self._plan.windows + 1):
            if not self._window(number):
                return False
            self._progress(1)
        return True

    def _warm_up(self) -> bool:
        return not self._journal_failures(self._drive(seconds=SHORTEST, warm_up=1))  # no time is left to send more

    def _window(self, number: int) -> bool:
        opened = perf_counter()
        self._journal.add({"kind": "opening", "at": self._journal.seconds(opened)})
        try:
            load = self._drive(seconds=self._plan.window_seconds, warm_up=0, observe=self._observe)
        except _RequestFailed:
            return False
        conditions = self._noise.between(opened, perf_counter())
        if self._journal_failures(load):
            return False
        if load.answers and (found := self._wrong(load.answers)):
            self.why = f"the answers of window {number} cannot be believed: {found}"
            return False
        self._first += len(load.requests)
        closed = opened + self._plan.window_seconds
        begin = min((request.start for request in load.requests), default=opened)
        if begin >= closed:  # the machine stood still for the whole window
            begin = opened
        self._journal.add({"kind": "window", "number": number, "start": self._journal.seconds(begin),
                           "end": self._journal.seconds(closed), "conditions": conditions._asdict()})
        return True

    def _drive(self, **options) -> Load:
        # The same arrivals of an open loop in each window: they must not differ by what they were asked for.
        return drive(
            self._detect, self._samples, self._plan.shape, first=self._first, deadline=self._deadline, **options
        )

    def _observe(self, request: Request) -> None:
        self._journal.add_request(request)
        if request.error:
            raise _RequestFailed

    def _journal_failures(self, load: Load) -> bool:
        """Of the warm-up and of requests that missed the deadline, which nobody observed; → whether there are any."""
        for request in load.failed:
            self._journal.add_request(request)
        return bool(load.failed)
