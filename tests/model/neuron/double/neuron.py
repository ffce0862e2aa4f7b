"""A stand-in for the module `tensorflow.neuron`: checks each call against the documented contract, places operators by
the published rules, and fails and warns as the real one does. Nothing that is measured with it says anything of
Inferentia.

Sources: SDK docs, "TensorFlow 1.x Compilation API" and "TensorFlow 2.x Tracing API"; aws-neuron-tensorflow,
python/{saved_model,graph_util,graph_def_util,_trace,neuron_cc_hlo,utils}.py. The environment variable NEURON_DOUBLE
says which failure to show, NEURON_DOUBLE_ROUTE=tf1 makes this TensorFlow call itself 1.15, and NEURON_DOUBLE_MACHINE
names the folder of the planted machine whose driver counts the calls.
"""
from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from model.neuron.partition.plan import plan
from tests.model.neuron.double.neuron_operator import Runtime
from tests.model.neuron.double.segments import halves, plain, replace
from tests.model.neuron.double.texts import BANNER, INTERNAL_ERROR, LOGGED, PASSED

__version__ = "0.0.double"
FAILURE = os.environ.get("NEURON_DOUBLE", "")
CASTS = ("all", "matmult", "matmult-bf16", "matmult-fp16", "all-fp16")
FAST_MATH = ("all", "none", "fast-relayout", "no-fast-relayout", *(f"fp32-cast-{cast}" for cast in CASTS))
COMMAND = "neuron-cc compile"
# tfn.trace counts all other operators of the function as given, and those that it leaves beside NeuronOps.
UNCOUNTED_GIVEN = {"Placeholder", "ReadVariableOp", "Identity", "NoOp"}
UNCOUNTED_LEFT = {"Placeholder", "ReadVariableOp", "IdentityN", "NeuronOp", "NoOp"}

if os.environ.get("NEURON_DOUBLE_ROUTE") == "tf1":
    tf.__version__ = "1.15.5"

runtime = Runtime(FAILURE, os.environ.get("NEURON_DOUBLE_MACHINE"))
runtime.register()


def _warn(*lines) -> None:
    for line in lines:
        logging.getLogger("tensorflow").warning(line)


def _flags() -> tuple[argparse.Namespace, list[str]]:
    """NEURON_CC_FLAGS: those for tensorflow-neuron itself, and those for the compiler."""
    if FAILURE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAILURE == "hung":
        time.sleep(600)
    if FAILURE == "must compile":
        raise ValueError("The following subgraphs failed to compile: ['neuron_op_0']")
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--must-compile", action="store_true")
    parser.add_argument("--workdir")
    parser.add_argument("--verbose")
    parser.add_argument("--dynamic-batch-size", action="store_true")
    parser.add_argument("--fp32-cast", choices=CASTS, default="matmult-fp16")
    parser.add_argument("--neuroncore-pipeline-cores", type=int)
    return parser.parse_known_args(shlex.split(os.environ.get("NEURON_CC_FLAGS", "")))


# ---- TensorFlow 1.15


def _compile(
    model_dir, new_model_dir, batch_size=1, model_shape_feed_dict=None, model_feed_dict=None, tags=None,
    signature_def_key=None, strip_default_attrs=False, config_proto=None, constant_size_to_exclude=1024,
    convert_constants_to_variables=False, compiler_workdir=None, **kwargs,
):
    """tfn.saved_model.compile of tensorflow-neuron 1.15."""
    assert not os.path.exists(new_model_dir), f"{new_model_dir} exists"
    options = _session_options(**kwargs)
    saved = saved_model_pb2.SavedModel.FromString(Path(model_dir, "saved_model.pb").read_bytes())
    graph_def, signature = saved.meta_graphs[0].graph_def, saved.meta_graphs[0].signature_def["serving_default"]
    if any(node.op == "StatefulPartitionedCall" for node in graph_def.node):
        raise NotImplementedError("StatefulPartitionedCall")
    inputs, outputs = ([info.name for _, info in sorted(t.items())] for t in (signature.inputs, signature.outputs))
    planned = plan(graph_def, inputs, outputs, "tf1", options.no_fuse_ops, options.minimum_segment_size, batch_size)
    compiler_args = _flags()[1]
    _require_compiler_flags([*options.compiler_args, *compiler_args])
    batch = None if options.dynamic_batch_size else batch_size
    logs = Logs(compiler_workdir, "graph_def.neuron-cc.log", f"Failed to fuse subgraph {{}} with '{COMMAND}'")
    is_placed = _place(graph_def, planned, outputs, batch, logs)
    if FAILURE == "no compiler":
        _warn(*BANNER)
    os.makedirs(new_model_dir)
    Path(new_model_dir, "saved_model.pb").write_bytes(saved.SerializeToString())
    ratio = planned.on_neuron_ratio if is_placed else 0.0
    _report_conversion(model_dir, new_model_dir, ratio)
    return {"OnNeuronRatio": ratio}


