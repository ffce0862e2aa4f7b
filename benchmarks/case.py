"""The network and the image for the engines of `benchmarks.peers`, in the formats that they read."""
from __future__ import annotations

import importlib.util
import io
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from model.architecture import Architecture, Convolutional, Dropout, MaxPool, Route, Shortcut, Upsample, Yolo
from model.decoding import profile_for
from model.formats.darknet_weights import write_weights

SIZE = 640, 480  # pixels, as most images of COCO
EXPORT_SECONDS = 600
ROOT = Path(__file__).resolve().parent.parent
# About as many boxes as a photograph has above the score threshold; untrained weights would have all.
OBJECTS = 500


class EngineError(ValueError):
    """The engine cannot run here; the message says why and what to do."""


class Case:
    """The network and the image for all engines, in the formats that they read.

    Each engine's process has a copy; `folder` holds the files that they share.
    """

    def __init__(self, architecture: Architecture, weights: list, folder, cfg=None):
        self.architecture, self.weights, self.folder = architecture, weights, Path(folder)
        self._cfg = cfg

    @cached_property
    def jpeg(self) -> bytes:
        return photograph()

    @cached_property
    def image(self) -> np.ndarray:
        size = self.architecture.width, self.architecture.height
        resized = Image.open(io.BytesIO(self.jpeg)).resize(size, Image.Resampling.BILINEAR)
        return np.asarray(resized, np.float32)[None] / 255

    def detector(self, cast: str):
        """The detector that ships: built, compiled for CPU and loaded."""
        from model.backends import cpu
        from model.detector import Detector
        from model.graph.build import build

        saved_model, compiled = self.folder / "saved_model", self.folder / f"compiled_{cast}"
        if not saved_model.exists():
            build(self.architecture, self.weights, saved_model)
        if not compiled.exists():
            cpu.compile(saved_model, compiled, cast)
        return Detector(compiled)

    @cached_property
    def darknet(self) -> tuple[str, str]:
        """Paths of cfg and weights; the cfg is the user's own if there is one."""
        weights, cfg = self.folder / "network.weights", self._cfg or self.folder / "network.cfg"
        write_weights(weights, self.weights)
        if not self._cfg:
            cfg.write_text(cfg_text(self.architecture))
        return str(cfg), str(weights)

    @property
    def onnx(self) -> Path:
        """The network as ONNX, exported by PyTorch in a process of its own."""
        path = self.folder / "network.onnx"
        if not path.exists():
            self._export(path)
        return path

    def _export(self, path) -> None:
        if not importlib.util.find_spec("torch"):
            raise EngineError("needs PyTorch for its ONNX file, which is not installed: pip install torch")
        case_file = self.folder / "case_to_export"
        case_file.write_bytes(pickle.dumps(self))
        export = subprocess.run([sys.executable, "-m", "benchmarks.torch_network", case_file, path], check=False,
                                cwd=ROOT, capture_output=True, text=True, timeout=EXPORT_SECONDS)
        if export.returncode:
            lines = export.stderr.strip().splitlines() or [f"exit code {export.returncode}"]
            raise EngineError(f"PyTorch could not export the network to ONNX: {lines[-1]}")


def photograph() -> bytes:
    """A JPEG of soft blots under noise, which takes as long to decode as a photograph of its size."""
    rng = np.random.default_rng(0)
    blots = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    noisy = np.asarray(blots) + rng.normal(0, 12, (SIZE[1], SIZE[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


_SECTIONS = {
    Convolutional: lambda layer: {
        "batch_normalize": int(layer.batch_normalize), "filters": layer.filters, "size": layer.size,
        "stride": layer.stride, "padding": layer.padding, "groups": layer.groups, "activation": layer.activation,
    },
    Route: lambda layer: {"layers": _list(layer.layers), "groups": layer.groups, "group_id": layer.group_id},
    Shortcut: lambda layer: {"from": layer.source, "activation": layer.activation},
    MaxPool: vars,
    Upsample: vars,
    Dropout: vars,
    Yolo: lambda layer: {
        "mask": _list(range(len(layer.anchors))), "anchors": _list(sum(layer.anchors, ())), "classes": layer.classes,
        "num": len(layer.anchors), "scale_x_y": layer.scale_x_y, "new_coords": int(layer.new_coords),
    },
}


def cfg_text(architecture: Architecture) -> str:
    """The records as a darknet cfg, for importers that need one."""
    sections = [("net", {"width": architecture.width, "height": architecture.height, "channels": 3})]
    sections += [(type(layer).__name__.lower(), _SECTIONS[type(layer)](layer)) for layer in architecture.layers]
    return "\n".join(f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in values.items()) for name, values in sections)


def _list(numbers) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def with_few_objects(architecture: Architecture, weights: list, image) -> list:
    """The weights with objectness biases lowered so that about `OBJECTS` boxes of the image pass the threshold.

    A head with `new_coords` is left as it is.
    """
    numbers_a_box = 5 + architecture.classes
    maps = our_maps(architecture, weights, image)
    best = np.sort(np.concatenate([m.reshape(-1, numbers_a_box)[:, 4] for m in maps]))[::-1]
    threshold = profile_for(architecture).score_threshold
    excess = best[min(OBJECTS, best.size - 1)] - math.log(threshold / (1 - threshold))
    heads = {i - 1 for i, layer in enumerate(architecture.layers) if isinstance(layer, Yolo) and not layer.new_coords}
    return [
        _lowered(numbers, excess, numbers_a_box) if index in heads else numbers
        for (index, _, _), numbers in zip(architecture.convolutions(), weights)
    ]


def our_maps(architecture: Architecture, weights: list, image) -> list[np.ndarray]:
    """The head maps of the Keras network before any export."""
    import tensorflow as tf

    from model.graph.network import assign, network

    ours = network(architecture)
    assign(ours, architecture, weights)
    return [np.asarray(head) for head in tf.nest.flatten(ours(image))]


def _lowered(numbers, excess, numbers_a_box):
    bias = numbers.bias.copy()
    bias[4::numbers_a_box] -= excess
    return replace(numbers, bias=bias)
