"""From encoded images to the network's input: every encoding decoded rightly, both ways of resizing as said."""
from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.detections import Detections
from model.draw import draw
from model.graph.preprocess import _letterbox_size, preprocess
from tests.model.samples import encode, pixels

SIDE = 64


def prepared(encoded, resize="stretch", height=SIDE, width=SIDE) -> np.ndarray:
    return preprocess(tf.constant([encoded]), height, width, resize)[0][0].numpy() / 255


def stretched(array, height=SIDE, width=SIDE) -> np.ndarray:
    return tf.image.resize(array.astype(np.float32), (height, width)).numpy() / 255


def grey(array) -> np.ndarray:
    return np.asarray(Image.fromarray(array).convert("L").convert("RGB"))


def tiff(orientation, big=False, before=2) -> bytes:
    """An EXIF block with this orientation behind other tags."""
    order = ">" if big else "<"
    tags = [struct.pack(order + "HHIHH", 0x100 + i, 3, 1, 7, 0) for i in range(before)]
    tags.append(struct.pack(order + "HHIHH", 0x112, 3, 1, orientation, 0))
    return (b"MM\0*" if big else b"II*\0") + struct.pack(order + "IH", 8, len(tags)) + b"".join(tags) + bytes(4)


BROKEN_EXIF = {
    "empty": b"", "no header": b"\1" * 40, "cut": tiff(6)[:20],
    "directory far away": b"II*\0\xff\xff\xff\x7f" + bytes(20),
    "directory at the end of all numbers": b"II*\0\xff\xff\xff\xff" + bytes(20),
    "too many tags": b"II*\0\x08\0\0\0\xff\xff" + bytes(12),
}
EXIF = {
    **{f"little-endian {number}": tiff(number) for number in range(10)},
    **{f"big-endian {number}": tiff(number, big=True) for number in range(10)}, **BROKEN_EXIF,
}


def with_exif(encoded: bytes, exif: bytes, late=False) -> bytes:
    """The JPEG or PNG with an EXIF block, as its first segment or as late as there may be one."""
    if encoded.startswith(b"\xff\xd8"):
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
        place = encoded.index(b"\xff\xda") if late else 2
    else:
        body = b"eXIf" + exif
        segment = struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body))
        place = len(encoded) - 12 if late else 33
    return encoded[:place] + segment + encoded[place:]


def paletted(array) -> np.ndarray:
    return np.asarray(Image.fromarray(array).quantize(64).convert("RGB"))


def sixteen_bits(array) -> bytes:
    """A 16-bit grey PNG whose high bytes are the image."""
    high = np.asarray(Image.fromarray(array).convert("L")).astype(np.uint16)
    return encode(Image.fromarray(high * 257), "PNG")


# Encoding, and the RGB image that it holds.
LOSSLESS = {
    "PNG": (encode, lambda a: a),
    "grey PNG": (lambda a: encode(a, mode="L"), grey),
    "palette PNG": (lambda a: encode(Image.fromarray(a).quantize(64)), paletted),
    "16-bit PNG": (sixteen_bits, grey),
    "opaque alpha PNG": (lambda a: encode(a, mode="RGBA"), lambda a: a),
    "palette PNG with transparency": (lambda a: encode(Image.fromarray(a).quantize(64), transparency=0), paletted),
    "grey PNG with alpha": (lambda a: encode(a, mode="LA"), grey),
    "BMP": (lambda a: encode(a, "BMP"), lambda a: a),
    "BMP with alpha": (lambda a: encode(a, "BMP", "RGBA"), lambda a: a),
    "grey BMP": (lambda a: encode(a, "BMP", "L"), grey),
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


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", EXIF.values(), ids=EXIF)
def test_exif_orientation_is_applied_as_opencv_does(form, exif):
    encoded = with_exif(encode(pixels(97, 55), form), exif)
    other = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(prepared(encoded) - stretched(other)).max() <= 3 / 255
    size = preprocess(tf.constant([encoded]), SIDE, SIDE)[1][0, 4:]
    np.testing.assert_array_equal(size, other.shape[1::-1])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("name", [name for name in EXIF if name not in BROKEN_EXIF])  # of which Pillow warns by itself
def test_detections_are_drawn_onto_the_image_as_it_is_seen(form, name):
    encoded = with_exif(encode(pixels(97, 55), form), EXIF[name])
    other = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    drawn = np.asarray(draw(encoded, Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))), np.int64)
    assert drawn.shape == other.shape and np.abs(drawn - other).max() <= 3


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_broken_or_late_exif_block_harms_nothing(form):
    encoded = encode(pixels(97, 55), form)
    late = with_exif(encoded, tiff(6), late=True)
    assert prepared(late).shape == (SIDE, SIDE, 3)
    expected = cv2.imdecode(np.frombuffer(late, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(prepared(late) - stretched(expected)).max() <= 3 / 255


def test_the_word_exif_elsewhere_turns_nothing():
    encoded = encode(pixels(97, 55), "JPEG", comment=b"Exif\0\0" + tiff(6))
    np.testing.assert_array_equal(prepared(encoded), prepared(encode(pixels(97, 55), "JPEG")))


@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(0, 255), st.booleans())
def test_any_byte_of_exif_may_be_anything(place, value, big):
    block = bytearray(tiff(6, big))
    block[place % len(block)] = value
    encoded = with_exif(encode(pixels(24, 16), "JPEG"), bytes(block))
    width, height = preprocess(tf.constant([encoded]), SIDE, SIDE)[1][0, 4:].numpy().tolist()
    assert (width, height) in {(24, 16), (16, 24)}  # decoders do not agree on what a broken block says


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("width, height", [(1, 1), (4000, 3), (3, 4000), (1, 500)])
def test_extreme_pictures_fill_the_input_with_numbers_from_0_to_1(resize, width, height):
    image = prepared(encode(pixels(width, height)), resize)
    assert image.shape == (SIDE, SIDE, 3) and image.min() >= 0 and image.max() <= 1


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


SIZES = [(640, 480), (1280, 720), (1366, 768), (3000, 4000), (333, 500), (427, 640), (1, 1), (1, 5000), (5000, 1),
         (65535, 65535), (608, 379), (1125, 2436)]


@pytest.mark.parametrize("width, height", [(416, 416), (608, 608), (416, 608), (544, 320), (320, 320)])
def test_the_size_within_the_grey_is_darknets_in_whole_numbers(width, height):
    sizes = [*SIZES, *np.random.default_rng(0).integers(1, 5000, (300, 2)).tolist()]
    found = [tuple(int(n) for n in _letterbox_size(tf.constant(size, tf.int64), height, width)) for size in sizes]
    assert found == [darknets_size(*size, width, height) for size in sizes]


def darknets_size(columns, rows, width, height) -> tuple:
    """As letterbox_image of darknet's image.c, where an image has at least a pixel."""
    if np.float32(width) / np.float32(columns) < np.float32(height) / np.float32(rows):
        return width, max(rows * width // columns, 1)
    return max(columns * height // rows, 1), height


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
