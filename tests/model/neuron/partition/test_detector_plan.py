"""Our own detectors, as both routes would place them: all of the network on the device, in one piece."""
from __future__ import annotations

from dataclasses import replace

import pytest

from model.graph.freeze import network_part
from model.graph.preprocess import DECODING
from model.neuron.partition.detector import plan_of_detector
from model.neuron.placement import operators
from tests.model.neuron.detectors import DETECTORS, QUICK

# AWS reports about 0.79 of its own graph, which decodes no images and reads no EXIF: those operators are left out.
LEAST_RATIO = 0.70


def planned(meta_graph, route):
    graph, signature = meta_graph.graph_def, meta_graph.signature_def["serving_default"]
    inputs, outputs = ([info.name for _, info in sorted(t.items())] for t in (signature.inputs, signature.outputs))
    return plan_of_detector(graph, inputs, outputs, route)


def left(graph, found) -> set:
    """The operators of the network that stay on the CPU, as the placement gate counts them."""
    return set(operators(network_part(graph)[0].node)) - {name for part in found.segments for name in part.nodes}


# What route tf2 does not put on the device: all before a first convolution that has a stride.
PREPARING = {"yolov4-tiny": {"network/edge", "network/network_1/conv_000_pad_1/Pad"}}


@pytest.fixture(params=["tf1", "tf2"])
def route(request):
    return request.param


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in DETECTORS])
def test_every_operator_of_the_network_is_planned_for_the_device(exported_graph, name, route):
    meta_graph = exported_graph(name)[1]
    found = planned(meta_graph, route)
    expected = PREPARING.get(name, set()) if route == "tf2" else set()
    assert left(meta_graph.graph_def, found) == expected and len(found.segments) == 1
    assert found.convolutions[0] == found.convolutions[1] > 20


@pytest.mark.parametrize("name", ["embedded", pytest.param("yolov4", marks=pytest.mark.slow)])
def test_what_crosses_is_in_16_bits(exported_graph, name, route):
    segment, = planned(exported_graph(name)[1], route).segments
    assert {tensor.dtype for tensor in (*segment.inputs, *segment.outputs)} == {"float16"}


@pytest.mark.slow
def test_yolov4_reaches_the_ratio_by_the_count_that_aws_reports(exported_graph):
    """Of all nodes, decoding and suppression among them, of which a network of fewer layers has a smaller share."""
    found = planned(exported_graph("yolov4")[1], "tf1")
    types = {name: kind for name, kind in found.types.items() if f"/{DECODING}/" not in name}
    assert len(found.types) - len(types) > 300
    ratio = replace(found, types=types).on_neuron_ratio
    assert ratio >= LEAST_RATIO
