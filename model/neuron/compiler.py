"""Compiles a detector for Inferentia, in the Python that has tensorflow-neuron 1.15 or 2.x.

Runs on Python 3.7 with TensorFlow 1.15 and on TensorFlow 2. No device is needed. Not yet run with the real compiler.
Sources: SDK docs, pages "TensorFlow 1.x (tensorflow-neuron) Compilation API", "TensorFlow 2.x Tracing API" and
"Neuron compiler command line reference"; AWS's YOLOv4 tutorial (aws-neuron-sdk, src/examples/tensorflow/yolo_v4_demo).
"""
from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import contextmanager

from model.graph.saved_model import NETWORK, SIGNATURE, read_meta_graph
from model.neuron.compiler_log import INSTALL, next_step

MINIMUM_SEGMENT_SIZE = 100  # operators, as in AWS's tutorial


class CompileError(RuntimeError):
    """Neuron's packages did not compile the model; the message says why, and `log` is what the compiler wrote."""

    def __init__(self, message, log=""):
        super().__init__(message)
        self.log = log


def compile(
    frozen: str, output: str, cast: str, build: str, workdir: str, batch: int = 1, dynamic: bool = True
) -> dict:
    """Compiles the network of the frozen SavedModel `frozen` into the SavedModel folder `output`.

    The installed TensorFlow decides the route: `tfn.saved_model.compile` on 1.15, `tfn.trace` on 2. The build
    `tutorial`, which is to be as AWS's, has only the first.
    The network is compiled for `batch` images; with `dynamic` batching the runtime cuts larger requests into so many.
    Returns metadata: route, flags, on_neuron_ratio as the route counts it, versions, and the warnings of the packages.
    Raises CompileError and the exceptions of the packages.
    """
    import tensorflow as tf

    try:
        import tensorflow.neuron as tfn
    except ImportError as error:
        step = next_step(str(error)) or INSTALL
        raise CompileError(f"tensorflow-neuron cannot be imported ({error}); {step}") from error
    is_tf1 = tf.__version__.startswith("1.")
    if build == "tutorial" and not is_tf1:
        raise CompileError(f"--build tutorial: must be compiled by tensorflow-neuron 1.15, {sys.executable} has "
                           f"TensorFlow {tf.__version__}; name a Python 3.7 that has it by --detector-python")
    with _warnings() as warnings:
        facts = (_tf1 if is_tf1 else _tf2)(tfn, frozen, output, cast, workdir, batch, dynamic)
    return {
        "route": "tf1" if is_tf1 else "tf2", "tensorflow": tf.__version__, "tensorflow_neuron": str(tfn.__version__),
        "compiler_warnings": warnings, **facts,
    }


def flags(cast: str) -> list:
    """The compiler's flags for a cast. They are always passed, because the defaults of the two routes differ.

    Fast relayout is on, as in the compiler's default, but for `none`. That one is matmult-bf16, as for --fast-math
    none, because Inferentia cannot multiply in FP32. A network in FP16 has no cast and, as in AWS's tutorial, no flag.
    """
    if cast == "fp16":
        return []
    if cast == "none":
        return ["--fast-math=none", "--fp32-cast=matmult-bf16"]
    return ["--fast-math=all", f"--fp32-cast={cast}"]


def excluded(graph_def) -> list:
    """The names of the nodes that stay on the CPU as in AWS's tutorial: pre- and post-processing."""
    return [node.name for node in graph_def.node if not node.name.startswith(f"{NETWORK}/")]


def _tf1(tfn, frozen, output, cast, workdir, batch, dynamic) -> dict:
    """Compiles as AWS's YOLOv4 tutorial does."""
    given = flags(cast)
    result = tfn.saved_model.compile(
        frozen, output, batch_size=batch, dynamic_batch_size=dynamic,
        no_fuse_ops=excluded(read_meta_graph(frozen).graph_def), minimum_segment_size=MINIMUM_SEGMENT_SIZE,
        compiler_args=given, compiler_workdir=workdir,
    )
    return {"flags": given, "on_neuron_ratio": float(result["OnNeuronRatio"])}


def _tf2(tfn, frozen, output, cast, workdir, batch, dynamic) -> dict:
    """Traces only the network, and replaces its nodes by one call of the result."""
    import tensorflow as tf

    from model.graph.freeze import call_instead_of_network, network_function, write_saved_model

    meta_graph = read_meta_graph(frozen)
    graph_def, signature = meta_graph.graph_def, meta_graph.signature_def[SIGNATURE]
    network, image, source, heads = network_function(graph_def, batch)
    # --fast-math=none is this route's own, as is a flag that costs latency wherever the number of cores is not given.
    given = [*flags(cast)[1:], "--neuroncore-pipeline-cores=1", *["--dynamic-batch-size"] * dynamic,
             "--workdir=" + workdir]
    os.environ["NEURON_CC_FLAGS"] = " ".join(given)  # of the process, which compiles nothing else
    traced = _traced(tfn, network, tf.zeros(image.shape, image.dtype))
    compiled = getattr(traced, "aws_neuron_function", None)
    if compiled is None:
        raise CompileError("tensorflow.neuron.trace returned the network uncompiled; its warnings may explain why")
    call_instead_of_network(graph_def, source, heads, compiled, image.shape, image.dtype)
    inputs = {key: info.name for key, info in signature.inputs.items()}
    outputs = {key: info.name for key, info in signature.outputs.items()}
    write_saved_model(graph_def, inputs, outputs, output)
    return {"flags": given, "on_neuron_ratio": float(traced.on_neuron_ratio)}


def _traced(tfn, network, image):
    try:
        return tfn.trace(network, image)
    except TypeError as error:
        # tfn.trace raises it for a missing compiler, because its command has no program.
        folders = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        if shutil.which("neuron-cc", path=folders):
            raise
        raise CompileError(f"neuron-cc is not found ({error}); {INSTALL}") from error


class _Kept(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        message = " ".join(record.getMessage().split())
        # A banner comes line by line, with lines that frame it.
        if message.strip("*") and message not in self.messages:
            self.messages.append(message)


@contextmanager
def _warnings():
    """The warnings logged meanwhile, because Neuron's packages report failures only there."""
    loggers = [logging.getLogger(name) for name in (None, "tensorflow", "Neuron")]
    handler = _Kept()
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler.messages
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
