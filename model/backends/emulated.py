"""The emulated backend: Inferentia's casts on any processor, to rehearse accuracy, not speed.

Operators that are planned for the device compute in the format of the cast, all others in FP32. Source: Neuron SDK,
neuron-cc command line reference and application note on mixed precision. The rounding of the device is not
documented; rounding to nearest even is an assumption.
"""
from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.backends import CASTS
from model.graph.freeze import frozen_graph, write_compiled
from model.graph.operators import CONVOLUTIONS, as_input
from model.graph.rounding import round_inputs, round_tensors
from model.neuron.partition.plan import plan
from model.neuron.tutorial import MINIMUM_SEGMENT_SIZE, excluded

PRODUCTS = (*CONVOLUTIONS, "MatMul", "BatchMatMul", "BatchMatMulV2")

# --fp32-cast → the format of the operands of matrix products and of transposes; None leaves FP32. Inferentia cannot
# multiply in FP32, so `none` is matmult-bf16, as for --fast-math none.
OPERANDS = {
    "matmult": (tf.bfloat16, tf.float16),
    "matmult-bf16": (tf.bfloat16, None),
    "matmult-fp16": (tf.float16, None),
    "none": (tf.bfloat16, None),
}


def compile(saved_model, output, cast, batch=None) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all. Raises SavedModelError, PlanError."""
    graph_def, inputs, outputs = frozen_graph(saved_model, batch)
    planned = plan(graph_def, inputs.values(), outputs.values(), "tf1", excluded(graph_def), MINIMUM_SEGMENT_SIZE)
    on_device = {name for segment in planned.segments for name in segment.nodes}
    if cast == "all":
        round_inputs(graph_def, dict.fromkeys(on_device, tf.bfloat16))
        round_tensors(graph_def, _leaving(planned), tf.bfloat16)
    else:
        round_inputs(graph_def, _formats(graph_def, on_device, *OPERANDS[cast]))
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="emulated", cast=cast, cast_engine=cast_engine(cast),
        predicted_on_neuron_ratio=planned.on_neuron_ratio, compiled_batch=batch,
    )


def cast_engine(cast: str) -> str:
    """How this machine computes with a cast: always `emulated`."""
    if cast not in CASTS["emulated"]:
        raise ValueError(f"cast {cast}: must be one of: {', '.join(CASTS['emulated'])}")
    return "emulated"


def _formats(graph_def, on_device, products, transposes) -> dict:
    wanted = {**dict.fromkeys(PRODUCTS, products), "Transpose": transposes}
    nodes = (node for node in graph_def.node if node.name in on_device)
    return {node.name: wanted[node.op] for node in nodes if wanted.get(node.op)}


def _leaving(planned) -> list:
    return [as_input(tensor.name) for segment in planned.segments for tensor in segment.outputs]
