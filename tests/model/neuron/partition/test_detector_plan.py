"""Our own detectors, as both routes would place them: all of the network on the device, in one piece."""
from __future__ import annotations

from dataclasses import replace

import pytest

from model.graph.freeze import network_part
from model.graph.preprocess import DECODING
from model.neuron.partition.plan import plan
from model.neuron.placement import operators
from model.neuron.tutorial import MINIMUM_SEGMENT_SIZE, excluded
from tests.model.neuron.detectors import DETECTORS

# AWS reports about 0.79 of its own graph, which decodes no images and reads no EXIF: those operators are left out.
LEAST_RATIO = 0.70


def planned(meta_graph, route):
    """The plan of the whole graph as each route is called by `model.neuron.compiler`, the host's part left out."""
    graph, signature = meta_graph.graph_def, meta_graph.signature_def["serving_default"]
    inputs, outputs = ([info.name for _, info in sorted(t.items())] for t in (signature.inputs, signature.outputs))
    smallest = MINIMUM_SEGMENT_SIZE if route == "tf1" else None
    return plan(graph, inputs, outputs, route, excluded(graph), smallest)


def network_ratio(graph, found) -> float:
    """The share of the network's operators that is on the device, as the placement gate judges it."""
    network = set(operators(network_part(graph)[0].node))
    return len(network & {name for segment in found.segments for name in segment.nodes}) / len(network)


@pytest.fixture(params=["tf1", "tf2"])
def route(request):
    return request.param


@pytest.mark.parametrize("name", DETECTORS)
def test_every_operator_of_the_network_is_planned_for_the_device(exported_graph, name, route):
    meta_graph = exported_graph(name)[1]
    found = planned(meta_graph, route)
    assert network_ratio(meta_graph.graph_def, found) == 1 and len(found.segments) == 1
    assert found.convolutions[0] == found.convolutions[1] > 20


def test_yolov4_reaches_the_ratio_by_the_count_that_aws_reports(exported_graph, route):
    """Of all nodes, decoding and suppression among them, of which a network of fewer layers has a smaller share."""
    found = planned(exported_graph("yolov4")[1], route)
    types = {name: kind for name, kind in found.types.items() if f"/{DECODING}/" not in name}
    assert len(found.types) - len(types) > 300
    ratio = replace(found, types=types).on_neuron_ratio
    assert ratio >= LEAST_RATIO
