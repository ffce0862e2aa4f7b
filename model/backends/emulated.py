"""The emulated backend: Inferentia's casts on any processor, to rehearse accuracy, not speed.

Operators that are planned for the device compute in the format of the cast, all others in FP32. Source: Neuron SDK,
neuron-cc command line reference and application note on mixed precision. The rounding of the device is not
documented; rounding to nearest even is an assumption.
"""
from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.backends import FP16, OWN, require_cast
from model.graph.freeze import frozen_graph, write_compiled
from model.graph.operators import CONVOLUTIONS, as_input
from model.graph.precision import edge_bytes, set_edges
from model.graph.rounding import round_inputs, round_tensors
from model.neuron.partition.detector import plan_of_detector

PRODUCTS = (*CONVOLUTIONS, "MatMul", "BatchMatMul", "BatchMatMulV2")

# --fp32-cast → the format of the operands of matrix products and of transposes, which fast relayout makes of matrix
# products; None leaves FP32. Inferentia cannot multiply in FP32, so `none` is --fast-math none: BF16, no fast relayout.
OPERANDS = {
    "matmult": (tf.bfloat16, tf.float16),
    "matmult-bf16": (tf.bfloat16, tf.bfloat16),
    "matmult-fp16": (tf.float16, tf.float16),
    "none": (tf.bfloat16, None),
}
# Casts of every operator → their format.
WHOLE = {"all": tf.bfloat16, FP16: tf.float16}


def compile(saved_model, output, cast, edges=16, build=OWN, batch=None) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all. Raises SavedModelError, PlanError."""
    graph_def, inputs, outputs = frozen_graph(saved_model, batch)
    set_edges(graph_def, edges)
    planned = plan_of_detector(graph_def, inputs.values(), outputs.values(), "tf1")
    on_device = {name for segment in planned.segments for name in segment.nodes}
    if cast in WHOLE:
        round_inputs(graph_def, dict.fromkeys(on_device, WHOLE[cast]))
        leaving = (tensor for segment in planned.segments for tensor in segment.outputs if tensor.dtype == "float32")
        round_tensors(graph_def, [as_input(tensor.name) for tensor in leaving], WHOLE[cast])
    else:
        round_inputs(graph_def, _formats(graph_def, on_device, *OPERANDS[cast]))
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="emulated", cast=cast, cast_engine=cast_engine(cast),
        edges=edges, build=build, edge_bytes=edge_bytes(graph_def), predicted_on_neuron_ratio=planned.on_neuron_ratio,
        compiled_batch=batch,
    )


def cast_engine(cast: str) -> str:
    """How this machine computes with a cast: always `emulated`."""
    require_cast("emulated", cast)
    return "emulated"


def _formats(graph_def, on_device, products, transposes) -> dict:
    wanted = {**dict.fromkeys(PRODUCTS, products), "Transpose": transposes}
    nodes = (node for node in graph_def.node if node.name in on_device)
    return {node.name: wanted[node.op] for node in nodes if wanted.get(node.op)}
