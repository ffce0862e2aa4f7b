"""Which nodes each route of tensorflow-neuron offers to its segments, and the reason for every one that it does not.

Source: aws-neuron-tensorflow, python/graph_util.py for tf1; python/meta_graph_util.py, and convert_graph.cc and
mark_shape_context.cc in grappler/convert, for tf2.
"""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tensorflow.core.framework import types_pb2

from model.neuron.partition.first_convolution import preparing_nodes, with_padding_split_off
from model.neuron.partition.graph import Graph, Node
from model.neuron.partition.operators import EXPENSIVE, SUPPORTED

# A concatenation of more inputs than this is taken for an object detector's last one.
WIDE_CONCATENATION = 3
FLOATING = ("float16", "bfloat16", "float32", "float64")


class Reason(str, Enum):
    """Why a node stays on the CPU."""

    INPUT = "input of the graph, or before one"
    EXCLUDED = "named in no_fuse"
    NOT_FORCED = "not chosen by force"
    UNSUPPORTED = "operator type not supported"
    STRING = "string, or reads one"
    CONTROL_INPUT = "has a control input"
    FIRST_CONVOLUTION = "prepares the first convolution"
    SELECT_INT64 = "Select of int64"
    CHEAP_CONSUMER = "after a wide ConcatV2, as no expensive operator is"
    UNKNOWN_SHAPE = "shape not known"
    WIDE_TYPE = "int64 or float64 would cross the segment's boundary"
    SHARED_CONSTANT = "constant that the CPU reads"
    TOO_SMALL = "segment too small"
    CHEAP_SEGMENT = "segment without expensive operators"
    NOT_LARGEST = "segment given up for the largest"
    RESOURCE = "segment given up: a resource crosses its boundary"
    NO_INPUTS = "segment given up: nothing goes in"
    NO_OUTPUTS = "segment given up: nothing comes out"
    UNKNOWN_BOUNDARY = "segment given up: shape of an input or output not known"


