"""Reads and writes darknet's `.weights` files, which hold the trained numbers of an architecture.

Source: github.com/AlexeyAB/darknet, src/parser.c.
"""
from __future__ import annotations

import numpy as np

from model.architecture import Architecture, Convolutional, kernel_count, parameter_count
from model.formats.files import naming, opened, replace_file
from model.formats.weights import BATCH_NORM_EPSILON, ConvolutionWeights, WeightsError, check_variance

# Header of the format's version 0.2: major, minor, revision as int32, then the number of images seen as int64.
HEADER_BYTES = 20
# What else a file may be, by its first bytes, and what to do.
FOREIGN = {
    b"version https://git": "is a pointer of Git LFS, not the file itself; fetch it with git lfs pull",
    b"<": "is HTML or XML, as a failed download leaves it; fetch it again",
    b"\x1f\x8b": "is compressed by gzip; unpack it with gunzip",
}


def read_weights(path, architecture: Architecture) -> list[ConvolutionWeights]:
    """The numbers of a weights file, one record per convolution in order.

    Raises WeightsError if they do not fit the architecture. The size is checked before the file is read.
    """
    weights, offset = [], 0
    with naming(path, WeightsError):
        numbers = _numbers(path, architecture.parameters())
        for index, conv, channels in architecture.convolutions():
            count = parameter_count(conv, channels)
            weights.append(_convolution(numbers[offset:offset + count], conv, channels))
            offset += count
            if conv.batch_normalize:
                check_variance(f"the variance of layer {index}", weights[-1].variance, BATCH_NORM_EPSILON)
    return weights


def _numbers(path, expected: int) -> np.ndarray:
    with opened(path, "weights file", WeightsError) as (file, size):
        start = _header_bytes(file.read(HEADER_BYTES))
        _check_size(size - start, expected)
        file.seek(start)
        data = file.read(4 * expected)
    _check_size(len(data), expected)  # it may have shrunk meanwhile
    numbers = np.frombuffer(data, "<f4")
    if not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise WeightsError(f"float {bad:,} of {expected:,} is {numbers[bad]}, must be finite")
    return numbers


def _check_size(size: int, expected: int) -> None:
    actual, rest = divmod(size, 4)
    if actual != expected or rest:
        problem = "too short" if actual < expected else "too long"
        raise WeightsError(
            f"{problem} for this architecture: has {actual:,} floats"
            f"{f' and {rest} more bytes' if rest else ''}, must have {expected:,}; give the weights of this cfg"
        )


def _header_bytes(header: bytes) -> int:
    if len(header) < HEADER_BYTES:
        raise WeightsError(f"is not a darknet weights file: its {len(header)} bytes are less than a header")
    major, minor = np.frombuffer(header, "<i4", 2)
    if not (0 <= major <= 9 and 0 <= minor <= 9):
        version = f"has version {major}.{minor} in its header; name the file that darknet has written"
        why = next((what for start, what in FOREIGN.items() if header.lstrip().startswith(start)), version)
        raise WeightsError(f"is not a darknet weights file: {why}")
    return HEADER_BYTES if major * 10 + minor >= 2 else HEADER_BYTES - 4


def _convolution(numbers: np.ndarray, conv: Convolutional, channels: int) -> ConvolutionWeights:
    """Darknet's order: bias, then scale, mean and variance of batch norm, then the kernel [filters, channels, h, w]."""
    kernel = numbers[-kernel_count(conv, channels):]
    rows = numbers[:-kernel.size].reshape(-1, conv.filters)
    kernel = kernel.reshape(conv.filters, channels // conv.groups, conv.size, conv.size)
    return ConvolutionWeights(np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), *rows)


def write_weights(path, weights: list[ConvolutionWeights]) -> None:
    """Writes a darknet weights file (version 0.2.5), in place of an old one only when complete."""
    parts = [np.array([0, 2, 5, 0, 0], "<i4").tobytes()]
    for conv in weights:
        _, *rows = conv.arrays()
        parts += [np.asarray(array, "<f4").tobytes() for array in (*rows, conv.kernel.transpose(3, 2, 0, 1))]
    replace_file(path, b"".join(parts))
