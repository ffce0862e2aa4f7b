"""The Neuron backend: compiles the network for Inferentia with tensorflow-neuron, in the Python that has it.

Written from AWS's documentation; not yet run on a device.
"""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from model.backends import CASTS
from model.graph.freeze import frozen_graph, network_part, write_saved_model
from model.graph.saved_model import published, read_metadata, write_metadata
from model.neuron.machine import software
from model.neuron.machine.host import HERE
from model.neuron.placement import operators
from model.worker.client import Worker


def compile(saved_model, output, cast, python=sys.executable, batch=1, dynamic=True) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all.

    `python` is the interpreter that has tensorflow-neuron: 3.7 with TensorFlow 1.15, or 3.9 and newer with 2.x.
    The network is compiled for `batch` images. With `dynamic` batching Neuron's runtime cuts a request of any size into
    such batches and runs them on all cores at once; without, the model takes exactly so many images.
    Raises SavedModelError, and WorkerError for errors in that interpreter.
    """
    with tempfile.TemporaryDirectory() as work, published(output) as folder:
        frozen = Path(work, "frozen")
        graph_def, inputs, outputs = frozen_graph(saved_model, None if dynamic else batch)
        write_saved_model(graph_def, inputs, outputs, frozen)
        folder.rmdir()  # both routes make the folder themselves
        with Worker(python) as worker:
            facts = worker.call("model.neuron.compiler:compile", frozen=str(frozen), output=str(folder), cast=cast,
                                workdir=str(Path(work, "compiler")), batch=batch, dynamic=dynamic)
        write_metadata(folder, {
            **read_metadata(saved_model), **facts, "backend": "neuron", "cast": cast, "cast_engine": "neuron",
            "compiled_batch": batch, "dynamic_batch": dynamic,
            "network_operators": len(operators(network_part(graph_def)[0].node)),
        })
    return Path(output)


def cast_engine(cast: str, python=sys.executable) -> str:
    """The versions of the packages that compile, on which a compiled model depends."""
    if cast not in CASTS["neuron"]:
        raise ValueError(f"cast {cast}: must be one of: {', '.join(CASTS['neuron'])}")
    versions = software.interpreter(HERE, python).versions
    return ", ".join(f"{name} {versions.get(name)}" for name in ("tensorflow", "tensorflow-neuron", "neuron-cc"))
