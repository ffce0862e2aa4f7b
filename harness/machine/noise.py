"""The machine's noise while a detector is measured, and how far it explains a slowdown.

Beside the load a thread runs the reference workload, a fixed piece of work, and takes its CPU time: that shows the cost
of a neighbour on the same core, a hyperthread or a lower frequency. It also counts the share of the usable cores that
processes outside this one's tree used, and the hypervisor's share. The detector's own CPU time explains nothing: a
detector that sleeps is slow by itself.
"""
from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from statistics import median
from threading import Condition, Event, Thread, get_native_id
from time import perf_counter, thread_time
from typing import NamedTuple

import numpy as np
import psutil

from harness.machine.facts import cores
from harness.stats.percentiles import percentile

PERIOD = 0.05  # seconds between two runs of the reference workload, at least
REFERENCE_SECONDS = 0.001  # of CPU time, about, while the machine is idle
MOST_OVERHEAD = 0.01  # of the usable cores' time
COUNTERS_EVERY = 3  # runs: reading the counters takes some 0.1 ms
PROCESSES_EVERY = 10  # readings: looking for new processes takes milliseconds
UNDISTURBED = 10  # percentile of the reference workload's time
KEPT_SECONDS = 3600.0
TRIAL = 2_000  # iterations
LONGEST_LAST_RUN = 5.0  # seconds
WAITS_ARE_KNOWN = Path("/proc/self/schedstat").exists()
# Plausible exponents. A detector that keeps every core busy is slowed in proportion to what others leave, or more where
# its threads wait for one another; and at most in proportion to the reference workload, which needs arithmetic alone.
MOST_LEFT_EXPONENT, MOST_REFERENCE_EXPONENT = 1.5, 1.0
LEAST_LEFT = 0.02  # share of the cores, below which shares cannot be distinguished


class Conditions(NamedTuple):
    """The machine's conditions over a stretch of time; None where nothing was measured or the machine does not report.

    `reference`: median CPU seconds of the reference workload. `others` and `steal`: shares, from 0 to 1, of the usable
    cores' time that other processes used and that the hypervisor took. `waited`: the share of the time in which the
    threads of this process tree could have run that they waited for a core (Linux).
    """

    reference: float | None = None
    others: float | None = None
    steal: float | None = None
    waited: float | None = None

    @property
    def left(self) -> float:
        """The least share of the usable cores' time that was left for the detector; 1 where it is not reported.

        Others take what a detector that sleeps does not use: their share counts only as far as threads waited.
        """
        others = self.others or 0.0
        taken = others if self.waited is None else min(others, self.waited)
        return max(1.0 - taken - (self.steal or 0.0), LEAST_LEFT)


class Counters(NamedTuple):
    """Seconds so far, at a time of time.perf_counter.

    Of the usable cores: `busy` with any process, `steal`. Of this tree's threads: `own` on a core, `waiting` for one.
    """

    at: float
    busy: float
    steal: float
    own: float
    waiting: float


class NoiseMonitor:
    """A context manager that watches the machine; `between` gives its conditions, within the last hour.

    The reference workload has `iterations`, by default as many as take about 1 ms here: only equal work can be
    compared. It runs every 50 ms, or as seldom as keeps the monitor below 1 % of the usable cores' time, and needs
    Python's lock for microseconds only. No error in here reaches the run.
    """

    def __init__(self, iterations: int | None = None, period: float = PERIOD):
        self.iterations = iterations or calibrated_iterations()
        self._period = period
        self._cores = cores()
        self._processes = ProcessTree()
        self._runs: deque[tuple[float, float]] = deque(maxlen=round(KEPT_SECONDS / PERIOD))
        self._counters: deque[Counters] = deque(maxlen=round(KEPT_SECONDS / PERIOD / COUNTERS_EVERY))
        self._counted_at = -math.inf
        self._has_counted = Condition()
        self._is_asked = Event()
        self._is_over = False
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> NoiseMonitor:
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._is_over = True
        self._is_asked.set()
        self._thread.join(LONGEST_LAST_RUN)

    def between(self, start: float, end: float) -> Conditions:
        """The conditions between two times of time.perf_counter, both past."""
        if not start < end:
            raise ValueError(f"end {end:g} s: must be after the start at {start:g} s")
        self._reach(end)
        runs = [took for at, took in tuple(self._runs) if start <= at <= end]
        return Conditions(median(runs) if runs else None, *self._shares(start, end))

    @property
    def undisturbed(self) -> float | None:
        """CPU seconds of the reference workload while the machine was least disturbed: their 10th percentile."""
        runs = [took for _, took in tuple(self._runs)]
        return percentile(runs, UNDISTURBED) if runs else None

    def _run(self) -> None:
        """Measure until the end and once after it, so that the whole load lies between two readings of the counters."""
        for turn in count():
            is_asked, start = self._is_asked.is_set(), thread_time()
            self._is_asked.clear()
            is_over = self._is_over  # after the clearing, so that no end is missed
            self._runs.append((perf_counter(), timed(self.iterations)))
            if turn % COUNTERS_EVERY == 0 or is_asked or is_over:
                self._count()
            if is_over:
                return
            self._is_asked.wait(max(self._period, (thread_time() - start) / (MOST_OVERHEAD * self._cores)))

    def _reach(self, end: float) -> None:
        """Have the counters read after `end`: where reading them is dear, the last reading is long before it."""
        with self._has_counted:
            if self._thread.is_alive() and self._counted_at < end:
                self._is_asked.set()
                self._has_counted.wait_for(lambda: self._counted_at >= end, LONGEST_LAST_RUN)

    def _count(self) -> None:
        at = perf_counter()
        with suppress(Exception):  # machines differ in what they report and in how they fail
            self._counters.append(Counters(at, *usable_cores_seconds(), *self._processes.seconds()))
        with self._has_counted:
            self._counted_at = at
            self._has_counted.notify_all()

    def _shares(self, start: float, end: float) -> tuple[float | None, float | None, float | None]:
        """The shares of others, steal and waiting, as far as readings reach; between two the counters rise evenly."""
        readings = np.array(tuple(self._counters)).reshape(-1, len(Counters._fields))
        at, *columns = readings.T
        start, end = max(start, float(at.min(initial=math.inf))), min(end, float(at.max(initial=-math.inf)))
        if not start < end:
            return None, None, None
        busy, steal, own, waiting = (float(np.diff(np.interp((start, end), at, column))[0]) for column in columns)
        total = (end - start) * self._cores
        # Threads that do not wait are not slowed by others, however long the few that always run, like this one, wait.
        waited = min(waiting / max(own + waiting, 1e-9), waiting / (end - start))
        return _share(busy - own, total), _share(steal, total), _share(waited, 1.0) if WAITS_ARE_KNOWN else None


