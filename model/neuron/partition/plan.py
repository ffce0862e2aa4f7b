"""A dry run of tensorflow-neuron's partitioner: which operators of a frozen graph it would place on the device, and why
the others stay on the CPU.

It is a prediction from the published source (aws-neuron-tensorflow). The shipped packages have a closed partitioner,
and the compiler may fail on an operator that it accepts. The compile log is the truth.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.graph.operators import CONVOLUTIONS, NOT_OPERATORS, reached
from model.neuron.partition.graph import Graph, PlanError, Tensor, shaped_graph
from model.neuron.partition.operators import EXPENSIVE, PASSED_THROUGH, SUPPORTED
from model.neuron.partition.rules import Cause, Reason, Rules, tf1, tf2
from model.neuron.partition.segments import contracted, driven_out

# If the largest segment has more than this share of the nodes of all segments, only it is kept.
LARGEST_SHARE = 0.8
# Types that must not cross the boundary of a segment.
WIDE_TYPES = ("int64", "float64")


@dataclass(frozen=True)
class Segment:
    """Nodes (names) that become one operator on the device, and its input and output tensors."""

    nodes: tuple
    inputs: tuple
    outputs: tuple


@dataclass(frozen=True)
class Split:
    """A connected region that became several segments, because paths leave it and return.

    `sizes` are the numbers of nodes of the segments, `between` the names of the nodes on those paths.
    """

    sizes: tuple
    between: tuple


@dataclass(frozen=True)
class Plan:
    """Where each node goes; `types` (name → operator type) has all that the outputs need, in TensorFlow's order.

    A node is in one of `segments` or, with its cause, in `on_cpu`. `unused` nodes are needed by no output and do not
    count. `identities` is the number of the graph's outputs in segments; each leaves an IdentityN behind.
    """

    route: str
    is_manual: bool
    types: Mapping
    segments: tuple
    on_cpu: Mapping
    splits: tuple
    unused: tuple
    identities: int

    @property
    def on_neuron_ratio(self) -> float:
        """The OnNeuronRatio that compilation reports: every node counts, also constants and identities.

        Source: aws-neuron-tensorflow, python/graph_def_util.py, compiled_graph_op_counts.
        """
        on_device, total = self._count(lambda kind: True)
        return on_device / max(total + self.identities, 1)

    @property
    def operator_ratio(self) -> float:
        """The same share without Const, Identity, NoOp and Placeholder."""
        on_device, total = self._count(lambda kind: kind not in NOT_OPERATORS)
        return on_device / max(total, 1)

    @property
    def ratio_without_identities(self) -> float:
        """The share of all nodes but Identity, which AWS's YOLOv4 tutorial reports of its graph as about 0.79."""
        on_device, total = self._count(lambda kind: kind != "Identity")
        return on_device / max(total, 1)

    @property
    def convolutions(self) -> tuple[int, int]:
        """(number of convolutions on the device, number of convolutions)."""
        return self._count(CONVOLUTIONS.__contains__)

    def _count(self, counts) -> tuple[int, int]:
        """(number on the device, number) of the nodes whose type counts."""
        on_device = sum(counts(self.types[name]) for segment in self.segments for name in segment.nodes)
        return on_device, sum(map(counts, self.types.values()))


def plan(graph_def, inputs, outputs, route, no_fuse=(), minimum_segment_size=None, batch_size=1) -> Plan:
    """The segments that tensorflow-neuron would make of a frozen GraphDef.

    `inputs` and `outputs` are the names of the signature's tensors or of their nodes; `batch_size` replaces an unknown
    first size of the inputs. `no_fuse` has the names of nodes that stay on the CPU.

    Route `tf1` is tfn.saved_model.compile of tensorflow-neuron 1.15; `minimum_segment_size` is 2 by default. Route
    `tf2` is tfn.trace, automatic without `no_fuse`; with it the plan is for a subgraph_builder_function that is true
    for the supported types not named. The route adds nodes named `…/SamePad`. Raises PlanError.
    """
    no_fuse = frozenset(no_fuse)
    _check(graph_def, route, no_fuse, minimum_segment_size, batch_size)
    graph = shaped_graph(graph_def, list(inputs), list(outputs), batch_size)
    rules = tf1(graph, no_fuse, minimum_segment_size) if route == "tf1" else tf2(graph, no_fuse)
    return _Planning(rules).plan(route)


