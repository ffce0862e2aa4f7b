"""What the user names, `--cfg`, `--size` and `--weights`, turned into an architecture and its weights."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.architecture import Architecture, ArchitectureError, yolov4
from model.formats.darknet import read_cfg, read_weights, write_weights
from model.formats.pytorch import read_checkpoint, write_checkpoint
from model.formats.weights import ConvolutionWeights, WeightsError, random_weights
from model.quoting import shown

RANDOM = "random"
RANDOM_SEED = 0

# How weights are read and written, by the file's suffix.
FORMATS = {
    ".weights": (read_weights, lambda path, architecture, weights: write_weights(path, weights)),
    ".pth": (read_checkpoint, write_checkpoint),
    ".pt": (read_checkpoint, write_checkpoint),
    ".safetensors": (read_checkpoint, write_checkpoint),
}


def load_architecture(cfg=None, size=None) -> Architecture:
    """The cfg's architecture, or the built-in YOLOv4 for COCO; `size` in pixels replaces the input size."""
    architecture = read_cfg(cfg) if cfg else yolov4()
    if size is None:
        return architecture
    try:
        return replace(architecture, width=size, height=size)
    except ArchitectureError as error:
        raise ArchitectureError(f"--size {size}: {error}") from None


def load_weights(weights, architecture: Architecture, epsilon=None) -> list[ConvolutionWeights]:
    """The numbers of a darknet weights file or PyTorch checkpoint, or untrained ones for the word `random`.

    `epsilon` is that of a checkpoint's batch norms where its names do not tell it.
    """
    read = None if str(weights) == RANDOM else _format(weights)[0]
    if epsilon is not None and read is not read_checkpoint:
        raise WeightsError(f"--bn-epsilon {epsilon:g}: is for PyTorch checkpoints, which {shown(weights, 200)} is not; "
                           "leave it out")
    if read is None:
        return random_weights(architecture, RANDOM_SEED)
    return read(weights, architecture) if epsilon is None else read(weights, architecture, epsilon)


def save_weights(path, architecture: Architecture, weights: list[ConvolutionWeights]) -> None:
    """Writes a file that `load_weights` reads as the same numbers; the suffix chooses its format."""
    _, write = _format(path)
    write(path, architecture, weights)


def _format(path) -> tuple:
    if Path(path).suffix not in FORMATS:
        raise WeightsError(f"{shown(path, 200)}: darknet weights files end in .weights, PyTorch checkpoints in .pth, "
                           ".pt or .safetensors")
    return FORMATS[Path(path).suffix]
