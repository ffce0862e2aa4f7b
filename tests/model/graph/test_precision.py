"""The network's edges in 16 bits: what crosses them, what stays outside, and what it costs."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.backends import CASTS, EDGES, cpu, emulated
from model.detector import Detector
from model.graph.freeze import network_function, network_part
from model.graph.operators import node_name
from model.graph.precision import edge_bytes, set_edges, set_half
from model.graph.saved_model import NETWORK, SavedModelError
from tests.model.samples import sample_images

IMAGES = sample_images(2)


@pytest.fixture
def graph_def(frozen):
    return frozen()[0]


def types(graph_def, names) -> list:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return [graph.get_operation_by_name(node_name(name)).outputs[0].dtype for name in names]


def crossing(graph_def) -> list:
    _, source, heads = network_part(graph_def)
    return types(graph_def, [source, *heads])


@pytest.mark.parametrize("bits, dtype", [(16, tf.float16), (32, tf.float32)])
def test_images_and_head_maps_cross_in_so_many_bits(graph_def, tiny, bits, dtype):
    set_edges(graph_def, bits)
    assert crossing(graph_def) == [dtype] * (1 + len(tiny.heads))
    numbers = 64 * 64 * 3 + sum((64 // stride) ** 2 * 3 * (5 + tiny.classes) for stride in (8, 16, 32))
    assert edge_bytes(graph_def) == numbers * bits // 8


def test_only_the_edges_change_and_the_network_computes_as_before(graph_def):
    before = {node.name: node.op for node in graph_def.node}
    set_edges(graph_def, 16)
    added = [node for node in graph_def.node if node.name not in before]
    assert {node.op for node in added} == {"Cast"} and len(added) == 2 * 4
    kept = [name for name, kind in before.items() if name.startswith(f"{NETWORK}/") and kind == "Conv2D"]
    assert set(types(graph_def, kept)) == {tf.float32}


def test_a_network_in_half_has_nothing_of_float32_in_it(graph_def, tiny):
    set_half(graph_def)
    part, _, _ = network_part(graph_def)
    assert tf.float32 not in types(graph_def, [node.name for node in part.node])
    assert crossing(graph_def) == [tf.float16] * (1 + len(tiny.heads))


def test_a_network_in_half_may_still_cross_in_32_bits(graph_def, tiny):
    set_half(graph_def, 32)
    assert crossing(graph_def) == [tf.float32] * (1 + len(tiny.heads))


def test_its_weights_are_the_nearest_numbers_of_float16(graph_def):
    weights = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node
               if node.op == "Const" and node.name.startswith(f"{NETWORK}/") and node.attr["dtype"].type == tf.float32}
    set_half(graph_def)
    halves = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.name in weights}
    assert len(halves) > 10
    for name, numbers in weights.items():
        np.testing.assert_array_equal(halves[name], numbers.astype(np.float16))


@pytest.mark.parametrize("change", [lambda graph_def: set_edges(graph_def, 16), set_half])
def test_edges_are_set_once(graph_def, change):
    set_edges(graph_def, 16)
    with pytest.raises(SavedModelError, match="has been compiled before, and its edges are set; compile the model"):
        change(graph_def)


def columns(found) -> np.ndarray:
    return np.hstack([found.boxes, found.scores[:, None], found.classes[:, None]])


@pytest.mark.parametrize("ask", [network_part, network_function, edge_bytes])
def test_what_asks_of_a_graph_leaves_it_as_it_is(graph_def, ask):
    before = graph_def.SerializeToString(deterministic=True)
    ask(graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before


@pytest.fixture(scope="module")
def narrow(tiny_model, tmp_path_factory):
    """The tiny detector on CPU in FP32 with 16-bit edges."""
    return Detector(cpu.compile(tiny_model, tmp_path_factory.mktemp("narrow") / "model", edges=16))


def test_16_bit_edges_give_other_numbers_and_the_same_objects(tiny_detector, narrow):
    for one, two in zip(tiny_detector.detect(IMAGES), narrow.detect(IMAGES)):
        assert not np.array_equal(one.scores, two.scores)
        assert two.scores[0] == pytest.approx(one.scores[0], abs=5e-3)
        np.testing.assert_allclose(two.boxes[0], one.boxes[0], atol=0.5)


def test_the_edges_are_kept_with_the_model(tiny_detector, narrow):
    assert (tiny_detector.metadata["edges"], narrow.metadata["edges"]) == (32, 16)
    assert narrow.fallback(IMAGES[0]) == ""


def test_layers_are_seen_as_before(tiny_detector, narrow):
    assert narrow.layers() == tiny_detector.layers()


def test_a_head_map_beyond_float16_gives_no_nan(frozen):
    graph_def, inputs, outputs = frozen()
    _, _, heads = network_part(graph_def)
    for node in graph_def.node:  # logits of a million, of which float16 makes infinity
        if node.name == node_name(heads[0]):
            bias = next(other for other in graph_def.node if other.name == node_name(node.input[1]))
            numbers = tf.make_ndarray(bias.attr["value"].tensor)
            bias.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.full_like(numbers, 1e6)))
    set_edges(graph_def, 16)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        boxes, scores = session.run([outputs["boxes"], outputs["scores"]], {inputs["image"]: IMAGES[:1]})
    assert np.isfinite(boxes).all() and np.isfinite(scores).all() and scores.max() == 1


@pytest.mark.slow
@pytest.mark.parametrize("cast", CASTS["emulated"])
def test_the_emulation_has_edges_of_either_width(tiny_model, tmp_path, cast):
    models = [emulated.compile(tiny_model, tmp_path / str(bits), cast, edges=bits) for bits in EDGES["emulated"]]
    found = list(map(Detector, models))
    assert [one.metadata["edges"] for one in found] == [16, 32]
    one, two = (one.detect(IMAGES[:1])[0] for one in found)
    assert one.scores[0] == pytest.approx(two.scores[0], abs=0.01)
    if cast != "fp16":  # there every operator rounds to float16 anyway
        assert not np.array_equal(columns(one), columns(two))
