"""The same network run by OpenCV's own darknet importer, an implementation that shares nothing with ours."""
from __future__ import annotations

import re

import cv2
import numpy as np
import tensorflow as tf

from model.darknet import read_cfg, write_weights
from model.network import assign, network
from model.weights import random_weights


def opencv_maps(cfg, weights, images) -> list[np.ndarray]:
    """Images [batch, height, width, 3] → what the layer before each yolo layer gives, [batch, rows, columns, ...].

    Not the yolo layers' own outputs: OpenCV zeroes objectness below 0.2 in them.
    """
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setInput(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    names = net.getLayerNames()
    before = [names[i - 1] for i, name in enumerate(names) if name.startswith("permute_")]
    return [output.transpose(0, 2, 3, 1) for output in net.forward(before)]


def our_maps(cfg, weights_seed, images) -> list[np.ndarray]:
    architecture = read_cfg(cfg)
    ours = network(architecture)
    assign(ours, architecture, random_weights(architecture, weights_seed))
    return [np.asarray(head) for head in tf.nest.flatten(ours(images))]


def disagreement(cfg, seed=3, batch=1) -> float:
    """The largest difference of any head's map, ours against OpenCV's, in parts of the map's range."""
    architecture = read_cfg(cfg)
    weights = cfg.with_suffix(".weights")
    write_weights(weights, random_weights(architecture, seed))
    shape = (batch, architecture.height, architecture.width, 3)
    images = np.random.default_rng(seed).random(shape, np.float32)
    pairs = list(zip(our_maps(cfg, seed, images), opencv_maps(cfg, weights, images)))
    assert len(pairs) == len(architecture.heads)
    return max(float(np.abs(ours - theirs).max() / np.ptp(theirs)) for ours, theirs in pairs)


def resized(text: str, size: int) -> str:
    """The cfg's text for another input size."""
    return re.sub(r"(?m)^\s*(width|height)\s*=.*$", rf"\1={size}", text)
