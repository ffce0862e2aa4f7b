"""The architecture: the built-in YOLOv4 is the published one, and records that make no network are refused by name."""
from __future__ import annotations

from dataclasses import replace

import pytest

from model.architecture import (
    Architecture,
    ArchitectureError,
    AvgPool,
    Convolutional,
    DilatedConvolutional,
    Dropout,
    LocalAvgPool,
    Loss,
    MaxPool,
    MultiShortcut,
    Reorg,
    Route,
    Sam,
    ScaleChannels,
    Shape,
    Shortcut,
    Upsample,
    Yolo,
)
from model.formats.cfg import read_cfg
from model.yolov4 import yolov4
from tests.model.samples import one_head, tiny

CONV = Convolutional(8, 3, 1, 1)
HALVE = Convolutional(8, 3, 2, 1)


def test_yolov4_has_the_published_number_of_parameters():
    assert yolov4().parameters() == 64_429_405


def test_yolov4_has_110_convolutions():
    assert len(yolov4().convolutions()) == 110


def test_yolov4_takes_the_published_arithmetic():
    assert round(yolov4().flops() / 1e9, 1) == 128.4


def test_yolov4_is_what_the_official_cfg_describes(real):
    assert yolov4() == read_cfg(real / "darknet" / "yolov4.cfg")


OFFICIAL = {
    "tiny": ("darknet/yolov4-tiny.cfg", 6_062_814),
    "csp": ("darknet/yolov4-csp.cfg", 52_986_205),
    "x-mish": ("darknet/yolov4x-mish.cfg", 99_847_037),
    "fastest": ("coco/yolo-fastest-1.1-xl.cfg", 923_486),
    "retail": ("retail/yolov4-tiny.cfg", 1_014_966),
}


@pytest.mark.parametrize("path, parameters", OFFICIAL.values(), ids=OFFICIAL)
def test_official_cfg_has_as_many_parameters_as_its_weights_file(real, path, parameters):
    assert read_cfg(real / path).parameters() == parameters


def test_heads_see_the_input_at_strides_8_16_and_32():
    architecture = yolov4()
    shapes = architecture.shapes()
    heads = [shapes[i][:2] for i, layer in enumerate(architecture.layers) if isinstance(layer, Yolo)]
    assert heads == [(76, 76), (38, 38), (19, 19)]


def test_scaled_channels_are_multiples_of_8_and_never_fewer():
    filters = {conv.filters for _, conv, _ in tiny().convolutions() if conv.batch_normalize}
    assert min(filters) == 8 and not any(count % 8 for count in filters), filters


OUTPUTS = {
    "convolution that halves": (HALVE, (16, 16, 8)),
    "even kernel": (Convolutional(4, 2, 1, 1), (33, 33, 4)),
    "no padding": (Convolutional(4, 3, 1, 0), (30, 30, 4)),
    "max pool that halves": (MaxPool(2, 2, 1), (16, 16, 3)),
    "max pool that keeps the size": (MaxPool(2, 1, 1), (32, 32, 3)),
    "upsample": (Upsample(3), (96, 96, 3)),
    "dropout": (Dropout(), (32, 32, 3)),
    "stride that does not divide": (Convolutional(4, 3, 10, 1), (4, 4, 4)),
    "dilation": (DilatedConvolutional(4, 3, 1, 2, dilation=2), (32, 32, 4)),
    "mean of windows": (LocalAvgPool(3, 2, 2), (16, 16, 3)),
    "mean of all": (AvgPool(), (1, 1, 3)),
    "blocks as channels": (Reorg(2), (16, 16, 12)),
}


@pytest.mark.parametrize("record, expected", OUTPUTS.values(), ids=OUTPUTS)
def test_output_shape_is_darknets(record, expected):
    assert one_head(record).shapes()[0] == Shape(*expected)


