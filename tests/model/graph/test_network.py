"""The network computes what darknet's cfg and weights say, according to OpenCV's own importer of those files."""
from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from model.architecture import Activation, Convolutional, LocalAvgPool, MultiShortcut, Reorg
from model.formats.cfg import ACTIVATIONS as CFG_ACTIVATIONS
from model.formats.cfg import read_cfg
from model.formats.weights import digest, random_weights
from model.graph.network import ACTIVATIONS, _layer, assign, network, trained_weights
from tests.model import families
from tests.model.reference import Comparison, resized
from tests.model.samples import cfg_text, one_head

# Parts of the range of a head's map. OpenCV adds 1e-6 to a variance where darknet and ours add 1e-5.
CLOSE = 1e-3

OFFICIAL = {
    "yolov4-tiny": ("darknet/yolov4-tiny.cfg", 96),
    "yolo-fastest": ("coco/yolo-fastest-1.1-xl.cfg", 320),
    "retail": ("retail/yolov4-tiny.cfg", 256),
    "yolov4": ("darknet/yolov4.cfg", 64),
    "yolov4-csp": ("darknet/yolov4-csp.cfg", 64),
}


@pytest.mark.parametrize("path, size", [
    *(pytest.param(*row, id=name, marks=[pytest.mark.slow] * (name == "yolov4-csp")) for name, row in OFFICIAL.items()),
    pytest.param("darknet/yolov4x-mish.cfg", 64, id="yolov4x-mish", marks=pytest.mark.slow),
])
def test_official_network_agrees_with_opencv(real, cfg, path, size):
    both = Comparison(cfg(resized((real / path).read_text(), size)))
    found = both.disagreement()
    assert found <= CLOSE, f"{path} at {size}: {found:.2e} of the range, first in {both.first_difference(CLOSE)}"


# Cfg at a published size, numbers in its weights file, and a size at which all maps of the network are there.
FAMILIES = {
    "yolov3": (families.yolov3, 416, 62_001_757, 64),
    "yolov3-spp": (partial(families.yolov3, spp=True), 608, 63_052_381, 64),
    "yolov3-tiny": (families.yolov3_tiny, 416, 8_858_734, 64),
    "yolov7": (families.yolov7, 640, 36_974_557, 64),
    "yolov7-tiny": (families.yolov7_tiny, 416, 6_241_885, 64),
    "yolov7x": (families.yolov7x, 640, 71_409_685, 64),
    "yolov4-p5": (families.yolov4_large, 896, 70_917_468, 64),
    "yolov4-p6": (partial(families.yolov4_large, deep=True), 1280, 127_717_040, 128),
}

LARGE = ("yolov7x", "yolov4-p6")  # more of what yolov7 and yolov4-p5 have


@pytest.mark.parametrize("write, size, parameters, _", FAMILIES.values(), ids=FAMILIES)
def test_a_published_detector_has_as_many_parameters_as_its_weights_file(cfg, write, size, parameters, _):
    assert read_cfg(cfg(write(size))).parameters() == parameters


def narrow(text: str) -> str:
    """The cfg with a quarter of the channels everywhere but before the heads."""
    return re.sub(r"(batch_normalize=1\nfilters=)(\d+)", lambda match: f"{match[1]}{int(match[2]) // 4}", text)


@pytest.mark.parametrize("write, _, parameters, size", [
    pytest.param(*row, id=name, marks=[pytest.mark.slow] * (name in LARGE)) for name, row in FAMILIES.items()])
def test_a_published_detector_agrees_with_opencv(cfg, write, _, parameters, size):
    """A quarter as wide, which is as exact and sixteen times as fast; every layer and every connection is there."""
    assert_agrees(Comparison(cfg(narrow(write(size)))))


@pytest.mark.slow
@pytest.mark.parametrize("write, _, parameters, size", FAMILIES.values(), ids=FAMILIES)
def test_a_published_detector_at_full_width_agrees_with_opencv(cfg, write, _, parameters, size):
    assert_agrees(Comparison(cfg(write(size))))


def assert_agrees(both: Comparison) -> None:
    found = both.disagreement()
    assert found <= CLOSE, f"{found:.2e} of the range, first in {both.first_difference(CLOSE)}"


