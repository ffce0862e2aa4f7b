"""The example for Inf2 against a double of torch_neuronx.trace as AWS documents it; no such machine takes part."""
from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from model.check_detector import IMAGES
from tests.examples.needed import needed

needed("torch")
import torch  # noqa: E402

from examples import pytorch_detector  # noqa: E402


@pytest.fixture
def calls(monkeypatch):
    """The compiler arguments of each call of the double, which traces for the CPU."""
    calls, double = [], ModuleType("torch_neuronx")

    def trace(func, example_inputs, *_, compiler_workdir=None, compiler_args=None, inline_weights_to_neff=True):
        calls.append(compiler_args)
        return torch.jit.trace(func, example_inputs)

    double.trace, double.__version__ = trace, "2.double"
    monkeypatch.setitem(sys.modules, "torch_neuronx", double)
    monkeypatch.delitem(sys.modules, "examples.neuronx_detector", raising=False)
    return calls


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning",
                                        "ignore:`torch.jit:FutureWarning")


def test_it_detects_as_the_pytorch_example_does_and_keeps_what_it_compiled(calls, tmp_path):
    neuronx, images = import_module("examples.neuronx_detector"), [path.read_bytes() for path in IMAGES]
    expected = [pytorch_detector.make()([image])[0] for image in images]
    for _ in range(2):  # compiled, then loaded
        found = neuronx.make(cast="matmult", compiled=str(tmp_path / "network.pt"))(images)
        for one, other in zip(found, expected):
            for part, same in zip(one, other):
                assert np.allclose(part, same, atol=1e-3)
    assert calls == [["--auto-cast", "matmult"]]


def test_a_network_without_operators_of_the_device_is_named(calls):
    detector = import_module("examples.neuronx_detector").make()
    assert "no operator of Neuron" in detector.fallback()
    detector.network = SimpleNamespace(graph="%5 : Tensor[] = neuron::forward_v2(%4)")
    assert detector.fallback() == ""
