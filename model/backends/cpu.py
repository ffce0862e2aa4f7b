"""The CPU backend: the frozen graph as TensorFlow runs it, in FP32 or with BF16 convolutions.

BF16 is TensorFlow's own auto-cast (oneDNN) if the processor has BF16 instructions, else a slower emulation.
"""
from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.backends import has_bf16, require_cast
from model.graph.freeze import frozen_graph, write_compiled
from model.graph.operators import CONVOLUTIONS
from model.graph.precision import set_edges
from model.graph.rounding import round_inputs


def compile(saved_model, output, cast="fp32", edges=32, batch=None) -> Path:
    """Writes the frozen SavedModel folder `output`, complete or not at all. Raises SavedModelError.

    Nothing crosses to another device here: `edges` of 16 bits shows what those of one would cost in accuracy.
    """
    graph_def, inputs, outputs = frozen_graph(saved_model, batch)
    set_edges(graph_def, edges)
    engine = cast_engine(cast)
    if engine == "emulated":
        round_inputs(graph_def, {node.name: tf.bfloat16 for node in graph_def.node if node.op in CONVOLUTIONS})
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="cpu", cast=cast, cast_engine=engine, edges=edges,
        compiled_batch=batch,
    )


def cast_engine(cast: str) -> str:
    """How this machine computes with a cast: `native`, `onednn` (BF16 instructions) or `emulated`."""
    require_cast("cpu", cast)
    if cast == "fp32":
        return "native"
    return "onednn" if has_bf16() else "emulated"
