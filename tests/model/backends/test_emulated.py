"""The numbers of Inferentia on CPU: each cast level rounds what it says, by its own bits, and nothing else."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backends import CASTS, emulated
from model.detector import Detector
from model.graph.preprocess import DECODING
from model.graph.rounding import round_inputs, round_tensors
from model.graph.saved_model import NETWORK
from tests.model.samples import sample_images

IMAGE = sample_images(1)[0]


def to_bf16(array) -> np.ndarray:
    """float32 rounded to the nearest BF16, ties to even, by its bits."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def to_fp16(array) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32).astype(np.float16).astype(np.float32)


ROUND = {tf.bfloat16: to_bf16, tf.float16: to_fp16}
FORMATS = pytest.mark.parametrize("dtype", ROUND, ids=lambda dtype: dtype.name)


def evaluate(graph_def, image, *names):
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        return session.run([f"{name}:0" for name in names], {"source:0": image})


def graph_of(function, shape):
    """GraphDef of function(source), its result named `result`."""
    with tf.Graph().as_default() as graph:
        tf.identity(function(tf.compat.v1.placeholder(tf.float32, shape, "source")), name="result")
    return graph.as_graph_def()


def rounded_result(function, image, dtype):
    """The result where every operator of the graph gets rounded operands."""
    graph_def = graph_of(function, image.shape)
    names = [node.name for node in graph_def.node if node.op not in ("Placeholder", "Const", "Identity")]
    round_inputs(graph_def, dict.fromkeys(names, dtype))
    return evaluate(graph_def, image, "result")[0]


RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((5, 5, 4, 6), np.float32)
DEPTHWISE = RNG.standard_normal((5, 5, 4, 1), np.float32)
ROW = RNG.standard_normal(4).astype(np.float32)


def dot(image, kernel):
    return np.tensordot(image[0].astype(np.float64), kernel.astype(np.float64), 3)[None, None, None]


# Operator → (in TensorFlow, in NumPy on operands that `r` rounds).
OPERATORS = {
    "Conv2D": (lambda x: tf.nn.conv2d(x, KERNEL, 1, "VALID"), lambda x, r: dot(r(x), r(KERNEL))),
    "DepthwiseConv2dNative": (
        lambda x: tf.nn.depthwise_conv2d(x, DEPTHWISE, [1, 1, 1, 1], "VALID"),
        lambda x, r: np.einsum("bhwc,hwcm->bc", r(x), r(DEPTHWISE), dtype=np.float64)[:, None, None],
    ),
    "BiasAdd": (lambda x: tf.nn.bias_add(x, ROW), lambda x, r: r(x) + r(ROW)),
    "Mul": (lambda x: x * ROW, lambda x, r: r(x) * r(ROW)),
    "LeakyRelu": (lambda x: tf.nn.leaky_relu(x, 0.1), lambda x, r: np.maximum(r(x), np.float32(0.1) * r(x))),
    "Softplus": (tf.math.softplus, lambda x, r: np.log1p(np.exp(r(x)))),
    "Tanh": (tf.tanh, lambda x, r: np.tanh(r(x))),
    "ConcatV2": (lambda x: tf.concat([x, x], 3), lambda x, r: np.concatenate([r(x), r(x)], 3)),
    "MaxPool": (lambda x: tf.nn.max_pool2d(x, 5, 1, "VALID"), lambda x, r: r(x).max((1, 2), keepdims=True)),
}


@FORMATS
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_computes_on_rounded_operands(operator, dtype):
    in_tensorflow, in_numpy = OPERATORS[operator]
    image = RNG.standard_normal((1, 5, 5, 4), np.float32)
    found, expected = rounded_result(in_tensorflow, image, dtype), in_numpy(image, ROUND[dtype])
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    assert np.abs(found - in_numpy(image, lambda x: x)).max() > 1e-4, "the sample would not show a missing rounding"


@FORMATS
@settings(max_examples=100)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_rounding_is_to_the_nearest_and_ties_to_even(dtype, values):
    image = np.array(values, np.float32)
    image[np.abs(image) < 2.0 ** -14] = 0  # below are numbers that a processor may take for 0
    graph_def = graph_of(tf.identity, image.shape)
    round_tensors(graph_def, ["source"], dtype)
    np.testing.assert_array_equal(evaluate(graph_def, image, "result")[0], ROUND[dtype](image))


def test_what_is_too_large_for_fp16_is_infinite_and_not_for_bf16():
    image = np.array([65504.0, 65519.0, 65520.0, -1e6], np.float32)
    found = {dtype: rounded_result(lambda x: x * 1.0, image, dtype) for dtype in ROUND}
    assert found[tf.float16].tolist() == [65504.0, 65504.0, np.inf, -np.inf]
    assert np.isfinite(found[tf.bfloat16]).all()


@pytest.fixture(scope="module", params=[
    pytest.param(level, marks=[pytest.mark.slow] * (level not in ("all", "matmult"))) for level in CASTS["emulated"]])
def cast_level(request, frozen, tiny_model, tmp_path_factory):
    """(name of the cast level, its detector, the frozen graph that it was made from)."""
    folder = tmp_path_factory.mktemp("emulated") / request.param
    return request.param, Detector(emulated.compile(tiny_model, folder, request.param)), frozen()[0]


def test_every_convolution_computes_on_rounded_operands(cast_level):
    _, found, _ = cast_level
    assert found.fallback(IMAGE) == ""


def test_each_level_rounds_what_it_says_and_only_in_the_network(cast_level):
    level, found, graph_def = cast_level
    types = {node.name: node.op for node in graph_def.node}
    with_rounded = {
        op.name for op in found._session.graph.get_operations()
        if op.type != "Cast" and any("/rounded_" in source.name for source in op.inputs)
    }
    inside = {name for name in with_rounded if name.startswith(f"{NETWORK}/")}
    products = {name for name, kind in types.items() if kind == "Conv2D"}
    if level in ("all", "fp16"):  # and those outside read what leaves the device
        assert inside == {n for n in types if n.startswith(f"{NETWORK}/") and types[n] not in ("Const",)}
    else:
        assert with_rounded == products


def test_the_prediction_is_kept_with_the_model(cast_level):
    _, found, graph_def = cast_level
    nodes = [node for node in graph_def.node if f"/{DECODING}/" not in node.name]
    assert found.metadata["predicted_on_neuron_ratio"] * len(graph_def.node) / len(nodes) > 0.5
    assert (found.metadata["backend"], found.metadata["cast_engine"]) == ("emulated", "emulated")


def test_every_level_sees_the_same_best_object_by_other_numbers(cast_level, tiny_detector):
    expected, ours = tiny_detector.detect([IMAGE])[0], cast_level[1].detect([IMAGE])[0]
    assert ours.scores[0] == pytest.approx(expected.scores[0], abs=0.05)
    assert not np.array_equal(ours.scores, expected.scores)


def test_an_unknown_cast_is_refused():
    with pytest.raises(ValueError, match="cast fp32: must be one of: all, matmult"):
        emulated.cast_engine("fp32")
