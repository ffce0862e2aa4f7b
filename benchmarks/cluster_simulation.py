"""What a cluster larger than this machine would do: `python -m benchmarks.cluster_simulation FILE`.

FILE is what `python -m benchmarks.cluster --output FILE` measured: CPU seconds of a node and of the driver an image.
Nodes take the measured times of shards, drawn anew; the driver serves one shard at a time. So nothing is in here that
was not measured, but what many nodes do to a network and to Ray's own head is not in it either.
"""
from __future__ import annotations

import argparse
import heapq
import json
import random
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from harness.verdict.cost import find_price

NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
IMAGES = 1_000_000
HOUR = 3600.0
NOTICED = 30.0  # seconds until a node that is lost is given up
PUBLISHED = 118.9  # images/s of AWS's two-hour run on inf1.2xlarge


class Outcome(NamedTuple):
    """One simulated evaluation: seconds, the driver's share of them at work, shards that were done again."""

    seconds: float
    driver_share: float
    again: int


class Costs(NamedTuple):
    """Seconds of a node for each image, as measured for shards; of the driver for an image; images of a shard."""

    node: list[float]
    driver: float
    shard: int
    startup: float


def simulate(costs: Costs, nodes: int, images: int = IMAGES, lost_at: float | None = None, seed: int = 0) -> Outcome:
    """An evaluation of so many images on so many nodes; with `lost_at` one node is lost at that time in seconds.

    The driver is one server, which hands out a shard and takes its response in one piece of work. What a lost node had
    in hand is done again once its loss is noticed.
    """
    run = _Run(costs, nodes, -(-images // costs.shard), lost_at, random.Random(seed))
    while run.finished < run.shards:
        run.step()
    return Outcome(run.now, run.busy / run.now, run.again)


class _Run:
    """An evaluation under way: events are (time, number, node), in which a shard that comes back has no node."""

    def __init__(self, costs: Costs, nodes: int, shards: int, lost_at: float | None, draw: random.Random):
        self._costs, self._lost_at, self._draw = costs, lost_at, draw
        self.shards = self._waiting = shards
        self.finished, self.again, self.now, self.busy = 0, 0, 0.0, 0.0
        self._free, self._numbers = 0.0, count()
        self._events: list[tuple[float, int, int | None]] = []
        self._idle: list[int] = []
        for node in range(nodes):
            self._at(0.0, node)
        self._at_work: set[int] = set()

    def _at(self, time: float, node: int | None) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), node))

    def step(self) -> None:
        """The next event: a shard comes back, or a node has ended one and asks for the next."""
        self.now, _, node = heapq.heappop(self._events)
        if node is None:
            self._waiting += 1
            self.again += 1
            while self._idle:
                self._at(self.now, self._idle.pop())
            return
        self.finished += node in self._at_work
        self._at_work.discard(node)
        if self._is_lost(node, self.now):
            return
        if self._waiting:
            self._hand_out(node)
        else:
            self._idle.append(node)

    def _is_lost(self, node: int, time: float) -> bool:
        return node == 0 and self._lost_at is not None and time >= self._lost_at

    def _hand_out(self, node: int) -> None:
        work = self._costs.driver * self._costs.shard
        self._waiting -= 1
        self._free = max(self._free, self.now) + work
        self.busy += work
        done = self._free + self._draw.choice(self._costs.node) * self._costs.shard
        if self._is_lost(node, done):
            self._at(max(self._lost_at, self.now) + NOTICED, None)
        else:
            self._at_work.add(node)
            self._at(done, node)


def dollars(outcome: Outcome, nodes: int, startup: float, instance: str, on: str) -> float:
    """Dollars of an evaluation: all nodes, and one more of their type that leads them, from their start to the end."""
    price = find_price(instance, on).dollars_per_hour
    return (nodes + 1) * (outcome.seconds + startup) / HOUR * price


def table(costs: Costs, instance: str, on: str) -> str:
    """A row for each number of nodes, as Markdown."""
    lines = ["| nodes | images/s | of one node's × nodes | driver at work | a million images | cost | "
             "with a node lost | done again |", "|---|---|---|---|---|---|---|---|"]
    alone = simulate(costs, 1)
    for nodes in NODES:
        one = simulate(costs, nodes)
        lost = simulate(costs, nodes, lost_at=one.seconds / 2) if nodes > 1 else None
        share = alone.seconds / one.seconds / nodes
        lines.append(
            f"| {nodes} | {IMAGES / one.seconds:,.0f} | {share:.0%} | {one.driver_share:.0%} | "
            f"{one.seconds / HOUR:.2f} h | ${dollars(one, nodes, costs.startup, instance, on):.2f} | " + (
                f"{lost.seconds / HOUR:.2f} h, ${dollars(lost, nodes, costs.startup, instance, on):.2f} | "
                f"{lost.again * costs.shard} images |" if lost else "– | – |"))
    return "\n".join(lines)


def saturates(costs: Costs) -> float:
    """The number of nodes that keep the driver busy all the time."""
    return (fmean(costs.node) + costs.driver) / costs.driver


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_simulation",
                                     description=__doc__.split("\n")[0])
    parser.add_argument("measured", type=Path, metavar="FILE", help="what `python -m benchmarks.cluster --output` kept")
    kept = json.loads(parser.parse_args().measured.read_text(encoding="utf-8"))
    own = Costs(kept["node_seconds_per_image"], kept["driver_seconds_per_image"], kept["shard_images"],
                kept["startup_seconds"])
    scale = 1 / PUBLISHED / fmean(own.node)
    published = own._replace(node=[scale * seconds for seconds in own.node])
    print(f"From {kept['processor']}, {kept['date']}: {1 / fmean(own.node):.1f} images/s a core, driver "
          f"{1e3 * own.driver:.2f} ms an image, shards of {own.shard} images.")
    for title, costs, instance in (
        ("Nodes as measured, one core each", own, "c5.xlarge"),
        (f"Nodes at AWS's published {PUBLISHED} images/s", published, "inf1.2xlarge"),
    ):
        print(f"\n{title}, at the price of {instance}; the driver is saturated by {saturates(costs):,.0f} nodes:\n")
        print(table(costs, instance, kept["date"]))


if __name__ == "__main__":
    main()
