"""The embedded detector in PyTorch, on a CPU or an NVIDIA GPU. Needs torch, Pillow and NumPy, and no TensorFlow.

pytest tests/gates --detector examples/pytorch_detector.py:make --detector-arg device=cuda --detector-arg dtype=fp16
"""
from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from benchmarks.torch_network import TorchNetwork
from examples.parts import pixels, suppressed
from fixtures.embedded import ARCHITECTURE, WEIGHTS
from fixtures.embedded.scenes import CLASSES
from model.decoding import profile_for
from model.formats.detector_files import load_weights
from model.formats.weights import digest

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def make(device="cpu", dtype="fp32"):
    """The detector on a device of PyTorch (cpu, cuda, cuda:1), its network in one of DTYPES. Raises ValueError."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype}: must be one of: {', '.join(DTYPES)}")
    torch.backends.cudnn.allow_tf32 = False  # else cuDNN rounds what FP32 convolutions read to 10 bits
    weights = load_weights(WEIGHTS, ARCHITECTURE)
    network = TorchNetwork(ARCHITECTURE, weights).to(device, DTYPES[dtype])
    return Detector(network, torch.device(device), dtype, digest(weights))


class Detector:
    """Encoded images → for each image (boxes, scores, classes), as docs/any-detector.md says."""

    names, flops = CLASSES, ARCHITECTURE.flops()
    versions = {"torch": torch.__version__, "cuda": str(torch.version.cuda)}  # noqa: RUF012 - nothing changes it

    def __init__(self, network: torch.nn.Module, device: torch.device, dtype: str, identity: str):
        self.label, self.identity = f"PyTorch {dtype.upper()} on {device}", identity
        self.network, self.device, self.dtype = network, device, DTYPES[dtype]
        shapes = zip(ARCHITECTURE.layers, ARCHITECTURE.shapes())
        self.grids = [_grid(layer, *shape[:2]).to(device) for layer, shape in shapes if layer in ARCHITECTURE.heads]

    @torch.inference_mode()
    def __call__(self, images):
        originals = [pixels(image) for image in images]
        maps = self.network(torch.stack([self._input(one) for one in originals]).to(self.dtype))
        found = torch.cat([_split(one.float(), grid) for one, grid in zip(maps, self.grids)], 1).cpu().numpy()
        return [_detections(one, original.shape[1::-1]) for one, original in zip(found, originals)]

    def _input(self, original: np.ndarray) -> torch.Tensor:
        """float32 [height, width, 3] in [0, 1]: the image stretched, bilinearly and without antialiasing."""
        image = torch.from_numpy(original).to(self.device).permute(2, 0, 1)[None].float()
        small = functional.interpolate(image, (ARCHITECTURE.height, ARCHITECTURE.width), mode="bilinear")
        return small[0].permute(1, 2, 0) / 255

    def fallback(self) -> str:
        """Why it does not run as asked: where its parameters are elsewhere, or of another format."""
        found = {(one.device.type, one.dtype) for one in self.network.parameters()}
        asked = (self.device.type, self.dtype)
        return "" if found == {asked} else f"its parameters are {found}, must be {asked}"


PROFILE = profile_for(ARCHITECTURE)


def _grid(head, rows: int, columns: int) -> torch.Tensor:
    """float32 [n, 7] for each box of a map: column and row of its cell, size of a cell and of its anchor as fractions
    of the network's input, and the scale of its centre."""
    row, column, anchor = np.indices((rows, columns, len(head.anchors))).reshape(3, -1)
    anchors = np.array(head.anchors)[anchor] / [ARCHITECTURE.width, ARCHITECTURE.height]
    same = np.tile([1 / columns, 1 / rows], (len(row), 1))
    scale = np.full(len(row), head.scale_x_y)
    return torch.from_numpy(np.column_stack([column, row, same, anchors, scale]).astype(np.float32))


def _split(raw: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """A raw map [batch, rows, columns, anchors · (5 + classes)] → [batch, n, 4 + classes]: x1, y1, x2, y2 as fractions
    of the image, and the scores. NaN becomes the score infinity, because NaN is above no threshold."""
    xy, wh, objectness, classes = raw.reshape(len(raw), len(grid), -1).split([2, 2, 1, len(CLASSES)], -1)
    corner, cell, anchor, scale = grid.split([2, 2, 2, 1], -1)
    centres = (xy.sigmoid() * scale - (scale - 1) / 2 + corner) * cell
    sizes = wh.exp() * anchor
    scores = (objectness.sigmoid() * classes.sigmoid()).nan_to_num(nan=torch.inf)
    return torch.cat([centres - sizes / 2, centres + sizes / 2, scores], -1)


def _detections(found: np.ndarray, size: tuple) -> tuple:
    """What was found in one image, [n, 4 + classes], after NMS: boxes in pixels, scores and classes."""
    boxes, scores, classes = suppressed(found[:, :4], found[:, 4:], PROFILE.score_threshold, PROFILE.iou_threshold,
                                        PROFILE.max_detections)
    side = np.float32([*size, *size])
    return (boxes * side).clip(0, side), scores, classes
