"""How often a comparison in turns errs and what it finds, on simulated machines: `python -m benchmarks.turns`.

Each comparison has two simulated arms on one machine, measured by the code that measures real ones, in simulated time.
B is as fast as A, slower by what matters exactly, or slower by 5 or 10 %.
"""
from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from random import Random
from statistics import fmean
from typing import NamedTuple

import numpy as np

from harness.machine.facts import facts
from harness.turns.outcome import DIFFERENT, SAME, UNKNOWN, Row, looks, outcomes
from harness.turns.process import Burst
from harness.turns.rounds import Round, measured

IMAGE_SECONDS = 0.025
BURST_IMAGES, PAIRS = 4, 20
STARTUP = 6.0  # seconds between two rounds, in which the machine drifts on
WITHIN, MOST = 0.02, 16
LATENCY_SPREAD = 0.05  # standard deviation of the logarithm of a latency
STEP = 0.1  # seconds between two steps of the drift


class World(NamedTuple):
    """How a machine and its processes vary; shares, and seconds.

    `drift` is the standard deviation of the logarithm of the machine's speed after a second, and `trend` its slope. A
    neighbour comes every `quiet` seconds on average, stays for a tenth of that and makes all slower by `neighbour`.
    `process` is the standard deviation of the logarithm of a process's speed, which it keeps; `bistable` is by how much
    half of the processes are slower.
    """

    drift: float = 0.0
    trend: float = 0.0
    neighbour: float = 0.0
    quiet: float = 10.0
    process: float = 0.005
    bistable: float = 0.0


WORLDS = {
    "an idle machine": World(),
    "drift": World(drift=0.02, trend=-0.002),
    "bursts of a neighbour": World(neighbour=0.5),
    "processes that differ by 1 %": World(process=0.01),
    "bistable processes, 3 %": World(bistable=0.03),
    "all of these": World(drift=0.02, trend=-0.002, neighbour=0.5, process=0.01, bistable=0.03),
}


class Machine:
    """Simulated time, and how slow the machine is at each moment."""

    def __init__(self, world: World, rng: np.random.Generator):
        self._world, self._rng, self._now = world, rng, 0.0
        self._drift, self._is_visited, self._changes_at = 0.0, False, rng.exponential(world.quiet)

    def spend(self, seconds: float) -> None:
        """Moves the clock on."""
        self._now += seconds
        self._drift += self._world.drift * math.sqrt(seconds) * self._rng.normal() + self._world.trend * seconds
        while self._now > self._changes_at:
            self._is_visited = not self._is_visited
            self._changes_at += self._rng.exponential(self._world.quiet / (10 if self._is_visited else 1))

    @property
    def slowness(self) -> float:
        """The time that work takes, by what it takes on an undisturbed machine."""
        return math.exp(self._drift) * (1 + self._world.neighbour * self._is_visited)

    def reference(self) -> float:
        """Seconds of the reference workload."""
        return 0.001 * self.slowness * math.exp(0.01 * self._rng.normal())


class SimulatedArm:
    """A process of an arm that is slower by the share `slower`, with what it has drawn for as long as it lives."""

    def __init__(self, machine: Machine, world: World, slower: float, rng: np.random.Generator):
        own = math.exp(world.process * rng.normal()) * (1 + world.bistable * (rng.random() < 0.5))
        self._machine, self._rng, self._seconds = machine, rng, IMAGE_SECONDS * (1 + slower) * own

    def burst(self, first: int, images: int) -> Burst:
        """Requests one after the other."""
        latencies = []
        for noise in np.exp(LATENCY_SPREAD * self._rng.normal(size=images)).tolist():
            latencies.append(self._seconds * self._machine.slowness * noise)
            self._machine.spend(latencies[-1])
        return Burst(images, sum(latencies), latencies)


def comparison(world: World, slower: float, seed: int) -> list[Row]:
    """The rows of a comparison whose arm B takes longer by the share `slower`."""
    rng, order = np.random.default_rng(seed), Random(seed)
    machine, rounds = Machine(world, rng), []
    for look in looks(MOST):
        rounds += [_round(machine, world, slower, rng, order) for _ in range(look - len(rounds))]
        rows = outcomes(rounds, WITHIN, MOST, STARTUP)
        if all(row.outcome != UNKNOWN for row in rows):
            break
    return rows


def _round(machine, world, slower, rng, order: Random) -> Round:
    machine.spend(STARTUP)
    arms = {name: SimulatedArm(machine, world, share, rng).burst for name, share in (("A", 0.0), ("B", slower))}
    return measured(arms, BURST_IMAGES, machine.reference, order, PAIRS)


class Count(NamedTuple):
    """How many of so many comparisons: `worse` or `better` in any metric, the same in all, and the mean of rounds."""

    comparisons: int
    worse: int
    better: int
    same: int
    any_same: int
    rounds: float

    def __str__(self) -> str:
        return (f"{self.worse:4} worse {self.better:4} better {self.same:4} the same {self.any_same:4} the same in any "
                f"metric, of {self.comparisons}; {self.rounds:.1f} rounds")


def count(world: World, slower: float, comparisons: int) -> Count:
    """Counts the outcomes of comparisons that differ in their seed alone."""
    found = [comparison(world, slower, seed) for seed in range(comparisons)]
    return Count(
        comparisons,
        worse=sum(any(row.is_worse for row in rows) for rows in found),
        better=sum(any(row.outcome == DIFFERENT and not row.is_worse for row in rows) for rows in found),
        same=sum(all(row.outcome == SAME for row in rows) for rows in found),
        any_same=sum(any(row.outcome == SAME for row in rows) for rows in found),
        rounds=fmean(rows[0].rounds for rows in found),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__.split(":")[0])
    parser.add_argument("--comparisons", type=int, default=400, metavar="N", help="of each kind (default: %(default)s)")
    given = parser.parse_args(arguments)
    print(f"{facts()['processor']}; at most {MOST} rounds, {100 * WITHIN:g} % matter")
    for name, world in WORLDS.items():
        for slower in (0.0, WITHIN, 0.05, 0.10):
            print(f"{name:30} B slower by {100 * slower:4.0f} %: {count(world, slower, given.comparisons)}", flush=True)


if __name__ == "__main__":
    main()
