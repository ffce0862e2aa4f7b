"""The pixels that this TensorFlow decodes and resizes from a few small JPEG files, as hashes.

Decoders differ between versions, and AP moves with them: where these hashes differ between two runs, that and not a
commit may have changed it. The files are baseline, progressive, with colours at half the resolution (4:2:0), grey,
CMYK, and turned by their EXIF orientation, which TensorFlow ignores. Runs on Python 3.7 and TensorFlow 1.15.
"""
from __future__ import annotations

import hashlib
from pathlib import Path

import tensorflow as tf

from model.graph.preprocess import decoded_jpeg

FOLDER = Path(__file__).with_name("reference_images")
# A power of two: every weight of the bilinear resize is a short binary fraction, so that all processors agree.
SIDE = 32


def digests() -> dict:
    """SHA-256 of the pixels as `decoded` and as `resized`, of all files together, in the order of their names."""
    hashes = {"decoded": hashlib.sha256(), "resized": hashlib.sha256()}
    for found in pixels():
        for name, array in found.items():
            hashes[name].update(repr(array.shape).encode() + array.tobytes())
    return {name: one.hexdigest() for name, one in hashes.items()}


def pixels() -> list:
    """For each file its pixels as `decoded`, uint8 [rows, columns, 3], and as `resized`, float32 [1, SIDE, SIDE, 3]."""
    graph = tf.Graph()
    with graph.as_default(), tf.device("/device:CPU:0"):
        encoded = tf.compat.v1.placeholder(tf.string, [])
        decoded = decoded_jpeg(encoded)
        image = tf.cast(decoded, tf.float32)[tf.newaxis]
        # As tf.image.resize of TensorFlow 2 does, which another TensorFlow has by another name.
        resized = tf.raw_ops.ResizeBilinear(images=image, size=[SIDE, SIDE], align_corners=False,
                                            half_pixel_centers=True)
    wanted = {"decoded": decoded, "resized": resized}
    with tf.compat.v1.Session(graph=graph, config=tf.compat.v1.ConfigProto(device_count={"GPU": 0})) as session:
        return [session.run(wanted, {encoded: path.read_bytes()}) for path in sorted(FOLDER.glob("*.jpg"))]
