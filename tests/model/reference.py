"""The same network run by OpenCV's own darknet importer, an implementation that shares nothing with ours."""
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import tensorflow as tf

from model.formats.cfg import read_cfg
from model.formats.darknet_weights import write_weights
from model.formats.weights import random_weights
from model.graph.network import assign, network
from model.graph.postprocess import candidates

ACTIVATION = re.compile(r"(leaky|mish|logistic|relu|swish|silu|tanh)_(\d+)$")


@dataclass(frozen=True)
class Comparison:
    """Both implementations of a cfg with the same seeded weights, on the same seeded images."""

    cfg: object
    seed: int = 3
    batch: int = 1

    @cached_property
    def architecture(self):
        return read_cfg(self.cfg)

    @cached_property
    def images(self) -> np.ndarray:
        shape = (self.batch, self.architecture.height, self.architecture.width, 3)
        return np.random.default_rng(self.seed).random(shape, np.float32)

    @cached_property
    def ours(self):
        keras_network = network(self.architecture)
        assign(keras_network, self.architecture, random_weights(self.architecture, self.seed))
        return keras_network

    @cached_property
    def opencv(self):
        weights = self.cfg.with_suffix(".weights")
        write_weights(weights, random_weights(self.architecture, self.seed))
        net = cv2.dnn.readNetFromDarknet(str(self.cfg), str(weights))
        net.setInput(np.ascontiguousarray(self.images.transpose(0, 3, 1, 2)))
        return net

    @cached_property
    def our_maps(self) -> list[np.ndarray]:
        return [np.asarray(head) for head in tf.nest.flatten(self.ours(self.images))]

    @cached_property
    def opencv_maps(self) -> list[np.ndarray]:
        """What the layer before each yolo layer gives: their own outputs are decoded already."""
        names = self.opencv.getLayerNames()
        before = [names[i - 1] for i, name in enumerate(names) if name.startswith("permute_")]
        return [output.transpose(0, 2, 3, 1) for output in self.opencv.forward(before)]

    def disagreement(self) -> float:
        """The largest difference of any head's map in parts of the map's range."""
        assert len(self.our_maps) == len(self.opencv_maps) == len(self.architecture.heads)
        return max(map(relative, self.our_maps, self.opencv_maps))

    def candidates_disagreement(self) -> tuple[float, float]:
        """The largest differences of boxes (in fractions of the input) and of class scores of all candidates.

        OpenCV zeroes what is below the `thresh=` of a yolo section, which must be 0 here.
        """
        rows = np.concatenate(self.opencv.forward([n for n in self.opencv.getLayerNames() if n.startswith("yolo_")]))
        centres, sizes, theirs = rows[:, :2], rows[:, 2:4], rows[:, 5:]
        boxes, scores = (np.asarray(part)[0] for part in candidates(self.our_maps, self.architecture, 0.0))
        real = scores.any(1)  # the others fill up the heads' rows
        expected = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
        return np.abs(boxes[real] - expected).max(), np.abs(scores[real] - theirs).max()

    def first_difference(self, tolerance) -> str:
        """The first layer, in the cfg's order, whose output differs by more than `tolerance` of its range."""
        ours, theirs = self._our_layers(), self._opencv_layers()
        shared = sorted(set(ours) & set(theirs))
        probe = tf.keras.Model(self.ours.input, [ours[index] for index in shared])
        outputs = zip(shared, probe(self.images), self.opencv.forward([theirs[index] for index in shared]))
        for index, one, two in outputs:
            off = relative(np.asarray(one), two.transpose(0, 2, 3, 1))
            if off > tolerance:
                return f"layer {index} ({self.architecture.layers[index]}): {off:.1e} of its range"
        return "no layer differs"

    def _our_layers(self) -> dict:
        """Index → output tensor; the last Keras layer of that index gives it."""
        numbered = ((re.match(r"[a-z]+_(\d{3})", layer.name), layer) for layer in self.ours.layers)
        return {int(match[1]): layer.output for match, layer in numbered if match}

    def _opencv_layers(self) -> dict:
        """Index → name of the layer that gives its output. Activations are numbered one higher than their layer."""
        layers = {}
        for name in self.opencv.getLayerNames():
            kind, index = name.rsplit("_", 1)
            if kind not in ("permute", "yolo", "identity", "slice"):
                layers[int(index) - bool(ACTIVATION.match(name))] = name
        return layers


def relative(one, two) -> float:
    """The largest difference in parts of the second's range."""
    return float(np.abs(one - two).max() / np.ptp(two))


def resized(text: str, size: int) -> str:
    """The cfg's text for another input size."""
    return re.sub(r"(?m)^\s*(width|height)\s*=.*$", rf"\1={size}", text)
