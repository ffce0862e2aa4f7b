"""Detections come back from their file bit for bit, and whatever else the file is, it is a sentence."""
from __future__ import annotations

import io

import numpy as np
import pytest

from harness.accuracy import stored
from harness.accuracy.stored import DetectionsError, digest, packed, unpacked
from tests.harness.synthetic import NOTHING, detected

DETECTIONS = {7: detected([[1, 2, 3.5, 4]], [0.25], [3]), 3: NOTHING,
              9: detected([[0, 0, 1, 1]] * 2, [0.5, 0.1], [0, 1])}


def test_detections_come_back_bit_for_bit(tmp_path):
    content = packed(DETECTIONS)
    (tmp_path / "x.npz").write_bytes(content)
    found = unpacked(tmp_path / "x.npz", digest(content))
    assert list(found) == [3, 7, 9]
    for image, own in DETECTIONS.items():
        for name in ("boxes", "scores", "classes"):
            assert getattr(found[image], name).tobytes() == getattr(own, name).tobytes()


def test_equal_detections_are_equal_files_in_whatever_order_they_came():
    assert packed(dict(reversed(DETECTIONS.items()))) == packed(DETECTIONS)


def test_no_image_at_all(tmp_path):
    (tmp_path / "x.npz").write_bytes(packed({}))
    assert unpacked(tmp_path / "x.npz", digest(packed({}))) == {}


def archive(**changes) -> bytes:
    content = io.BytesIO()
    with np.load(io.BytesIO(packed(DETECTIONS))) as arrays:
        np.savez(content, **{**arrays, **changes})
    return content.getvalue()


# What is in the file, and what the message says of it.
CONTENTS = {
    "cut short": (packed(DETECTIONS)[:200], "File is not a zip file"),
    "empty": (b"", "cannot be read"),
    "objects": (archive(scores=np.array([print], object)), "cannot be read"),
    "another type": (archive(scores=np.zeros(3)), "scores is float64"),
    "another shape": (archive(boxes=np.zeros((3, 5), np.float32)), "not equally many"),
    "counts below 0": (archive(counts=np.array([5, -3, 1])), "its counts are not those of its images"),
    "counts of more": (archive(counts=np.array([5, 3, 1])), "its counts are not those of its images"),
    "an image twice": (archive(image_ids=np.array([7, 7, 9])), "its counts are not those of its images"),
    "NaN": (archive(scores=np.array([np.nan, 0, 0], np.float32)), "not finite"),
    "an array missing": (packed(DETECTIONS).replace(b"scores", b"scared"), "scores is not a file in the archive"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_what_is_not_detections_is_a_sentence(tmp_path, case):
    content, words = CONTENTS[case]
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DetectionsError, match=words):
        unpacked(tmp_path / "x.npz", digest(content))


def test_another_run_s_file(tmp_path):
    (tmp_path / "x.npz").write_bytes(packed(DETECTIONS))
    with pytest.raises(DetectionsError, match="it is another run's"):
        unpacked(tmp_path / "x.npz", digest(packed({})))


def test_what_unpacks_to_more_than_memory_is_not_unpacked(tmp_path, monkeypatch):
    content = packed({1: detected(np.zeros((20_000, 4)), np.zeros(20_000), np.zeros(20_000))})
    (tmp_path / "x.npz").write_bytes(content)
    monkeypatch.setattr(stored, "LARGEST", 100_000)
    with pytest.raises(DetectionsError, match="bytes of content, at most 100,000 are read"):
        unpacked(tmp_path / "x.npz", digest(content))


def test_no_file(tmp_path):
    with pytest.raises(DetectionsError, match="it is not a file"):
        unpacked(tmp_path / "x.npz", "")
