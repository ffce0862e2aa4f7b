"""Small images that are drawn here, as encoded files."""
from __future__ import annotations

import io

import numpy as np
from PIL import Image


def plain(shade, side=32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def photograph(seed, kind="JPEG", **settings) -> bytes:
    """Soft blotches of colour, all elsewhere for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((128, 96), Image.BICUBIC).save(buffer, kind, **settings)
    return buffer.getvalue()
