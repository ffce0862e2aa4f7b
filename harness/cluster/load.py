"""Load on every node of a cluster at the same time, each with its own load generator beside its detector.

The driver agrees the start, on its own clock, and gets the requests of each node back. They become one `Load` on that
clock, so that what they show together is judged by the code of one machine; and those of each node are kept apart,
because a bound is one machine's. The pattern of a load is each node's: N nodes get N times as many callers.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from time import perf_counter
from typing import Any, Callable

from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import InvalidRun
from harness.cluster.beside import Round
from harness.cluster.clock import Offset, offset
from harness.cluster.errors import NodeError
from harness.cluster.handles import outcomes
from harness.load.generator import DEADLINE, Load, LoadPattern, Request
from harness.verdict.verdict import ERROR, NOT_JUDGED

LEAD = 1.0  # seconds from an order until its start, so that it has reached every node by then
LONGEST_LEAD = 10.0  # seconds
TRIES = 4  # of a round, each with a longer lead
REACH = 30.0  # seconds that a node has for what takes it no time
MOST_LATE = 0.25  # share of a round by which a node may start too late
PRODUCTS_SECONDS, PRODUCTS_DEADLINE = 0.3, 120.0


def ask(nodes: Sequence, method: str, arguments: Callable[[Any], tuple] = lambda node: (), *,
        deadline: float) -> dict[str, Any]:
    """The result of a method of `Beside` by name of node, each with arguments of its own, all at the same time.

    Raises InvalidRun for nodes that did not respond, with the name and the reason of each.
    """
    found = attempt(nodes, method, arguments, deadline=deadline)
    require_alive(found)
    return found


def attempt(nodes: Sequence, method: str, arguments: Callable[[Any], tuple] = lambda node: (), *,
            deadline: float) -> dict[str, Any]:
    """As `ask`, with a NodeError in place of a result."""
    calls = ((node, node.start("beside", method, *arguments(node))) for node in nodes)
    return dict(zip((node.name for node in nodes), outcomes(calls, method, deadline)))


def require_alive(found: Mapping[str, Any]) -> None:
    """Raises InvalidRun where a node's result is an error: what the others measured is not what was asked for."""
    if lost := [one for one in found.values() if isinstance(one, NodeError)]:
        reasons = "; ".join(map(str, lost))
        raise InvalidRun(f"{len(lost)} of {len(found)} nodes did not do their part: {reasons}; repair or leave them "
                         "out, and repeat", ERROR)


def offsets(nodes: Sequence) -> dict[str, Offset]:
    """The offset of each node's clock to this process's, by name. Raises InvalidRun for a node that is lost."""
    found: dict[str, Any] = {}
    for node in nodes:
        try:
            found[node.name] = offset(partial(node.call, "clock", deadline=REACH))
        except NodeError as error:
            found[node.name] = error
    require_alive(found)
    return found


