"""Turns layer records and their weights into a PyTorch network: a rival, and the source of ONNX for others.

`python -m benchmarks.torch_network CASE FILE` exports a pickled case's network as the ONNX file.
"""
from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from model.architecture import Architecture, Convolutional, Dropout, MaxPool, Route, Shortcut, Upsample, Yolo
from model.formats.weights import ConvolutionWeights

# In place where PyTorch can, because nothing else reads the output of a convolution or sum.
ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: functional.leaky_relu(x, 0.1, inplace=True),
    "mish": lambda x: functional.mish(x, inplace=True),
    "relu": lambda x: functional.relu(x, inplace=True),
    "swish": lambda x: functional.silu(x, inplace=True),
    "logistic": torch.sigmoid,
}
ONNX_OPSET = 17


class TorchNetwork(torch.nn.Module):
    """float32 images [batch, height, width, 3] in [0, 1] (RGB) → one raw map [batch, rows, columns, channels] per head.

    Batch norm is folded into the convolutions. Tensors inside are [batch, channels, height, width] with the channels
    last in memory, so that neither end needs a copy.
    """

    def __init__(self, architecture: Architecture, weights: list[ConvolutionWeights]):
        super().__init__()
        self.layers = architecture.layers
        self.last_use = {source: i for i, layer in enumerate(self.layers) for source in _sources(layer)}
        self.convolutions = torch.nn.ModuleDict({
            str(index): _convolution(conv, channels, numbers.folded())
            for (index, conv, channels), numbers in zip(architecture.convolutions(), weights)
        })
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, image):
        x, kept, heads = image.permute(0, 3, 1, 2), {}, []
        for index, layer in enumerate(self.layers):
            x = self._step(index, layer, x, kept)
            if index in self.last_use:
                kept[index] = x
            for source in _sources(layer):
                if self.last_use[source] == index:  # frees its memory for later layers
                    kept.pop(source, None)
            if isinstance(layer, Yolo):
                heads.append(x.permute(0, 2, 3, 1))
        return heads

    def _step(self, index, layer, x, kept):
        if type(layer) is Convolutional:
            return ACTIVATIONS[layer.activation](self.convolutions[str(index)](x))
        if isinstance(layer, Shortcut):
            return ACTIVATIONS[layer.activation](kept[layer.source] + x)
        if isinstance(layer, Route):
            parts = [_part(kept[source], layer) for source in layer.layers]
            return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        if type(layer) is MaxPool:
            return _max_pool(x, layer)
        if isinstance(layer, Upsample):
            return functional.interpolate(x, scale_factor=float(layer.stride), mode="nearest")
        if isinstance(layer, (Yolo, Dropout)):
            return x  # a yolo layer's map is its input; dropout does nothing
        raise TypeError(f"layer {index}: cannot build a {type(layer).__name__} in PyTorch")


def _sources(layer) -> tuple:
    if isinstance(layer, Route):
        return layer.layers
    return (layer.source,) if isinstance(layer, Shortcut) else ()


def _convolution(conv: Convolutional, channels: int, numbers: ConvolutionWeights):
    module = torch.nn.Conv2d(channels, conv.filters, conv.size, conv.stride, conv.padding, groups=conv.groups)
    kernel = np.ascontiguousarray(numbers.kernel.transpose(3, 2, 0, 1))
    module.load_state_dict({"weight": torch.from_numpy(kernel), "bias": torch.tensor(numbers.bias)})
    return module


def _part(x, layer: Route):
    return x.chunk(layer.groups, 1)[layer.group_id] if layer.groups > 1 else x


def _max_pool(x, layer: MaxPool):
    before = layer.padding // 2
    after = layer.padding - before
    if before == after <= layer.size // 2:
        return functional.max_pool2d(x, layer.size, layer.stride, before)
    return functional.max_pool2d(functional.pad(x, (before, after) * 2, value=-float("inf")), layer.size, layer.stride)


def export(case_file, output) -> None:
    """Writes the case's network as an ONNX file, complete or not at all."""
    case = pickle.loads(Path(case_file).read_bytes())
    draft = f"{output}.partial"
    with warnings.catch_warnings():  # PyTorch's newer exporter would need one more package
        warnings.simplefilter("ignore")
        network = TorchNetwork(case.architecture, case.weights)
        torch.onnx.export(network, (torch.from_numpy(case.image),), draft, opset_version=ONNX_OPSET, dynamo=False)
    os.replace(draft, output)


if __name__ == "__main__":
    export(*sys.argv[1:])
