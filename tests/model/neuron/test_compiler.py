"""Both routes to Inferentia, through a stand-in for tensorflow.neuron that holds them to the documented contract.

How each failure ends a release is shown by tests/fixtures/test_neuron_gate.py; here is what the gate does not look at.
"""
from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import tensorflow as tf

from fixtures.cache.store import Cache
from model.backends import CASTS, EDGES, cpu, neuron
from model.detector import Detector
from model.graph.saved_model import read_meta_graph, read_metadata
from model.neuron import compiler_log
from model.neuron.compiler import CompileError, flags
from model.neuron.placement import placement_of
from model.worker.client import WorkerError
from model.worker.pool import RemoteDetector
from tests.model.neuron.double.interpreter import double_python
from tests.model.samples import sample_images

pytestmark = pytest.mark.slow
ROUTES = ("tf1", "tf2")
IMAGES = sample_images(3)


@pytest.fixture(scope="module")
def compile_(tiny_model, tmp_path_factory):
    """A function: (failure, route, cast, …) → the compiled model and the interpreter that compiled it, made once."""
    @cache
    def compile(failure="", route="tf2", cast="matmult", **settings):
        folder = tmp_path_factory.mktemp("compiled")
        python = double_python(folder, failure, route)
        return neuron.compile(tiny_model, folder / "model", cast, python=python, **settings), python

    return compile


@pytest.fixture
def refused(tiny_model, tmp_path):
    """A function: (failure, route, cast, …) → the error that nothing is left of."""
    def compile(failure, cast="matmult", **settings):
        with pytest.raises(CompileError) as raised:
            neuron.compile(tiny_model, tmp_path / "model", cast, python=double_python(tmp_path, failure), **settings)
        assert not (tmp_path / "model").exists()
        return str(raised.value)

    return compile


