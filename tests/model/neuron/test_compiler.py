"""Both routes to Inferentia, through a stand-in for tensorflow.neuron that holds them to the documented contract.

How each failure ends a release is shown by tests/fixtures/test_neuron_gate.py; here is what the gate does not look at.
"""
from __future__ import annotations

import numpy as np
import pytest

from model.backends import neuron
from model.graph.saved_model import read_metadata
from model.neuron.compiler import flags
from model.neuron.placement import placement_of
from model.worker.client import RemoteError, WorkerError
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
def test_a_compiled_detector_gives_the_cpus_answers(compile_, tiny_detector, route):
    model, python = compile_(route=route)
    facts = read_metadata(model)
    assert (facts["route"], facts["backend"], facts["cast"]) == (route, "neuron", "matmult")
    assert "--fp32-cast=matmult" in facts["flags"]
    assert facts["on_neuron_ratio"] > 0.4, "the operators that decode images and read EXIF count too"
    assert facts["network_operators"] > len(tiny_detector.layers()) and facts["compiler_warnings"] == []
    with RemoteDetector(python, model) as remote:
        assert remote.fallback(IMAGES[0]) == ""
        for one, two in zip(remote.detect(IMAGES), tiny_detector.detect(IMAGES)):
            np.testing.assert_array_equal(one.classes, two.classes)
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
            np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-2)
    placed = placement_of(model)
    assert (placed.operators, placed.empty, placed.left, placed.fault()) == (1, 0, {}, "")


NOTHING = "nothing was compiled: the model has no NeuronOp with a program, so it runs on the CPU"


def test_a_model_of_which_nothing_was_compiled_is_no_detector_of_the_device(compile_):
    model, python = compile_("nothing", "tf1")
    assert placement_of(model).fault() == NOTHING and read_metadata(model)["on_neuron_ratio"] == 0
    with RemoteDetector(python, model) as remote:
        assert remote.fallback(IMAGES[0]).startswith(f"{NOTHING}; the compiler warned: Converted ")


def test_a_compiler_that_trace_does_not_find_is_named(compile_):
    with pytest.raises(RemoteError, match=r"CompileError: neuron-cc is not found .*; run `python -m model doctor"):
        compile_("no compiler", "tf2")


def test_a_subgraph_that_was_dropped_leaves_its_convolutions_on_the_cpu(compile_, tiny):
    model, _ = compile_("dropped", "tf2")
    placed = placement_of(model)
    assert placed.operators == 1 and 0 < len(placed.convolutions_left) < len(tiny.convolutions())
    assert str(placed).startswith("1 NeuronOp; on the CPU: ")
    assert any("Failed to fuse subgraph" in warning for warning in read_metadata(model)["compiler_warnings"])


def test_an_operator_without_a_program_is_a_fault(compile_):
    assert placement_of(compile_("empty", "tf1")[0]).fault() == "1 of 1 NeuronOps have no program"


def test_what_the_compiler_raises_is_told_and_leaves_nothing(compile_, tmp_path):
    with pytest.raises(RemoteError, match="The following subgraphs failed to compile"):
        compile_("compiler error", "tf2")
    assert not (tmp_path / "compiled").exists()


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