INCONSISTENT = {
    "shortcut of another size": ([CONV, HALVE, Shortcut(0)], "layer 2 (shortcut): adds (32, 32, 8) (layer 0) to"),
    "sum of another size": ([CONV, HALVE, MultiShortcut((0, 1))], "layer 2 (multishortcut): adds (32, 32, 8)"),
    "sum of nothing": ([CONV, MultiShortcut(())], "layer 1 (multishortcut): refers to layer -1"),
    "product of other channels": ([CONV, Convolutional(16), Sam(0)], "layer 2 (sam): multiplies (32, 32, 8)"),
    "scales that are maps": ([CONV, CONV, ScaleChannels(0)], "layer 2 (scalechannels): multiplies (32, 32, 8)"),
    "blocks that do not fill the map": ([CONV, Reorg(5)], "layer 1 (reorg): cannot cut 32x32 pixels into blocks of 5"),
    "dilated beyond the image": ([DilatedConvolutional(8, 3, dilation=16)], "layer 0 (dilatedconvolutional): is la"),
    "more than a machine holds": ([Convolutional(60000), Convolutional(60000)], "has 3,"),
    "route of other sizes": ([CONV, HALVE, Route((0, 1))], "layer 2 (route): concatenates layers of different sizes"),
    "route to a later layer": ([CONV, Route((2,))], "layer 1 (route): refers to layer 2, must refer to an"),
    "route to itself": ([CONV, Route((1,))], "layer 1 (route): refers to layer 1, must refer to an"),
    "route to a relative layer": ([CONV, Route((-1,))], "layer 1 (route): refers to layer -1"),
    "route to nothing": ([CONV, Route(())], "layer 1 (route): refers to layer -1"),
    "shortcut to a later layer": ([CONV, Shortcut(5)], "layer 1 (shortcut): refers to layer 5, must refer to an"),
    "groups against channels": ([Convolutional(8, groups=2)], "layer 0 (convolutional): 2 groups do not divide"),
    "groups against filters": ([CONV, Convolutional(9, groups=4)], "layer 1 (convolutional): 4 groups do not divide"),
    "route groups": ([CONV, Route((0,), 3)], "layer 1 (route): cannot take group 0 of 3"),
    "route group id": ([CONV, Route((0,), 2, 2)], "layer 1 (route): cannot take group 2 of 2"),
    "yolo without its filters": ([CONV, Yolo(((9, 9),), 1)], "layer 1 (yolo): 1 anchors and 1 classes need 6 filters"),
    "yolo at once": ([Yolo(((9, 9),), 1)], "layer 0 (yolo): 1 anchors and 1 classes need 6 filters"),
    "kernel larger than the image": ([Convolutional(8, 35)], "layer 0 (convolutional): is larger than"),
    "window larger than the image": ([MaxPool(40, 1, 0)], "layer 0 (maxpool): is larger than"),
    "window of nothing but padding": ([MaxPool(2, 1, 4)], "layer 0 (maxpool): has 4 pixels of padding"),
    "more than memory holds": ([Convolutional(10**9)], "layer 0 (convolutional): has more than"),
    "enlarged beyond memory": ([Upsample(10**5)], "layer 0 (upsample): has more than"),
}


@pytest.mark.parametrize("layers, message", INCONSISTENT.values(), ids=INCONSISTENT)
def test_inconsistent_records_are_refused_with_the_layers_name(layers, message):
    with pytest.raises(ArchitectureError) as caught:
        one_head(*layers)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("size", [16, 33, 609, 640 + 8])
def test_a_size_at_which_maps_do_not_meet_is_refused_with_one_that_would_fit(size):
    message = f"concatenates layers of different sizes.*an input size that is a multiple of 32, unlike {size}x{size}"
    with pytest.raises(ArchitectureError, match=message):
        replace(yolov4(), width=size, height=size)


@pytest.mark.parametrize("size", [60, 63])
def test_a_size_that_is_no_multiple_of_the_stride_is_a_network_where_maps_meet(size):
    assert replace(tiny(), width=size, height=size).shapes()[-1] == Shape(2, 2, 24)


@pytest.mark.parametrize("size", [0, -32, 16_385, 10**9])
def test_a_size_without_sense_is_refused(size):
    with pytest.raises(ArchitectureError, match=f"the input size {size}x{size}: must be between 1 and 16,384 pixels"):
        replace(tiny(), width=size, height=size)


def test_layers_that_no_head_depends_on_are_counted_but_cost_nothing():
    one = one_head(CONV)
    more = replace(one, layers=(*one.layers, Route((0,)), Convolutional(4), Loss()))
    assert more.needed() == one.needed() == {0, 1, 2}
    assert (more.parameters() - one.parameters(), more.flops() - one.flops()) == (4 * 8 + 4 * 4, 0)


@pytest.mark.parametrize("width, height", [(64, 96), (96, 64)])
def test_an_oblong_input_is_a_network(width, height):
    assert replace(tiny(), width=width, height=height).shapes()[0] == Shape(height, width, 8)


def test_without_a_yolo_layer_nothing_is_detected_so_it_is_refused():
    with pytest.raises(ArchitectureError, match="has no yolo layer"):
        Architecture(32, 32, (CONV,))


@pytest.mark.parametrize("other", [{"classes": 2}, {"new_coords": True}], ids=str)
def test_heads_that_disagree_are_refused(other):
    one, two = Yolo(((9, 9),), 1), replace(Yolo(((9, 9),), 1), **other)
    layers = (Convolutional(6), one, Route((0,)), Convolutional(5 + two.classes), two)
    with pytest.raises(ArchitectureError, match="must have the same classes and new_coords"):
        Architecture(32, 32, layers)


@pytest.mark.parametrize("wrong", [{"depth": (1, 2)}, {"anchors": ((1, 1),) * 8}], ids=str)
def test_the_table_refuses_other_numbers_of_stages_and_anchors(wrong):
    with pytest.raises(ArchitectureError, match=r"stage depths and \d anchors, must have 5 and 9"):
        yolov4(**wrong)
