"""Builds the SavedModel that ships: from encoded images to boxes, scores and classes."""
from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import tensorflow as tf

from model.architecture import Architecture, Convolutional
from model.decoding import profile_for
from model.formats.weights import ConvolutionWeights, digest
from model.graph.network import assign, network
from model.graph.postprocess import detections
from model.graph.preprocess import preprocess
from model.graph.saved_model import NETWORK, POSTPROCESS, PREPROCESS, published, write_metadata


class BuildError(ValueError):
    """The SavedModel cannot be built; the message says what is wrong."""


def build(architecture: Architecture, weights: list[ConvolutionWeights], output, profile=None, names=()) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all, and returns its path.

    Signature `serving_default`: `image` string [batch] (encoded images) → `boxes` float32 [batch, max, 4] (x1, y1,
    x2, y2 in pixels of the original), `scores` float32 [batch, max] falling, `classes` int32 [batch, max],
    `count` int32 [batch] (later rows are padding).
    Raises SavedModelError if `output` exists, BuildError unless there is one name per class and the first layer is a
    convolution.
    """
    profile = profile or profile_for(architecture)
    if names and len(names) != architecture.classes:
        raise BuildError(f"{len(names)} class names for a detector of {architecture.classes} classes; give as many")
    if not isinstance(architecture.layers[0], Convolutional):
        raise BuildError("the first layer must be a convolution, because its kernel scales the pixels")
    with published(output) as folder:
        module, serve = _serving(architecture, weights, profile)
        tf.saved_model.save(module, str(folder), signatures=serve)
        write_metadata(folder, {
            "width": architecture.width, "height": architecture.height, "classes": architecture.classes,
            "names": list(names), "convolutions": len(weights), "parameters": architecture.parameters(),
            "flops": architecture.flops(), "architecture_sha256": architecture_digest(architecture),
            "weights_sha256": digest(weights), "profile": asdict(profile),
        })
    return Path(output)


def _serving(architecture, weights, profile) -> tuple:
    """(module, function): what TensorFlow saves, the network's variables and the serving function."""
    layers = network(architecture)
    # Scaling pixels to [0, 1] costs nothing as part of the first kernel.
    assign(layers, architecture, [weights[0].for_pixels(), *weights[1:]])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")], autograph=False)
    def serve(image):
        with tf.name_scope(PREPROCESS):
            images, frames = preprocess(image, architecture.height, architecture.width, profile.resize)
            # Compilers that fix the batch of the encoded images must infer that of the decoded ones.
            images = tf.reshape(images, [tf.shape(image)[0], architecture.height, architecture.width, 3])
        with tf.name_scope(NETWORK):
            maps = tf.nest.flatten(layers(images, training=False))  # Keras returns a single map without a list
        with tf.name_scope(POSTPROCESS):
            boxes, scores, classes, count = detections(maps, frames, architecture, profile)
        return {"boxes": boxes, "scores": scores, "classes": classes, "count": count}

    module, function = tf.Module(), serve.get_concrete_function()
    # The variables alone: Keras would save its layers with thousands of objects that nobody loads, and TensorFlow would
    # trace a function of the module once more.
    module.parameters = function.variables
    return module, function


def architecture_digest(architecture: Architecture) -> str:
    """SHA-256 of the records; equal architectures have equal digests."""
    return hashlib.sha256(repr(architecture).encode()).hexdigest()
