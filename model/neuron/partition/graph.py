"""A frozen GraphDef with the data type and shape of every tensor, at the batch size that it would be compiled for."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2

# A constant of more bytes than this is a weight: no shape depends on its numbers.
LARGE_CONSTANT = 1024


class PlanError(ValueError):
    """The graph cannot be planned as asked; the message names the node or the option."""


@dataclass(frozen=True)
class Tensor:
    """`name` as node:port, data type in TensorFlow's words, shape with None for an unknown size (or as a whole)."""

    name: str
    dtype: str
    shape: tuple | None

    @property
    def is_fixed(self) -> bool:
        """Whether every size of the shape is known."""
        return self.shape is not None and None not in self.shape

    def __str__(self):
        sizes = "unknown rank" if self.shape is None else [*("?" if size is None else size for size in self.shape)]
        return f"{self.name} {self.dtype} {str(sizes).replace(chr(39), '')}"


class Node(NamedTuple):
    """An operator: where its data come from as (node's index, port), which nodes it waits for, what it gives."""

    name: str
    type: str
    definition: node_def_pb2.NodeDef
    inputs: tuple
    controls: tuple
    outputs: tuple

    @property
    def sources(self) -> set:
        """Indexes of the nodes that come before this one."""
        return {index for index, _ in self.inputs} | set(self.controls)


