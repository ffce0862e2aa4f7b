"""The CPU backend: the frozen graph as TensorFlow runs it, in FP32 or with BF16 convolutions.

BF16 is TensorFlow's own auto-cast (oneDNN) where the processor computes in BF16. Elsewhere it is emulated, correct
but slower: operands are rounded to BF16 (to nearest even), products accumulate in FP32.
"""
from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.backends import CASTS, has_bf16
from model.backends.freeze import frozen_graph, write_compiled

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def compile(saved_model, output, cast="fp32") -> Path:
    """Writes the frozen SavedModel folder `output`, complete or not at all. Raises SavedModelError."""
    graph_def, inputs, outputs = frozen_graph(saved_model)
    engine = cast_engine(cast)
    if engine == "emulated":
        round_operands(graph_def, tf.bfloat16)
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="cpu", cast=cast, cast_engine=engine
    )


def cast_engine(cast: str) -> str:
    """How this machine computes in that format: `native`, `onednn` (BF16 instructions) or `emulated`."""
    if cast not in CASTS["cpu"]:
        raise ValueError(f"cast {cast} is not one of: {', '.join(CASTS['cpu'])}")
    if cast == "fp32":
        return "native"
    return "onednn" if has_bf16() else "emulated"


def round_operands(graph_def, dtype) -> None:
    """Rounds both operands of every convolution to `dtype` and back to float32, in place."""
    for node in [n for n in graph_def.node if n.op in CONVOLUTIONS]:
        for position in (0, 1):
            low = _cast(graph_def, f"{node.name}/rounded_{position}", node.input[position], tf.float32, dtype)
            node.input[position] = _cast(graph_def, f"{low}/back", low, dtype, tf.float32)


def _cast(graph_def, name, source, source_type, target_type) -> str:
    node = graph_def.node.add(op="Cast", name=name, input=[source])
    node.attr["SrcT"].type = source_type.as_datatype_enum
    node.attr["DstT"].type = target_type.as_datatype_enum
    return name
