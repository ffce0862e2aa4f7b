"""What of a compiled model runs on the device: read from the model itself, whatever its compiler has said.

Runs on Python 3.7. Source: aws-neuron-tensorflow, python/graph_def_util.py and runtime/direct/placer.cc: a compiled
part is an operator of type NeuronOp whose attribute `executable` holds the compiled program.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from model.graph.saved_model import NETWORK

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")
# What moves numbers about or is one, and computes nothing.
NOT_OPERATORS = ("Const", "Identity", "IdentityN", "NoOp", "Placeholder", "NeuronOp")


class Placement(NamedTuple):
    """`operators`: NeuronOps with a program; `empty`: those without, which compute nothing; `left`: name → type of the
    network's operators that TensorFlow runs; `is_replicated`: whether each NeuronOp is tagged to run on many cores."""

    operators: int
    empty: int
    left: dict
    is_replicated: bool

    @property
    def convolutions_left(self) -> list:
        return [name for name, kind in self.left.items() if kind in CONVOLUTIONS]

    def fault(self) -> str:
        """Why the model must not be taken for one that runs on the device; '' if it may."""
        if self.empty:
            return f"{self.empty} of {self.operators + self.empty} NeuronOps hold no program"
        if not self.operators:
            return "nothing was compiled: the model holds no NeuronOp with a program, so all of it runs on the CPU"
        return ""

    def __str__(self):
        """In words, with what keeps calls from reaching every core."""
        number = "1 NeuronOp" if self.operators == 1 else f"{self.operators} NeuronOps"
        alone = self.operators > 1 and not self.is_replicated
        crowd = ", none replicated, so where 4 cores or fewer are visible all lie on the first" if alone else ""
        left = f"; on the CPU: {', '.join(list(self.left)[:3])}" if self.left else ""
        return number + crowd + left


def because(fault: str, metadata: dict) -> str:
    """The fault, with what the compiler warned of when the model was made; '' if there is none."""
    warnings = metadata.get("compiler_warnings")
    return f"{fault}; the compiler warned: {warnings[0]}" if fault and warnings else fault


def placement(graph_def) -> Placement:
    """Of a GraphDef with its function library."""
    inner = [node for function in graph_def.library.function for node in function.node_def]
    outer = [node for node in graph_def.node if node.op == "NeuronOp" or node.name.startswith(NETWORK + "/")]
    neuron = [node for node in inner + outer if node.op == "NeuronOp"]
    programs = [node for node in neuron if node.attr["executable"].s]
    return Placement(
        len(programs), len(neuron) - len(programs), operators(inner + outer),
        bool(neuron) and all(node.attr["_automatic_multicore"].i > 1 for node in neuron),
    )


def operators(nodes) -> dict:
    """Name → type of those that compute something."""
    return {node.name: node.op for node in nodes if node.op not in NOT_OPERATORS}


def placement_of(compiled) -> Placement:
    """Of a compiled SavedModel folder."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = Path(compiled, "saved_model.pb").read_bytes()
    return placement(saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def)
