"""Decoding profiles: what each says, what the cfg has a say in, and what is refused."""
from __future__ import annotations

from dataclasses import replace

import pytest

from model.decoding import DEFAULT, PROFILES, Profile, ProfileError, profile_for
from model.formats.cfg import CfgError, read_cfg
from model.yolov4 import yolov4
from tests.model.samples import cfg_text

# What each profile is for YOLOv4: how images are resized, NMS threshold, DIoU exponent, centre scale.
YOLOV4 = {
    "darknet": ("stretch", 0.45, None, None),
    "aws": ("stretch", 0.45, None, 1.0),
    "letterbox-diou": ("letterbox", 0.5, 1.0, None),
}


@pytest.mark.parametrize("name", PROFILES)
def test_the_profiles_of_yolov4(name):
    found = profile_for(yolov4(), name)
    assert (found.resize, found.iou_threshold, found.diou_beta, found.centre_scale) == YOLOV4[name]
    assert (found.name, found.score_threshold, found.max_detections) == (name, 0.001, 100)


@pytest.mark.parametrize("file, resize, beta", [
    ("yolov4.cfg", "stretch", None), ("yolov4-tiny.cfg", "stretch", None),
    ("yolov4-csp.cfg", "letterbox", 0.6), ("yolov4x-mish.cfg", "letterbox", 0.6),
])
def test_darknets_profile_is_what_the_cfg_says(real, file, resize, beta):
    found = profile_for(read_cfg(real / "darknet" / file), DEFAULT)
    assert (found.resize, found.diou_beta) == (resize, beta)


def head(nms):
    return cfg_text().replace("num=1", f"num=1\n{nms}")


@pytest.mark.parametrize("nms, beta", [
    ("", None), ("nms_kind=default", None), ("nms_kind=greedynms\nbeta_nms=0.6", None),
    ("nms_kind=diounms", 0.6), ("nms_kind=diounms\nbeta_nms=1.2", 1.2),
])
def test_the_cfgs_suppression(cfg, nms, beta):
    assert read_cfg(cfg(head(nms))).diou_beta == beta


@pytest.mark.parametrize("nms, message", [
    ("nms_kind=cornersnms", "`nms_kind=cornersnms` must be one of: default"),
    ("nms_kind=diounms\nbeta_nms=much", "`beta_nms=much` must be a finite number"),
])
def test_a_suppression_that_is_not_known_is_refused(cfg, nms, message):
    with pytest.raises(CfgError, match=rf"network.cfg:\d+: \[yolo\] {message}"):
        read_cfg(cfg(head(nms)))


def test_what_is_given_replaces_the_profiles_values():
    found = profile_for(yolov4(), "letterbox-diou", resize="stretch", score_threshold=None, iou_threshold=0.6)
    assert found == replace(profile_for(yolov4(), "letterbox-diou"), resize="stretch", iou_threshold=0.6)


@pytest.mark.parametrize("wrong, message", [
    ({"name": "best"}, "profile best: must be one of: darknet, aws, letterbox-diou"),
    ({"name": "aws", "resize": "crop"}, "resize crop: must be one of: stretch, letterbox"),
    ({"name": "aws", "score_threshold": -0.1}, "score_threshold -0.1: must be between 0 and 1"),
    ({"name": "aws", "iou_threshold": 1.5}, "iou_threshold 1.5: must be between 0 and 1"),
    ({"name": "aws", "iou_threshold": float("nan")}, "iou_threshold nan: must be between 0 and 1"),
], ids=str)
def test_what_makes_no_sense_is_refused_by_option(wrong, message):
    with pytest.raises(ProfileError, match=message):
        profile_for(yolov4(), **wrong)


def test_the_aws_profile_is_refused_for_heads_that_encode_otherwise(cfg):
    architecture = read_cfg(cfg(cfg_text().replace("num=1", "num=1\nnew_coords=1\nscale_x_y=2.0")))
    with pytest.raises(ProfileError, match="profile aws: is for YOLOv4's own heads"):
        profile_for(architecture, "aws")


def test_a_profile_says_what_it_is_in_one_line():
    assert str(profile_for(yolov4(), "aws")) == "aws: stretch, centre scale 1, greedy NMS 0.45, score 0.001"
    assert str(Profile("mine", diou_beta=0.6)) == "mine: stretch, DIoU-NMS (beta 0.6) 0.45, score 0.001"