@pytest.mark.slow
@pytest.mark.parametrize("size", [416, 608])
def test_yolov4_at_full_size_agrees_with_opencv_down_to_the_boxes(real, cfg, size):
    text = resized((real / "darknet/yolov4.cfg").read_text(), size).replace("[yolo]", "[yolo]\nthresh=0")
    both = Comparison(cfg(text))
    boxes, scores = both.candidates_disagreement()
    assert (both.disagreement() <= CLOSE, boxes <= CLOSE, scores <= CLOSE) == (True,) * 3, (boxes, scores)


@pytest.mark.parametrize("path", [
    "darknet/yolov4-tiny.cfg", pytest.param("darknet/yolov4-csp.cfg", marks=pytest.mark.slow)])
def test_candidates_agree_with_opencv(real, cfg, path):
    text = resized((real / path).read_text(), 96 if "tiny" in path else 64).replace("[yolo]", "[yolo]\nthresh=0")
    boxes, scores = Comparison(cfg(text)).candidates_disagreement()
    assert max(boxes, scores) <= CLOSE, (boxes, scores)


@pytest.mark.parametrize("index", [3, 29], ids=["early", "late"])
def test_the_first_layer_that_differs_is_named(real, cfg, index):
    both = Comparison(cfg(resized((real / "darknet/yolov4-tiny.cfg").read_text(), 96)))
    assert both.first_difference(CLOSE) == "no layer differs"
    wrong = next(i for i, *_ in both.architecture.convolutions() if i >= index)
    layer = both.ours.get_layer(f"conv_{wrong:03d}")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel[::-1], bias] if kernel.shape[0] > 1 else [kernel * 1.1, bias])
    assert both.first_difference(CLOSE).startswith(f"layer {wrong} (Convolutional(")


def conv(filters=8, size=3, stride=1, pad="pad=1", activation="leaky", more="batch_normalize=1"):
    return "\n".join((f"[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}", pad,
                      f"activation={activation}", more))


EIGHT = conv(8, activation="linear")
OPENCVS_ACTIVATIONS = ("leaky", "mish", "linear", "logistic", "relu", "swish", "silu", "tanh")
SYNTHETIC = {
    **{f"activation {name}": [conv(activation=name)] for name in OPENCVS_ACTIVATIONS},
    "bias instead of batch norm": [conv(more="")],
    "2 groups": [EIGHT, conv(12, more="groups=2\nbatch_normalize=1")],
    "4 groups": [EIGHT, conv(4, 1, more="groups=4")],
    "depthwise": [EIGHT, conv(8, more="groups=8\nbatch_normalize=1")],
    "depthwise that halves": [EIGHT, conv(8, 3, 2, more="groups=8\nbatch_normalize=1")],
    "depthwise with two filters a channel": [EIGHT, conv(16, 5, more="groups=8")],
    "even kernel": [conv(size=2)],
    "even kernel that halves": [conv(size=4, stride=2)],
    "large kernel": [conv(size=7)],
    "no padding": [conv(size=3, pad="pad=0")],
    "padding in pixels": [conv(size=3, pad="padding=2")],
    "halving": [conv(stride=2)],
    "halving odd sizes": [conv(size=4), conv(stride=2)],
    "padding of another size than half": [conv(size=5, stride=2, pad="padding=1")],
    "1 x 1 that halves": [conv(size=1, stride=2)],
    "max pool that halves": [EIGHT, "[maxpool]\nsize=2\nstride=2"],
    "max pool of 3 that halves": [EIGHT, "[maxpool]\nsize=3\nstride=2"],
    "max pool of odd sizes": [conv(size=2), "[maxpool]\nsize=2\nstride=2"],
    "max pool of 3 of odd sizes": [conv(size=2), "[maxpool]\nsize=3\nstride=2"],
    "max pool of 2 in place": [EIGHT, "[maxpool]\nsize=2\nstride=1"],
    "max pool of 5 in place": [EIGHT, "[maxpool]\nsize=5\nstride=1"],
    "route of two": [EIGHT, conv(4), "[route]\nlayers=-1,0"],
    "route of half": [EIGHT, "[route]\nlayers=-1\ngroups=2\ngroup_id=1"],
    "route of the first quarter": [EIGHT, "[route]\nlayers=0\ngroups=4\ngroup_id=0"],
    "shortcut": [EIGHT, EIGHT, "[shortcut]\nfrom=-2"],
    "shortcut with an activation": [EIGHT, EIGHT, "[shortcut]\nfrom=0\nactivation=leaky"],
    "upsample": [conv(stride=2), "[upsample]\nstride=2"],
    "upsample by 3": [conv(stride=2), "[upsample]\nstride=3"],
    "shortcut from fewer channels": [conv(5), EIGHT, "[shortcut]\nfrom=-2"],
    "shortcut from more channels": [conv(12), EIGHT, "[shortcut]\nfrom=-2\nactivation=leaky"],
    "spatial attention": [EIGHT, conv(8, 1, activation="logistic"), "[sam]\nfrom=-2"],
    "strides that do not divide": [conv(stride=5), conv(stride=2)],
    "max pool that does not divide": [EIGHT, "[maxpool]\nsize=3\nstride=5"],
    "a layer that nobody reads": [EIGHT, conv(16), "[route]\nlayers=0"],
    "dropout": [EIGHT, "[dropout]\nprobability=0.5", EIGHT, "[shortcut]\nfrom=-2"],
}


