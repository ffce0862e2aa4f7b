"""Turns encoded images into the network's input, in TensorFlow's graph."""
from __future__ import annotations

import tensorflow as tf

from model.graph.orientation import upright

# The colour around a letterboxed image, as in darknet.
GREY = 127.5
# Part of the names of the operators that decode an image and turn it upright.
DECODING = "decoding"


def preprocess(images, height: int, width: int, resize="stretch"):
    """String vector of encoded images → (float32 [batch, height, width, 3] in [0, 255], frames float32 [batch, 6]).

    A frame is the position of the image in the network's input (left, top, width, height as fractions of the input),
    then its width and height in pixels of the original. JPEG (also grey and CMYK), PNG, BMP and GIF with one frame are
    decoded (see `model.image_headers`) and turned upright by their EXIF orientation. The graph raises
    InvalidArgumentError if it cannot decode an image.
    """
    fit = {"stretch": _stretch, "letterbox": _letterbox}[resize]

    def one(encoded):
        with tf.name_scope(DECODING):
            image = upright(_decoded(encoded), encoded)
        image = tf.cast(image, tf.float32)  # resizing floats takes half as long as resizing bytes
        rows, columns, _ = tf.unstack(tf.shape(image))
        size = tf.cast(tf.stack([columns, rows]), tf.float32)
        image, frame = fit(image, size, height, width)
        image.set_shape((height, width, 3))
        return image, tf.concat([frame, size], 0)

    signature = (tf.TensorSpec((height, width, 3), tf.float32), tf.TensorSpec((6,), tf.float32))
    return tf.map_fn(one, images, fn_output_signature=signature)


def _decoded(encoded):
    """The image as it is stored, uint8 [rows, columns, 3]."""
    start = tf.strings.substr(encoded, 0, tf.minimum(tf.strings.length(encoded), 2))
    image = tf.cond(tf.equal(start, b"BM"), lambda: _bmp(encoded), lambda: decoded_jpeg(encoded))
    image.set_shape([None, None, 3])
    return image


def decoded_jpeg(encoded):
    """A JPEG as it is stored, uint8 [rows, columns, 3]."""
    # This decodes PNG and GIF too. Other decoders use the accurate inverse DCT; TensorFlow's default is faster.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _bmp(encoded):
    image = tf.io.decode_bmp(encoded)[..., :3]  # without transparency
    return tf.broadcast_to(image, tf.concat([tf.shape(image)[:2], [3]], 0))  # grey becomes three equal colours


def _stretch(image, size, height, width):
    return tf.image.resize(image, (height, width)), tf.constant([0.0, 0.0, 1.0, 1.0])


def _letterbox(image, size, height, width):
    columns, rows = _letterbox_size(tf.cast(size, tf.int64), height, width)
    left, top = (width - columns) // 2, (height - rows) // 2
    image = tf.pad(
        tf.image.resize(image, (rows, columns)),
        [[top, height - rows - top], [left, width - columns - left], [0, 0]],
        constant_values=GREY,
    )
    frame = tf.cast(tf.stack([left, top, columns, rows]), tf.float32)
    return image, frame / tf.constant([width, height, width, height], tf.float32)


def _letterbox_size(size, height, width):
    """Columns and rows of the image inside the grey, in darknet's integers (image.c, letterbox_image)."""
    columns, rows = tf.unstack(size)
    is_wide = width / tf.cast(columns, tf.float32) < height / tf.cast(rows, tf.float32)
    width, height = tf.constant(width, tf.int64), tf.constant(height, tf.int64)
    inner = tf.where(is_wide, [width, rows * width // columns], [columns * height // rows, height])
    return tf.unstack(tf.cast(tf.maximum(inner, 1), tf.int32))
