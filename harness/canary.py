"""A canary: the same work on the processor again and again; how its time varies is the machine's doing.

What runs between the windows of a soak, while no request is under way, tells a noisy machine from a noisy detector.
"""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from threading import Thread
from time import perf_counter

from harness.machine import cores
from harness.statistics import percentile

ROUNDS, ROUND_SECONDS = 5, 0.01
TRIAL = 5_000  # iterations
QUIET, SLOW = 10, 90  # percentiles


@dataclass(frozen=True)
class Canary:
    """`iterations` of PBKDF2 (SHA-256) in each of five rounds on each of `threads` cores.

    It needs no memory and Python's lock only between rounds.
    """

    iterations: int
    threads: int

    def __call__(self) -> float:
        """Seconds of the slowest core for a round, the median of its five.

        Work of a fixed amount that is interrupted once is slow in one round, however long the pause. A core that
        somebody else uses is slow in all of them; so that it stays so, no core may rest before every one has finished.
        """
        rounds: list[list[float]] = [[] for _ in range(self.threads)]
        threads = [Thread(target=self._run, args=(own, rounds), daemon=True) for own in rounds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return max(median(own[:ROUNDS]) for own in rounds)

    def _run(self, own: list[float], everyone: list[list[float]]) -> None:
        while any(len(rounds) < ROUNDS for rounds in everyone):
            start = perf_counter()
            work(self.iterations)
            own.append(perf_counter() - start)

    def as_record(self) -> dict[str, int]:
        """What `Canary` is made from again: only the same work can be compared."""
        return asdict(self)


def calibrated() -> Canary:
    """A canary whose round takes about 10 ms on every usable core of this machine while it is quiet."""
    seconds = min(_timed(TRIAL) for _ in range(5))
    return Canary(max(1, round(TRIAL * ROUND_SECONDS / seconds)), cores())


def noise(seconds: Sequence[float]) -> float | None:
    """How much longer the same work took while the machine was disturbed: 0.5 is half as long again.

    Quiet is the 10th percentile, not the median: a neighbour may stay for most of a run. Disturbed is what lasted, the
    most that two canaries in a row both took, or what came often, the 90th percentile of all but the slowest. So a
    single slow canary, a matter of 50 ms, is no noise, and a neighbour who takes a core for a minute, which is two
    canaries 30 s apart, is. None for fewer than two canaries.
    """
    if len(seconds) < 2:
        return None
    lasting = max(map(min, zip(seconds, seconds[1:])))
    often = percentile(sorted(seconds)[:-1], SLOW)
    return max(lasting, often) / percentile(seconds, QUIET) - 1


def work(iterations: int) -> None:
    """About 0.2 to 0.5 µs an iteration, by C code alone that gives up Python's lock."""
    hashlib.pbkdf2_hmac("sha256", b"canary", b"salt", iterations)


def _timed(iterations: int) -> float:
    start = perf_counter()
    work(iterations)
    return perf_counter() - start