@pytest.mark.parametrize("sections", SYNTHETIC.values(), ids=SYNTHETIC)
def test_every_kind_of_layer_agrees_with_opencv(cfg, sections):
    found = Comparison(cfg(cfg_text(*sections, width=24, height=16)), batch=2).disagreement()
    assert found <= 1e-4, f"{found:.2e} of the range"


def test_scaled_channels_agree_with_opencv(cfg):
    """One image at a time: OpenCV's scaling takes no batch."""
    sections = [EIGHT, "[avgpool]", conv(8, 1, activation="logistic"), "[scale_channels]\nfrom=-3\nactivation=relu"]
    assert Comparison(cfg(cfg_text(*sections, width=24, height=16))).disagreement() <= 1e-4


def test_layers_behind_the_last_head_are_in_the_weights_file_and_not_in_the_network(cfg):
    text = cfg_text(EIGHT) + "[route]\nlayers=0\n" + conv(4, more="")
    both = Comparison(cfg(text))
    assert both.disagreement() <= 1e-4
    assert both.architecture.parameters() - both.ours.count_params() == 4 * 8 * 9 + 4 + 3 * 8


@pytest.mark.parametrize("name", ["cfg-conv-after-last-yolo", "cfg-size-no-multiple", "cfg-shortcut-channels",
                                  "cfg-inline-comment", "cfg-training-keys", "cfg-batch-twice", "cfg-latin1-gbk"])
def test_what_people_have_agrees_with_opencv(real, cfg, name):
    assert Comparison(cfg((real / "cases" / name / "case.cfg").read_bytes())).disagreement() <= CLOSE


# What OpenCV does not read, against darknet's definitions written out for one map [rows, columns, channels].


def one_map(record, maps) -> np.ndarray:
    """What the record's part of a network gives for these inputs."""
    tensors = [tf.keras.Input(array.shape) for array in maps]
    model = tf.keras.Model(tensors, _layer(9, record, tensors, True, ACTIVATIONS))
    return np.asarray(model([array[None] for array in maps]))[0]


def random_map(*shape) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 3, shape).astype(np.float32)


# src/activations.h, with its constants.
DEFINITIONS = {
    "relu6": lambda x: np.minimum(np.maximum(x, 0), 6),
    "hard_mish": lambda x: np.where(x > 0, x, np.where(x > -2, x * x / 2 + x, 0)),
    "elu": lambda x: (x >= 0) * x + (x < 0) * (np.exp(x) - 1),
    "selu": lambda x: (x >= 0) * 1.0507 * x + (x < 0) * 1.0507 * 1.6732 * (np.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x ** 3)),
    "revleaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "loggy": lambda x: 2 / (1 + np.exp(-x)) - 1,
    "hardtan": lambda x: np.where(x < -1, -1, np.where(x > 1, 1, x)),
}


def test_every_activation_that_a_cfg_may_name_is_tested():
    assert set(CFG_ACTIVATIONS) == set(OPENCVS_ACTIVATIONS) | set(DEFINITIONS) == set(ACTIVATIONS) | {"linear"}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_activation_is_darknets(name):
    x = random_map(9, 7, 5)
    np.testing.assert_allclose(one_map(Activation(name), [x]), DEFINITIONS[name](x.astype(float)), atol=1e-5)


