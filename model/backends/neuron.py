"""The Neuron backend: compiles the network for Inferentia with tensorflow-neuron, in the Python that has it.

Written from AWS's documentation; not yet run on a device.
"""
from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from model.backends import FP16, OWN, require_cast
from model.graph.freeze import frozen_graph, network_part, write_saved_model
from model.graph.precision import edge_bytes, set_edges, set_half
from model.graph.saved_model import published, read_metadata, write_metadata
from model.neuron import compiler_log
from model.neuron.compiler import CompileError
from model.neuron.machine import environment, software
from model.neuron.machine.host import HERE
from model.neuron.placement import operators, placement_of
from model.worker.client import RemoteError, Worker, WorkerError

COMPILE_SECONDS = 5400.0  # the compiler may print dots for ever (#352, #459, #730)


def compile(saved_model, output, cast, edges=16, build=OWN, python=sys.executable, batch=1, dynamic=True) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all.

    Images and head maps cross between host and device in numbers of `edges` bits. `python` is the interpreter that has
    tensorflow-neuron: 3.7 with TensorFlow 1.15, or 3.9 and newer with 2.x; the build TUTORIAL needs the first.
    The network is compiled for `batch` images. With `dynamic` batching Neuron's runtime cuts a request of any size into
    such batches and runs them on all cores at once; without, the model takes exactly so many images.
    A model of which the compiler left out a part is not written. Raises CompileError, also where the shell sets flags
    of the compiler, SavedModelError, and StartError for an interpreter that does not start.
    """
    _require_own_flags()
    with tempfile.TemporaryDirectory() as work, published(output) as folder:
        frozen = Path(work, "frozen")
        graph_def, inputs, outputs = frozen_graph(saved_model, None if dynamic else batch)
        (set_half if cast == FP16 else set_edges)(graph_def, edges)
        write_saved_model(graph_def, inputs, outputs, frozen)
        folder.rmdir()  # both routes make the folder themselves
        facts, log = _compiled(python, Path(work, "compiler"), frozen=str(frozen), output=str(folder), cast=cast,
                               build=build, batch=batch, dynamic=dynamic)
        _require_compiled(folder, cast, facts["compiler_warnings"], log)
        write_metadata(folder, {
            **read_metadata(saved_model), **facts, "backend": "neuron", "cast": cast, "cast_engine": "neuron",
            "edges": edges, "build": build, "edge_bytes": edge_bytes(graph_def),
            "compiled_batch": batch, "dynamic_batch": dynamic,
            "network_operators": len(operators(network_part(graph_def)[0].node)),
        })
        Path(folder, compiler_log.IN_MODEL).write_text(log)
    return Path(output)


def _compiled(python, workdir, cast, **arguments) -> tuple:
    """(metadata, log) of a compilation in the interpreter `python`. Raises CompileError."""
    with Worker(python) as worker:
        try:
            facts = worker.call("model.neuron.compiler:compile", deadline=COMPILE_SECONDS, cast=cast,
                                workdir=str(workdir), **arguments)
            return facts, _log(workdir, worker)
        except RemoteError as error:
            fault = error.message if error.type == CompileError.__name__ else f"{error.type}: {error.message}"
            raise _failure(cast, fault, _log(workdir, worker)) from error
        except WorkerError as error:
            fault = re.split("; its last output:|; it printed nothing", str(error))[0]
            fault = "; ".join(filter(None, [fault, compiler_log.next_step(str(error))]))
            raise _failure(cast, fault, _log(workdir, worker)) from error


def _log(workdir, worker) -> str:
    """What the compiler wrote into its files, else what its process printed."""
    return compiler_log.read(workdir) or "\n".join(worker.output())


def _require_compiled(folder, cast, warnings, log) -> None:
    """Raises CompileError for a model that runs on the CPU, or of which the compiler left out a part."""
    placed, failures = placement_of(folder), list(filter(compiler_log.is_failure, warnings))
    fault = placed.fault()
    if not fault and placed.left and failures:
        fault = f"{len(placed.left)} operators of the network would run on the CPU, first {next(iter(placed.left))}"
    if fault:
        said = compiler_log.reason(log, *failures) if failures else ""
        why = f"neuron-cc: {said}" if said else "`python -m model plan` says which operators can be compiled"
        raise _failure(cast, f"{fault}; {why}", log)


def _failure(cast, fault, log) -> CompileError:
    last = compiler_log.last_lines(log)
    return CompileError(f"--cast {cast}: the network was not compiled for Inferentia: {fault}"
                        + (f"; the end of the compiler's log:\n{last}" if last else ""), log)


def _require_own_flags() -> None:
    """Raises CompileError where the shell sets flags that would reach the compiler beside those of --cast."""
    for name, why in environment.compiler_flags(HERE.environment):
        raise CompileError(f"{name}={HERE.environment[name]}: {why}; unset {name}")


def cast_engine(cast: str, python=sys.executable) -> str:
    """The versions of the packages that compile, on which a compiled model depends."""
    require_cast("neuron", cast)
    _require_own_flags()
    versions = software.interpreter(HERE, python).versions
    return ", ".join(f"{name} {versions.get(name)}" for name in ("tensorflow", "tensorflow-neuron", "neuron-cc"))
