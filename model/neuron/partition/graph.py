"""A frozen GraphDef with the data type and shape of every tensor, for the batch size of the compilation."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2

from model.graph.operators import node_name, reached

# A constant of more bytes is a weight, and no shape depends on its numbers.
LARGE_CONSTANT = 1024


class PlanError(ValueError):
    """The graph cannot be planned; the message names the node or the setting."""


@dataclass(frozen=True)
class Tensor:
    """`name` is node:port, `dtype` TensorFlow's name; unknown sizes of `shape`, or all of it, are None."""

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
    """An operator: `inputs` are (node's index, port), `controls` indexes of nodes, `outputs` are `Tensor`s."""

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
    """Nodes in TensorFlow's order, each after its sources (except in loops), and indexes of inputs and outputs."""

    nodes: tuple
    inputs: frozenset
    outputs: frozenset
    unused: tuple = ()

    @cached_property
    def consumers(self) -> list:
        """For each node the (index of the consumer, own port) of its data edges."""
        found: list = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source, port in node.inputs:
                found[source].append((index, port))
        return found

    @cached_property
    def successors(self) -> list:
        """For each node the indexes of the nodes that read its data or wait for it."""
        found: list = [set() for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in node.sources:
                found[source].add(index)
        return found

    def tensor(self, edge) -> Tensor:
        """The tensor of an edge (node's index, port)."""
        index, port = edge
        return self.nodes[index].outputs[port]

    def ancestors(self, indexes) -> set:
        """These nodes and all before them."""
        return reached(indexes, lambda index: self.nodes[index].sources)

    def descendants(self, indexes) -> set:
        """These nodes and all after them."""
        return reached(indexes, self.successors.__getitem__)


def shaped_graph(graph_def, inputs, outputs, batch_size: int) -> Graph:
    """The nodes of a GraphDef that its outputs need, with shapes from TensorFlow's own inference.

    `inputs` and `outputs` are names of nodes or tensors. An unknown first size of an input becomes `batch_size`, as in
    tfn.saved_model.compile; no other shape changes. Raises PlanError.
    """
    by_name = {node.name: node for node in graph_def.node}
    if not outputs:
        raise PlanError("the graph has no outputs; name them")
    for name in (*inputs, *outputs):
        if node_name(name) not in by_name:
            raise PlanError(f"the graph has no node {node_name(name)}; correct the name")
    needed = reached(map(node_name, (*inputs, *outputs)), lambda name: _source_names(by_name, name))
    light = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library,
                               node=[_light(node) for node in graph_def.node if node.name in needed])
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


def _light(node):
    """A copy of a node without a large constant and without ties to devices."""
    copy = node_def_pb2.NodeDef(name=node.name, op=node.op, input=node.input)
    for key, value in node.attr.items():
        if key == "value" and value.ByteSize() > LARGE_CONSTANT:
            copy.attr[key].tensor.dtype = value.tensor.dtype
            copy.attr[key].tensor.tensor_shape.CopyFrom(value.tensor.tensor_shape)
        elif key != "_class":
            copy.attr[key].CopyFrom(value)
    return copy


def _inferred(graph_def, inputs, batch_size) -> list:
    """The graph's operations, imported again until no more shapes become known."""
    known: dict = {}
    while True:
        operations = _imported(graph_def, known)
        by_name = {op.name: op for op in operations}
        found = {**_input_shapes(by_name, inputs, batch_size), **_stacked_shapes(by_name)}
        if found == known:
            return operations
        known = found


def _imported(graph_def, known: dict) -> list:
    """TensorFlow's operations for the nodes; `known` has the output shapes of some of them."""
    for node in graph_def.node:
        if node.name in known:
            shapes = [tf.TensorShape(shape).as_proto() for shape in known[node.name]]
            node.attr["_output_shapes"].list.CopyFrom(attr_value_pb2.AttrValue.ListValue(shape=shapes))
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            reason = str(error).split("\n")[0].split(" in binary running on")[0]
            raise PlanError(f"TensorFlow cannot import the graph: {reason}") from None
    return graph.get_operations()


def _input_shapes(operations: dict, inputs, batch_size) -> dict:
    """The output shapes of the input nodes with the batch size."""
    shapes: dict = {}
    for name in inputs:
        operation, port = operations[node_name(name)], name.partition(":")[2] or "0"
        if not port.isdigit() or int(port) >= len(operation.outputs):
            raise PlanError(f"input {name}: the node {operation.name} has no such output; correct the name")
        found = shapes.setdefault(operation.name, [_sizes(tensor) for tensor in operation.outputs])
        found[int(port)] = _with_batch(operation.outputs[int(port)], batch_size)
    return shapes


def _with_batch(tensor, batch_size) -> tuple:
    sizes = _sizes(tensor)
    if sizes is None or None in sizes[1:]:
        raise PlanError(f"input {tensor.name}: has the shape {tensor.shape}, all sizes but the first must be known; "
                         "export the model with a fixed image size")
    return tuple(batch_size if size is None else size for size in sizes)


def _sizes(tensor) -> tuple | None:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _stacked_shapes(operations: dict) -> dict:
    """Shapes of stacked tensor arrays (TensorFlow 1's map_fn), which TensorFlow's inference leaves unknown.

    As in aws-neuron-tensorflow, shape_inference.cc: all elements of an array of known length are gathered.
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
    """The number of indexes of a Range over a whole tensor array of known length, or None."""
    chain = []
    for kind, next_input in (("Range", 1), ("TensorArraySizeV3", 0), ("TensorArrayV3", 0)):
        if indexes.type != kind:
            return None
        chain.append(indexes)
        indexes = indexes.inputs[next_input].op
    if chain[-1].get_attr("dynamic_size"):
        return None
    with indexes.graph.as_default():
        # TensorFlow shows a number that it can compute in advance as the shape of a tensor of that size.
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
