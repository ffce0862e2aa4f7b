"""Which nodes each route of tensorflow-neuron allows in segments, and the reason for every other node.

Source: aws-neuron-tensorflow, python/graph_util.py for tf1; python/meta_graph_util.py, and convert_graph.cc and
mark_shape_context.cc in grappler/convert, for tf2.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from tensorflow.core.framework import types_pb2

from model.neuron.partition.first_convolution import preparing_nodes, with_padding_split_off
from model.neuron.partition.graph import Graph, Node
from model.neuron.partition.operators import EXPENSIVE, SUPPORTED

# A concatenation of more inputs counts as the last one of an object detector.
WIDE_CONCATENATION = 3
FLOATING = ("float16", "bfloat16", "float32", "float64")


class Reason(str, Enum):
    """Why a node stays on the CPU."""

    INPUT = "input of the graph, or before one"
    EXCLUDED = "named in no_fuse"
    UNSUPPORTED = "operator type not supported"
    STRING = "string, or reads one"
    CONTROL_INPUT = "has a control input"
    FIRST_CONVOLUTION = "prepares the first convolution"
    SELECT_INT64 = "Select of int64"
    CHEAP_CONSUMER = "after a wide ConcatV2, without an expensive operator after it"
    UNKNOWN_SHAPE = "shape not known"
    WIDE_TYPE = "int64 or float64 would cross the segment's boundary"
    SHARED_CONSTANT = "constant that the CPU reads"
    TOO_SMALL = "segment too small"
    CHEAP_SEGMENT = "segment without expensive operators"
    NOT_LARGEST = "segment dropped for the largest"
    RESOURCE = "segment dropped: a resource crosses its boundary"
    NO_INPUTS = "segment dropped: nothing goes in"
    NO_OUTPUTS = "segment dropped: nothing comes out"
    UNKNOWN_BOUNDARY = "segment dropped: shape of an input or output not known"


@dataclass(frozen=True)
class Cause:
    """The reason, with the tensor or figure behind it if there is one."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Rules:
    """A route's graph before segments are formed, and its rules for them.

    `causes` (index → Cause) has the nodes that may be in no segment. `is_manual`: the caller has chosen nodes.
    """

    graph: Graph
    causes: dict
    minimum_segment_size: int
    is_manual: bool
    prunes: bool


def tf1(graph: Graph, no_fuse, minimum_segment_size) -> Rules:
    """The rules of tfn.saved_model.compile in tensorflow-neuron 1.15; shapes matter only at the end."""
    kinds = [_normalized_type(graph, index, node) for index, node in enumerate(graph.nodes)]
    graph = _with_outputs_of(kinds, graph)
    causes = _first_cause(graph, {
        Reason.EXCLUDED: _where(graph, lambda node: node.name in no_fuse),
        Reason.UNSUPPORTED: {i for i, kind in enumerate(kinds) if kind not in SUPPORTED["tf1"]},
        Reason.STRING: _beside_strings(graph),
        Reason.CONTROL_INPUT: _where(graph, lambda node: node.controls),
    })
    worthwhile = min(2, sum(node.type != "Placeholder" for node in graph.nodes)) or 1
    return Rules(graph, causes, minimum_segment_size or worthwhile, is_manual=False, prunes=False)


def tf2(graph: Graph, no_fuse) -> Rules:
    """The rules of tfn.trace in tensorflow-neuron 2.x: only nodes of known shape, and cheap segments are pruned."""
    graph = with_padding_split_off(graph)
    is_manual, spared = bool(no_fuse), set()
    rules = {
        Reason.EXCLUDED: _where(graph, lambda node: node.name in no_fuse),
        Reason.UNSUPPORTED: _where(graph, lambda node: node.type not in SUPPORTED["tf2"]),
    }
    if not is_manual:
        spared = _foldable(graph)
        rules[Reason.FIRST_CONVOLUTION] = preparing_nodes(graph)
        rules[Reason.SELECT_INT64] = _where(
            graph, lambda node: node.type == "Select" and node.outputs[0].dtype == "int64")
        rules[Reason.CHEAP_CONSUMER] = _cheap_consumers(graph)
    causes = {**_without_fixed_shape(graph), **_first_cause(graph, rules, spared)}
    return Rules(graph, causes, 1, is_manual, prunes=not is_manual)


def _where(graph: Graph, test) -> set:
    """The indexes of the nodes that pass a test."""
    return {index for index, node in enumerate(graph.nodes) if test(node)}


def _first_cause(graph: Graph, rules: dict, spared=frozenset()) -> dict:
    """INPUT for inputs and all before them; for each other node, unless `spared`, the first rule that applies."""
    causes = dict.fromkeys(graph.ancestors(graph.inputs), Cause(Reason.INPUT))
    for reason, indexes in rules.items():
        for index in indexes - spared:
            causes.setdefault(index, Cause(reason))
    return causes


def _normalized_type(graph, index, node: Node) -> str:
    """The type under the name by which tf1 looks it up."""
    plain = {"StopGradient": "Identity", "AddV2": "Add"}
    if node.type == "FusedBatchNormV3":
        is_plain = node.outputs[0].dtype == "float32" and all(port < 3 for _, port in graph.consumers[index])
        return "FusedBatchNorm" if is_plain else node.type
    if node.type == "BatchMatMulV2":
        one, two = (graph.tensor(edge).shape for edge in node.inputs)
        is_plain = None not in (one, two) and len(one) == len(two) and one[:-2] == two[:-2] and None not in one[:-2]
        return "BatchMatMul" if is_plain else node.type
    return plain.get(node.type, node.type)


def _with_outputs_of(kinds: list[str], graph: Graph) -> Graph:
    """The graph without the sixth output of a FusedBatchNormV3, of unknown shape, where tf1 makes it a FusedBatchNorm,
    which has five."""
    return replace(graph, nodes=tuple(
        node._replace(outputs=node.outputs[:5]) if kind == "FusedBatchNorm" else node
        for kind, node in zip(kinds, graph.nodes)))


def _beside_strings(graph: Graph) -> set:
    """The nodes whose attribute T or dtype is string, and their readers."""
    strings = _where(graph, lambda node: _has_string_type(node.definition))
    return strings | {consumer for index in strings for consumer, _ in graph.consumers[index]}


def _has_string_type(definition) -> bool:
    return any(key in definition.attr and definition.attr[key].type == types_pb2.DT_STRING for key in ("T", "dtype"))


def _cheap_consumers(graph: Graph) -> set:
    """The nodes after wide concatenations, unless an expensive operator is among them."""
    wide = _where(graph, lambda node: node.type == "ConcatV2" and node.definition.attr["N"].i > WIDE_CONCATENATION
                  and node.outputs[0].dtype in FLOATING)
    after = graph.descendants(wide)
    return set() if any(graph.nodes[index].type in EXPENSIVE for index in after) else after


def _foldable(graph: Graph) -> set:
    """The nodes that can be computed in advance, whatever their type."""
    known = _where(graph, lambda node: node.type == "Const")
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
    """The nodes with an output of type string or unknown shape, and the nodes directly after them."""
    own: dict = {}
    for index, node in enumerate(graph.nodes):
        cause = _open_output(node)
        if cause:  # the cause is the earliest tensor
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
