"""A model compiled for one batch size: it takes no other, and the detector splits and pads requests to it."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from model.backends import cpu, emulated, xla
from model.detector import Detector
from model.graph.freeze import network_part
from model.graph.saved_model import read_metadata
from model.layer_diff import first_difference
from tests.model.samples import sample_images

IMAGES = sample_images(7)
BATCH = 3
# With 32-bit edges: rounding to 16 bits makes of the last bit of a sum, which depends on the batch, a thousandth.
BACKENDS = {
    "cpu": (cpu, {}), "cpu-bf16": (cpu, {"cast": "bf16"}), "xla": (xla, {}),
    "emulated": (emulated, {"cast": "matmult", "edges": 32}),
}


@pytest.fixture(scope="module", params=["cpu", *(
    pytest.param(name, marks=pytest.mark.slow) for name in ("cpu-bf16", "emulated", "xla"))])
def pair(request, tiny_model, tmp_path_factory):
    """The tiny detector of a backend, for any batch size and compiled for one."""
    (module, settings), folder = BACKENDS[request.param], tmp_path_factory.mktemp("batch")
    return (Detector(module.compile(tiny_model, folder / "any", **settings)),
            Detector(module.compile(tiny_model, folder / "fixed", batch=BATCH, **settings)))


@pytest.fixture(scope="module")
def fixed(tiny_model, tmp_path_factory):
    return cpu.compile(tiny_model, tmp_path_factory.mktemp("fixed") / "compiled", batch=BATCH)


@pytest.mark.parametrize("count", (1, BATCH, 2 * BATCH - 1, len(IMAGES)))
def test_a_request_of_any_size_gets_the_detections_of_its_images(pair, count):
    free, fixed = pair
    found, expected = fixed.detect(IMAGES[:count]), [free.detect([image])[0] for image in IMAGES[:count]]
    assert len(found) == count
    for one, two in zip(found, expected):
        np.testing.assert_array_equal(one.classes, two.classes)
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-2)


def test_it_runs_as_its_backend_promises(pair):
    free, fixed = pair
    assert fixed.fallback(IMAGES[0]) == free.fallback(IMAGES[0]) == ""
    assert (free.metadata["compiled_batch"], fixed.metadata["compiled_batch"]) == (None, BATCH)


def test_the_model_itself_takes_no_other_batch_size(fixed):
    """What a client without this detector would meet: TensorFlow refuses the request."""
    run = tf.saved_model.load(str(fixed)).signatures["serving_default"]
    assert run.structured_input_signature[1]["image"].shape == [BATCH]
    assert run(image=tf.constant(IMAGES[:BATCH]))["boxes"].shape[0] == BATCH
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        run(image=tf.constant(IMAGES[:BATCH - 1]))


def test_each_batch_is_full_and_padded_with_its_own_last_image(fixed, monkeypatch):
    detector, sent = Detector(fixed), []
    run = detector._session.run

    def recorded(tensors, fed):
        sent.extend(map(list, fed.values()))
        return run(tensors, fed)

    monkeypatch.setattr(detector._session, "run", recorded)
    detector.detect(IMAGES[:5])
    assert sent == [IMAGES[:3], [*IMAGES[3:5], IMAGES[4]]]


def test_the_networks_shapes_are_fixed(frozen):
    """A compiler that needs static shapes finds them: images and all head maps have the batch size."""
    graph_def, inputs, outputs = frozen(BATCH)
    _, source, heads = network_part(graph_def)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        shapes = [graph.get_tensor_by_name(f"{name}:0").shape for name in (source, *heads)]
        shapes += [graph.get_tensor_by_name(name).shape for name in (*inputs.values(), *outputs.values())]
    assert [shape[0] for shape in shapes] == [BATCH] * len(shapes)
    assert all(shape.is_fully_defined() for shape in shapes[:1 + len(heads)])


@pytest.mark.parametrize("count", [1, 4])
def test_an_image_that_cannot_be_decoded_spoils_no_other(pair, count):
    _, fixed = pair
    bad = IMAGES[0][:len(IMAGES[0]) // 2]
    found = fixed.detect([*IMAGES[:count], bad, b"no image", IMAGES[0]])
    assert [bool(one.error) for one in found] == [*[False] * count, True, True, False]
    np.testing.assert_array_equal(found[-1].classes, found[0].classes)


@pytest.mark.slow
def test_layers_are_compared_by_the_image_alone(fixed, tiny_detector):
    assert first_difference(tiny_detector, Detector(fixed), IMAGES[0], 1e-4) == ""


def test_the_metadata_is_kept(fixed, compiled):
    changed = {"compiled_batch": BATCH}
    assert read_metadata(fixed) == {**read_metadata(compiled), **changed}
