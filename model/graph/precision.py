"""The number formats of the network and of its edges: where images enter it and head maps leave it.

Source of the cut: AWS's YOLOv4 tutorial, whose images and head maps cross between host and device in float16.
Compilers keep the formats of what crosses, so a model that moves half the bytes must have the casts in its graph.
"""
from __future__ import annotations

import tensorflow as tf
from tensorflow.python.framework import tensor_util

from model.graph.freeze import imported, network_part
from model.graph.rounding import add_cast
from model.graph.saved_model import NETWORK, POSTPROCESS, PREPROCESS, SavedModelError

# Bits of a number that crosses an edge → its format.
EDGES = {16: tf.float16, 32: tf.float32}
# The cast of the images on the host's side.
IMAGES = f"{PREPROCESS}/edge"


def set_edges(graph_def, bits: int) -> None:
    """Makes images and head maps cross the network's edges, in place, in numbers of so many bits.

    Each edge gets a cast on one side of it and the cast back on the other. Raises SavedModelError.
    """
    _set_formats(graph_def, EDGES[bits], tf.float32)


def set_half(graph_def, bits: int = 16) -> None:
    """Makes the whole network compute in float16, in place, as in AWS's tutorial; its edges as in `set_edges`."""
    for node in graph_def.node:
        if node.name.startswith(f"{NETWORK}/"):
            _narrow(node)
    _set_formats(graph_def, EDGES[bits], tf.float16)


def edge_bytes(graph_def) -> int:
    """The bytes of an image that cross the network's edges: its input and the head maps."""
    _, source, heads = network_part(graph_def)
    graph = imported(graph_def)
    tensors = [graph.get_tensor_by_name(name if ":" in name else f"{name}:0") for name in (source, *heads)]
    return sum(tensor.shape[1:].num_elements() * tensor.dtype.size for tensor in tensors)


def _set_formats(graph_def, edge, network) -> None:
    if edge == network == tf.float32:
        return
    if any(node.name == IMAGES for node in graph_def.node):
        raise SavedModelError("the model has been compiled before, and its edges are set; compile the model that "
                              "`python -m model build` wrote")
    part, source, heads = network_part(graph_def)
    inside = {node.name for node in part.node}
    readers = [node for node in graph_def.node if node.name in inside]
    _cast_for(graph_def, source, readers, [(IMAGES, tf.float32, edge), (f"{NETWORK}/edge", edge, network)])
    for number, head in enumerate(heads):
        readers = [node for node in graph_def.node if node.name not in inside]
        _cast_for(graph_def, head, readers, [(f"{NETWORK}/edge_{number}", network, edge),
                                             (f"{POSTPROCESS}/edge_{number}", edge, tf.float32)])


def _cast_for(graph_def, tensor: str, readers, casts) -> None:
    """Puts these casts (name, from, to) between a tensor and its readers; one that changes nothing is left out."""
    last = tensor
    for name, before, after in casts:
        last = last if before == after else add_cast(graph_def, name, last, before, after)
    for node in readers:
        node.input[:] = [last if name == tensor else name for name in node.input]


def _narrow(node) -> None:
    """Makes every float32 of an operator float16: its types and, of a constant, its numbers."""
    for attribute in node.attr.values():
        if attribute.type == tf.float32.as_datatype_enum:
            attribute.type = tf.float16.as_datatype_enum
    if node.op == "Const" and node.attr["value"].tensor.dtype == tf.float32.as_datatype_enum:
        numbers = tensor_util.MakeNdarray(node.attr["value"].tensor)
        node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(numbers.astype("float16")))
