"""Encoded images turned into the network's input, in TensorFlow's graph."""
from __future__ import annotations

import tensorflow as tf

from model.graph.orientation import upright

# What surrounds a letterboxed picture, as in darknet.
GREY = 127.5


def preprocess(images, height: int, width: int, resize="stretch"):
    """String vector of encoded images → (float32 [batch, height, width, 3] in [0, 255], frames float32 [batch, 6]).

    A frame says where the picture lies in the network's input and how large it was: left, top, width, height
    as fractions of the input, then width and height in pixels of the original. JPEG (grey and CMYK too), PNG, BMP
    and GIF of one frame are decoded (see `model.image_headers`), and shown upright as their EXIF orientation says.
    Raises InvalidArgumentError in the graph for what is not an image.
    """
    fit = {"stretch": _stretch, "letterbox": _letterbox}[resize]

    def one(encoded):
        image = upright(_decoded(encoded), encoded)
        image = tf.cast(image, tf.float32)  # the resizing of floats takes half as long as that of bytes
        rows, columns, _ = tf.unstack(tf.shape(image))
        size = tf.cast(tf.stack([columns, rows]), tf.float32)
        picture, frame = fit(image, size, height, width)
        picture.set_shape((height, width, 3))
        return picture, tf.concat([frame, size], 0)

    signature = (tf.TensorSpec((height, width, 3), tf.float32), tf.TensorSpec((6,), tf.float32))
    return tf.map_fn(one, images, fn_output_signature=signature)


def _decoded(encoded):
    """The image as it is stored, uint8 [rows, columns, 3]."""
    start = tf.strings.substr(encoded, 0, tf.minimum(tf.strings.length(encoded), 2))
    image = tf.cond(tf.equal(start, b"BM"), lambda: _bmp(encoded), lambda: _jpeg(encoded))
    image.set_shape([None, None, 3])
    return image


def _jpeg(encoded):
    # Of PNG and GIF too. The accurate inverse DCT is the one that other decoders use; TensorFlow's default is faster.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _bmp(encoded):
    image = tf.io.decode_bmp(encoded)[..., :3]  # without transparency
    return tf.broadcast_to(image, tf.concat([tf.shape(image)[:2], [3]], 0))  # of grey each colour


def _stretch(image, size, height, width):
    return tf.image.resize(image, (height, width)), tf.constant([0.0, 0.0, 1.0, 1.0])


def _letterbox(image, size, height, width):
    columns, rows = _letterbox_size(tf.cast(size, tf.int64), height, width)
    left, top = (width - columns) // 2, (height - rows) // 2
    picture = tf.pad(
        tf.image.resize(image, (rows, columns)),
        [[top, height - rows - top], [left, width - columns - left], [0, 0]],
        constant_values=GREY,
    )
    frame = tf.cast(tf.stack([left, top, columns, rows]), tf.float32)
    return picture, frame / tf.constant([width, height, width, height], tf.float32)


def _letterbox_size(size, height, width):
    """Columns and rows of the picture within the grey, in whole numbers as darknet has them (image.c,
    letterbox_image)."""
    columns, rows = tf.unstack(size)
    is_wide = width / tf.cast(columns, tf.float32) < height / tf.cast(rows, tf.float32)
    width, height = tf.constant(width, tf.int64), tf.constant(height, tf.int64)
    inner = tf.where(is_wide, [width, rows * width // columns], [columns * height // rows, height])
    return tf.unstack(tf.cast(tf.maximum(inner, 1), tf.int32))
