"""What the user names, `--cfg`, `--size` and `--weights`, turned into an architecture and its weights."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.architecture import Architecture, ArchitectureError, yolov4
from model.darknet import WeightsError, read_cfg, read_weights
from model.weights import ConvolutionWeights, random_weights

RANDOM = "random"
RANDOM_SEED = 0


def load_architecture(cfg=None, size=None) -> Architecture:
    """The cfg's architecture, or the built-in YOLOv4 for COCO; `size` in pixels replaces the input size."""
    architecture = read_cfg(cfg) if cfg else yolov4()
    if size is None:
        return architecture
    try:
        return replace(architecture, width=size, height=size)
    except ArchitectureError as error:
        raise ArchitectureError(f"--size {size}: {error}") from None


def load_weights(weights, architecture: Architecture) -> list[ConvolutionWeights]:
    """The numbers of a darknet weights file, or untrained ones for the word `random`."""
    if str(weights) == RANDOM:
        return random_weights(architecture, RANDOM_SEED)
    if Path(weights).suffix != ".weights":
        raise WeightsError(f"{weights}: darknet weights files end in .weights")
    return read_weights(weights, architecture)
