"""What an image's bytes say before decoding: kind and size, and what is refused."""
from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from model.image_headers import MAX_PIXELS, fault, read_header
from tests.model.samples import encode, pixels

GOOD = {
    "JPEG": encode(pixels(), "JPEG"),
    "progressive JPEG": encode(pixels(), "JPEG", progressive=True),
    "JPEG with a megabyte behind its end": encode(pixels(), "JPEG") + bytes(1 << 20),
    "JPEG with fill bytes": encode(pixels(), "JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "empty-looking JPEG": encode(Image.new("L", (80, 60)), "JPEG", quality=1),
    "PNG": encode(pixels()), "16-bit PNG": encode(Image.new("I;16", (80, 60))),
    "GIF": encode(Image.fromarray(pixels()).quantize(64), "GIF"),
    "BMP": encode(pixels(), "BMP"), "grey BMP": encode(pixels(), "BMP", "L"),
    "BMP with alpha": encode(pixels(), "BMP", "RGBA"),
}


def frames(form) -> bytes:
    """An animation of three frames."""
    images = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    return encode(images[0], form, save_all=True, append_images=images[1:])


# Bytes, and what is said of them.
REFUSED = {
    "nothing": (b"", "is empty (0 bytes)"),
    "text": (b"this is not a picture", "it is not an image in a supported format (JPEG, PNG, BMP or GIF); convert it"),
    "WebP": (encode(pixels(), "WEBP"), "it is WebP; convert it to JPEG or PNG"),
    "animated WebP": (frames("WEBP"), "it is WebP; convert it to JPEG or PNG"),
    "animated GIF": (frames("GIF"),
        "it is a GIF and declares 80 x 60 pixels in 3 frames; save one frame as JPEG or PNG"),
    "TIFF": (encode(pixels(), "TIFF"), "it is TIFF; convert it to JPEG or PNG"),
    "palette BMP": (encode(Image.fromarray(pixels()).quantize(64), "BMP"), "a BMP with a palette and declares 80 x 60"),
    "1-bit BMP": (encode(Image.fromarray(pixels()).convert("1"), "BMP"), "a BMP of 1 bits, packed or masked"),
    "JPEG XL": (bytes.fromhex("ff0a463837611400"), "it is JPEG XL; convert it to JPEG or PNG"),
    "JPEG XL in a container": (b"\0\0\0\x0cJXL \r\n\x87\n", "it is JPEG XL; convert it to JPEG or PNG"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(20), "it is HEIC; convert it to JPEG or PNG"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "it is JPEG 2000; convert it to JPEG or PNG"),
    "HTML": (b"\n <!DOCTYPE html><title>404", "it is HTML or XML, as a failed download leaves it; restore the file"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1",
        "a pointer of Git LFS, not the image; fetch it by `git lfs"),
    "JPEG without its end": (GOOD["JPEG"][:-2],
        "it is a JPEG and declares 80 x 60 pixels and is cut short: its end is"),
    "half a JPEG": (GOOD["JPEG"][:len(GOOD["JPEG"]) // 2], "and is cut short: its end is missing; restore the file"),
    "JPEG with hardly any data": (GOOD["JPEG"][:GOOD["JPEG"].index(b"\xff\xda") + 14] + b"\0" * 4 + b"\xff\xd9",
                                  "and is cut short: 4 bytes of data cannot hold them; restore the file"),
    "JPEG of no height": (GOOD["JPEG"].replace(struct.pack(">HH", 60, 80), struct.pack(">HH", 0, 80)),
                          "declares 80 x 0 pixels, which is not a size"),
    "PNG without its end": (GOOD["PNG"][:-12], "it is a PNG and declares 80 x 60 pixels and is cut short: its end is"),
    "half a PNG": (GOOD["PNG"][:len(GOOD["PNG"]) // 2], "and is cut short: its end is missing; restore the file"),
    "half a BMP": (GOOD["BMP"][:len(GOOD["BMP"]) // 2], "a BMP and declares 80 x 60 pixels and is cut short; restore"),
    "half a GIF": (GOOD["GIF"][:len(GOOD["GIF"]) // 2], "cut short: it has no whole frame; restore the file"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_an_image_that_is_decoded_has_no_fault(kind):
    assert fault(GOOD[kind]) == "" and read_header(GOOD[kind])[1:3] == (80, 60)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_decoded_is_named(kind):
    encoded, message = REFUSED[kind]
    assert message in fault(encoded)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_avif_is_named():
    assert "it is AVIF; convert" in fault(encode(pixels(), "AVIF"))


# Few bytes that declare much.
BOMBS = {
    "JPEG": GOOD["JPEG"].replace(struct.pack(">HH", 60, 80), struct.pack(">HH", 20_000, 20_000)),
    "PNG": GOOD["PNG"].replace(struct.pack(">II", 80, 60), struct.pack(">II", 20_000, 20_000), 1),
    "BMP": GOOD["BMP"].replace(struct.pack("<ii", 80, 60), struct.pack("<ii", 20_000, -20_000), 1),
    "GIF": GOOD["GIF"].replace(struct.pack("<HH", 80, 60), struct.pack("<HH", 20_000, 20_000), 1),
    "GIF whose frame is larger than its screen": GOOD["GIF"].replace(
        b"," + bytes(4) + struct.pack("<HH", 80, 60), b"," + bytes(4) + struct.pack("<HH", 20_000, 20_000)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_declared_size_above_the_limit_is_refused_with_both(kind):
    assert (f"and declares 20,000 x 20,000 pixels, more than the limit of {MAX_PIXELS:,} (max_pixels); make it smaller"
            in fault(BOMBS[kind]))


def test_the_limit_can_be_raised_and_lowered():
    assert fault(GOOD["PNG"], max_pixels=80 * 60) == "" and "max_pixels" in fault(GOOD["PNG"], max_pixels=80 * 60 - 1)
    assert "max_pixels" not in fault(BOMBS["PNG"], max_pixels=20_000 ** 2)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "BMP"])
def test_an_image_that_is_cut_anywhere_is_refused(kind):
    encoded = GOOD[kind]
    whole = [size for size in range(len(encoded)) if not fault(encoded[:size])]
    assert whole == []


@settings(max_examples=300)
@given(st.sampled_from([*GOOD.values(), *(encoded for encoded, _ in REFUSED.values())]), st.integers(0, 2**20),
       st.binary(min_size=1, max_size=4))
def test_no_bytes_break_the_reading_of_a_header(encoded, place, change):
    place %= len(encoded) + 1
    assert isinstance(fault(encoded[:place] + change + encoded[place + len(change):]), str)


def test_headers_are_those_that_pillow_reads(real):
    paths = sorted((real / "coco" / "val2017").iterdir())
    for path in paths:
        encoded = path.read_bytes()
        assert (fault(encoded), read_header(encoded)[1:3]) == ("", Image.open(io.BytesIO(encoded)).size), path