def _session_options(*, dynamic_batch_size=False, no_fuse_ops=(), minimum_segment_size=None, compiler_args=()):
    """Those keyword arguments of graph_util.inference_graph_from_session that the project uses; others are an error."""
    assert type(dynamic_batch_size) is bool and all(isinstance(name, str) for name in no_fuse_ops)
    return SimpleNamespace(no_fuse_ops=no_fuse_ops, minimum_segment_size=minimum_segment_size,
                           compiler_args=compiler_args, dynamic_batch_size=dynamic_batch_size)


def _report_conversion(model_dir, new_model_dir, ratio) -> None:
    """What the real one says of its result: a warning where at most 0.3 of the operators are on the device."""
    if ratio <= 0.3:
        how_much = "only a small portion of operators" if ratio else "no operator"
        _warn(f"Converted {model_dir} to {new_model_dir} but {how_much} will be running on AWS machine learning "
              "accelerators. This is probably not what you want.")


saved_model = SimpleNamespace(compile=_compile)


# ---- TensorFlow 2


class _AwsNeuronModel:
    def __init__(self, function, ratio):
        self.aws_neuron_function, self.on_neuron_ratio = function, ratio


def trace(func, example_inputs, subgraph_builder_function=None):
    """tfn.trace of tensorflow-neuron 2."""
    given, compiler_args = _flags()
    assert given.neuroncore_pipeline_cores == 1, given
    _require_compiler_flags(["--fast-math=none", f"--fp32-cast={given.fp32_cast}", *compiler_args])
    assert isinstance(func, tf.types.experimental.GenericFunction) and isinstance(example_inputs, tf.Tensor)
    if FAILURE == "uncompiled":
        _warn(f"{func} does not seem to have any input; returning an uncompiled callable")
        return func
    spec = tf.TensorSpec(example_inputs.shape, example_inputs.dtype)
    concrete = func.get_concrete_function(spec)
    graph_def = concrete.graph.as_graph_def()
    source, = (tensor.name for tensor in concrete.inputs)
    outputs = [tensor.name for tensor in concrete.outputs]
    if FAILURE == "no compiler":
        subprocess.run([None, "compile", "hlo_module.pb"])
    given_operators = sum(node.op not in UNCOUNTED_GIVEN for node in graph_def.node)
    batch = None if given.dynamic_batch_size else example_inputs.shape[0]
    logs = Logs(given.workdir, "neuron_cc_xla.stderr.log", "neuron-cc failed with:\n{log}")
    is_placed = _place(graph_def, plan(graph_def, [source], outputs, "tf2"), outputs, batch, logs)
    left = sum(node.op not in UNCOUNTED_LEFT for node in graph_def.node)
    ratio = 1 - left / given_operators if is_placed else 0.0
    if ratio < 0.5:
        _warn(f"Warning: Your traced model has {100 * ratio:.1f}% of operators compiled to neuron.")

    def run(image):
        return tf.import_graph_def(graph_def, {source.split(":")[0]: image}, outputs, name="")

    return _AwsNeuronModel(tf.function(run, autograph=False).get_concrete_function(spec), ratio)


# ---- both


def _require_compiler_flags(given) -> None:
    """The documented flags of the compiler; argparse ends the process for any other."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--fp32-cast", choices=CASTS)
    parser.add_argument("--fast-math", choices=FAST_MATH, nargs="+")
    parser.add_argument("--neuroncore-pipeline-cores", type=int)
    parser.parse_args(list(given))


class Logs:
    """The compiler's log of each subgraph in its working folder, and the warning where it failed."""

    def __init__(self, workdir, name, warning):
        self._workdir, self._name, self._warning = workdir, name, warning

    def write(self, number, text, failed) -> None:
        folder = Path(self._workdir, f"neuron_op_{number}")
        folder.mkdir(parents=True)
        (folder / self._name).write_text(text)
        if failed:
            _warn(self._warning.format(f"neuron_op_{number}", log=text))


def _place(graph_def, planned, outputs, batch, logs: Logs) -> bool:
    """Puts a NeuronOp in the place of each segment; returns whether there is one.

    Their programs take `batch` images and no other number, None with dynamic batching.
    """
    segments = [segment.nodes for segment in planned.segments]
    if FAILURE in ("nothing", "no compiler"):
        return False
    if FAILURE in ("dropped", "left", "several"):
        segments = halves(graph_def, segments[0])
    for number in range(len(segments)):
        failed = FAILURE in LOGGED or (FAILURE == "dropped" and number == 1)
        logs.write(number, LOGGED.get(FAILURE, INTERNAL_ERROR) if failed else PASSED, failed)
    kept = [] if FAILURE in LOGGED else segments[:1] if FAILURE in ("dropped", "left") else segments
    for number, names in enumerate(kept):
        replace(graph_def, number, set(names), {plain(output) for output in outputs}, batch, FAILURE != "empty")
    return bool(kept)
