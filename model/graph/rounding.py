"""Emulates a narrower number format on any processor: operands are rounded and widened again, FP32 computes.

Rounding is to nearest even, products accumulate in FP32, numbers above FP16's 65504 become infinite.
"""
from __future__ import annotations

import tensorflow as tf

from model.graph.operators import as_input


def round_inputs(graph_def, formats: dict) -> None:
    """Rounds, in place, every float32 input of the nodes in `formats` (name → tf.DType) to that format."""
    floats = _float_tensors(graph_def)
    rounded: dict = {}
    for node in list(graph_def.node):
        dtype = formats.get(node.name)
        for position, tensor in enumerate(node.input if dtype else ()):
            if as_input(tensor) in floats:
                key = tensor, dtype
                if key not in rounded:
                    rounded[key] = _round(graph_def, tensor, dtype)
                node.input[position] = rounded[key]


def round_tensors(graph_def, tensors, dtype) -> None:
    """Rounds, in place, these float32 tensors for all their readers."""
    for tensor in tensors:
        readers = [node for node in graph_def.node if tensor in node.input]
        back = _round(graph_def, tensor, dtype)
        for node in readers:
            node.input[:] = [back if name == tensor else name for name in node.input]


def _float_tensors(graph_def) -> set:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return {as_input(t.name) for op in graph.get_operations() for t in op.outputs if t.dtype == tf.float32}


def _round(graph_def, tensor, dtype) -> str:
    name = f"{tensor.replace(':', '_')}/rounded_{dtype.name}"
    low = add_cast(graph_def, name, tensor, tf.float32, dtype)
    return add_cast(graph_def, f"{name}/back", low, dtype, tf.float32)


def add_cast(graph_def, name, source, source_type, target_type) -> str:
    """Adds an operator of this name that casts the tensor `source`; returns the name of its result."""
    node = graph_def.node.add(op="Cast", name=name, input=[source])
    node.attr["SrcT"].type = source_type.as_datatype_enum
    node.attr["DstT"].type = target_type.as_datatype_enum
    return name
