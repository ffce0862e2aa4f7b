"""Both routes to Inferentia, through a stand-in for tensorflow.neuron that holds them to the documented contract.

How each failure ends a release is shown by tests/fixtures/test_neuron_gate.py; here is what the gate does not look at.
"""
from __future__ import annotations

import shutil

import numpy as np
import pytest

from fixtures.cache.store import Cache
from model.backends import neuron
from model.graph.saved_model import read_metadata
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


@pytest.fixture
def compile_(tiny_model, tmp_path):
    """A function: (failure, route, cast) → the compiled model and the interpreter that compiled it."""
    def compile(failure="", route="tf2", cast="matmult"):
        python = double_python(tmp_path, failure, route)
        return neuron.compile(tiny_model, tmp_path / "compiled", cast, python), python

    return compile


@pytest.mark.parametrize("route", ROUTES)
def test_a_compiled_detector_gives_the_cpus_answers(compile_, detector, route):
    model, python = compile_(route=route)
    facts = read_metadata(model)
    assert (facts["route"], facts["backend"], facts["cast"]) == (route, "neuron", "matmult")
    assert "--fp32-cast=matmult" in facts["flags"]
    assert facts["on_neuron_ratio"] > 0.4, "the operators that decode images and read EXIF count too"
    assert facts["network_operators"] > len(detector.layers()) and facts["compiler_warnings"] == []
    with RemoteDetector(python, model) as remote:
        assert remote.fallback(IMAGES[0]) == ""
        for one, two in zip(remote.detect(IMAGES), detector.detect(IMAGES)):
            np.testing.assert_array_equal(one.classes, two.classes)
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
            np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-2)
    placed = placement_of(model)
    assert (placed.operators, placed.empty, placed.left, placed.fault()) == (1, 0, {}, "")


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
    "killed": ("tf2", "was killed by signal 9 (SIGKILL), as the kernel does when memory runs out; the compiler had "
                      "too"),
    "hung": ("tf1", "gave no response within 20 s and was killed; the compiler took too long (#352, #459, #730)"),
}


@pytest.fixture
def cached(tiny_model, tmp_path):
    """A function: (failure, route) → the compiled model, made or found under the same key whatever the failure."""
    def entry(failure, route):
        python = double_python(tmp_path, failure, route)
        return Cache(tmp_path / "cache").entry("compiled", {"engine": neuron.cast_engine("all", python)},
                                               lambda folder: neuron.compile(tiny_model, folder, "all", python))

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
    shutil.rmtree(model)
    with pytest.raises(CompileError) as caught:
        compile_("compiler error", route)
    assert "Error class:    CompilerInternalError" in caught.value.log
    assert str(caught.value).splitlines()[-1] == "  Artifacts stored in: /tmp/work/neuron_op_0"


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


@pytest.mark.parametrize("cast, flag", [("all", "all"), ("none", "matmult-bf16"), ("matmult-fp16", "matmult-fp16")])
def test_each_cast_has_its_flag(cast, flag):
    assert flags(cast) == ["--fast-math=none", f"--fp32-cast={flag}"]


def test_an_unknown_cast_is_refused():
    with pytest.raises(ValueError, match="cast fp32: must be one of: all, matmult"):
        neuron.cast_engine("fp32")
