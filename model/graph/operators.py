"""Names, types and paths of the operators in a GraphDef. Runs on Python 3.7 and needs only the standard library."""
from __future__ import annotations

CONVOLUTIONS = frozenset({
    "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "DepthwiseConv2dNative",
    "DepthwiseConv2dNativeBackpropInput",
})

# Nodes that compute nothing.
NOT_OPERATORS = frozenset({"Const", "Identity", "NoOp", "Placeholder"})


def node_name(tensor: str) -> str:
    """The node that an input like `node:1` or `^node` refers to."""
    return tensor.lstrip("^").split(":")[0]


def as_input(tensor: str) -> str:
    """The name of a tensor as GraphDefs write it in inputs: without the `:0` of a first output."""
    return tensor[:-2] if tensor.endswith(":0") else tensor


def reached(starts, neighbours) -> set:
    """The starts and everything that can be reached from them; `neighbours` lists the next items of one."""
    found, waiting = set(), list(starts)
    while waiting:
        item = waiting.pop()
        if item not in found:
            found.add(item)
            waiting.extend(neighbours(item))
    return found