@pytest.mark.parametrize("edges", EDGES["neuron"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_compiled_detector_gives_the_cpus_detections(compile_, tiny_model, tmp_path, route, edges):
    model, python = compile_(route=route, edges=edges)
    cpu_model = cpu.compile(tiny_model, tmp_path / "cpu", edges=edges)
    facts = read_metadata(model)
    assert (facts["route"], facts["backend"], facts["cast"], facts["edges"]) == (route, "neuron", "matmult", edges)
    assert "--fp32-cast=matmult" in facts["flags"] and facts["on_neuron_ratio"] > 0.4
    with RemoteDetector(python, model) as remote:
        assert remote.fallback(IMAGES[0]) == ""
        for one, two in zip(remote.detect(IMAGES), Detector(cpu_model).detect(IMAGES)):
            np.testing.assert_array_equal(one.classes, two.classes)
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
            np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-2)
    placed = placement_of(model)
    assert (placed.operators, placed.empty, placed.left, placed.fault()) == (1, 0, {}, "")


def neuron_operators(model) -> list:
    graph_def = read_meta_graph(model).graph_def
    inner = [node for function in graph_def.library.function for node in function.node_def]
    return [node for node in [*graph_def.node, *inner] if node.op == "NeuronOp"]


@pytest.mark.parametrize("edges, dtype", [(16, tf.float16), (32, tf.float32)])
@pytest.mark.parametrize("route", ROUTES)
def test_images_and_head_maps_cross_in_as_many_bits_as_was_asked_for(compile_, tiny, route, edges, dtype):
    model, _ = compile_(route=route, edges=edges)
    operator, = neuron_operators(model)
    crossing = [*operator.attr["input_dtypes"].list.type, *operator.attr["output_dtypes"].list.type]
    assert crossing == [dtype.as_datatype_enum] * (1 + len(tiny.heads))
    numbers = 64 * 64 * 3 + sum((64 // stride) ** 2 * 3 * (5 + 3) for stride in (8, 16, 32))
    assert read_metadata(model)["edge_bytes"] == numbers * edges // 8


@pytest.mark.parametrize("route", ROUTES)
def test_a_network_in_fp16_is_one_inside_the_device_too(compile_, tiny_detector, route):
    model, python = compile_(route=route, cast="fp16")
    operator, = neuron_operators(model)
    inside = tf.compat.v1.GraphDef.FromString(operator.attr["graph_def"].s).node
    assert not [node.name for node in inside if node.op == "Conv2D" and node.attr["T"].type != tf.float16]
    assert not any(node.op == "Cast" for node in inside)
    assert not any("fp32-cast" in flag or "fast-math" in flag for flag in read_metadata(model)["flags"])
    with RemoteDetector(python, model) as remote:
        found, expected = remote.detect(IMAGES[:1])[0], tiny_detector.detect(IMAGES[:1])[0]
    assert found.scores[0] == pytest.approx(expected.scores[0], abs=0.01)
    assert not np.array_equal(found.scores, expected.scores)


def test_the_tutorials_build_has_the_compilers_defaults_and_half_the_bytes(compile_):
    facts = read_metadata(compile_(route="tf1", cast="fp16", build="tutorial")[0])
    assert (facts["build"], facts["edges"], facts["flags"]) == ("tutorial", 16, [])


def test_the_tutorials_build_is_refused_where_the_tutorial_does_not_run(refused):
    words = r"--build tutorial: must be compiled by tensorflow-neuron 1\.15, .* has TensorFlow 2.*; name a Python 3\.7"
    assert re.search(words, refused("", "fp16", build="tutorial"))


def test_an_operators_name_is_not_taken_for_a_layers(compile_, tiny_detector):
    model, python = compile_(route="tf1")
    operator, = neuron_operators(model)
    assert re.fullmatch(r"network/.*neuron_op_\d{3}[0-9a-f]+", operator.name)
    with RemoteDetector(python, model) as remote:
        assert remote.layers() == []


NOTHING = "nothing was compiled: the model has no NeuronOp with a program, so it runs on the CPU"
LEFT = "operators of the network would run on the CPU, first network/"
MEMORY = ("A process in the process pool was terminated abruptly while the future was running or pending.; the "
          "compiler had too little memory (#287, #434); compile on a machine with 32 GiB or more")
CRASH = "neuron-cc: Non-zero exit status (134) for command: list_sch --hhir hh.json; a fault of the compiler"
NO_COMPILER = "neuron-cc is not found"
# How a compilation fails → (route, what is said of it).
FAILED = {
    "nothing": ("tf1", f"{NOTHING}; `python -m model plan` says which operators"),
    "no compiler": ("tf1", f"{NOTHING}; neuron-cc: neuron-cc is not found.; run `python -m model doctor"),
    "no compiler, TensorFlow 2": ("tf2", f"{NO_COMPILER} ("),
    "compiler error": ("tf1", f"{NOTHING}; {CRASH}"),
    "compiler error, TensorFlow 2": ("tf2", f"{NOTHING}; {CRASH}"),
    "out of memory": ("tf1", f"{NOTHING}; neuron-cc: {MEMORY}"),
    "out of memory, TensorFlow 2": ("tf2", f"{NOTHING}; neuron-cc: {MEMORY}"),
    "dropped": ("tf1", LEFT),
    "dropped, TensorFlow 2": ("tf2", LEFT),
    "empty": ("tf1", "1 of 1 NeuronOps have no program"),
    "uncompiled": ("tf2", "tensorflow.neuron.trace returned the network uncompiled"),
    "must compile": ("tf1", "ValueError: The following subgraphs failed to compile"),
    "killed": ("tf2", "was killed by signal 9 (SIGKILL); if memory ran out, `dmesg` says so; the compiler had "
                      "too"),
    "hung": ("tf1", "gave no response within 20 s and was killed; the compiler took too long (#352, #459, #730)"),
}


@pytest.fixture
def cached(tiny_model, tmp_path):
    """A function: (failure, route) → the compiled model, made or found under the same key whatever the failure."""
    def entry(failure, route):
        python = double_python(tmp_path, failure, route)
        return Cache(tmp_path / "cache").entry("compiled", {"engine": neuron.cast_engine("all", python)},
                                               lambda folder: neuron.compile(tiny_model, folder, "all", python=python))

    return entry


@pytest.mark.parametrize("case", FAILED)
def test_a_failed_compilation_is_never_a_model_and_its_reason_is_a_sentence(case, cached, tmp_path, monkeypatch):
    route, words = FAILED[case]
    failure = case.partition(",")[0]
    monkeypatch.setattr(neuron, "COMPILE_SECONDS", 20 if failure == "hung" else 300)
    with pytest.raises(CompileError) as caught:
        cached(failure, route)
    sentence, *_ = str(caught.value).splitlines()
    assert sentence.startswith("--cast all: the network was not compiled for Inferentia: ") and words in sentence
    assert "****" not in sentence
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("route", ROUTES)
def test_a_compilation_that_failed_once_is_repeated_as_soon_as_its_cause_is_gone(route, cached):
    with pytest.raises(CompileError):
        cached("out of memory", route)
    assert placement_of(cached("", route)).fault() == ""


@pytest.mark.parametrize(("route", "name"), [("tf1", "graph_def.neuron-cc.log"), ("tf2", "neuron_cc_xla.stderr.log")])
def test_the_compilers_log_is_kept_and_its_last_lines_are_in_the_error(compile_, route, name):
    model, _ = compile_(route=route)
    assert compiler_log.kept_in(model).splitlines()[0] == f"== neuron_op_0/{name}"
    assert "Compiler status PASS" in compiler_log.kept_in(model)
    with pytest.raises(CompileError) as caught:
        compile_("compiler error", route)
    assert "Error class:    CompilerInternalError" in caught.value.log
    assert str(caught.value).splitlines()[-1] == "  Artifacts stored in: artifacts/neuron_op_0"


def test_what_the_partitioner_leaves_on_the_cpu_is_a_model_for_the_gate_to_fail(compile_, tiny):
    placed = placement_of(compile_("left", "tf2")[0])
    assert placed.operators == 1 and 0 < len(placed.convolutions_left) < len(tiny.convolutions())
    assert str(placed).startswith("1 NeuronOp; on the CPU: ")


@pytest.mark.parametrize("name", ["NEURON_CC_FLAGS", "XLA_FLAGS", "TF_XLA_FLAGS"])
def test_flags_of_the_shell_are_refused_because_they_would_change_what_is_compiled(name, monkeypatch, tmp_path):
    monkeypatch.setenv(name, "--neuroncore-pipeline-cores=4")
    words = f"{name}=--neuroncore-pipeline-cores=4: would change what is compiled .* unset {name}"
    with pytest.raises(CompileError, match=words):
        neuron.cast_engine("all")
    with pytest.raises(CompileError, match=words):
        neuron.compile(tmp_path / "no model", tmp_path / "compiled", "all")
    monkeypatch.setenv(name, " ")
    assert neuron.cast_engine("all")


def test_a_device_that_is_lost_is_an_error_of_the_request(compile_):
    model, python = compile_("lost", "tf1")
    words = r"DeviceError: Execute failed: nrt_execute: status=6 \(HW_ERROR\); the device failed while it ran"
    with RemoteDetector(python, model) as remote, pytest.raises(WorkerError, match=words):
        for _ in range(6):
            remote.detect(IMAGES[:1])


def test_the_cast_is_always_given_to_the_compiler(compile_):
    assert "--fp32-cast=matmult-bf16" in read_metadata(compile_(route="tf1", cast="none")[0])["flags"]


FLAGS = {
    "all": ["--fast-math=all", "--fp32-cast=all"], "matmult": ["--fast-math=all", "--fp32-cast=matmult"],
    "matmult-bf16": ["--fast-math=all", "--fp32-cast=matmult-bf16"],
    "matmult-fp16": ["--fast-math=all", "--fp32-cast=matmult-fp16"],
    "none": ["--fast-math=none", "--fp32-cast=matmult-bf16"], "fp16": [],
}


@pytest.mark.parametrize("cast", CASTS["neuron"])
def test_each_cast_has_its_flags_and_all_but_none_fast_relayout(cast):
    assert flags(cast) == FLAGS[cast]


def test_an_unknown_cast_is_refused():
    with pytest.raises(ValueError, match="cast fp32: must be one of: all, matmult"):
        neuron.cast_engine("fp32")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dynamic", [True, False])
def test_a_model_of_another_batch_gives_the_cpus_detections_to_any_request(compile_, tiny_detector, route, dynamic):
    """The stand-in's program refuses another batch size where dynamic batching is off, as Neuron's runtime does."""
    model, python = compile_(route=route, batch=2, dynamic=dynamic)
    facts = read_metadata(model)
    assert (facts["compiled_batch"], facts["dynamic_batch"]) == (2, dynamic)
    with RemoteDetector(python, model) as remote:
        for count in (1, 2, 3):
            found = remote.detect(IMAGES[:count])
            assert len(found) == count
            for one, two in zip(found, tiny_detector.detect(IMAGES[:count])):
                assert abs(len(one.scores) - len(two.scores)) <= 1
                np.testing.assert_allclose(one.scores[:5], two.scores[:5], atol=5e-3)
