"""What a node does under load: the load generator runs here, beside the detector, and the driver only says when.

Nothing in here knows how a node is called from elsewhere. Times are those of this process's time.perf_counter.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import fmean
from threading import Event, Thread
from time import perf_counter, sleep
from typing import Any, Callable, NamedTuple

from harness.accuracy.dataset import Dataset
from harness.accuracy.under_load import wrong_under_load
from harness.cluster.images import read
from harness.load.generator import SHORTEST, Detect, Load, LoadPattern, Request, drive, whole_batches
from harness.machine.facts import matrix_product_rates
from harness.machine.noise import NoiseMonitor, slowdown
from harness.machine.sampler import Sampler
from harness.soak.run import Plan, is_over, run_soak, summarise

STOPPED = "stopped"


class Round(NamedTuple):
    """One round of load on a node: the load, and the seconds by which it started later than agreed."""

    load: Load
    late: float


class SoakState(NamedTuple):
    """How far a node's soak is: its complete windows, whether it runs, why it ended ('' if it is over or runs).

    `is_ready` is whether it has warmed up and waits for its first window to open, or had it. `late` is the most by
    which a window opened later than agreed, in seconds.
    """

    windows: int
    is_running: bool
    is_ready: bool
    why: str
    late: float


class SoakOrder(NamedTuple):
    """A soak as the driver orders it of a node, to be journaled in a file there; other fields as of `run_soak`."""

    plan: Plan
    journal: str
    identity: dict
    deadline: float
    resume: bool


class Openings(NamedTuple):
    """When windows open on a node: number `first` at the time `at`, and another `period` seconds later each."""

    first: int
    at: float
    period: float

    def of(self, number: int) -> float:
        return self.at + (number - self.first) * self.period


class _Stopped(Exception):
    """The driver ended the soak."""


class Beside:
    """The load generator of a node beside its detector, with the images that it sends.

    `detect` is the detector's. `extra` gives further numbers to sample each second of a soak. Images come by `hold`.
    """

    def __init__(self, detect: Detect, extra: Callable[[], dict] | None = None):
        self._detect, self._extra = detect, extra
        self._samples: Any = []
        self._wrong: Callable[[dict], str] | None = None
        self._watched, self._noise = ExitStack(), None
        self._readings: list[dict] = []
        self._soak: _Soak | None = None

    def hold(self, samples: Sequence[tuple[int, str | bytes]], dataset: Dataset | None = None,
             references: Mapping[int, Any] | None = None) -> None:
        """Takes the (image id, encoded image) to send, or the path or URL to read it from.

        With `dataset`, which has all of them, and `references`, the detections of some in a sequential run, those of
        each window of a soak are checked (`wrong_under_load`). Raises UnreadableImage.
        """
        self._samples = [(image, read(one) if isinstance(one, str) else one) for image, one in samples]
        self._wrong = partial(wrong_under_load, dataset, references or {}) if dataset else None

    # ---- rounds of load

    def warm(self, pattern: LoadPattern, deadline: float) -> list[Request]:
        """Sends the first batch once for each caller; the requests that failed."""
        return drive(self._detect, self._samples, pattern, seconds=SHORTEST, deadline=deadline).failed

    def request_seconds(self, pattern: LoadPattern, deadline: float) -> float:
        """The longest of one request of each caller, once the detector is warm; 0 where requests fail."""
        self.warm(pattern, deadline)
        load = drive(self._detect, self._samples, pattern, seconds=SHORTEST, deadline=deadline)
        return 0.0 if load.failed else max(request.end - request.start for request in load.warm_up)

    def drive(self, pattern: LoadPattern, seconds: float, first: int, seed: int, deadline: float,
              opens: float) -> Round:
        """The load from the time `opens` on for so many seconds, from batch number `first`."""
        samples = whole_batches(list(self._samples), pattern.batch_size)
        sleep(max(opens - perf_counter(), 0.0))
        late = max(perf_counter() - opens, 0.0)
        load = drive(self._detect, samples, pattern, seconds=seconds, first=first, warm_up=0, deadline=deadline,
                     seed=seed)
        return Round(load, late)

    def products(self, seconds: float) -> list[float]:
        """As `harness.machine.facts.matrix_product_rates`."""
        return matrix_product_rates(seconds)

    # ---- the machine meanwhile

    def watch(self) -> None:
        """Starts to watch this machine; one that is watched already starts anew."""
        self.unwatch()
        self._readings.clear()
        self._noise = self._watched.enter_context(NoiseMonitor())
        self._watched.enter_context(Sampler(self._readings.append, perf_counter))

    def unwatch(self) -> None:
        """Ends it. May be called again."""
        self._watched.close()

    def slowdowns(self, spans: Sequence[tuple[float, float]]) -> list[float]:
        """The most by which this machine can have slowed the load in each span of time, from 1 on."""
        return [slowdown(self._noise.between(start, end), self._noise.undisturbed) for start, end in spans]

    def readings(self) -> dict[str, float | None]:
        """The mean temperature ("celsius") and clock rate ("mhz") since `watch`; None where it is not reported."""
        return {name: known_mean([one[name] for one in tuple(self._readings)]) for name in ("celsius", "mhz")}

    # ---- soak

    def soak_found(self, journal: str, plan: Plan, identity: dict[str, Any]) -> tuple[int, bool]:
        """The complete windows of the soak in a journal on this node, and whether it is over; (0, False) without one.

        Raises JournalError for a journal that cannot be read, or of another soak that is over.
        """
        journal = os.path.expanduser(journal)
        if not Path(journal).is_file():
            return 0, False
        return len(summarise(journal).windows), is_over(journal, plan, identity)

    def soak_start(self, order: SoakOrder) -> None:
        """Starts a soak, whose windows open once `soak_open` was called. Raises ValueError while another one runs."""
        if self._soak and self._soak.state().is_running:
            raise ValueError("a soak runs on this node already; wait for its end or stop it")
        self._soak = _Soak(self._detect, self._samples, order, self._wrong, self._extra)

    def soak_open(self, openings: Openings) -> None:
        """Says when the windows open."""
        self._soak.open(openings)

    def soak_state(self) -> SoakState:
        """How far the soak is that was started last."""
        return self._soak.state()

    def soak_stop(self) -> None:
        """Has the soak end with the window that is open. May be called again, and without a soak."""
        if self._soak:
            self._soak.stop()

    def file_part(self, path: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file on this node from byte `start` on; b"" at its end and where there is none."""
        try:
            with open(os.path.expanduser(path), "rb") as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """Ends what runs. May be called again."""
        self.soak_stop()
        self.unwatch()


