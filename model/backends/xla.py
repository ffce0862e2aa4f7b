"""The XLA backend: the network compiled by XLA, for the GPU where TensorFlow sees one, else for the processor.

AWS's published comparison runs its GPU instances this way. Decoding and suppression stay TensorFlow's.
"""
from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from model.backends.freeze import frozen_graph, network_part, write_compiled
from model.saved import NETWORK


def compile(saved_model, output, cast="fp32") -> Path:
    """Writes the SavedModel folder `output`, complete or not at all. Raises SavedModelError."""
    graph_def, inputs, outputs = frozen_graph(saved_model)
    _call_compiled(graph_def)
    return write_compiled(
        saved_model, output, graph_def, inputs, outputs, backend="xla", cast=cast, cast_engine=cast_engine(cast)
    )


def cast_engine(cast: str) -> str:
    """Which device the network runs on: `gpu` or `cpu`."""
    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def _call_compiled(graph_def) -> None:
    """Replaces the network's nodes by one call of a function that TensorFlow must compile with XLA or fail."""
    part, source, heads = network_part(graph_def)
    library = _library(part, source, heads)
    for node in [node for node in graph_def.node if node.name.startswith(f"{NETWORK}/")]:
        graph_def.node.remove(node)
    renamed = {head: f"{NETWORK}:{position}" for position, head in enumerate(heads)}
    for node in graph_def.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    call = graph_def.node.add(op="PartitionedCall", name=NETWORK, input=[source])
    call.attr["f"].func.name = library.function[0].signature.name
    call.attr["Tin"].list.type.append(tf.float32.as_datatype_enum)
    call.attr["Tout"].list.type.extend([tf.float32.as_datatype_enum] * len(heads))
    call.attr["_XlaMustCompile"].b = True
    graph_def.library.CopyFrom(library)


def _library(part, source: str, heads: list):
    """A function library that holds the network as its only function."""
    with tf.Graph().as_default() as graph:
        @tf.function(autograph=False, jit_compile=True)
        def network(pictures):
            return tf.import_graph_def(part, {source: pictures}, [f"{head}:0" for head in heads], name="")

        network(tf.compat.v1.placeholder(tf.float32, [None, None, None, 3]))
        return graph.as_graph_def().library
