"""Encoded images turned into the network's input, in TensorFlow's graph."""
from __future__ import annotations

import tensorflow as tf

# What surrounds a letterboxed picture, as in darknet.
GREY = 127.5


def preprocess(images, height: int, width: int, resize="stretch"):
    """String vector of encoded images → (float32 [batch, height, width, 3] in [0, 255], frames float32 [batch, 6]).

    A frame says where the picture lies in the network's input and how large it was: left, top, width, height
    as fractions of the input, then width and height in pixels of the original. JPEG (grey and CMYK too), PNG
    and GIF of one picture are decoded; EXIF orientation is not applied, as COCO's annotations ignore it.
    Raises InvalidArgumentError in the graph for what is not an image.
    """
    fit = {"stretch": _stretch, "letterbox": _letterbox}[resize]

    def one(encoded):
        # The accurate inverse DCT is the one that other decoders use; TensorFlow's default is a faster one.
        image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        image = tf.cast(image, tf.float32)  # the resizing of floats takes half as long as that of bytes
        rows, columns, _ = tf.unstack(tf.shape(image))
        size = tf.cast(tf.stack([columns, rows]), tf.float32)
        picture, frame = fit(image, size, height, width)
        picture.set_shape((height, width, 3))
        return picture, tf.concat([frame, size], 0)

    signature = (tf.TensorSpec((height, width, 3), tf.float32), tf.TensorSpec((6,), tf.float32))
    return tf.map_fn(one, images, fn_output_signature=signature)


def _stretch(image, size, height, width):
    return tf.image.resize(image, (height, width)), tf.constant([0.0, 0.0, 1.0, 1.0])


def _letterbox(image, size, height, width):
    target = tf.constant([width, height], tf.float32)
    inner = tf.maximum(tf.floor(size * tf.reduce_min(target / size)), 1.0)
    columns, rows = tf.unstack(tf.cast(inner, tf.int32))
    left, top = (width - columns) // 2, (height - rows) // 2
    picture = tf.pad(
        tf.image.resize(image, (rows, columns)),
        [[top, height - rows - top], [left, width - columns - left], [0, 0]],
        constant_values=GREY,
    )
    corner = tf.cast(tf.stack([left, top]), tf.float32)
    return picture, tf.concat([corner / target, inner / target], 0)
