"""The network computes what darknet's cfg and weights say, according to OpenCV's own importer of those files."""
from __future__ import annotations

import numpy as np
import pytest

from model.architecture import Convolutional
from model.darknet import ACTIVATIONS, read_cfg
from model.network import assign, network, trained_weights
from model.weights import digest, random_weights
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
    *(pytest.param(*row, id=name) for name, row in OFFICIAL.items()),
    pytest.param("darknet/yolov4x-mish.cfg", 64, id="yolov4x-mish", marks=pytest.mark.slow),
])
def test_official_network_agrees_with_opencv(real, cfg, path, size):
    both = Comparison(cfg(resized((real / path).read_text(), size)))
    found = both.disagreement()
    assert found <= CLOSE, f"{path} at {size}: {found:.2e} of the range, first in {both.first_difference(CLOSE)}"


@pytest.mark.slow
@pytest.mark.parametrize("size", [416, 608])
def test_yolov4_at_full_size_agrees_with_opencv_down_to_the_boxes(real, cfg, size):
    text = resized((real / "darknet/yolov4.cfg").read_text(), size).replace("[yolo]", "[yolo]\nthresh=0")
    both = Comparison(cfg(text))
    boxes, scores = both.candidates_disagreement()
    assert (both.disagreement() <= CLOSE, boxes <= CLOSE, scores <= CLOSE) == (True,) * 3, (boxes, scores)


@pytest.mark.parametrize("path", ["darknet/yolov4-tiny.cfg", "darknet/yolov4-csp.cfg"])
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
SYNTHETIC = {
    **{f"activation {name}": [conv(activation=name)] for name in ACTIVATIONS},
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
    "dropout": [EIGHT, "[dropout]\nprobability=0.5", EIGHT, "[shortcut]\nfrom=-2"],
}


@pytest.mark.parametrize("sections", SYNTHETIC.values(), ids=SYNTHETIC)
def test_every_kind_of_layer_agrees_with_opencv(cfg, sections):
    found = Comparison(cfg(cfg_text(*sections, width=24, height=16)), batch=2).disagreement()
    assert found <= 1e-4, f"{found:.2e} of the range"


@pytest.mark.parametrize("path", [path for path, _ in OFFICIAL.values()], ids=OFFICIAL)
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
    with pytest.raises(TypeError, match="layer 0: no way to build a str"):
        network(one_head(Convolutional(3)).__class__(32, 32, ("crop", *one_head(Convolutional(3)).layers)))


def test_random_weights_of_a_cfg_fill_its_network(cfg):
    architecture = read_cfg(cfg(cfg_text(EIGHT)))
    keras_network = network(architecture)
    assign(keras_network, architecture, random_weights(architecture, 0))
    assert keras_network.count_params() == 8 * 27 + 8 + 6 * 8 + 6
