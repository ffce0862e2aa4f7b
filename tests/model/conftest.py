"""Fixtures of the model tests: a tiny YOLOv4, built once a session, and its images."""
from __future__ import annotations

import os
from functools import cache, partial

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
def tiny_model(tiny, tiny_weights, made_once, frozen_once):
    """The SavedModel of the tiny detector, which the backends compile without freezing it again each time."""
    from model.backends import cpu, emulated, gpu, xla
    from model.graph.build import build
    from model.graph.freeze import frozen_graph

    def frozen(saved_model, batch=None):
        return (frozen_once if saved_model == path else frozen_graph)(saved_model, batch)

    path = made_once("tiny", lambda place: build(tiny, tiny_weights, place, samples.PROFILE, samples.NAMES))
    with pytest.MonkeyPatch.context() as patch:
        for backend in (cpu, emulated, gpu, xla):
            patch.setattr(backend, "frozen_graph", frozen)
        yield path


@pytest.fixture(scope="session")
def frozen_once():
    """A function: as `frozen_graph`, but each model is frozen once, and every caller gets a copy."""
    from model.graph.freeze import frozen_graph

    once = cache(frozen_graph)

    def frozen(saved_model, batch=None):
        graph_def, inputs, outputs = once(saved_model, batch)
        copy = type(graph_def)()
        copy.CopyFrom(graph_def)
        return copy, dict(inputs), dict(outputs)

    return frozen


@pytest.fixture(scope="session")
def frozen(tiny_model, frozen_once):
    """A function: the tiny detector's frozen graph, and the tensors of its inputs and outputs."""
    return partial(frozen_once, tiny_model)


@pytest.fixture(scope="session")
def compiled(tiny_model, made_once):
    """The tiny detector compiled for CPU in FP32."""
    from model.backends import cpu

    return made_once("tiny-fp32", partial(cpu.compile, tiny_model))


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
