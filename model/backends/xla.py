"""The XLA backend: compiles the network with XLA, for the GPU if the machine has one, else for the processor.

AWS's published comparison runs its GPU instances this way. TensorFlow runs pre- and post-processing.
"""
from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.backends import has_gpu, require_cast
from model.graph.freeze import call_instead_of_network, frozen_graph, network_part, write_compiled


def compile(saved_model, output, cast="fp32", batch=None) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all. Raises SavedModelError."""
    graph_def, inputs, outputs = frozen_graph(saved_model, batch)
    _call_compiled(graph_def, batch)
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="xla", cast=cast, cast_engine=cast_engine(cast),
        compiled_batch=batch,
    )


def cast_engine(cast: str) -> str:
    """The device that the network must run on, seen by TensorFlow or not: `gpu` or `cpu`."""
    require_cast("xla", cast)
    return "gpu" if has_gpu() else "cpu"


def _call_compiled(graph_def, batch) -> None:
    """Replaces the network's nodes by one call of a function that TensorFlow must compile with XLA."""
    part, source, heads = network_part(graph_def)

    @tf.function(autograph=False, jit_compile=True)
    def network(images):
        return tf.import_graph_def(part, {source: images}, [f"{head}:0" for head in heads], name="")

    call_instead_of_network(graph_def, source, heads, network, [batch, None, None, 3])