@dataclass(frozen=True)
class Cause:
    """The reason and, where there is one, the tensor or figure that it rests on."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Rules:
    """What a route makes of a graph before it forms segments, and how it judges them.

    `causes` has the nodes (indexes) that no segment may take. `is_manual`: nodes were chosen by the caller.
    """

    graph: Graph
    causes: dict
    minimum_segment_size: int
    is_manual: bool
    prunes: bool


def tf1(graph: Graph, no_fuse, minimum_segment_size, force) -> Rules:
    """The rules of tfn.saved_model.compile in tensorflow-neuron 1.15: shapes do not matter until the very end."""
    kinds = _normalized(graph)
    forced = _chosen(graph, force) if force else set()
    causes = _first_cause({
        Reason.EXCLUDED: _named(graph, no_fuse),
        Reason.UNSUPPORTED: {i for i, kind in enumerate(kinds) if kind not in SUPPORTED["tf1"]},
        Reason.STRING: _beside_strings(graph),
        Reason.CONTROL_INPUT: {i for i, node in enumerate(graph.nodes) if node.controls},
    }, forced)
    worthwhile = min(2, sum(node.type != "Placeholder" for node in graph.nodes)) or 1
    return Rules(graph, {**causes, **_inputs(graph)}, minimum_segment_size or worthwhile, bool(forced), False)


def tf2(graph: Graph, no_fuse, force) -> Rules:
    """The rules of tfn.trace in tensorflow-neuron 2.x: only what has a known shape, cheap small segments pruned."""
    original = {node.name for node in graph.nodes}
    graph = with_padding_split_off(graph)
    is_manual = bool(force or no_fuse)
    if is_manual:
        causes = _not_chosen(graph, original, no_fuse, force)
    else:
        causes = _first_cause({
            Reason.UNSUPPORTED: _unsupported(graph),
            Reason.FIRST_CONVOLUTION: preparing_nodes(graph),
            Reason.SELECT_INT64: _selecting_int64(graph),
            Reason.CHEAP_CONSUMER: _cheap_consumers(graph),
        }, _foldable(graph))
    causes = {**_without_fixed_shape(graph), **causes, **_inputs(graph)}
    return Rules(graph, causes, 1, is_manual, not is_manual)


def _first_cause(rules: dict, spared) -> dict:
    """The first rule that holds for each node, but for those that are spared."""
    causes: dict = {}
    for reason, indexes in rules.items():
        for index in indexes - spared:
            causes.setdefault(index, Cause(reason))
    return causes


def _inputs(graph) -> dict:
    return dict.fromkeys(graph.ancestors(graph.inputs), Cause(Reason.INPUT))


def _named(graph, names) -> set:
    return {i for i, node in enumerate(graph.nodes) if node.name in names}


def _chosen(graph, force) -> set:
    return {i for i, node in enumerate(graph.nodes) if force(node.definition)}


def _unsupported(graph) -> set:
    return {i for i, node in enumerate(graph.nodes) if node.type not in SUPPORTED["tf2"]}


def _not_chosen(graph, original, no_fuse, force) -> dict:
    """Manual placement. A node that the route itself adds was not there to be chosen, and goes by its type."""
    if force:
        chosen = _chosen(graph, force)
        return dict.fromkeys(
            (i for i, node in enumerate(graph.nodes) if i not in chosen and node.name in original),
            Cause(Reason.NOT_FORCED),
        )
    return _first_cause({Reason.EXCLUDED: _named(graph, no_fuse), Reason.UNSUPPORTED: _unsupported(graph)}, set())


def _normalized(graph: Graph) -> list[str]:
    """The types as tf1 renames them before it looks them up."""
    return [_normalized_type(graph, index, node) for index, node in enumerate(graph.nodes)]


def _normalized_type(graph, index, node: Node) -> str:
    plain = {"StopGradient": "Identity", "AddV2": "Add"}
    if node.type == "FusedBatchNormV3":
        is_plain = node.outputs[0].dtype == "float32" and all(port < 3 for _, port in graph.consumers[index])
        return "FusedBatchNorm" if is_plain else node.type
    if node.type == "BatchMatMulV2":
        one, two = (graph.tensor(edge).shape for edge in node.inputs)
        is_plain = None not in (one, two) and len(one) == len(two) and one[:-2] == two[:-2] and None not in one[:-2]
        return "BatchMatMul" if is_plain else node.type
    return plain.get(node.type, node.type)


def _beside_strings(graph: Graph) -> set:
    """Nodes whose attribute T or dtype is string, and who reads them."""
    strings = {i for i, node in enumerate(graph.nodes) if _has_string_type(node.definition)}
    return strings | {consumer for index in strings for consumer, _ in graph.consumers[index]}


def _has_string_type(definition) -> bool:
    return any(key in definition.attr and definition.attr[key].type == types_pb2.DT_STRING for key in ("T", "dtype"))


def _selecting_int64(graph: Graph) -> set:
    return {i for i, node in enumerate(graph.nodes) if node.type == "Select" and node.outputs[0].dtype == "int64"}


def _cheap_consumers(graph: Graph) -> set:
    """What follows the wide concatenations, unless arithmetic worth the device follows any of them."""
    wide = {i for i, node in enumerate(graph.nodes)
            if node.type == "ConcatV2" and node.definition.attr["N"].i > WIDE_CONCATENATION
            and node.outputs[0].dtype in FLOATING}
    after = graph.descendants(wide)
    return set() if any(graph.nodes[index].type in EXPENSIVE for index in after) else after


def _foldable(graph: Graph) -> set:
    """Nodes that can be worked out ahead of time, whatever their type."""
    known = {i for i, node in enumerate(graph.nodes) if node.type == "Const"}
    found: set = set()
    for index, node in enumerate(graph.nodes):
        if node.type in ("Shape", "Size"):
            can_fold = graph.tensor(node.inputs[0]).is_fixed
        else:
            can_fold = bool(node.sources) and node.sources <= known
        if can_fold:
            found.add(index)
            known.add(index)
    return found


def _without_fixed_shape(graph: Graph) -> dict:
    """The nodes with a string or an unknown shape among their outputs, or among those of the nodes that they follow."""
    own: dict = {}
    for index, node in enumerate(graph.nodes):
        cause = _open_output(node)
        if cause:  # what is to blame is where it began
            before = (own[source] for source, _ in node.inputs if source in own)
            own[index] = next((earlier for earlier in before if earlier.reason == cause.reason), cause)
    inherited = {
        index: own[source] for index, node in enumerate(graph.nodes) if node.inputs
        for source in sorted(node.sources, reverse=True) if source in own
    }
    return {**inherited, **own}


def _open_output(node: Node) -> Cause | None:
    # The last output of FusedBatchNormV3 is scratch space that inference does not use.
    outputs = node.outputs[:-1] if node.type == "FusedBatchNormV3" else node.outputs
    for tensor in outputs:
        if tensor.dtype == "string" or not tensor.is_fixed:
            return Cause(Reason.STRING if tensor.dtype == "string" else Reason.UNKNOWN_SHAPE, str(tensor))
    return None
