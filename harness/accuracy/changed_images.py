"""Copies of encoded images that differ from them in one thing, in the same file format with nearly as many bytes.

A JPEG keeps its quantisation tables and its chroma subsampling.
"""
from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Callable

from PIL import Image, ImageChops, JpegImagePlugin

from harness.accuracy.evaluation import InvalidRun
from harness.verdict.verdict import ERROR

BLOCK, CORNER = 16, 8  # pixels: JPEG's largest coding block, and a corner that makes a small or plain image new
GREYS = ("1", "L", "I", "F")  # first bands of images without colour

Change = Callable[[Image.Image], Image.Image]


def variant(encoded: bytes, number: int) -> bytes:
    """The image shifted in a circle by whole coding blocks; one corner gets a grey of its own.

    Raises InvalidRun for bytes that are not an image.
    """
    return _changed(encoded, lambda image: _shifted(image, number))


def red_for_blue(encoded: bytes) -> bytes:
    """The image with red and blue exchanged; one of greys has none. Raises as `variant`."""
    return _changed(encoded, _exchanged)


def _exchanged(image: Image.Image) -> Image.Image:
    is_grey = image.getbands()[0] in GREYS
    return image if is_grey else Image.merge("RGB", image.convert("RGB").split()[::-1])


def _changed(encoded: bytes, change: Change) -> bytes:
    try:
        image = Image.open(io.BytesIO(encoded))
        return min(_encoded(image, change(image)), key=lambda one: abs(len(one) - len(encoded)))
    except (OSError, ValueError) as error:
        raise InvalidRun(f"an image of {len(encoded)} bytes cannot be changed, to look for a cache or for exchanged "
                         f"colours ({error}); convert it to JPEG or PNG", ERROR) from error


def _shifted(image: Image.Image, number: int) -> Image.Image:
    columns, rows = (max(side // BLOCK, 1) for side in image.size)
    right, down = 1 + number % max(columns - 1, 1), 1 + number % max(rows - 1, 1)
    shifted = ImageChops.offset(image, right * BLOCK, down * BLOCK)
    shade = number * 37 % 256  # far from those of neighbouring numbers, so that no quantisation makes them equal
    shifted.paste((shade,) * len(shifted.getbands()), (0, 0, CORNER, CORNER))
    return shifted


def _encoded(image: Image.Image, changed: Image.Image) -> Iterator[bytes]:
    """The changed image by each setting that the original's encoder may have had: the file does not say which."""
    kept = {name: image.info[name] for name in ("exif", "icc_profile") if image.info.get(name)}
    kind = "JPEG" if image.format == "MPO" else image.format  # a JPEG with a preview, as many phones write it
    if kind == "JPEG":
        kept.update(qtables=image.quantization, progressive=bool(image.info.get("progressive")))
        if (sampling := JpegImagePlugin.get_sampling(image)) >= 0:
            kept["subsampling"] = sampling
    for settings in ({}, {"optimize": True}, {"lossless": True}):
        buffer = io.BytesIO()
        changed.save(buffer, kind, **kept, **settings)
        yield buffer.getvalue()
