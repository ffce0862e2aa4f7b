"""Puts a NeuronOp in the place of a segment of a graph, with the names, types and shapes that the real one has.

Sources: aws-neuron-tensorflow, python/{graph_util,graph_def_util}.py and ops/neuron_op.cc.
"""
from __future__ import annotations

import hashlib
from collections import Counter
from typing import NamedTuple

import tensorflow as tf


class Crossing(NamedTuple):
    """A tensor that crosses a segment's boundary: its name in inputs, its type and its shape."""

    name: str
    dtype: tf.DType
    shape: tf.TensorShape


def replace(graph_def, number: int, names: set, outputs: set, batch, has_program: bool) -> None:
    """Puts a NeuronOp in the place of the nodes `names`. Those that the graph gives out leave an IdentityN behind.

    Its program takes `batch` images and no other number; any with None.
    """
    names = _with_constants(names, graph_def)
    entering, leaving = _crossing(graph_def, names, outputs)
    program = _program(graph_def, names, entering, leaving, batch)
    _remove(graph_def, names)
    operator = _name(number, names)
    for node in graph_def.node:
        node.input[:] = [_result(operator, leaving, name) for name in node.input]
    node = graph_def.node.add(op="NeuronOp", name=operator, input=[one.name for one in entering])
    _describe(node, program, entering, leaving, batch, has_program)
    for position, one in enumerate(leaving):
        if one.name in outputs:
            identity = graph_def.node.add(op="IdentityN", name=one.name, input=[f"{operator}:{position}"])
            identity.attr["T"].list.type.append(one.dtype.as_datatype_enum)


def plain(tensor: str) -> str:
    """The node that an input refers to."""
    return tensor.lstrip("^").split(":")[0]


def halves(graph_def, names) -> list:
    """The first half of a segment's nodes, in the order in which they run, and the second."""
    order = [name for name in _in_order(graph_def) if name in set(names)]
    return [order[:len(order) // 2], order[len(order) // 2:]]


def _in_order(graph_def) -> list:
    nodes, done = {node.name: node for node in graph_def.node}, {}
    waiting = list(nodes)
    while waiting:
        name = waiting[-1]
        before = [plain(s) for s in nodes[name].input if plain(s) not in done and not s.startswith("^")]
        if name in done or not before or nodes[name].op in ("Merge", "NextIteration"):
            waiting.pop()
            done[name] = True
        else:
            waiting += before
    return list(done)


def _with_constants(names, graph_def) -> set:
    """A constant is never passed on: it lies in each segment that reads it."""
    read = {plain(source) for node in graph_def.node if node.name in names for source in node.input}
    constants = {node.name for node in graph_def.node if node.op == "Const"}
    return names - constants | read & constants


def _crossing(graph_def, names, outputs) -> tuple[list[Crossing], list[Crossing]]:
    """The tensors that nodes of these names read, and those that others read of them or that the graph gives out."""
    kinds = {node.name: node.op for node in graph_def.node}
    inside = [node for node in graph_def.node if node.name in names]
    outside = [node for node in graph_def.node if node.name not in names]
    entering = [s for node in inside for s in node.input if plain(s) not in names]
    leaving = [s for node in outside for s in node.input if plain(s) in names and kinds[plain(s)] != "Const"]
    leaving += [node.name for node in inside if node.name in outputs]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")

    def known(name):
        tensor = graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
        return Crossing(name, tensor.dtype, tensor.shape)

    return [known(name) for name in dict.fromkeys(entering)], [known(name) for name in dict.fromkeys(leaving)]


def _program(graph_def, names, entering, leaving, batch) -> bytes:
    """A GraphDef that reads the placeholders in_0, in_1, … and gives out_0, out_1, …"""
    inner = tf.compat.v1.GraphDef(versions=graph_def.versions)
    feeds = {one.name: f"in_{position}" for position, one in enumerate(entering)}
    for one in entering:
        placeholder = inner.node.add(op="Placeholder", name=feeds[one.name])
        placeholder.attr["dtype"].type = one.dtype.as_datatype_enum
        placeholder.attr["shape"].shape.CopyFrom(_of_batch(one.shape, batch))
    for node in graph_def.node:
        if node.name in names:
            copy = inner.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [feeds.get(name, name) for name in node.input]
    for position, one in enumerate(leaving):
        result = inner.node.add(op="Identity", name=f"out_{position}", input=[one.name])
        result.attr["T"].type = one.dtype.as_datatype_enum
    return inner.SerializeToString()


def _remove(graph_def, names) -> None:
    elsewhere = {plain(source) for node in graph_def.node if node.name not in names for source in node.input}
    for node in [node for node in graph_def.node if node.name in names]:
        if node.op != "Const" or node.name not in elsewhere:
            graph_def.node.remove(node)


def _name(number: int, names) -> str:
    """The scope that most nodes share, then a name that ends in a hash. It begins in three digits here, as one of a
    layer would end, because one in ten thousand does."""
    scopes, parts = [], [name.split("/") for name in names]
    while True:
        level = Counter(part[len(scopes)] for part in parts if len(part) > len(scopes) + 1)
        scope, count = level.most_common(1)[0] if level else ("", 0)
        if count <= len(names) / 2:
            break
        scopes.append(scope)
    digest = hashlib.sha256("".join(sorted(names)).encode()).hexdigest()
    return "/".join([*scopes, f"neuron_op_{number:03d}d{digest[:12]}"])


def _result(operator, leaving, name: str) -> str:
    position = next((position for position, one in enumerate(leaving) if one.name == name), None)
    return name if position is None else f"{operator}:{position}"


def _describe(node, program, entering, leaving, batch, has_program) -> None:
    node.attr["graph_def"].s = program
    node.attr["executable"].s = program if has_program else b""
    for side, tensors in (("input", entering), ("output", leaving)):
        node.attr[f"{side}_names"].list.s.extend(one.name.encode() for one in tensors)
        node.attr[f"{side}_dtypes"].list.type.extend(one.dtype.as_datatype_enum for one in tensors)
        node.attr[f"{side}_shapes"].list.shape.extend(_of_batch(one.shape, batch or 1) for one in tensors)
        node.attr[f"{side}_batch_axis"].list.i.extend([-1 if batch else 0] * len(tensors))
    # TensorFlow's C API has no shape function that reads lists of shapes. This attribute has its effect: the shapes of
    # the outputs.
    node.attr["_output_shapes"].list.shape.extend(_of_batch(one.shape, batch) for one in leaving)
    node.attr["model_config"].list.i.extend([1, 1, 64, 10])


def _of_batch(shape, size):
    return (tf.TensorShape([size]).concatenate(shape[1:]) if shape.rank else shape).as_proto()
