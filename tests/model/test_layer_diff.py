"""Where two builds of one detector part: the layer is named, and none where they agree."""
from __future__ import annotations

import re

import numpy as np
import pytest

from model.backends import cpu, emulated
from model.detector import Detector
from model.graph.freeze import write_compiled
from model.layer_diff import distance, first_difference
from tests.model.samples import sample_images

IMAGE = sample_images(1)[0]


def test_a_detector_does_not_differ_from_itself(tiny_detector):
    assert first_difference(tiny_detector, tiny_detector, IMAGE, 0.0) == ""


def test_rounding_differs_a_little_from_the_first_convolution_on(tiny_detector, tiny_model, tmp_path):
    rounded = Detector(emulated.compile(tiny_model, tmp_path / "all", "all"))
    assert re.match(r"network/.*conv_000.*: 0\.00\d+ of its norm", first_difference(tiny_detector, rounded, IMAGE, 0.0))
    assert first_difference(tiny_detector, rounded, IMAGE, 0.5) == ""


@pytest.mark.parametrize("planted", [2.0, np.nan], ids=["scaled", "NaN"])
def test_the_layer_that_was_tampered_with_is_named(frozen, tiny_detector, tiny_model, tmp_path, planted):
    graph_def, inputs, outputs = frozen()
    nodes = {node.name: node for node in graph_def.node}
    victim = [node for node in graph_def.node if node.op == "BiasAdd"][17]
    bias = nodes[victim.input[1]].attr["value"].tensor
    values = np.frombuffer(bias.tensor_content, np.float32).copy()
    values[0] = values[0] * planted + 3
    bias.tensor_content = values.tobytes()
    tampered = Detector(write_compiled(tiny_model, tmp_path / "tampered", graph_def, inputs, outputs))
    layer = re.search(r"conv_\d+", victim.name)[0]
    assert first_difference(tiny_detector, tampered, IMAGE, 0.02).split("/")[2].startswith(layer)


def test_layers_come_in_the_order_of_execution(tiny_detector):
    numbers = [int(found[1]) for found in (re.search(r"conv_(\d+)", name) for name in tiny_detector.layers()) if found]
    assert numbers[0] == 0 and len(set(numbers)) == tiny_detector.metadata["convolutions"]
    order = {op.name: place for place, op in enumerate(tiny_detector._session.graph.get_operations())}
    for name in tiny_detector.layers():
        sources = [source.op.name for source in tiny_detector._session.graph.get_operation_by_name(name).inputs]
        assert all(order[source] < order[name] for source in sources)


@pytest.mark.parametrize("expected, found, off", [
    ([3.0, 4.0], [3.0, 4.0], 0), ([3.0, 4.0], [3.0, 4.5], 0.1), ([0.0], [0.0], 0), ([0.0], [1.0], 1),
    ([1.0], [np.nan], np.inf), ([1.0], [np.inf], np.inf), ([np.inf], [np.inf], 0),
])
def test_distance(expected, found, off):
    assert distance(np.array(expected, np.float32), np.array(found, np.float32)) == pytest.approx(off)


@pytest.mark.slow
def test_bf16_is_compared_too(tiny_detector, tiny_model, tmp_path):
    bf16 = Detector(cpu.compile(tiny_model, tmp_path / "bf16", "bf16"))
    assert "conv_000" in first_difference(tiny_detector, bf16, IMAGE, 1e-6)
