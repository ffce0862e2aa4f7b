"""Compiles a detector for Inferentia, in the Python that has tensorflow-neuron 1.15 or 2.x.

Runs on Python 3.7 with TensorFlow 1.15 and on TensorFlow 2. No device is needed. Not yet run with the real compiler.
Sources: SDK docs, pages "TensorFlow 1.x (tensorflow-neuron) Compilation API", "TensorFlow 2.x Tracing API" and
"Neuron compiler command line reference"; AWS's YOLOv4 tutorial.
"""
from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import contextmanager

from model.graph.saved_model import SIGNATURE, read_meta_graph
from model.neuron.compiler_log import next_step
from model.neuron.tutorial import MINIMUM_SEGMENT_SIZE, excluded


class CompileError(RuntimeError):
    """Neuron's packages did not compile the model; the message says why, and `log` is what the compiler wrote."""

    def __init__(self, message, log=""):
        super().__init__(message)
        self.log = log


def compile(frozen: str, output: str, cast: str, workdir: str) -> dict:
    """Compiles the network of the frozen SavedModel `frozen` into the SavedModel folder `output`.

    The installed TensorFlow decides the route: `tfn.saved_model.compile` on 1.15, `tfn.trace` on 2.
    Returns metadata: route, flags, on_neuron_ratio as the route counts it, versions, and the warnings of the packages.
    Raises CompileError and the exceptions of the packages.
    """
    import tensorflow as tf

    try:
        import tensorflow.neuron as tfn
    except ImportError as error:
        step = next_step(str(error)) or ("run `python -m model doctor --detector-python PATH`, which says how to "
                                         "install it")
        raise CompileError(f"tensorflow-neuron cannot be imported ({error}); {step}") from error
    is_tf1 = tf.__version__.startswith("1.")
    with _warnings() as warnings:
        facts = (_tf1 if is_tf1 else _tf2)(tfn, frozen, output, cast, workdir)
    return {
        "route": "tf1" if is_tf1 else "tf2", "tensorflow": tf.__version__, "tensorflow_neuron": str(tfn.__version__),
        "compiler_warnings": warnings, **facts,
    }


def flags(cast: str) -> list:
    """The compiler's flags for a cast. They are always passed, because the defaults of the two routes differ.

    `none` is matmult-bf16, as for --fast-math none, because Inferentia cannot multiply in FP32.
    """
    return ["--fast-math=none", "--fp32-cast=" + ("matmult-bf16" if cast == "none" else cast)]


def _tf1(tfn, frozen, output, cast, workdir) -> dict:
    """Compiles as AWS's YOLOv4 tutorial does."""
    given = flags(cast)
    result = tfn.saved_model.compile(
        frozen, output, batch_size=1, dynamic_batch_size=True, no_fuse_ops=excluded(read_meta_graph(frozen).graph_def),
        minimum_segment_size=MINIMUM_SEGMENT_SIZE, compiler_args=given, compiler_workdir=workdir,
    )
    return {"flags": given, "on_neuron_ratio": float(result["OnNeuronRatio"])}


def _tf2(tfn, frozen, output, cast, workdir) -> dict:
    """Traces only the network, and replaces its nodes by one call of the result."""
    import tensorflow as tf

    from model.graph.freeze import call_instead_of_network, network_part, write_saved_model

    meta_graph = read_meta_graph(frozen)
    graph_def, signature = meta_graph.graph_def, meta_graph.signature_def[SIGNATURE]
    part, source, heads = network_part(graph_def)
    image = tf.zeros(_shape_of_image(graph_def, source))

    @tf.function(input_signature=[tf.TensorSpec(image.shape, tf.float32)], autograph=False)
    def network(images):
        return tf.import_graph_def(part, {source: images}, [head + ":0" for head in heads], name="")

    # --fast-math=none is this route's own.
    given = [*flags(cast)[1:], "--dynamic-batch-size", "--workdir=" + workdir]
    with _environment("NEURON_CC_FLAGS", " ".join(given)):
        traced = _traced(tfn, network, image)
    compiled = getattr(traced, "aws_neuron_function", None)
    if compiled is None:
        raise CompileError("tensorflow.neuron.trace returned the network uncompiled; its warnings may explain why")
    call_instead_of_network(graph_def, source, heads, compiled, image.shape)
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
        raise CompileError(f"neuron-cc is not found ({error}); run `python -m model doctor --detector-python PATH`, "
                           "which says how to install it") from error


def _shape_of_image(graph_def, source):
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
    """The warnings logged meanwhile, because Neuron's packages report failures only there."""
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
