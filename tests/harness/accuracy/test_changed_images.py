"""Copies of images differ from them in one thing and keep format, size and, nearly, the number of bytes."""
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from harness.accuracy.changed_images import red_for_blue, variant
from harness.accuracy.evaluation import InvalidRun
from tests.harness.drawn_images import photograph, plain
from tests.harness.synthetic import encoded

BLUE = (5, 10, 250)
KINDS = {
    "JPEG": dict(quality=60), "JPEG without subsampling": dict(quality=98, subsampling=0), "JPEG in passes":
    dict(progressive=True), "JPEG of a camera": dict(exif=b"Exif\0\0" + bytes(500), quality=90), "PNG": {}, "BMP": {},
    "WEBP": {}, "WEBP without loss": dict(lossless=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_copy_is_as_large_and_of_the_same_kind(kind):
    first = photograph(3, kind.split()[0], **KINDS[kind])
    copies = [variant(first, number) for number in range(20)]
    before, after = (Image.open(io.BytesIO(one)) for one in (first, copies[0]))
    assert len({*copies, first}) == 21
    assert (after.format, after.size, after.mode) == (before.format, before.size, before.mode)
    assert getattr(after, "quantization", None) == getattr(before, "quantization", None)
    assert after.info.get("progressive") == before.info.get("progressive")
    assert all(abs(len(copy) / len(first) - 1) < 0.1 for copy in copies)


def test_copies_of_real_photographs_are_as_large(real):
    files = sorted((real / "coco" / "val2017").iterdir())[::10]
    shares = [len(variant(file.read_bytes(), 1)) / file.stat().st_size for file in files]
    assert min(shares) > 0.9 and max(shares) < 1.03


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_changed_copy_keeps_the_pixels_format(mode):
    before = Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)) if mode == "I;16" else (
        Image.open(io.BytesIO(photograph(1))).convert(mode))
    buffer = io.BytesIO()
    before.save(buffer, "PNG")
    after = Image.open(io.BytesIO(variant(buffer.getvalue(), 0)))
    moved = np.roll(np.asarray(before), (16, 16), (0, 1))
    assert after.mode == mode and (np.asarray(after) == moved)[8:].all()


@pytest.mark.parametrize("side", [1, 5, 16, 17, 40])
def test_a_small_or_plain_image_gets_copies_too(side):
    copies = {variant(plain(200, side), number) for number in range(20)}
    assert len(copies) == 20 and plain(200, side) not in copies


def test_what_is_not_an_image_is_an_error():
    with pytest.raises(InvalidRun, match=r"an image of 3 bytes cannot be changed, .*; convert it to JPEG or PNG"):
        variant(b"abc", 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF"])
def test_red_becomes_blue_in_the_same_format(form):
    image = Image.open(io.BytesIO(red_for_blue(encoded(form))))
    assert image.format == form and image.size == (64, 48)
    assert np.abs(np.subtract(image.convert("RGB").getpixel((32, 24)), BLUE)).max() < 20


def test_what_turns_an_image_is_kept():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert Image.open(io.BytesIO(red_for_blue(encoded("JPEG", exif=exif)))).getexif()[0x0112] == 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_images_of_any_kind_of_pixels_can_be_exchanged_and_greys_stay(mode):
    before = Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)) if mode == "I;16" else (
        Image.open(io.BytesIO(photograph(1))).convert(mode))
    buffer = io.BytesIO()
    before.save(buffer, "PNG")
    after = Image.open(io.BytesIO(red_for_blue(buffer.getvalue())))
    if mode in ("P", "RGBA"):
        before, after = before.convert("RGB"), Image.merge("RGB", after.convert("RGB").split()[::-1])
    assert np.array_equal(np.asarray(after), np.asarray(before))


def test_a_grey_jpeg_stays_grey():
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photograph(1))).convert("L").save(buffer, "JPEG")
    assert Image.open(io.BytesIO(red_for_blue(buffer.getvalue()))).mode == "L"
