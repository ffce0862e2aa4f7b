"""Applies the EXIF orientation of JPEG and PNG in TensorFlow's graph, as darknet with OpenCV does.

It is in the graph so that a served model sees the same images as the gate. It uses only operators of TensorFlow 1.15,
whose substr takes a start of known rank with a length of unknown rank for an error: lengths are constants where starts
are.
"""
from __future__ import annotations

import numpy as np
import tensorflow as tf

# More bytes than any read goes beyond the end of the file.
PADDING = b"\0" * 16
ORIENTATION = 0x0112
JPEG_EXIF, PNG_EXIF = b"Exif\0\0", b"eXIf"


def upright(image, encoded):
    """The decoded image [rows, columns, 3], turned as the EXIF orientation in the encoded bytes says."""
    padded = tf.strings.join([encoded, PADDING])
    is_png = tf.equal(tf.strings.substr(padded, 0, 4), b"\x89PNG")
    name = tf.where(is_png, PNG_EXIF, JPEG_EXIF)
    # Few images have EXIF, and a search for its name costs a tenth of a walk along the segments.
    parts = tf.raw_ops.StringSplitV2(input=[encoded], sep=name, maxsplit=1).values
    return tf.cond(tf.size(parts) > 1, lambda: _turned(image, _orientation(_exif(padded, is_png))), lambda: image)


def _turned(image, orientation):
    """The image turned from an orientation to upright. Source: Exif 2.32, 4.6.4."""
    def one_of(*values):
        return tf.reduce_any(tf.equal(orientation, values))

    image = tf.transpose(image, tf.where(one_of(5, 6, 7, 8), [1, 0, 2], [0, 1, 2]))
    image = tf.cond(one_of(3, 4, 7, 8), lambda: image[::-1], lambda: image)
    return tf.cond(one_of(2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)


def _exif(padded, is_png):
    """The first EXIF block of a JPEG or PNG, from its TIFF header on, or ''."""
    size = tf.strings.length(padded) - len(PADDING)
    is_jpeg = tf.equal(tf.strings.substr(padded, 0, 2), b"\xff\xd8")
    start = tf.where(is_png, 8, tf.where(is_jpeg, 2, size))

    def step(position, exif):
        return tf.cond(is_png, lambda: _chunk(padded, position, size), lambda: _segment(padded, position, size))

    return tf.while_loop(
        lambda position, exif: (position < size) & tf.equal(exif, b""), step, [start, tf.constant(b"")],
        parallel_iterations=1,
    )[1]


def _segment(padded, position, size):
    """(start of the next segment of a JPEG, EXIF block of this one or '')."""
    first, marker, high, low = tf.unstack(_numbers(tf.strings.substr(padded, position, 4), 4))
    stands_alone = (marker <= 1) | ((marker >= 0xD0) & (marker <= 0xD9))
    length = tf.where(stands_alone, 0, high * 256 + low)
    is_exif = tf.equal(marker, 0xE1) & tf.equal(tf.strings.substr(padded, position + 4, 6), JPEG_EXIF)
    is_marker = tf.equal(first, 0xFF) & tf.not_equal(marker, 0xFF)
    exif = tf.strings.substr(padded, position + 10, tf.where(is_exif & is_marker, length - 8, 0))
    after = tf.where(is_marker, tf.where(tf.equal(marker, 0xDA), size, position + 2 + length), position + 1)
    return tf.minimum(after, size), exif


def _chunk(padded, position, size):
    """(start of the next chunk of a PNG, EXIF block of this one or '')."""
    numbers = _numbers(tf.strings.substr(padded, position, 4), 4)
    # A length of 2 GB or more is invalid and would become negative.
    length = tf.minimum(tf.reduce_sum(tf.minimum(numbers, [127, 255, 255, 255]) * [1 << 24, 1 << 16, 256, 1]), size)
    is_exif = tf.equal(tf.strings.substr(padded, position + 4, 4), PNG_EXIF)
    exif = tf.strings.substr(padded, position + 8, tf.where(is_exif, length, 0))
    return tf.minimum(position + 12 + length, size), exif


def _orientation(exif):
    """The orientation in the first directory of a TIFF, or 1."""
    size, padded = tf.strings.length(exif), tf.strings.join([exif, PADDING])
    content, byte_order = _numbers(padded, None), tf.strings.substr(padded, 0, 4)
    is_little, is_big = tf.equal(byte_order, b"II*\0"), tf.equal(byte_order, b"MM\0*")

    def number(parts, width):
        powers = np.array([256 ** power for power in range(width)])
        return tf.reduce_sum(tf.cast(parts, tf.int64) * tf.where(is_little, powers, powers[::-1]), -1)

    start = tf.minimum(number(content[4:8], 4), tf.cast(size, tf.int64))
    entries = content[start + 2:start + 2 + 12 * number(content[start:start + 2], 2)]
    # A last entry of zeros, so that there is one to take where none is.
    entries = tf.concat([entries[:tf.size(entries) // 12 * 12], np.zeros(12, np.int32)], 0)
    entries = tf.reshape(entries, [-1, 12])
    is_it = tf.equal(number(entries[:, :2], 2), ORIENTATION)
    first = tf.gather(entries, tf.argmax(tf.cast(is_it, tf.int32)))  # as OpenCV, of several entries with the tag
    value = tf.where(tf.reduce_any(is_it), number(first[8:10], 2), 0)
    return tf.where((is_little | is_big) & (value >= 1) & (value <= 8), tf.cast(value, tf.int32), 1)


def _numbers(text, count):
    """The bytes of a scalar string as int32 [count]."""
    numbers = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
    numbers.set_shape([count])
    return numbers
