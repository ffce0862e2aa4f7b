"""Which operators of a compiled model run on the device, read from the model itself, not from the compiler's report.

Runs on Python 3.7. Source: aws-neuron-tensorflow, python/graph_def_util.py and runtime/direct/placer.cc: a compiled
part is an operator of type NeuronOp whose attribute `executable` holds the compiled program.
"""
from __future__ import annotations

from typing import NamedTuple

from model.graph.operators import CONVOLUTIONS, NOT_OPERATORS
from model.graph.saved_model import NETWORK, read_meta_graph
from model.neuron.compiler_log import summary

# Nodes that TensorFlow does not compute on the CPU.
NOT_ON_CPU = NOT_OPERATORS | {"IdentityN", "NeuronOp"}


class Placement(NamedTuple):
    """Where the network's operators run.

    `operators`: NeuronOps with a program; `empty`: NeuronOps without one; `left`: name → type of the network's
    operators that TensorFlow runs; `is_replicated`: whether each NeuronOp is tagged to run on several cores.
    """

    operators: int
    empty: int
    left: dict
    is_replicated: bool

    @property
    def convolutions_left(self) -> list:
        return [name for name, kind in self.left.items() if kind in CONVOLUTIONS]

    def fault(self) -> str:
        """Why the model does not run on the device; '' if it does."""
        if self.empty:
            return f"{self.empty} of {self.operators + self.empty} NeuronOps have no program"
        if not self.operators:
            return "nothing was compiled: the model has no NeuronOp with a program, so it runs on the CPU"
        return ""

    def __str__(self):
        """A description, with the reason why calls may not reach every core."""
        number = "1 NeuronOp" if self.operators == 1 else f"{self.operators} NeuronOps"
        alone = self.operators > 1 and not self.is_replicated
        crowded = ", not replicated, so with at most 4 visible cores all are on the first" if alone else ""
        left = f"; on the CPU: {', '.join(list(self.left)[:3])}" if self.left else ""
        return number + crowded + left


def with_warning(fault: str, metadata: dict) -> str:
    """The fault with what the compiler warned of; '' if there is no fault."""
    warned = summary(metadata.get("compiler_warnings") or [])
    return f"{fault}; the compiler warned: {warned}" if fault and warned else fault


def placement(graph_def) -> Placement:
    """The placement of a GraphDef and its function library."""
    inner = [node for function in graph_def.library.function for node in function.node_def]
    outer = [node for node in graph_def.node if node.op == "NeuronOp" or node.name.startswith(NETWORK + "/")]
    neuron = [node for node in inner + outer if node.op == "NeuronOp"]
    programs = [node for node in neuron if node.attr["executable"].s]
    return Placement(
        len(programs), len(neuron) - len(programs), operators(inner + outer),
        bool(neuron) and all(node.attr["_automatic_multicore"].i > 1 for node in neuron),
    )


def operators(nodes) -> dict:
    """Name → type of the nodes that TensorFlow computes."""
    return {node.name: node.op for node in nodes if node.op not in NOT_ON_CPU}


def placement_of(compiled) -> Placement:
    """The placement of a compiled SavedModel folder. Raises SavedModelError."""
    return placement(read_meta_graph(compiled).graph_def)
