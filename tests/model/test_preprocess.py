"""From encoded pictures to the network's input: every encoding decoded rightly, both ways of resizing as said."""
from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from model.preprocess import preprocess
from tests.model.samples import encode, pixels

SIDE = 64


def prepared(encoded, resize="stretch", height=SIDE, width=SIDE) -> np.ndarray:
    return preprocess(tf.constant([encoded]), height, width, resize)[0][0].numpy() / 255


def stretched(array, height=SIDE, width=SIDE) -> np.ndarray:
    return tf.image.resize(array.astype(np.float32), (height, width)).numpy() / 255


def grey(array) -> np.ndarray:
    return np.asarray(Image.fromarray(array).convert("L").convert("RGB"))


def paletted(array) -> np.ndarray:
    return np.asarray(Image.fromarray(array).quantize(64).convert("RGB"))


def sixteen_bits(array) -> bytes:
    """A 16-bit grey PNG whose high bytes are the picture."""
    high = np.asarray(Image.fromarray(array).convert("L")).astype(np.uint16)
    return encode(Image.fromarray(high * 257), "PNG")


# Encoding, and the RGB picture that it holds.
LOSSLESS = {
    "PNG": (encode, lambda a: a),
    "grey PNG": (lambda a: encode(a, mode="L"), grey),
    "palette PNG": (lambda a: encode(Image.fromarray(a).quantize(64)), paletted),
    "16-bit PNG": (sixteen_bits, grey),
    "opaque alpha PNG": (lambda a: encode(a, mode="RGBA"), lambda a: a),
    "GIF": (lambda a: encode(Image.fromarray(a).quantize(64), "GIF"), paletted),
}


@pytest.mark.parametrize("form, content", LOSSLESS.values(), ids=LOSSLESS)
def test_a_lossless_picture_is_its_pixels_resized(form, content):
    array = pixels(97, 55)
    np.testing.assert_allclose(prepared(form(array)), stretched(content(array)), atol=1e-6)


LOSSY = {
    "JPEG": {"mode": "RGB"},
    "grey JPEG": {"mode": "L"},
    "progressive JPEG": {"progressive": True},
    "CMYK JPEG": {"mode": "CMYK"},
    "JPEG without subsampling": {"subsampling": 0},
}


@pytest.mark.parametrize("options", LOSSY.values(), ids=LOSSY)
def test_a_jpeg_is_what_another_decoder_sees(options):
    encoded = encode(pixels(97, 55), "JPEG", quality=95, **options)
    other = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    assert np.abs(prepared(encoded) - stretched(other)).max() <= 3 / 255


def test_colours_come_as_red_green_blue():
    red = np.zeros((8, 8, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    np.testing.assert_array_equal(prepared(encode(red))[0, 0], [1, 0, 0])


def test_exif_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    array = pixels(97, 55)
    np.testing.assert_array_equal(
        prepared(encode(array, "JPEG", exif=exif)), prepared(encode(array, "JPEG")))


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("width, height", [(1, 1), (4000, 3), (3, 4000), (1, 500)])
def test_extreme_pictures_fill_the_input_with_numbers_from_0_to_1(resize, width, height):
    picture = prepared(encode(pixels(width, height)), resize)
    assert picture.shape == (SIDE, SIDE, 3) and picture.min() >= 0 and picture.max() <= 1


def test_an_oblong_input_is_height_by_width():
    array = pixels(97, 55)
    np.testing.assert_allclose(prepared(encode(array), height=32, width=96), stretched(array, 32, 96), atol=1e-6)


@pytest.mark.parametrize("width, height, rows, columns", [
    (128, 64, slice(16, 48), slice(0, 64)),
    (32, 64, slice(0, 64), slice(16, 48)),
    (64, 64, slice(0, 64), slice(0, 64)),
], ids=["wide", "high", "square"])
def test_a_letterboxed_picture_keeps_its_aspect_within_grey(width, height, rows, columns):
    array = pixels(width, height)
    expected = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    expected[rows, columns] = stretched(array, rows.stop - rows.start, columns.stop - columns.start)
    np.testing.assert_allclose(prepared(encode(array), "letterbox"), expected, atol=1e-6)


@pytest.mark.parametrize("resize, frame", {
    "stretch": [0, 0, 1, 1, 128, 64],
    "letterbox": [0, 0.25, 1, 0.5, 128, 64],
}.items())
def test_the_frame_says_where_the_picture_lies(resize, frame):
    found = preprocess(tf.constant([encode(pixels(128, 64))]), SIDE, SIDE, resize)[1]
    np.testing.assert_allclose(found[0], frame, atol=1e-6)


def test_pictures_of_different_sizes_make_one_batch():
    arrays = [pixels(40 + i, 60 - i, seed=i) for i in range(3)]
    batch, frames = preprocess(tf.constant([encode(a) for a in arrays]), SIDE, SIDE)
    np.testing.assert_allclose(batch / 255, [stretched(a) for a in arrays], atol=1e-6)
    np.testing.assert_array_equal(frames[:, 4:], [(40, 60), (41, 59), (42, 58)])
