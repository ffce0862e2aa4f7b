"""How often bounds that were drawn from a history are missed by the next run: `python -m benchmarks.drawn_bounds`.

The histories are those of `benchmarks.between_runs`: made-up runs of one detector. The next run is as fast as they are,
or slower by a share. It misses a bound where its value does, whatever its own interval: the gate then fails it or says
that it is undecided.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.between_runs import COUNTS, MACHINES, SPEEDS, THROUGHPUT, history
from harness.targets.drawn import bound

DEVIATIONS = (0.005, 0.01, 0.02, 0.04)
SLOWER = (0.0, 0.05, 0.10, 0.20)


class Missed(NamedTuple):
    """Shares of next runs that miss any of the bounds, and that of throughput."""

    any: float
    throughput: float


def missed(machine: Callable, deviation: float, count: int, slower: float, histories: int) -> Missed:
    """What the next run misses of the bounds that were drawn from `count` runs, over so many histories."""
    place = [(spec.check, spec.metric) for spec in SPEEDS].index(THROUGHPUT)
    found = np.array([_misses(history(np.random.default_rng(seed), machine, deviation, count + 1), slower)
                      for seed in range(histories)])
    return Missed(float(found.any(axis=1).mean()), float(found[:, place].mean()))


def _misses(runs: np.ndarray, slower: float) -> list[bool]:
    """Whether the last run misses each bound that is drawn from those before it; logarithms of speed."""
    misses = []
    for spec, own in zip(SPEEDS, runs.T):
        sign = 1 if spec.sense == ">=" else -1  # a speed, or a time
        *before, after = np.exp(sign * (own + np.append(np.zeros(len(own) - 1), np.log1p(-slower))))
        limit = bound(spec, before, len(SPEEDS))
        misses.append(after < limit if sign > 0 else after > limit)
    return misses


def report(histories: int) -> Iterator[str]:
    """Rows of the table."""
    for name, machine in MACHINES.items():
        for deviation in DEVIATIONS:
            cells = (_cell(machine, deviation, count, histories) for count in COUNTS)
            yield f"| {name} | {deviation:.1%} | {' | '.join(cells)} |"


def _cell(machine: Callable, deviation: float, count: int, histories: int) -> str:
    same, *slower = (missed(machine, deviation, count, share, histories) for share in SLOWER)
    return " / ".join([f"{same.any:.1%}", *(f"{one.any:.0%}" for one in slower)])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn_bounds", description=__doc__.split(":")[0])
    parser.add_argument("--histories", type=int, default=1000, metavar="N", help="of each cell (default 1000)")
    given = parser.parse_args()
    if given.histories < 1:
        parser.error(f"--histories {given.histories}: must be at least 1")
    print("runs that miss any bound: as fast / 5 % / 10 % / 20 % slower, by the number of earlier runs\n\n"
          f"| machine | runs differ by | {' | '.join(map(str, COUNTS))} |\n|---|---|{'---|' * len(COUNTS)}", flush=True)
    for line in report(given.histories):
        print(line, flush=True)


if __name__ == "__main__":
    main()
