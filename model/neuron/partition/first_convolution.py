"""The rules of tfn.trace for the convolution that reads the image: its padding becomes an operator of its own, and if
it has a stride, the operators that prepare its input stay on the CPU.

Source: aws-neuron-tensorflow, grappler/convert/split_conv2d.cc and convert_graph.cc.
"""
from __future__ import annotations

from dataclasses import replace

from tensorflow.core.framework import node_def_pb2

from model.neuron.partition.graph import Graph, Node, Tensor

# A convolution with this many input channels reads features, not pixels.
MANY_CHANNELS = 32
# Padding is split off only in graphs that have a constant of more bytes.
LARGE_CONSTANT = 1024


def with_padding_split_off(graph: Graph) -> Graph:
    """The graph with the padding `SAME` of its first Conv2D replaced by a Pad and a Const before it."""
    index = _first(graph)
    has_weights = any(node.type == "Const" and node.definition.ByteSize() > LARGE_CONSTANT for node in graph.nodes)
    if index is None or _padding(graph.nodes[index]) != "SAME" or not has_weights:
        return graph
    image, kernel = map(graph.tensor, graph.nodes[index].inputs)
    return _inserted(graph, index, image, kernel) if image.is_fixed and kernel.is_fixed else graph


def preparing_nodes(graph: Graph) -> set:
    """The nodes before the first convolution if it reads pixels with a stride; none if they are most of the graph."""
    index = _first(graph)
    if index is None or not _has_stride_over_pixels(graph, graph.nodes[index]):
        return set()
    source, _ = graph.nodes[index].inputs[0]
    before = {i for i in graph.ancestors({source}) if graph.nodes[i].type != "Placeholder"}
    return set() if len(before) > len(graph.nodes) // 2 else before


def _first(graph) -> int | None:
    return next((index for index, node in enumerate(graph.nodes) if node.type == "Conv2D"), None)


def _padding(node: Node) -> str:
    return node.definition.attr["padding"].s.decode()


def _format(node: Node) -> str:
    return node.definition.attr["data_format"].s.decode() or "NHWC"


def _window(node: Node, attribute: str) -> tuple[int, int]:
    """Height and width of the strides or dilations; the default is 1."""
    numbers, axes = node.definition.attr[attribute].list.i or [1] * 4, _format(node)
    return numbers[axes.index("H")], numbers[axes.index("W")]


def _has_stride_over_pixels(graph, node: Node) -> bool:
    image, kernel = map(graph.tensor, node.inputs)
    if _padding(node) != "VALID" or not image.is_fixed or not kernel.is_fixed:
        return False
    height, width, channels = (image.shape[_format(node).index(axis)] for axis in "HWC")
    stride, stride_across = _window(node, "strides")
    return (stride > 1 and stride == stride_across and height % stride == 0 == width % stride
            and channels < MANY_CHANNELS and channels == kernel.shape[2]
            and max(kernel.shape[:2]) > 1 and max(_window(node, "dilations")) == 1)


def _inserted(graph: Graph, index: int, image: Tensor, kernel: Tensor) -> Graph:
    """The graph with paddings and Pad at `index`, and the convolution after them reading the Pad."""
    def moved(i):
        return i + 2 * (i >= index)

    nodes = [node._replace(inputs=tuple((moved(i), port) for i, port in node.inputs),
                           controls=tuple(map(moved, node.controls))) for node in graph.nodes]
    convolution = nodes[index]
    name, taken = f"{convolution.name}/SamePad", {node.name for node in nodes}
    while name in taken:
        name += "_1"
    paddings = _node(f"{name}/paddings", "Const", (), "int32", (4, 2))
    shape = _padded_shape(convolution, image, kernel)
    pad = _node(name, "Pad", (convolution.inputs[0], (index, 0)), image.dtype, shape)
    definition = node_def_pb2.NodeDef()
    definition.CopyFrom(convolution.definition)
    definition.attr["padding"].s = b"VALID"
    nodes[index] = convolution._replace(definition=definition, inputs=((index + 1, 0), *convolution.inputs[1:]))
    nodes[index:index] = [paddings, pad]
    return replace(graph, nodes=tuple(nodes), inputs=frozenset(map(moved, graph.inputs)),
                   outputs=frozenset(map(moved, graph.outputs)))


def _node(name, kind, inputs, dtype, shape) -> Node:
    output = Tensor(f"{name}:0", dtype, shape)
    return Node(name, kind, node_def_pb2.NodeDef(name=name, op=kind), inputs, (), (output,))


def _padded_shape(node: Node, image: Tensor, kernel: Tensor) -> tuple:
    shape = list(image.shape)
    for axis, stride, size in zip("HW", _window(node, "strides"), kernel.shape):
        position = _format(node).index(axis)
        shape[position] += max(size - (shape[position] % stride or stride), 0)
    return tuple(shape)
