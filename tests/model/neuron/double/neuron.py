"""A stand-in for the module `tensorflow.neuron`: checks each call against the documented contract, places operators by
the published rules, and fails as documented. Nothing that is measured with it says anything of Inferentia.

Sources: SDK docs, "TensorFlow 1.x Compilation API" and "TensorFlow 2.x Tracing API"; aws-neuron-tensorflow,
python/{saved_model,graph_util,graph_def_util,_trace}.py. The environment variable NEURON_DOUBLE says which failure to
show, NEURON_DOUBLE_ROUTE=tf1 makes this TensorFlow call itself 1.15, and NEURON_DOUBLE_MACHINE names the folder of the
planted machine whose driver counts the calls.
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
from tests.model.neuron.double.texts import BANNER, INTERNAL_ERROR, LOGGED, PASSED

__version__ = "0.0.double"
FAILURE = os.environ.get("NEURON_DOUBLE", "")
CASTS = ("all", "matmult", "matmult-bf16", "matmult-fp16", "all-fp16")

if os.environ.get("NEURON_DOUBLE_ROUTE") == "tf1":
    tf.__version__ = "1.15.5"

runtime = Runtime(FAILURE, os.environ.get("NEURON_DOUBLE_MACHINE"))
runtime.register()


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
    _require_flags([*options.compiler_args, *shlex.split(os.environ.get("NEURON_CC_FLAGS", ""))])
    logs = Logs(compiler_workdir, "graph_def.neuron-cc.log", "Failed to fuse subgraph {} with 'neuron-cc compile'")
    ratio = planned.on_neuron_ratio if _place(graph_def, planned, outputs, logs) else 0.0
    if FAILURE == "no compiler":
        for line in BANNER:
            logging.getLogger("tensorflow").warning(line)
    os.makedirs(new_model_dir)
    Path(new_model_dir, "saved_model.pb").write_bytes(saved.SerializeToString())
    if not ratio:
        logging.getLogger("tensorflow").warning(
            "Converted %s to %s but no operator will be running on AWS machine learning accelerators.",
            model_dir, new_model_dir)
    return {"OnNeuronRatio": ratio}


def _session_options(*, dynamic_batch_size=False, no_fuse_ops=(), minimum_segment_size=None, compiler_args=()):
    """Those keyword arguments of graph_util.inference_graph_from_session that the project uses; others are an error."""
    assert dynamic_batch_size is True and all(isinstance(name, str) for name in no_fuse_ops)
    return SimpleNamespace(no_fuse_ops=no_fuse_ops, minimum_segment_size=minimum_segment_size,
                           compiler_args=compiler_args)


saved_model = SimpleNamespace(compile=_compile)


class _AwsNeuronModel:
    def __init__(self, function, ratio):
        self.aws_neuron_function, self.on_neuron_ratio = function, ratio


def trace(func, example_inputs, subgraph_builder_function=None):
    """tfn.trace of tensorflow-neuron 2."""
    given = shlex.split(os.environ.get("NEURON_CC_FLAGS", ""))
    _require_flags(given)
    assert isinstance(func, tf.types.experimental.GenericFunction) and isinstance(example_inputs, tf.Tensor)
    concrete = func.get_concrete_function(tf.TensorSpec(example_inputs.shape, example_inputs.dtype))
    graph_def = concrete.graph.as_graph_def()
    source, = (tensor.name for tensor in concrete.inputs)
    outputs = [tensor.name for tensor in concrete.outputs]
    if FAILURE == "no compiler":
        subprocess.run([None, "compile", "hlo_module.pb"])
    planned = plan(graph_def, [source], outputs, "tf2")
    workdir = next(flag.split("=", 1)[1] for flag in given if flag.startswith("--workdir="))
    logs = Logs(workdir, "neuron_cc_xla.stderr.log", "neuron-cc failed with:\n{log}")
    ratio = planned.on_neuron_ratio if _place(graph_def, planned, outputs, logs) else 0.0

    def run(image):
        return tf.import_graph_def(graph_def, {source.split(":")[0]: image}, outputs, name="")

    function = tf.function(run, autograph=False).get_concrete_function(
        tf.TensorSpec(example_inputs.shape, example_inputs.dtype))
    return func if FAILURE == "uncompiled" else _AwsNeuronModel(function, ratio)


def _require_flags(given) -> None:
    """The documented flags of the compiler and of NEURON_CC_FLAGS; argparse ends the process for any other."""
    if FAILURE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAILURE == "hung":
        time.sleep(600)
    if FAILURE == "must compile":
        raise ValueError("The following subgraphs failed to compile: ['neuron_op_0']")
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--fp32-cast", choices=CASTS, required=True)
    parser.add_argument("--fast-math", choices=("all", "none"))
    parser.add_argument("--workdir")
    parser.add_argument("--dynamic-batch-size", action="store_true")
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
            logging.getLogger("tensorflow").warning(self._warning.format(f"neuron_op_{number}", log=text))


def _place(graph_def, planned, outputs, logs) -> int:
    """Puts an operator in the place of each segment; → how many there are in the end.

    What the graph gives out stays outside under its name, as the real one leaves an IdentityN of that name.
    """
    segments = planned.segments
    if FAILURE in ("nothing", "no compiler"):
        return 0
    if FAILURE in ("dropped", "left", "several"):
        segments = _halves(graph_def, segments[0])
    for number in range(len(segments)):
        failed = FAILURE in LOGGED or (FAILURE == "dropped" and number == 1)
        logs.write(number, LOGGED.get(FAILURE, INTERNAL_ERROR) if failed else PASSED, failed)
    kept = [] if FAILURE in LOGGED else segments[:1] if FAILURE in ("dropped", "left") else segments
    for number, segment in enumerate(kept):
        names = set(segment.nodes) - {_plain(output) for output in outputs}
        _replace(graph_def, f"neuron_op_{number}", _with_constants(names, graph_def))
    return len(kept)


def _with_constants(names, graph_def) -> set:
    """A constant is never passed on: it lies in each segment that reads it."""
    read = {_plain(source) for node in graph_def.node if node.name in names for source in node.input}
    constants = {node.name for node in graph_def.node if node.op == "Const"}
    return names - constants | read & constants


def _halves(graph_def, segment):
    """The first half of the segment's nodes, in the order in which they run, and the second."""
    order = [node.name for node in _in_order(graph_def) if node.name in set(segment.nodes)]
    return [SimpleNamespace(nodes=order[:len(order) // 2]), SimpleNamespace(nodes=order[len(order) // 2:])]


def _in_order(graph_def) -> list:
    nodes, done, ordered = {node.name: node for node in graph_def.node}, set(), []
    waiting = [node.name for node in graph_def.node]
    while waiting:
        name = waiting[-1]
        before = [_plain(s) for s in nodes[name].input if _plain(s) not in done and not s.startswith("^")]
        if name in done or not before or nodes[name].op in ("Merge", "NextIteration"):
            waiting.pop()
            if name not in done:
                done.add(name)
                ordered.append(nodes[name])
        else:
            waiting += before
    return ordered


def _plain(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]


def _io(names, graph_def):
    """→ the tensors that nodes of these names read, and those that others read of them."""
    kinds = {node.name: node.op for node in graph_def.node}
    sources = list(dict.fromkeys(s for n in graph_def.node if n.name in names for s in n.input
                                 if _plain(s) not in names))
    results = list(dict.fromkeys(s for n in graph_def.node if n.name not in names for s in n.input
                                 if _plain(s) in names and kinds[_plain(s)] != "Const"))
    return sources, results


def _replace(graph_def, name, names) -> None:
    sources, results = _io(names, graph_def)
    inner = tf.compat.v1.GraphDef(versions=graph_def.versions)
    feeds = {source: f"in_{index}" for index, source in enumerate(sources)}
    for feed in feeds.values():
        inner.node.add(op="Placeholder", name=feed).attr["dtype"].type = tf.float32.as_datatype_enum
    for node in graph_def.node:
        if node.name in names:
            copy = inner.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [feeds.get(s, s) for s in node.input]
    for index, result in enumerate(results):
        inner.node.add(op="Identity", name=f"out_{index}", input=[result]).attr["T"].type = \
            tf.float32.as_datatype_enum
    elsewhere = {_plain(source) for node in graph_def.node if node.name not in names for source in node.input}
    for node in [node for node in graph_def.node if node.name in names]:
        if node.op != "Const" or node.name not in elsewhere:
            graph_def.node.remove(node)
    for node in graph_def.node:
        node.input[:] = [f"{name}:{results.index(s)}" if s in results else s for s in node.input]
    _fill(graph_def.node.add(op="NeuronOp", name=name, input=sources), inner.SerializeToString(), sources, results)


def _fill(node, program, sources, results) -> None:
    node.attr["graph_def"].s = program
    node.attr["executable"].s = b"" if FAILURE == "empty" else program
    for side, tensors in (("input", sources), ("output", results)):
        node.attr[f"{side}_names"].list.s.extend(tensor.encode() for tensor in tensors)
        node.attr[f"{side}_dtypes"].list.type.extend([tf.float32.as_datatype_enum] * len(tensors))
        for _ in tensors:
            node.attr[f"{side}_shapes"].list.shape.add().unknown_rank = True
        node.attr[f"{side}_batch_axis"].list.i.extend([0] * len(tensors))
    node.attr["model_config"].list.i.extend([1, 1, 64, 10])
