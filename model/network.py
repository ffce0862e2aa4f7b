"""Layer records and their weights turned into a Keras network, from image tensor to the raw maps of the heads."""
from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.architecture import (
    Architecture,
    Convolutional,
    Dropout,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
    Yolo,
)
from model.weights import BATCH_NORM_EPSILON, ConvolutionWeights

ACTIVATIONS = {
    "leaky": lambda x: tf.nn.leaky_relu(x, 0.1),
    "mish": lambda x: x * tf.tanh(tf.math.softplus(x)),
    "logistic": tf.sigmoid,
    "relu": tf.nn.relu,
    "swish": lambda x: x * tf.sigmoid(x),
}


def network(architecture: Architecture, folded=True, activations=ACTIVATIONS):
    """A Keras model: float32 images [batch, height, width, 3] in [0, 1] (RGB) → one raw map per yolo layer.

    A map is [batch, rows, columns, anchors · (5 + classes)]. `folded` leaves batch norm out, for weights that
    have it folded in; the other form is what training needs. `activations` maps names to functions.
    """
    image = tf.keras.Input((architecture.height, architecture.width, 3), name="image")
    outputs, heads, x = [], [], image
    for index, layer in enumerate(architecture.layers):
        if isinstance(layer, Convolutional):
            x = _convolutional(x, layer, f"conv_{index:03d}", folded, activations)
        elif isinstance(layer, Route):
            x = _route([outputs[i] for i in layer.layers], layer, index)
        elif isinstance(layer, Shortcut):
            x = tf.keras.layers.Add(name=f"shortcut_{index:03d}")([outputs[layer.source], x])
            x = _activation(x, layer.activation, f"shortcut_{index:03d}", activations)
        elif isinstance(layer, MaxPool):
            x = _max_pool(x, layer, f"maxpool_{index:03d}")
        elif isinstance(layer, Upsample):
            x = _upsample(x, layer, f"upsample_{index:03d}")
        elif isinstance(layer, Yolo):
            heads.append(x)
        elif not isinstance(layer, Dropout):
            raise TypeError(f"layer {index}: no way to build a {type(layer).__name__}")
        outputs.append(x)
    return tf.keras.Model(image, heads, name="network")


def _convolutional(x, layer, name, folded, activations):
    batch_normalize = layer.batch_normalize and not folded
    explicit = layer.padding and (layer.stride > 1 or layer.padding != layer.size // 2 or layer.size % 2 == 0)
    if explicit:  # TensorFlow's "same" pads the far side first; darknet pads both sides alike
        x = tf.keras.layers.ZeroPadding2D(layer.padding, name=f"{name}_pad")(x)
    padding = "same" if layer.padding and not explicit else "valid"
    x = _product(x, layer, padding, not batch_normalize, name)
    if batch_normalize:
        x = tf.keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, momentum=0.97, name=f"{name}_bn")(x)
    return _activation(x, layer.activation, name, activations)


def _product(x, layer, padding, use_bias, name):
    """The convolution itself. Keras' own `groups` is compiled with XLA, which other compilers cannot take apart."""
    options = {"strides": layer.stride, "padding": padding, "use_bias": use_bias}
    if layer.groups == 1:
        return tf.keras.layers.Conv2D(layer.filters, layer.size, name=name, **options)(x)
    if layer.groups == x.shape[-1]:
        multiplier = layer.filters // layer.groups
        return tf.keras.layers.DepthwiseConv2D(layer.size, depth_multiplier=multiplier, name=name, **options)(x)
    width, filters = x.shape[-1] // layer.groups, layer.filters // layer.groups
    parts = [
        tf.keras.layers.Conv2D(filters, layer.size, name=f"{name}_group_{g}", **options)(
            x[..., g * width:(g + 1) * width]
        )
        for g in range(layer.groups)
    ]
    return tf.keras.layers.Concatenate(name=name)(parts)


def _activation(x, activation, name, activations):
    if activation == "linear":
        return x
    return tf.keras.layers.Activation(activations[activation], name=f"{name}_{activation}")(x)


def _route(sources, layer, index):
    if layer.groups > 1:
        sources = [_group(source, layer) for source in sources]
    if len(sources) == 1:
        return sources[0]
    return tf.keras.layers.Concatenate(name=f"route_{index:03d}")(sources)


def _group(source, layer):
    channels = source.shape[-1] // layer.groups
    return source[..., channels * layer.group_id:channels * (layer.group_id + 1)]


def _max_pool(x, layer, name):
    """Without numbers of padding in the operator, which TensorFlow 1.15, and so Neuron's compilers, do not know."""
    before = layer.padding // 2
    around = [[0, 0], *[[before, layer.padding - before]] * 2, [0, 0]]
    is_same = all(_is_same(length, layer) for length in x.shape[1:3])

    def pool(t):
        if layer.padding and not is_same:
            t = tf.pad(t, around, constant_values=t.dtype.min)
        return tf.nn.max_pool2d(t, layer.size, layer.stride, "SAME" if is_same else "VALID")

    return tf.keras.layers.Lambda(pool, name=name)(x)


def _is_same(length, layer) -> bool:
    """Whether TensorFlow's own padding of so many pixels lets every window see the same ones."""
    windows = (length + layer.padding - layer.size) // layer.stride + 1
    wanted = -(-length // layer.stride)
    padding = max((wanted - 1) * layer.stride + layer.size - length, 0)
    return windows == wanted and layer.padding // 2 == padding // 2


def _upsample(x, layer, name):
    """Every pixel repeated along its row, then every row: operators that Neuron's compilers take, unlike a resize."""
    _, rows, columns, channels = x.shape
    times = layer.stride

    def repeat(t):
        wide = tf.reshape(tf.concat([t] * times, 3), [-1, rows, columns * times * channels])
        return tf.reshape(tf.concat([wide] * times, 2), [-1, rows * times, columns * times, channels])

    return tf.keras.layers.Lambda(repeat, name=name)(x)


def assign(keras_network, architecture: Architecture, weights: list[ConvolutionWeights]) -> None:
    """Puts the weights into a network that was built with `folded=True`."""
    for (index, conv, channels), numbers in zip(architecture.convolutions(), weights):
        folded, name = numbers.folded(), f"conv_{index:03d}"
        if conv.groups == 1:
            keras_network.get_layer(name).set_weights([folded.kernel, folded.bias])
        elif conv.groups == channels:
            kernel = folded.kernel.reshape(conv.size, conv.size, channels, -1)
            keras_network.get_layer(name).set_weights([kernel, folded.bias])
        else:
            parts = zip(np.split(folded.kernel, conv.groups, -1), np.split(folded.bias, conv.groups))
            for group, part in enumerate(parts):
                keras_network.get_layer(f"{name}_group_{group}").set_weights(list(part))


def trained_weights(keras_network, architecture: Architecture) -> list[ConvolutionWeights]:
    """The weights of a network without grouped convolutions that was built with `folded=False`."""
    return [_trained(keras_network, f"conv_{index:03d}", conv) for index, conv, _ in architecture.convolutions()]


def _trained(keras_network, name, conv) -> ConvolutionWeights:
    arrays = [np.asarray(a) for a in keras_network.get_layer(name).get_weights()]
    if not conv.batch_normalize:
        return ConvolutionWeights(*arrays)
    scale, bias, mean, variance = map(np.asarray, keras_network.get_layer(f"{name}_bn").get_weights())
    return ConvolutionWeights(arrays[0], bias, scale, mean, variance)