def test_blocks_become_channels_as_darknets_reorg_does():
    x, stride = random_map(4, 6, 3), 2
    expected = np.zeros((2, 3, 12))
    for channel, row, column in np.ndindex(12, 2, 3):
        offset, source = divmod(channel, 3)
        expected[row, column, channel] = x[row * stride + offset // stride, column * stride + offset % stride, source]
    np.testing.assert_array_equal(one_map(Reorg(stride), [x]), expected)


@pytest.mark.parametrize("size, stride, padding", [(3, 1, 2), (2, 2, 1), (3, 2, 2), (5, 1, 4)])
def test_means_of_windows_leave_the_padding_out(size, stride, padding):
    x, before = random_map(7, 6, 2), padding // 2
    rows, columns = ((side + padding - size) // stride + 1 for side in (7, 6))
    expected = np.zeros((rows, columns, 2))
    for row, column in np.ndindex(rows, columns):
        top, left = row * stride - before, column * stride - before
        window = x[max(top, 0):top + size, max(left, 0):left + size]
        expected[row, column] = window.mean((0, 1))
    np.testing.assert_allclose(one_map(LocalAvgPool(size, stride, padding), [x]), expected, atol=1e-5)


def test_a_sum_of_several_takes_the_first_channels_of_each():
    few, many, last = random_map(3, 4, 2), random_map(3, 4, 9), random_map(3, 4, 5)
    expected = last + many[..., :5]
    expected[..., :2] += few
    np.testing.assert_allclose(one_map(MultiShortcut((0, 1)), [few, many, last]), expected, atol=1e-6)


def test_a_dilated_kernel_is_one_with_zeros_between_its_numbers(cfg):
    dilated = read_cfg(cfg(cfg_text("[conv]\nfilters=4\nsize=3\npad=1\ndilation=3")))
    wide = read_cfg(cfg(cfg_text("[conv]\nfilters=4\nsize=7\npad=1")))
    weights = random_weights(dilated, 1)
    kernel = np.zeros((7, 7, 3, 4), np.float32)
    kernel[::3, ::3] = weights[0].kernel
    image = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    maps = []
    for architecture, first in ((dilated, weights[0]), (wide, replace(weights[0], kernel=kernel))):
        keras_network = network(architecture)
        assign(keras_network, architecture, [first, weights[1]])
        maps.append(np.asarray(keras_network(image)))
    np.testing.assert_allclose(*maps, atol=1e-5)


@pytest.mark.parametrize("path", [
    pytest.param(path, id=name, marks=[pytest.mark.slow] * (name == "yolov4-csp"))
    for name, (path, _) in OFFICIAL.items()])
def test_random_weights_neither_vanish_nor_explode(real, cfg, path):
    text = resized((real / path).read_text(), 64).replace("activation=logistic", "activation=linear")
    ranges = [float(np.ptp(head)) for head in Comparison(cfg(text), seed=0).our_maps]
    assert all(0.1 < value < 200 for value in ranges), ranges


def test_folded_and_batch_norm_form_are_one_network(tiny, tiny_weights):
    folded, trained = network(tiny), network(tiny, folded=False)
    assign(folded, tiny, tiny_weights)
    for (index, *_), numbers in zip(tiny.convolutions(), tiny_weights):
        kernel, *rest = numbers.arrays()
        trained.get_layer(f"conv_{index:03d}").set_weights([kernel] if numbers.scale is not None else [kernel, *rest])
        if numbers.scale is not None:
            trained.get_layer(f"conv_{index:03d}_bn").set_weights(
                [numbers.scale, numbers.bias, numbers.mean, numbers.variance])
    images = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    for one, two in zip(folded(images), trained(images, training=False)):
        np.testing.assert_allclose(one, two, atol=1e-3 * np.ptp(two))
    assert digest(trained_weights(trained, tiny)) == digest(tiny_weights)


def test_an_unknown_activation_is_no_network():
    with pytest.raises(KeyError, match="stair"):
        network(one_head(Convolutional(8, activation="stair")))


def test_an_unknown_record_is_no_network():
    with pytest.raises(TypeError, match="layer 0: cannot build a str"):
        network(one_head(Convolutional(3)).__class__(32, 32, ("crop", *one_head(Convolutional(3)).layers)))


def test_random_weights_of_a_cfg_fill_its_network(cfg):
    architecture = read_cfg(cfg(cfg_text(EIGHT)))
    keras_network = network(architecture)
    assign(keras_network, architecture, random_weights(architecture, 0))
    assert keras_network.count_params() == 8 * 27 + 8 + 6 * 8 + 6
