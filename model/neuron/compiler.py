"""What compiles a detector for Inferentia, in the Python that has tensorflow-neuron: both of its routes.

Runs on Python 3.7 with TensorFlow 1.15 and on TensorFlow 2. No device is needed. Not yet run with the real packages.
Sources: SDK docs, pages "TensorFlow 1.x (tensorflow-neuron) Compilation API", "TensorFlow 2.x Tracing API" and
"Neuron compiler command line reference"; AWS's YOLOv4 tutorial.
"""
from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

from model.neuron.tutorial import MINIMUM_SEGMENT_SIZE, excluded


class CompileError(RuntimeError):
    """Neuron's packages gave no compiled model; the message says what they did instead."""


def compile(frozen: str, output: str, cast: str, workdir: str) -> dict:
    """Compiles the network of the frozen SavedModel `frozen` into the SavedModel folder `output`.

    The route is the one of the TensorFlow that is installed: `tfn.saved_model.compile` on 1.15, `tfn.trace` on 2.
    → what is known of it: route, flags, on_neuron_ratio as the route counts it, versions, and the warnings of the
    packages. Raises CompileError, and what the packages raise.
    """
    import tensorflow as tf

    try:
        import tensorflow.neuron as tfn
    except ImportError as error:
        raise CompileError(f"tensorflow-neuron is not installed there ({error}): `python -m model doctor "
                           "--detector-python PATH` says how to") from error
    is_tf1 = tf.__version__.startswith("1.")
    with _warnings() as warnings:
        facts = (_tf1 if is_tf1 else _tf2)(tfn, frozen, output, cast, workdir)
    return {
        "route": "tf1" if is_tf1 else "tf2", "tensorflow": tf.__version__, "tensorflow_neuron": str(tfn.__version__),
        "compiler_warnings": warnings, **facts,
    }


def flags(cast: str) -> list:
    """The compiler's flags for a cast level; always given, because the two routes' defaults differ.

    `none` is what --fast-math none stands for by itself, which is matmult-bf16: Inferentia multiplies in no wider
    format.
    """
    return ["--fast-math=none", "--fp32-cast=" + ("matmult-bf16" if cast == "none" else cast)]


def _tf1(tfn, frozen, output, cast, workdir) -> dict:
    """As AWS's YOLOv4 tutorial does it."""
    given = flags(cast)
    result = tfn.saved_model.compile(
        frozen, output, batch_size=1, dynamic_batch_size=True, no_fuse_ops=excluded(_meta_graph(frozen).graph_def),
        minimum_segment_size=MINIMUM_SEGMENT_SIZE, compiler_args=given, compiler_workdir=workdir,
    )
    return {"flags": given, "on_neuron_ratio": float(result["OnNeuronRatio"])}


def _tf2(tfn, frozen, output, cast, workdir) -> dict:
    """Only the network is traced; what is before and after it stays TensorFlow's around one call of the result."""
    import tensorflow as tf

    from model.graph.freeze import call_instead_of_network, network_part, write_saved_model

    meta_graph = _meta_graph(frozen)
    graph_def, signature = meta_graph.graph_def, meta_graph.signature_def["serving_default"]
    part, source, heads = network_part(graph_def)
    picture = tf.zeros(_shape_of_pictures(graph_def, source))

    @tf.function(input_signature=[tf.TensorSpec(picture.shape, tf.float32)], autograph=False)
    def network(pictures):
        return tf.import_graph_def(part, {source: pictures}, [head + ":0" for head in heads], name="")

    # --fast-math=none is this route's own.
    given = [*flags(cast)[1:], "--dynamic-batch-size", "--workdir=" + workdir]
    with _environment("NEURON_CC_FLAGS", " ".join(given)):
        traced = _traced(tfn, network, picture)
    compiled = getattr(traced, "aws_neuron_function", None)
    if compiled is None:
        raise CompileError("tensorflow.neuron.trace returned the network uncompiled")
    call_instead_of_network(graph_def, source, heads, compiled, picture.shape)
    write_saved_model(graph_def, *({key: info.name for key, info in tensors.items()}
                                   for tensors in (signature.inputs, signature.outputs)), output)
    return {"flags": given, "on_neuron_ratio": float(traced.on_neuron_ratio)}


def _traced(tfn, network, picture):
    try:
        return tfn.trace(network, picture)
    except TypeError as error:
        # A compiler that is not found becomes a command without a program.
        folders = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        if shutil.which("neuron-cc", path=folders):
            raise
        raise CompileError("neuron-cc is not found, so nothing can be compiled: `python -m model doctor "
                           f"--detector-python PATH` says how to install it ({error})") from error


def _meta_graph(frozen):
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString(Path(frozen, "saved_model.pb").read_bytes()).meta_graphs[0]


def _shape_of_pictures(graph_def, source):
    """[1, height, width, 3] of the tensor that the network reads."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return [1, *graph.get_tensor_by_name(source + ":0").shape.as_list()[1:]]


@contextmanager
def _environment(name, value):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Kept(logging.Handler):
    def __init__(self, messages):
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record):
        message = record.getMessage()
        if message not in self._messages:
            self._messages.append(message)


@contextmanager
def _warnings():
    """The warnings that are logged meanwhile: where Neuron's packages give up silently, they say so there."""
    messages = []
    loggers = [logging.getLogger(name) for name in (None, "tensorflow", "Neuron")]
    handler = _Kept(messages)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield messages
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