def _check(graph_def, route, no_fuse, minimum_segment_size, batch_size) -> None:
    if route not in SUPPORTED:
        raise PlanError(f"route {route}: must be one of: {', '.join(SUPPORTED)}")
    for name, number in (("minimum_segment_size", minimum_segment_size), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise PlanError(f"{name} {number}: must be at least 1")
    if route == "tf2" and minimum_segment_size:
        raise PlanError(f"minimum_segment_size {minimum_segment_size}: the route tf2 has none; leave it out")
    unknown = sorted(no_fuse - {node.name for node in graph_def.node})
    if unknown:
        raise PlanError(f"no_fuse {unknown[0]}: the graph has no such node; correct the name")
    calls = [node.name for node in graph_def.node if node.op in ("PartitionedCall", "StatefulPartitionedCall")]
    if route == "tf1" and calls:
        raise PlanError(f"node {calls[0]}: calls a function, which route tf1 cannot compile; freeze the model first")


class _Planning:
    """Forms segments, cuts them back and drops some, step by step. Every dropped node keeps its cause."""

    def __init__(self, rules: Rules):
        self._rules, self._graph, self._causes = rules, rules.graph, dict(rules.causes)

    def plan(self, route) -> Plan:
        candidates = frozenset(range(len(self._graph.nodes))) - self._causes.keys()
        parts = contracted(self._graph, candidates)
        splits = _splits(self._graph, parts)
        parts = [part for part in map(self._within_boundary, parts) if part]
        parts = self._kept(parts, self._too_small)
        if self._rules.prunes:
            parts = self._kept(parts, _cheap(self._graph, parts))
            parts = self._kept(parts, _beside_largest(parts))
        segments = self._kept(parts, self._not_compilable)
        return self._result(route, segments, splits)

    def _kept(self, parts, judge) -> list:
        """The parts for which `judge` has no cause; the nodes of the others stay on the CPU."""
        dropped = {part: cause for part in parts if (cause := judge(part))}
        for part, cause in dropped.items():
            self._causes.update(dict.fromkeys(part, cause))
        return [part for part in parts if part not in dropped]

    def _within_boundary(self, part) -> frozenset:
        if self._rules.is_manual:  # the caller's choice is not changed
            return part
        out = driven_out(self._graph, part, self._may_enter, self._may_leave)
        for index, edge in out.items():
            wide = Cause(Reason.WIDE_TYPE, str(self._graph.tensor(edge)))
            self._causes[index] = Cause(Reason.SHARED_CONSTANT) if self._may_enter(edge) else wide
        return frozenset(part - out.keys())

    def _may_enter(self, edge) -> bool:
        return self._graph.tensor(edge).dtype not in WIDE_TYPES

    def _may_leave(self, edge) -> bool:
        return self._may_enter(edge) and self._graph.nodes[edge[0]].type != "Const"

    def _too_small(self, part) -> Cause | None:
        size = sum(self._graph.nodes[index].type not in PASSED_THROUGH for index in part)
        minimum = self._rules.minimum_segment_size
        return Cause(Reason.TOO_SMALL, f"{size} of {minimum} operators") if size < minimum else None

    def _not_compilable(self, part) -> Cause | None:
        entering, leaving = self._crossing(part)
        resources = [tensor for tensor in (*entering, *leaving) if tensor.dtype == "resource"]
        unknown = [tensor for tensor in (*entering, *leaving) if not tensor.is_fixed]
        if resources:
            return Cause(Reason.RESOURCE, str(resources[0]))
        if not entering or not leaving:
            return Cause(Reason.NO_OUTPUTS if entering else Reason.NO_INPUTS)
        return Cause(Reason.UNKNOWN_BOUNDARY, str(unknown[0])) if unknown else None

    def _crossing(self, part) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The tensors that go into a segment, and those that come out to other nodes or as outputs of the graph."""
        graph = self._graph
        entering = {edge for index in part for edge in graph.nodes[index].inputs if edge[0] not in part}
        leaving = {(index, port) for index in part for consumer, port in graph.consumers[index] if consumer not in part}
        leaving |= {(i, port) for i in part & graph.outputs for port in range(len(graph.nodes[i].outputs))}
        return tuple(map(graph.tensor, sorted(entering))), tuple(map(graph.tensor, sorted(leaving)))

    def _result(self, route, parts, splits) -> Plan:
        nodes = self._graph.nodes
        return Plan(
            route,
            self._rules.is_manual,
            {node.name: node.type for node in nodes},
            tuple(Segment(_names(nodes, part), *self._crossing(part)) for part in sorted(parts, key=min)),
            {nodes[index].name: self._causes[index] for index in sorted(self._causes)},
            splits,
            self._graph.unused,
            sum(len(part & self._graph.outputs) for part in parts),
        )


def _names(nodes, indexes) -> tuple:
    return tuple(nodes[index].name for index in sorted(indexes))


def _cheap(graph: Graph, parts):
    """A judge that drops parts without expensive operators, if other parts have some."""
    costly = {part for part in parts if any(graph.nodes[index].type in EXPENSIVE for index in part)}
    return lambda part: Cause(Reason.CHEAP_SEGMENT) if costly and part not in costly else None


def _beside_largest(parts):
    """A judge that drops all parts beside one that has most of the nodes."""
    largest, total = max(parts, key=len, default=()), sum(map(len, parts))
    cause = Cause(Reason.NOT_LARGEST, f"which has {len(largest)} of {total} nodes")
    is_most = len(largest) > LARGEST_SHARE * total
    return lambda part: cause if is_most and part != largest else None


def _splits(graph: Graph, parts) -> tuple:
    """The regions of several parts that data connect. Constants connect nothing."""
    part_of = {index: part for part in parts for index in part}
    beside: dict = {part: set() for part in parts}
    for index, part in part_of.items():
        if graph.nodes[index].type != "Const":
            for consumer, _ in graph.consumers[index]:
                other = part_of.get(consumer, part)
                beside[part].add(other)
                beside[other].add(part)
    regions = {frozenset(reached([part], beside.__getitem__)) for part in parts}
    found = [_split(graph, region) for region in regions if len(region) > 1]
    return tuple(sorted(found, key=lambda split: (-sum(split.sizes), split.between)))


def _split(graph: Graph, region) -> Split:
    inside = frozenset().union(*region)
    between = graph.descendants(inside) & graph.ancestors(inside) - inside
    return Split(tuple(sorted(map(len, region), reverse=True)), _names(graph.nodes, between))
