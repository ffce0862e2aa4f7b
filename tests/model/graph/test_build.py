"""The SavedModel: its signature, what it says of itself, and that there is all of it or nothing."""
from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import tensorflow as tf

from model.architecture import Convolutional
from model.backends import cpu
from model.decoding import Profile
from model.formats.weights import digest, random_weights
from model.graph import build as building
from model.graph.build import BuildError, architecture_digest, build
from model.graph.saved_model import METADATA, SavedModelError, published, read_metadata
from model.yolov4 import yolov4
from tests.model.samples import NAMES, PROFILE, encode, one_head, pixels, sample_images

OUTPUTS = {
    "boxes": (tf.float32, [None, 100, 4]),
    "scores": (tf.float32, [None, 100]),
    "classes": (tf.int32, [None, 100]),
    "count": (tf.int32, [None]),
}


@pytest.fixture(scope="module")
def serving(tiny_model):
    """The signature as TensorFlow Serving sees it."""
    loaded = tf.saved_model.load(str(tiny_model))
    function = loaded.signatures["serving_default"]
    function.keep = loaded
    return function


def test_the_only_input_is_a_vector_of_encoded_images(serving):
    (name, spec), = serving.structured_input_signature[1].items()
    assert (name, spec.dtype, spec.shape.as_list()) == ("image", tf.string, [None])


def test_outputs_have_the_promised_names_types_and_shapes(serving):
    found = {name: (t.dtype, t.shape.as_list()) for name, t in serving.structured_outputs.items()}
    assert found.keys() == OUTPUTS.keys()
    for name, (dtype, shape) in OUTPUTS.items():
        got_type, got_shape = found[name]
        assert got_type == dtype and got_shape[1:] in (shape[1:], [None] * len(shape[1:])), name


def test_the_saved_model_and_the_compiled_one_answer_alike(serving, tiny_detector):
    images = sample_images(2)
    served = serving(image=tf.constant(images))
    for i, found in enumerate(tiny_detector.detect(images)):
        count = int(served["count"][i])
        assert count == len(found.scores) > 0
        np.testing.assert_allclose(served["scores"][i, :count], found.scores, atol=1e-5)


def test_metadata_identifies_the_detector(tiny_model, tiny, tiny_weights):
    assert read_metadata(tiny_model) == {
        "width": 64, "height": 64, "classes": 3, "names": list(NAMES), "convolutions": len(tiny.convolutions()),
        "parameters": tiny.parameters(), "flops": tiny.flops(), "architecture_sha256": architecture_digest(tiny),
        "weights_sha256": digest(tiny_weights), "profile": asdict(PROFILE),
    }


def test_compiling_adds_backend_and_cast_to_the_metadata(tiny_model, compiled):
    added = {"backend": "cpu", "cast": "fp32", "cast_engine": "native", "edges": 32, "compiled_batch": None}
    assert read_metadata(compiled) == {**read_metadata(tiny_model), **added}


def test_architectures_that_differ_in_one_anchor_differ_in_their_digest(tiny):
    assert architecture_digest(yolov4(3, 64, 0.05, (1,) * 5)) == architecture_digest(tiny)
    assert architecture_digest(replace(tiny, letterbox=True)) != architecture_digest(tiny)


@pytest.mark.parametrize("content", [None, "a file"], ids=["folder", "file"])
def test_an_existing_output_is_refused_and_untouched(tmp_path, tiny, tiny_weights, content):
    output = tmp_path / "there"
    output.mkdir() if content is None else output.write_text(content)
    with pytest.raises(SavedModelError, match="there: exists already"):
        build(tiny, tiny_weights, output)
    assert (None if output.is_dir() else output.read_text()) == content and len(list(tmp_path.rglob("*"))) == 1


def test_compiling_onto_an_existing_output_is_refused(tmp_path, tiny_model):
    with pytest.raises(SavedModelError, match="exists already"):
        cpu.compile(tiny_model, tmp_path)


def test_an_output_below_a_file_is_refused(tmp_path, tiny, tiny_weights):
    (tmp_path / "file").write_text("")
    with pytest.raises(SavedModelError, match=r"cannot be written \(Not a directory\)"):
        build(tiny, tiny_weights, tmp_path / "file" / "output")


def test_building_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    architecture = one_head(Convolutional(8, 3, 4, 1))

    def fail(*_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(building, "write_metadata", fail)
    with pytest.raises(RuntimeError, match="the disk is full"):
        build(architecture, random_weights(architecture, 0), tmp_path / "output")
    assert not any(tmp_path.iterdir())


def test_a_folder_is_published_only_when_complete(tmp_path):
    with published(tmp_path / "output") as folder:
        (folder / "part").write_text("one")
        assert not (tmp_path / "output").exists()
    assert (tmp_path / "output" / "part").read_text() == "one"


def test_publishing_is_one_rename_so_that_nobody_reads_half_of_it(tmp_path):
    with published(tmp_path / "output") as folder:
        identity = folder.stat().st_ino
    assert (tmp_path / "output").stat().st_ino == identity


def test_the_profiles_resize_is_what_the_model_does(tmp_path):
    architecture = one_head(Convolutional(8, 3, 4, 1), size=32)
    image = tf.constant([encode(pixels(128, 32))])
    boxes = []
    for resize in ("stretch", "letterbox"):
        path = build(architecture, random_weights(architecture, 0), tmp_path / resize, Profile(resize=resize))
        loaded = tf.saved_model.load(str(path))
        boxes.append(loaded.signatures["serving_default"](image=image)["boxes"].numpy())
    assert not np.allclose(*boxes, atol=1)


def test_names_that_are_not_one_per_class_are_refused(tmp_path, tiny, tiny_weights):
    with pytest.raises(BuildError, match="2 class names for a detector of 3 classes"):
        build(tiny, tiny_weights, tmp_path / "output", names=("a", "b"))


def test_a_model_that_is_not_ours_has_no_metadata(tmp_path):
    assert read_metadata(tmp_path) == {}


def test_metadata_lie_where_serving_ignores_them(tiny_model):
    assert METADATA.parts[0] == "assets.extra"
    assert json.loads((tiny_model / METADATA).read_text())


NOT_SAVED_MODELS = {
    "missing": lambda path: None,
    "empty": lambda path: path.mkdir(),
    "file": lambda path: path.write_text("text"),
    "garbage": lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"\xff" * 99)),
}


@pytest.mark.parametrize("make", NOT_SAVED_MODELS.values(), ids=NOT_SAVED_MODELS)
def test_what_is_not_a_saved_model_cannot_be_compiled(tmp_path, make):
    path = tmp_path / "model"
    make(path)
    with pytest.raises(SavedModelError, match=f"^{path}: is not a SavedModel"):
        cpu.compile(path, tmp_path / "compiled")
    assert not (tmp_path / "compiled").exists()
