"""The embedded detector gives the same detections on every TensorFlow: those that are stored beside this file.

`python -m tests.model.test_frameworks` writes them anew, on the TensorFlow at hand, after the detector has changed.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import embedded
from fixtures.embedded import scenes
from model.backends import cpu
from model.detector import Detector
from model.formats.darknet_weights import read_weights
from model.graph.build import build

STORED = Path(__file__).with_name("stored_detections")
SCENES = 3
# Of what is seen at all; near the reporting threshold the smallest difference decides what is there.
LEAST_SCORE = 0.05


def embedded_detector(folder) -> Detector:
    weights = read_weights(embedded.WEIGHTS, embedded.ARCHITECTURE)
    return Detector(cpu.compile(build(embedded.ARCHITECTURE, weights, folder / "model"), folder / "compiled"))


def seen(one) -> dict:
    sure = one.scores >= LEAST_SCORE
    return {"boxes": one.boxes[sure].tolist(), "scores": one.scores[sure].tolist(),
            "classes": one.classes[sure].tolist()}


@pytest.fixture(scope="module")
def stored_detector(tmp_path_factory) -> Detector:
    return embedded_detector(tmp_path_factory.mktemp("embedded"))


@pytest.mark.parametrize("number", range(SCENES))
def test_detections_are_the_stored_ones(stored_detector, number):
    expected = json.loads((STORED / "detections.json").read_text())[number]
    found = seen(stored_detector.detect([(STORED / f"{number}.jpg").read_bytes()])[0])
    assert found["classes"] == expected["classes"] and len(expected["classes"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.05, err_msg="pixels")


@settings(max_examples=15)
@given(st.lists(st.integers(0, SCENES - 1), min_size=1, max_size=6))
def test_a_trained_detectors_answer_does_not_depend_on_batch_mates_or_order(stored_detector, order):
    images = [(STORED / f"{number}.jpg").read_bytes() for number in range(SCENES)]
    alone = [seen(stored_detector.detect([image])[0]) for image in images]
    for number, one in zip(order, stored_detector.detect([images[number] for number in order])):
        found = seen(one)
        assert found["classes"] == alone[number]["classes"]
        np.testing.assert_allclose(found["scores"], alone[number]["scores"], atol=1e-4)
        np.testing.assert_allclose(found["boxes"], alone[number]["boxes"], atol=0.01, err_msg="pixels")


def record() -> None:
    import tempfile

    STORED.mkdir(exist_ok=True)
    images = [scenes.encode(scenes.draw(embedded.HELD_OUT_SEED, index)) for index in range(SCENES)]
    with tempfile.TemporaryDirectory() as folder:
        found = embedded_detector(Path(folder)).detect(images)
    for number, image in enumerate(images):
        (STORED / f"{number}.jpg").write_bytes(image)
    (STORED / "detections.json").write_text(json.dumps([seen(one) for one in found], indent=1) + "\n")


if __name__ == "__main__":
    record()
