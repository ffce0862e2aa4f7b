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
from model.detector import Detector
from tests.model.samples import compile_embedded

STORED = Path(__file__).with_name("stored_detections")
SCENES = 3
# Of what is seen at all; near the reporting threshold the smallest difference decides what is there.
LEAST_SCORE = 0.05


def seen(one) -> dict:
    sure = one.scores >= LEAST_SCORE
    return {"boxes": one.boxes[sure].tolist(), "scores": one.scores[sure].tolist(),
            "classes": one.classes[sure].tolist()}


@pytest.mark.parametrize("number", range(SCENES))
def test_detections_are_the_stored_ones(embedded_detector, number):
    expected = json.loads((STORED / "detections.json").read_text())[number]
    found = seen(embedded_detector.detect([(STORED / f"{number}.jpg").read_bytes()])[0])
    assert found["classes"] == expected["classes"] and len(expected["classes"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.05, err_msg="pixels")


@settings(max_examples=15)
@given(st.lists(st.integers(0, SCENES - 1), min_size=1, max_size=6))
def test_a_trained_detectors_answer_does_not_depend_on_batch_mates_or_order(embedded_detector, order):
    images = [(STORED / f"{number}.jpg").read_bytes() for number in range(SCENES)]
    alone = [seen(embedded_detector.detect([image])[0]) for image in images]
    for number, one in zip(order, embedded_detector.detect([images[number] for number in order])):
        found = seen(one)
        assert found["classes"] == alone[number]["classes"]
        np.testing.assert_allclose(found["scores"], alone[number]["scores"], atol=1e-4)
        np.testing.assert_allclose(found["boxes"], alone[number]["boxes"], atol=0.01, err_msg="pixels")


def record() -> None:
    import tempfile

    STORED.mkdir(exist_ok=True)
    images = [scenes.encode(scenes.draw(embedded.HELD_OUT_SEED, index)) for index in range(SCENES)]
    with tempfile.TemporaryDirectory() as folder:
        found = Detector(compile_embedded(Path(folder) / "compiled")).detect(images)
    for number, image in enumerate(images):
        (STORED / f"{number}.jpg").write_bytes(image)
    (STORED / "detections.json").write_text(json.dumps([seen(one) for one in found], indent=1) + "\n")


if __name__ == "__main__":
    record()
