"""How often bounds that were drawn from a history are missed by the next run: `python -m benchmarks.drawn_bounds`.

The histories are those of `benchmarks.between_runs`: made-up runs of one detector. The next run is as fast as they are,
or slower by a share. It misses a bound where its value does, whatever its own interval: the gate then fails it or says
that it is undecided.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.between_runs import HEAD, SPEEDS, history, rows
from harness.targets.drawn import bound

SLOWER = (0.0, 0.05, 0.10, 0.20)


def missed(machine: Callable, deviation: float, count: int, slower: float, histories: int) -> float:
    """The share of next runs that miss any of the bounds that were drawn from `count` runs, over so many histories."""
    return float(np.mean([any(_misses(history(np.random.default_rng(seed), machine, deviation, count + 1), slower))
                          for seed in range(histories)]))


def _misses(runs: np.ndarray, slower: float) -> list[bool]:
    """Whether the last run misses each bound that is drawn from those before it; logarithms of speed."""
    misses = []
    for spec, own in zip(SPEEDS, runs.T):
        sign = 1 if spec.sense == ">=" else -1  # a speed, or a time
        *before, after = np.exp(sign * (own + np.append(np.zeros(len(own) - 1), np.log1p(-slower))))
        limit = bound(spec, before, len(SPEEDS))
        misses.append(after < limit if sign > 0 else after > limit)
    return misses


def _cell(histories: int, machine: Callable, deviation: float, count: int) -> str:
    same, *slower = (missed(machine, deviation, count, share, histories) for share in SLOWER)
    return " / ".join([f"{same:.1%}", *(f"{one:.0%}" for one in slower)])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn_bounds", description=__doc__.split(":")[0])
    parser.add_argument("--histories", type=int, default=1000, metavar="N", help="of each cell (default 1000)")
    given = parser.parse_args()
    if given.histories < 1:
        parser.error(f"--histories {given.histories}: must be at least 1")
    print("runs that miss any bound: as fast / 5 % / 10 % / 20 % slower, by the number of earlier runs\n")
    print(HEAD, flush=True)
    for line in rows(partial(_cell, given.histories)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