class NodesUnderLoad(AbstractContextManager):
    """The load of all nodes of a cluster; their machines are watched until the end of the context.

    `deadline` is in seconds a request. `check` gets the detections of each node in each round, the first of every
    image, and gives a reason why they are wrong, or ''. `by_node` has the loads of each node by its name, on the
    driver's clock. `late` is the most by which a node started a round later than agreed, in seconds.
    """

    def __init__(self, cluster, images: int, deadline: float = DEADLINE,
                 check: Callable[[dict[int, Any]], str] = lambda detections: ""):
        self.nodes, self._images, self._deadline, self._check = cluster.nodes, images, deadline, check
        self.by_node: dict[str, list[Load]] = {node.name: [] for node in self.nodes}
        self._places = {node.name: place for place, node in enumerate(self.nodes)}
        self._sent = dict.fromkeys(self.by_node, 0)
        self.late, self._lead = 0.0, LEAD

    def __enter__(self) -> NodesUnderLoad:
        self.offsets = offsets(self.nodes)
        ask(self.nodes, "watch", deadline=REACH)
        return self

    def __exit__(self, *exception) -> None:
        attempt(self.nodes, "unwatch", deadline=REACH)

    def send(self, pattern: LoadPattern, *, seconds: float, first: int = 0, seed: int = 0, warm_up: int = 1) -> Load:
        """One round on every node, as one load; as `harness.load.generator.drive`.

        Each node continues with the image after its last one, and starts at another one than its neighbours: `first`
        does not matter. Raises InvalidRun for a node that is lost, that started too late, or whose detections are
        wrong.
        """
        if warm_up and (failed := self._warm(pattern)):
            return Load([], failed, {})
        rounds = self._together(pattern, seconds, seed)
        loads = {name: _moved(one.load, self.offsets[name], name, self._places[name] * pattern.callers)
                 for name, one in rounds.items()}
        for name, load in loads.items():
            self._sent[name] += len(load.requests)
            self.by_node[name].append(load)
            if why := self._check(load.detections):
                raise InvalidRun(f"the speed of {name} is that of wrong detections: {why}")
        return merged(list(loads.values()))

    def _together(self, pattern: LoadPattern, seconds: float, seed: int) -> dict[str, Round]:
        """A round of every node, by name, that started on all of them at about the same time."""
        for _ in range(TRIES):
            rounds = self._round(pattern, seconds, seed)
            name, late = max(((name, one.late) for name, one in rounds.items()), key=lambda one: one[1])
            if late <= MOST_LATE * seconds:
                self.late = max(self.late, late)
                return rounds
            self._lead = min(2 * (self._lead + late), LONGEST_LEAD)
        raise InvalidRun(f"{name} started {late:.2g} s later than agreed in a round of {seconds:g} s, {TRIES} times: "
                         "it or the network is overloaded; stop other work there and repeat", NOT_JUDGED)

    def _round(self, pattern: LoadPattern, seconds: float, seed: int) -> dict[str, Round]:
        opens = perf_counter() + self._lead

        def order(node) -> tuple:
            place = self._places[node.name]
            first = place * self._images // len(self.nodes) // pattern.batch_size  # spread evenly over the images
            return (pattern, seconds, first + self._sent[node.name],
                    seed * len(self.nodes) + place, self._deadline, self.offsets[node.name].on_node(opens))

        return ask(self.nodes, "drive", order, deadline=self._lead + seconds + self._deadline + REACH)

    def products(self) -> dict[str, list[float]]:
        """The rates of each node's matrix products, FLOP/s, all nodes at the same time."""
        return ask(self.nodes, "products", lambda node: (PRODUCTS_SECONDS,), deadline=PRODUCTS_DEADLINE)

    def slowdowns(self, name: str, spans: Sequence[tuple[float, float]]) -> list[float]:
        """The most by which a node's machine can have slowed its load in each span of the driver's clock, from 1 on."""
        clock = self.offsets[name]
        own = [(clock.on_node(start), clock.on_node(end)) for start, end in spans]
        return ask([self.nodes[self._places[name]]], "slowdowns", lambda node: (own,), deadline=REACH)[name]

    def readings(self) -> dict[str, dict[str, float | None]]:
        """Temperature and clock rate of each node's machine, as of `Beside.readings`; None for a node that is lost."""
        found = attempt(self.nodes, "readings", deadline=REACH)
        return {name: {"celsius": None, "mhz": None} if isinstance(one, NodeError) else one
                for name, one in found.items()}

    def _warm(self, pattern: LoadPattern) -> list[Request]:
        found = ask(self.nodes, "warm", lambda node: (pattern, self._deadline), deadline=2 * self._deadline + REACH)
        return [request._replace(error=f"{name}: {request.error}") for name, failed in found.items()
                for request in failed]


def _moved(load: Load, clock: Offset, name: str, first_caller: int) -> Load:
    """A node's load on the driver's clock, its callers renumbered; errors name the node."""

    def moved(request: Request) -> Request:
        due, start, end = map(clock.on_driver, (request.due, request.start, request.end))
        error = request.error and f"{name}: {request.error}"
        return request._replace(caller=first_caller + request.caller, due=due, start=start, end=end, error=error)

    return Load(list(map(moved, load.requests)), list(map(moved, load.warm_up)), load.detections)


def merged(loads: Sequence[Load]) -> Load:
    """Several loads on one clock as one, its requests by their start; of an image the first load's detections."""
    detections: dict[int, Any] = {}
    for load in loads:
        for image, found in load.detections.items():
            detections.setdefault(image, found)
    requests = sorted((one for load in loads for one in load.requests), key=lambda one: one.start)
    return Load(requests, [one for load in loads for one in load.warm_up], detections)


def hold(cluster, samples: Sequence[tuple[int, str | bytes]], dataset: Dataset | None = None,
         references: Mapping[int, Any] | None = None, *, deadline: float) -> None:
    """Gives every node the images to send by the cluster's object store, in which they cross to each machine once.

    An image is its encoded bytes, or the path or URL that each node reads it from. `dataset` and `references` as
    of `Beside.hold`. Raises InvalidRun for a node that did not take them.
    """
    shared = [cluster.put(one) for one in (list(samples), dataset, references)]
    ask(cluster.nodes, "hold", lambda node: tuple(shared), deadline=deadline)