class ProcessTree:
    """This process and its descendants."""

    def __init__(self, look_every: int = PROCESSES_EVERY):
        self._look_every = look_every
        self._turn = 0
        self._this = psutil.Process()
        self._others: set[psutil.Process] = set()
        self._known: dict[tuple[int, int], float] = {}  # (process, thread) → seconds waited so far
        self._waiting = 0.0

    def seconds(self) -> tuple[float, float]:
        """Seconds so far on a core and, since the first call, waiting for one, without the calling thread's waits."""
        if self._turn % self._look_every == 0:
            self._look()
        self._turn += 1
        return sum(map(_cpu_seconds, self.all())), self._waited()

    def all(self) -> list[psutil.Process]:
        return [self._this, *self._others]

    def _look(self) -> None:
        """Find new descendants; one whose parent has ended stays."""
        with suppress(Exception):
            self._others = {one for one in self._others if one.is_running()}
            self._others |= set(self._this.children(recursive=True))

    def _waited(self) -> float:
        """Sum of differences: a thread's wait between the last call and its end is lost."""
        now = {key: seconds for process in self.all() for key, seconds in _waits(process.pid)}
        self._waiting += sum(max(seconds - self._known.get(key, 0.0), 0.0) for key, seconds in now.items())
        self._known = now
        return self._waiting


def slowdown(conditions: Conditions, undisturbed: float | None) -> float:
    """The most by which the machine can have slowed a detector under these conditions, from 1 on: 2 is half as fast.

    `undisturbed` is the CPU time of the reference workload on the undisturbed machine, in seconds.
    """
    slower = max((conditions.reference or 0.0) / undisturbed, 1.0) if undisturbed else 1.0
    return conditions.left ** -MOST_LEFT_EXPONENT * slower ** MOST_REFERENCE_EXPONENT


def usable_cores_seconds() -> tuple[float, float]:
    """CPU seconds so far on the cores that this process may use: those of all processes, and the hypervisor's."""
    found = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    # psutil leaves out cores that are offline; then cores cannot be assigned.
    usable = [found[core] for core in allowed] if allowed and max(allowed) < len(found) else found
    return sum(map(_busy_seconds, usable)), sum(getattr(times, "steal", 0.0) for times in usable)


def calibrated_iterations() -> int:
    """The iterations of the reference workload that take about 1 ms of CPU time on this machine."""
    return max(1, round(TRIAL * REFERENCE_SECONDS / min(timed(TRIAL) for _ in range(5))))


def timed(iterations: int) -> float:
    """CPU seconds of the reference workload: PBKDF2 (SHA-256), whose C code gives up Python's lock."""
    start = thread_time()
    hashlib.pbkdf2_hmac("sha256", b"reference", b"salt", iterations)
    return thread_time() - start


def _busy_seconds(times) -> float:
    """Busy seconds of a core; user time includes that of guests."""
    return times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq"))


def _cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and of those of its children that it has waited for."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)


def _waits(pid: int) -> Iterator[tuple[tuple[int, int], float]]:
    """((process, thread), seconds waited for a core so far) for each thread of a process except the calling one."""
    caller, threads = get_native_id(), f"/proc/{pid}/task"
    with suppress(OSError):
        for thread in map(int, os.listdir(threads)):
            with suppress(OSError):
                if thread != caller:
                    yield (pid, thread), int(Path(f"{threads}/{thread}/schedstat").read_text().split()[1]) / 1e9


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)
