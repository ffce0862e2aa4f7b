"""The plan of a detector of this project, as `model.neuron.compiler` has it compiled on each route."""
from __future__ import annotations

from model.graph.freeze import network_function
from model.neuron.compiler import MINIMUM_SEGMENT_SIZE, excluded
from model.neuron.partition.plan import Plan, plan


def plan_of_detector(graph_def, inputs, outputs, route: str) -> Plan:
    """The plan of a frozen graph with the scopes of this project; the arguments are those of `plan`.

    Route `tf1` compiles the graph without pre- and post-processing, in segments of at least 100 operators; `tf2` traces
    the network alone, with a batch of one. Raises SavedModelError, PlanError.
    """
    if route == "tf1":
        return plan(graph_def, inputs, outputs, route, excluded(graph_def), MINIMUM_SEGMENT_SIZE)
    network, *_ = network_function(graph_def)
    traced = network.get_concrete_function()
    names = ([tensor.name for tensor in tensors] for tensors in (traced.inputs, traced.outputs))
    return plan(traced.graph.as_graph_def(), *names, route)
