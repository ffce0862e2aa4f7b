"""The hashes of reference pixels are those of the graph that is deployed, and follow each file and each pixel."""
from __future__ import annotations

import hashlib
import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from model.graph import reference_pixels
from model.graph.preprocess import preprocess
from model.graph.reference_pixels import FOLDER, SIDE, digests, pixels

# They never change: two runs are compared by what becomes of them.
FILES = {
    "baseline.jpg": "381865c126b18ab07ab74011408fbfa36c0dedc7a06d0c235f1db2d5932bdc07",
    "cmyk.jpg": "3943a930f9925587d8432e335a50510eb700147b90ef428af6db406c820426c7",
    "grey.jpg": "0f6d7738d38244dd0c3e4578aca9de151ac76222196e4e1ebeabe4e935c51968",
    "half-colour.jpg": "860b91d27c75af60242a51c33ecc129360b757228d24783f81ff4a93a440d650",
    "progressive.jpg": "27f1ebc4f5689becd650ab66af5bf9b843eb55f583ac6df41867ed51001dc2fb",
    "turned.jpg": "04aa018e7e1305c2f77b1b0e636986b11ea091515729732cc597ac2e740e95c7",
}


def test_the_files_are_those_of_every_release():
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*")} == FILES


def test_each_file_is_what_its_name_says():
    images = {name: Image.open(io.BytesIO((FOLDER / name).read_bytes())) for name in FILES}
    assert {name: image.mode for name, image in images.items() if image.mode != "RGB"} == {
        "cmyk.jpg": "CMYK", "grey.jpg": "L"}
    assert [name for name, image in images.items() if image.info.get("progressive")] == ["progressive.jpg"]
    orientations = {name: image.getexif().get(ExifTags.Base.Orientation, 1) for name, image in images.items()}
    assert [name for name, orientation in orientations.items() if orientation != 1] == ["turned.jpg"]
    sampled = {name: image.layer[0][1:3] for name, image in images.items() if image.mode == "RGB"}
    assert sampled["half-colour.jpg"] == (2, 2) and sampled["baseline.jpg"] == (1, 1)


def test_they_are_the_pixels_that_the_detector_s_own_graph_makes():
    """But for the turned one, which the graph turns after TensorFlow has decoded it."""
    encoded = [path.read_bytes() for path in sorted(FOLDER.glob("*.jpg")) if path.name != "turned.jpg"]
    expected = preprocess(tf.constant(encoded), SIDE, SIDE)[0].numpy()
    found = np.concatenate([one["resized"] for one in pixels()[:-1]])
    assert found.tobytes() == expected.tobytes()


def test_every_weight_of_the_resize_is_exact():
    """So that processors with and without fused multiplication agree: the mean is a short binary fraction."""
    for one in pixels():
        assert (one["resized"] * SIDE**2 * 4 % 1 == 0).all()


@pytest.mark.parametrize("name", FILES)
def test_each_file_matters(tmp_path, monkeypatch, name):
    before = digests()
    shutil.copytree(FOLDER, tmp_path / "images")
    (tmp_path / "images" / name).write_bytes((FOLDER / "grey.jpg" if name != "grey.jpg" else FOLDER / "cmyk.jpg")
                                             .read_bytes())
    monkeypatch.setattr(reference_pixels, "FOLDER", tmp_path / "images")
    assert all(after != before[which] for which, after in digests().items())
