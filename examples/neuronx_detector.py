"""The embedded detector in PyTorch on Inf2, Trn1 or newer, by torch-neuronx. Unproven: never run on one.

pytest tests/gates --detector examples/neuronx_detector.py:make --reference examples/pytorch_detector.py:make
Source: AWS Neuron, "PyTorch NeuronX Tracing API for Inference".
"""
from __future__ import annotations

from pathlib import Path

import torch
import torch_neuronx

from benchmarks.torch_network import TorchNetwork
from examples import pytorch_detector
from fixtures.embedded import ARCHITECTURE, WEIGHTS
from model.formats.detector_files import load_weights
from model.formats.weights import digest

ON_DEVICE = "neuron::"  # begins the name of the operator that runs what was compiled


def make(cast="none", compiled=""):
    """The detector, compiled with neuronx-cc's --auto-cast `cast`: none, matmult or all.

    `compiled` names a file that keeps the network: it is loaded if it exists, else written.
    """
    weights = load_weights(WEIGHTS, ARCHITECTURE)
    if compiled and Path(compiled).exists():
        network = torch.jit.load(compiled)
    else:
        example = torch.zeros(1, ARCHITECTURE.height, ARCHITECTURE.width, 3)
        network = torch_neuronx.trace(_Network(ARCHITECTURE, weights), example, compiler_args=["--auto-cast", cast])
        if compiled:
            torch.jit.save(network, compiled)
    return Detector(network, digest(weights))


class _Network(TorchNetwork):
    """Gives a tuple, because tracing refuses lists."""

    def forward(self, image):
        return tuple(super().forward(image))


class Detector(pytorch_detector.Detector):
    """The PyTorch example with a network that is compiled for one image; it does the rest on the host."""

    versions = {**pytorch_detector.Detector.versions, "torch_neuronx": torch_neuronx.__version__}  # noqa: RUF012

    def __init__(self, network, identity):
        super().__init__(network, torch.device("cpu"), "fp32", identity)
        self.label = "PyTorch, torch-neuronx"

    def __call__(self, images):
        return [super(Detector, self).__call__([image])[0] for image in images]

    def fallback(self) -> str:
        """Why it does not run as promised: where the network has no operator of the device."""
        return "" if ON_DEVICE in str(self.network.graph) else "the network has no operator of Neuron: it is PyTorch's"
