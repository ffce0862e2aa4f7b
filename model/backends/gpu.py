"""The GPU backend: the frozen graph as TensorFlow runs it on an NVIDIA GPU, uncompiled.

AWS's article gives such figures for its GPU instances. Where TensorFlow sees no GPU it would run the network on the
processor without a word: `Detector.fallback` looks where the network's operators were placed.
"""
from __future__ import annotations

from pathlib import Path

from model.backends import require_cast
from model.graph.freeze import frozen_graph, write_compiled


def compile(saved_model, output, cast="fp32", batch=None) -> Path:
    """Writes the frozen SavedModel folder `output`, complete or not at all. Raises SavedModelError."""
    graph_def, inputs, outputs = frozen_graph(saved_model, batch)
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="gpu", cast=cast, cast_engine=cast_engine(cast),
        compiled_batch=batch,
    )


def cast_engine(cast: str) -> str:
    """What computes with a cast: always `gpu`, whether or not this machine has one."""
    require_cast("gpu", cast)
    return "gpu"
