"""Fixtures of the model tests: a tiny YOLOv4, built once a session, and its images."""
from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

from tests.model import samples


@pytest.fixture(scope="session")
def tiny():
    """An architecture that has all of YOLOv4 but its size."""
    return samples.tiny()


@pytest.fixture(scope="session")
def tiny_weights(tiny):
    from model.formats.weights import random_weights

    return random_weights(tiny, 1)


@pytest.fixture(scope="session")
def tiny_model(tiny, tiny_weights, tmp_path_factory):
    """The SavedModel of the tiny detector."""
    from model.graph.build import build

    return build(tiny, tiny_weights, tmp_path_factory.mktemp("tiny") / "saved", samples.PROFILE, samples.NAMES)


@pytest.fixture(scope="session")
def frozen(tiny_model):
    """A function: a copy of the tiny detector's frozen graph, and the tensors of its inputs and outputs."""
    from model.graph.freeze import frozen_graph

    graph_def, inputs, outputs = frozen_graph(tiny_model)

    def copied():
        copy = type(graph_def)()
        copy.CopyFrom(graph_def)
        return copy, dict(inputs), dict(outputs)

    return copied


@pytest.fixture(scope="session")
def compiled(tiny_model, tmp_path_factory):
    """The tiny detector compiled for CPU in FP32."""
    from model.backends import cpu

    return cpu.compile(tiny_model, tmp_path_factory.mktemp("compiled") / "fp32")


@pytest.fixture(scope="session")
def tiny_detector(compiled):
    from model.detector import Detector

    return Detector(compiled)


@pytest.fixture
def cfg(tmp_path):
    """Writes a cfg file of the given text and gives its path."""
    def write(text, name="network.cfg"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write