@dataclass(frozen=True)
class Graph:
    """Nodes in TensorFlow's order, each after its sources (but for loops); indexes of inputs and outputs among them."""

    nodes: tuple
    inputs: frozenset
    outputs: frozenset
    unused: tuple = ()

    @cached_property
    def consumers(self) -> list:
        """For each node the (consumer's index, own port) of its data edges."""
        found: list = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source, port in node.inputs:
                found[source].append((index, port))
        return found

    @cached_property
    def successors(self) -> list:
        """For each node the indexes of all nodes that come after it, by data or by control."""
        found: list = [set() for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in node.sources:
                found[source].add(index)
        return found

    def tensor(self, edge) -> Tensor:
        """The tensor that flows along the edge (node's index, port)."""
        index, port = edge
        return self.nodes[index].outputs[port]

    def ancestors(self, indexes) -> set:
        """All nodes from which a path leads to one of these, and these."""
        return reached(indexes, lambda index: self.nodes[index].sources)

    def descendants(self, indexes) -> set:
        """All nodes to which a path leads from one of these, and these."""
        return reached(indexes, self.successors.__getitem__)


def reached(starts, neighbours) -> set:
    found, waiting = set(), list(starts)
    while waiting:
        item = waiting.pop()
        if item not in found:
            found.add(item)
            waiting.extend(neighbours(item))
    return found


def node_name(tensor: str) -> str:
    """The node that an input like `node:1` or `^node` refers to."""
    return tensor.lstrip("^").split(":")[0]


def shaped_graph(graph_def, inputs, outputs, batch_size: int) -> Graph:
    """The part of a GraphDef that its outputs need, with shapes by TensorFlow's own inference.

    `inputs` and `outputs` are names of nodes or tensors. An unknown first size of an input becomes `batch_size`, as
    tfn.saved_model.compile does it; no other shape is touched. Raises PlanError.
    """
    by_name = {node.name: node for node in graph_def.node}
    if not outputs:
        raise PlanError("the graph has no outputs: name them")
    for name in (*inputs, *outputs):
        if node_name(name) not in by_name:
            raise PlanError(f"the graph has no node {node_name(name)}")
    needed = reached(map(node_name, (*inputs, *outputs)), lambda name: _source_names(by_name, name))
    light = _without_weights(graph_def, needed)
    operations = _inferred(light, inputs, batch_size)
    index = {operation.name: i for i, operation in enumerate(operations)}
    return Graph(
        tuple(_node(operation, by_name[operation.name], index) for operation in operations),
        frozenset(index[node_name(name)] for name in inputs),
        frozenset(index[node_name(name)] for name in outputs),
        tuple(node.name for node in graph_def.node if node.name not in needed),
    )


def _source_names(by_name: dict, name: str) -> list:
    sources = [node_name(source) for source in by_name[name].input]
    missing = [source for source in sources if source not in by_name]
    if missing:
        raise PlanError(f"node {name} reads {missing[0]}, which the graph does not have")
    return sources


def _without_weights(graph_def, names):
    """A copy of the nodes that is small, and free of what ties it to devices."""
    copy = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name in names:
            _copy_light(node, copy.node.add())
    return copy


def _copy_light(node, copy) -> None:
    copy.name, copy.op = node.name, node.op
    copy.input.extend(node.input)
    for key, value in node.attr.items():
        if key == "value" and value.ByteSize() > LARGE_CONSTANT:
            copy.attr[key].tensor.dtype = value.tensor.dtype
            copy.attr[key].tensor.tensor_shape.CopyFrom(value.tensor.tensor_shape)
        elif key != "_class":
            copy.attr[key].CopyFrom(value)


def _inferred(graph_def, inputs, batch_size) -> list:
    """The graph's operations, imported again for as long as that teaches more shapes."""
    known: dict = {}
    while True:
        operations = _imported(graph_def, known)
        by_name = {op.name: op for op in operations}
        learnt = {**_input_shapes(by_name, inputs, batch_size), **_stacked_shapes(by_name)}
        if learnt == known:
            return operations
        known = learnt


def _imported(graph_def, known: dict) -> list:
    """TensorFlow's operations for the nodes; `known` gives the shapes of all outputs of some of them."""
    for node in graph_def.node:
        if node.name in known:
            shapes = [tf.TensorShape(shape).as_proto() for shape in known[node.name]]
            node.attr["_output_shapes"].list.CopyFrom(attr_value_pb2.AttrValue.ListValue(shape=shapes))
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            reason = str(error).split("\n")[0].split(" in binary running on")[0]
            raise PlanError(f"TensorFlow does not take the graph: {reason}") from None
    return graph.get_operations()


def _input_shapes(operations: dict, inputs, batch_size) -> dict:
    """The shapes of the nodes that the inputs belong to, as they are once the batch size is set."""
    shapes: dict = {}
    for name in inputs:
        operation, port = operations[node_name(name)], name.partition(":")[2] or "0"
        if not port.isdigit() or int(port) >= len(operation.outputs):
            raise PlanError(f"input {name}: the node {operation.name} has no such output")
        found = shapes.setdefault(operation.name, [_sizes(tensor) for tensor in operation.outputs])
        found[int(port)] = _with_batch(operation.outputs[int(port)], batch_size)
    return shapes


def _with_batch(tensor, batch_size) -> tuple:
    sizes = _sizes(tensor)
    if sizes is None or None in sizes[1:]:
        raise PlanError(f"input {tensor.name} has the shape {tensor.shape}: the batch size sets its first size only, "
                         "so all others must be known")
    return tuple(batch_size if size is None else size for size in sizes)


def _sizes(tensor) -> tuple | None:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _stacked_shapes(operations: dict) -> dict:
    """Shapes of stacked tensor arrays, which TensorFlow's inference leaves open: what TensorFlow 1's map_fn gives.

    As in aws-neuron-tensorflow, shape_inference.cc: all elements of an array whose length is known were gathered.
    """
    shapes = {}
    for operation in operations.values():
        if operation.type == "TensorArrayGatherV3":
            element = operation.get_attr("element_shape")
            length = _array_length(operation.inputs[1].op)
            if length is not None and not element.unknown_rank:
                shapes[operation.name] = [(length, *(size.size if size.size >= 0 else None for size in element.dim))]
    return shapes


def _array_length(indexes) -> int | None:
    """How many indexes a Range over a whole tensor array of known length gives."""
    chain = []
    for kind, next_input in (("Range", 1), ("TensorArraySizeV3", 0), ("TensorArrayV3", 0)):
        if indexes.type != kind:
            return None
        chain.append(indexes)
        indexes = indexes.inputs[next_input].op
    if chain[-1].get_attr("dynamic_size"):
        return None
    with indexes.graph.as_default():
        # The shape of something that large is how TensorFlow tells a number that it can work out ahead of time.
        return tf.fill(tf.reshape(chain[-1].inputs[0], [1]), 0).shape[0]


def _node(operation, definition, index: dict) -> Node:
    return Node(
        operation.name,
        operation.type,
        definition,
        tuple((index[tensor.op.name], tensor.value_index) for tensor in operation.inputs),
        tuple(index[control.name] for control in operation.control_inputs),
        tuple(Tensor(tensor.name, tensor.dtype.base_dtype.name, _sizes(tensor)) for tensor in operation.outputs),
    )