class _Soak:
    """A soak in a thread of its own, so that the node can be asked how far it is."""

    def __init__(self, detect, samples, order: SoakOrder, wrong, extra):
        self._ready, self._opened, self._end = Event(), Event(), Event()
        self._openings: Openings | None = None
        self._windows, self._late, self._why = 0, 0.0, ""
        self._thread = Thread(target=self._run, args=(detect, samples, order, wrong, extra), daemon=True)
        self._thread.start()

    def open(self, openings: Openings) -> None:
        self._openings = openings
        self._opened.set()

    def state(self) -> SoakState:
        is_running = self._thread.is_alive()  # before the rest, which its end may still change
        return SoakState(self._windows, is_running, self._ready.is_set(), self._why, self._late)

    def stop(self) -> None:
        self._end.set()
        self._opened.set()

    def _run(self, detect, samples, order: SoakOrder, wrong, extra) -> None:
        try:
            journal = os.path.expanduser(order.journal)
            os.makedirs(os.path.dirname(journal), exist_ok=True)
            run_soak(
                detect, samples, order.plan, journal, order.identity, deadline=order.deadline, wrong=wrong,
                resume=order.resume, extra=extra, progress=self._progress, before_window=self._await,
            )
        except _Stopped:
            self._why = STOPPED
        except BaseException as error:  # ends the soak, whatever it is; the driver asks for it
            self._why = f"{type(error).__name__}: {error}"

    def _progress(self, windows: int) -> None:
        self._windows += windows

    def _await(self, number: int) -> None:
        """Waits until the window may open."""
        self._ready.set()
        self._opened.wait()
        opens = self._openings.of(number) if self._openings else perf_counter()
        if self._end.wait(max(opens - perf_counter(), 0.0)):
            raise _Stopped
        self._late = max(self._late, perf_counter() - opens)


def known_mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
