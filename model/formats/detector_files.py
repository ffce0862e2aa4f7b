"""Loads the architecture and the weights from the files that a user names."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.architecture import Architecture, ArchitectureError
from model.formats import RANDOM
from model.formats.cfg import read_cfg
from model.formats.darknet_weights import read_weights, write_weights
from model.formats.pytorch import read_checkpoint, write_checkpoint
from model.formats.weights import ConvolutionWeights, WeightsError, random_weights
from model.quoting import shown
from model.yolov4 import yolov4

RANDOM_SEED = 0

# How weights are read and written, by the file's suffix.
FORMATS = {
    ".weights": (read_weights, lambda path, architecture, weights: write_weights(path, weights)),
    **dict.fromkeys((".pth", ".pt", ".safetensors"), (read_checkpoint, write_checkpoint)),
}


def load_architecture(cfg=None, size=None) -> Architecture:
    """The cfg's architecture, or the built-in YOLOv4 for COCO; `size` in pixels replaces the input size.

    Raises CfgError, ArchitectureError.
    """
    architecture = read_cfg(cfg) if cfg else yolov4()
    if size is None:
        return architecture
    try:
        return replace(architecture, width=size, height=size)
    except ArchitectureError as error:
        raise ArchitectureError(f"size {size}: {error}") from None


def load_weights(weights, architecture: Architecture, epsilon=None) -> list[ConvolutionWeights]:
    """The numbers of a darknet weights file or PyTorch checkpoint, or untrained ones for the word `random`.

    `epsilon` is that of a checkpoint's batch norms if its names do not show it. Raises WeightsError.
    """
    read = None if str(weights) == RANDOM else _format(weights)[0]
    if epsilon is not None and read is not read_checkpoint:
        raise WeightsError(f"{shown(weights, 200)}: is not a PyTorch checkpoint, so the epsilon of its batch norms "
                           f"cannot be {epsilon:g}; leave the epsilon out")
    if read is None:
        return random_weights(architecture, RANDOM_SEED)
    return read(weights, architecture) if epsilon is None else read(weights, architecture, epsilon)


def save_weights(path, architecture: Architecture, weights: list[ConvolutionWeights]) -> None:
    """Writes a file that `load_weights` reads as the same numbers; the suffix chooses the format."""
    _, write = _format(path)
    write(path, architecture, weights)


def _format(path) -> tuple:
    if Path(path).suffix not in FORMATS:
        raise WeightsError(f"{shown(path, 200)}: must end in .weights (darknet), .pth, .pt or .safetensors (PyTorch)")
    return FORMATS[Path(path).suffix]
