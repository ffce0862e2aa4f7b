"""The XLA backend: the same detections from a network that XLA really compiled, or the fallback is named."""
from __future__ import annotations

import numpy as np
import pytest

from model.backends import xla
from model.detector import Detector
from model.graph.saved_model import NETWORK, SavedModelError
from tests.model.samples import sample_images

IMAGES = sample_images(3)


@pytest.fixture(scope="module")
def xla_model(tiny_model, tmp_path_factory):
    return xla.compile(tiny_model, tmp_path_factory.mktemp("xla") / "compiled")


@pytest.fixture(scope="module")
def xla_detector(xla_model):
    return Detector(xla_model)


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_answers_are_the_cpu_backends(xla_detector, tiny_detector, count):
    for ours, expected in zip(xla_detector.detect(IMAGES[:count]), tiny_detector.detect(IMAGES[:count])):
        np.testing.assert_array_equal(ours.classes, expected.classes)
        np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(ours.boxes, expected.boxes, atol=1e-2)


def test_xla_runs_the_whole_network(xla_detector):
    assert xla_detector.metadata["backend"] == "xla"
    assert xla_detector.fallback(IMAGES[0]) == ""


def test_a_network_that_tensorflow_runs_by_itself_is_seen(tiny_model, tmp_path, monkeypatch):
    whole = xla._call_compiled

    def planted(graph_def, batch):
        whole(graph_def, batch)
        next(node for node in graph_def.node if node.name == NETWORK).attr["_XlaMustCompile"].b = False
        for function in graph_def.library.function:
            function.attr["_XlaMustCompile"].b = False

    monkeypatch.setattr(xla, "_call_compiled", planted)
    lapse = Detector(xla.compile(tiny_model, tmp_path / "planted")).fallback(IMAGES[0])
    assert lapse.startswith("XLA did not compile the network: TensorFlow ran ")


def test_a_network_on_another_device_is_seen(xla_detector, monkeypatch):
    monkeypatch.setitem(xla_detector.metadata, "cast_engine", "gpu")
    lapse = xla_detector.fallback(IMAGES[0])
    assert lapse.startswith("the network ran on ") and lapse.endswith(", not on the GPU")


def test_a_model_of_others_has_no_network_to_compile(xla_model, tmp_path):
    with pytest.raises(SavedModelError, match="has no part `network` between images and head maps"):
        xla.compile(xla_model, tmp_path / "twice")
