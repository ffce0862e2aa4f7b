"""The Neuron backend: compiles the network for Inferentia with tensorflow-neuron, in the Python that has it.

Written from AWS's documentation; not yet run on a device.
"""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from model.backends import CASTS, FP16, OWN
from model.graph.freeze import frozen_graph, network_part, write_saved_model
from model.graph.precision import edge_bytes, set_edges, set_half
from model.graph.saved_model import published, read_metadata, write_metadata
from model.neuron.machine import software
from model.neuron.machine.host import HERE
from model.neuron.placement import operators
from model.worker.client import Worker


def compile(saved_model, output, cast, edges=16, build=OWN, python=sys.executable, batch=1, dynamic=True) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all.

    Images and head maps cross between host and device in numbers of `edges` bits. `python` is the interpreter that has
    tensorflow-neuron: 3.7 with TensorFlow 1.15, or 3.9 and newer with 2.x; the build TUTORIAL needs the first.
    The network is compiled for `batch` images. With `dynamic` batching Neuron's runtime cuts a request of any size into
    such batches and runs them on all cores at once; without, the model takes exactly so many images.
    Raises SavedModelError, and WorkerError for errors in that interpreter.
    """
    with tempfile.TemporaryDirectory() as work, published(output) as folder:
        frozen = Path(work, "frozen")
        graph_def, inputs, outputs = frozen_graph(saved_model, None if dynamic else batch)
        (set_half if cast == FP16 else set_edges)(graph_def, edges)
        write_saved_model(graph_def, inputs, outputs, frozen)
        folder.rmdir()  # both routes make the folder themselves
        with Worker(python) as worker:
            facts = worker.call("model.neuron.compiler:compile", frozen=str(frozen), output=str(folder), cast=cast,
                                build=build, workdir=str(Path(work, "compiler")), batch=batch, dynamic=dynamic)
        write_metadata(folder, {
            **read_metadata(saved_model), **facts, "backend": "neuron", "cast": cast, "cast_engine": "neuron",
            "edges": edges, "build": build, "edge_bytes": edge_bytes(graph_def),
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
