"""The CPU backend: BF16 where BF16 was asked for, proved on the executed graph, and only there."""
from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from model.backends import CASTS, cpu
from model.detector import Detector
from model.graph.saved_model import read_metadata, write_metadata
from tests.model.samples import sample_images

IMAGE = sample_images(1)[0]


@pytest.fixture(scope="module")
def emulated(tiny_model, tmp_path_factory):
    """The tiny detector as a machine without BF16 instructions computes it in BF16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "has_bf16", lambda: False)
        return Detector(cpu.compile(tiny_model, tmp_path_factory.mktemp("bf16") / "emulated", "bf16"))


@pytest.fixture(scope="module")
def native(tiny_model, tmp_path_factory):
    """The tiny detector in BF16 by the processor's own instructions."""
    if not cpu.has_bf16():
        pytest.skip("this processor does not compute in BF16 (avx512_bf16 or amx_bf16 in /proc/cpuinfo)")
    return Detector(cpu.compile(tiny_model, tmp_path_factory.mktemp("bf16") / "onednn", "bf16"))


def test_emulated_bf16_has_every_convolution(emulated):
    assert emulated.fallback(IMAGE) == ""


def test_native_bf16_has_every_convolution(native):
    assert native.fallback(IMAGE) == ""


def test_a_cast_that_did_not_take_place_is_seen(compiled, tmp_path):
    folder = shutil.copytree(compiled, tmp_path / "fp32")
    write_metadata(folder, {**read_metadata(folder), "cast": "bf16"})
    words = Detector(folder).fallback(IMAGE)
    assert re.fullmatch(r"the cast did not happen: none of \d+ convolutions compute in BF16", words)


@pytest.mark.parametrize("has_bf16, engine", {True: "onednn", False: "emulated"}.items())
def test_the_engine_is_the_processors_where_it_can(monkeypatch, has_bf16, engine):
    monkeypatch.setattr(cpu, "has_bf16", lambda: has_bf16)
    assert (cpu.cast_engine("bf16"), cpu.cast_engine("fp32")) == (engine, "native")


def test_an_unknown_cast_is_refused_instead_of_taken_for_another():
    with pytest.raises(ValueError, match="cast int8: must be one of: fp32, bf16"):
        cpu.cast_engine("int8")


@pytest.mark.parametrize("cast", CASTS["cpu"])
def test_the_backend_offers_the_listed_casts(cast):
    assert cpu.cast_engine(cast) in ("native", "onednn", "emulated")


def test_metadata_say_what_really_computes(emulated):
    assert (emulated.metadata["cast"], emulated.metadata["cast_engine"]) == ("bf16", "emulated")


def same_objects(one, two) -> float:
    """The share of the first detections of which the second have the same class within 2 pixels."""
    found = 0
    for box, label in zip(one.boxes, one.classes):
        rows = two.boxes[two.classes == label]
        found += len(rows) > 0 and np.abs(rows - box).max(1).min() <= 2
    return found / max(len(one.scores), 1)


def test_bf16_sees_other_numbers_but_the_same_objects(tiny_detector, emulated):
    fp32, bf16 = tiny_detector.detect([IMAGE])[0], emulated.detect([IMAGE])[0]
    assert not np.array_equal(fp32.scores[:3], bf16.scores[:3]) and same_objects(fp32, bf16) >= 0.9


def test_emulated_and_native_bf16_see_the_same_objects(emulated, native):
    for image in sample_images(3):
        one, two = emulated.detect([image])[0], native.detect([image])[0]
        assert min(same_objects(one, two), same_objects(two, one)) >= 0.9
        assert one.scores[0] == pytest.approx(two.scores[0], abs=0.01)
