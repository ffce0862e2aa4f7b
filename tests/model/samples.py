"""What the model tests share: a tiny architecture, images in every encoding, and small cfg texts."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from model.architecture import Architecture, Convolutional, Yolo
from model.decoding import Profile
from model.yolov4 import yolov4

NAMES = ("cup", "can", "bottle")
PROFILE = Profile(score_threshold=0.01)


def tiny(size=64) -> Architecture:
    return yolov4(classes=3, size=size, width=0.05, depth=(1,) * 5)


def one_head(*layers, size=32, classes=1) -> Architecture:
    """The layers, then a 1 × 1 convolution and a detection head of one anchor."""
    head = Convolutional(5 + classes, batch_normalize=False, activation="linear")
    return Architecture(size, size, (*layers, head, Yolo(((10.0, 10.0),), classes)))


def cfg_text(*sections, width=32, height=32, net="") -> str:
    """A cfg of the given sections, closed by a 1 × 1 convolution and a yolo layer of one anchor and one class."""
    return "\n".join((
        f"[net]\nwidth={width}\nheight={height}\nchannels=3{net and chr(10) + net}", *sections,
        "[convolutional]\nfilters=6\nsize=1\nstride=1\npad=1\nactivation=linear",
        "[yolo]\nmask=0\nanchors=10,10\nclasses=1\nnum=1\n",
    ))


def pixels(width=80, height=60, seed=0) -> np.ndarray:
    """An image [height, width, 3] uint8 of random soft blots, all three colours different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(array, form="PNG", mode=None, **options) -> bytes:
    """The array [height, width, 3] or [height, width] as an encoded image."""
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def sample_images(count) -> list[bytes]:
    """JPEG images of different sizes and contents."""
    return [encode(pixels(60 + 17 * i, 90 - 7 * i, seed=i), "JPEG", quality=90) for i in range(count)]


def compile_embedded(path) -> Path:
    """Compiles the embedded detector for CPU in FP32."""
    from fixtures import embedded
    from model.backends import cpu
    from model.formats.darknet_weights import read_weights
    from model.graph.build import build

    weights = read_weights(embedded.WEIGHTS, embedded.ARCHITECTURE)
    return cpu.compile(build(embedded.ARCHITECTURE, weights, path.with_name(f"{path.name}-built")), path)
