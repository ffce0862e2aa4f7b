"""Turns layer records and their weights into a Keras network, from images to the raw maps of the heads."""
from __future__ import annotations

import numpy as np
import tensorflow as tf

from model import architecture as records
from model.architecture import Architecture
from model.formats.weights import BATCH_NORM_EPSILON, ConvolutionWeights

# darknet's activations with its names and constants (src/activations.h); `silu` is OpenCV's name of swish.
ACTIVATIONS = {
    "leaky": lambda x: tf.nn.leaky_relu(x, 0.1),
    "mish": lambda x: x * tf.tanh(tf.math.softplus(x)),
    "logistic": tf.sigmoid,
    "relu": tf.nn.relu,
    "swish": lambda x: x * tf.sigmoid(x),
    "silu": lambda x: x * tf.sigmoid(x),
    "relu6": tf.nn.relu6,
    "hard_mish": lambda x: x * tf.clip_by_value(x + 2, 0, 2) / 2,
    "tanh": tf.tanh,
    "elu": tf.nn.elu,
    "selu": lambda x: 1.0507 * tf.where(x >= 0, x, 1.6732 * (tf.exp(tf.minimum(x, 0)) - 1)),
    "gelu": lambda x: 0.5 * x * (1 + tf.tanh(0.797885 * x + 0.035677 * x * x * x)),
    "revleaky": lambda x: tf.nn.leaky_relu(x, 0.1),
    "relie": lambda x: tf.nn.leaky_relu(x, 0.01),
    "ramp": lambda x: tf.nn.relu(x) + 0.1 * x,
    "loggy": lambda x: 2 * tf.sigmoid(x) - 1,
    "hardtan": lambda x: tf.clip_by_value(x, -1, 1),
}


def network(architecture: Architecture, folded=True, activations=ACTIVATIONS):
    """A Keras model: float32 images [batch, height, width, 3] in [0, 1] (RGB) → one raw map per yolo layer.

    A map is [batch, rows, columns, anchors · (5 + classes)]. With `folded` there is no batch norm, because it is folded
    into the weights; training needs `folded=False`. `activations` maps names to functions. Layers that no head depends
    on are left out.
    """
    image = tf.keras.Input((architecture.height, architecture.width, 3), name="image")
    outputs = {-1: image}
    for index in sorted(architecture.needed()):
        inputs = [outputs[source] for source in architecture.inputs(index)]
        outputs[index] = _layer(index, architecture.layers[index], inputs, folded, activations)
    heads = [outputs[index] for index, layer in enumerate(architecture.layers) if isinstance(layer, records.Yolo)]
    return tf.keras.Model(image, heads, name="network")


def _layer(index, layer, inputs, folded, activations):
    """The output of one layer; `inputs` are in the order of `Architecture.inputs`."""
    *_, x = inputs
    kind = "conv" if isinstance(layer, records.Convolutional) else type(layer).__name__.lower()
    name = f"{kind}_{index:03d}"
    if isinstance(layer, records.Convolutional):
        x = _convolutional(x, layer, name, folded)
    elif type(layer) in BEFORE_ACTIVATION:
        x = BEFORE_ACTIVATION[type(layer)](inputs, layer, name)
    elif not isinstance(layer, (records.Activation, records.Dropout, records.Yolo)):
        raise TypeError(f"layer {index}: cannot build a {type(layer).__name__}")
    activation = getattr(layer, "activation", "linear")
    if activation == "linear":
        return x
    return tf.keras.layers.Activation(activations[activation], name=f"{name}_{activation}")(x)


def _convolutional(x, layer, name, folded):
    batch_normalize = layer.batch_normalize and not folded
    is_even = layer.size % 2 == 0
    reach = layer.size // 2 * getattr(layer, "dilation", 1)
    explicit = layer.padding and (layer.stride > 1 or layer.padding != reach or is_even)
    if explicit:  # TensorFlow's "same" pads the far side first, darknet pads both sides equally
        x = tf.keras.layers.ZeroPadding2D(layer.padding, name=f"{name}_pad")(x)
    padding = "same" if layer.padding and not explicit else "valid"
    x = _convolution(x, layer, padding, not batch_normalize, name)
    if batch_normalize:
        x = tf.keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, momentum=0.97, name=f"{name}_bn")(x)
    return x


def _convolution(x, layer, padding, use_bias, name):
    """The convolution itself. Not with Keras' `groups`, which XLA compiles into a form that other compilers reject."""
    options = {"strides": layer.stride, "padding": padding, "use_bias": use_bias,
               "dilation_rate": getattr(layer, "dilation", 1)}
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


def _sum(inputs, layer, name):
    """The last input plus the others, each cut or padded to the channels of the last."""
    *others, x = inputs
    channels = x.shape[-1]
    return tf.keras.layers.Add(name=name)([*(_first_channels(other, channels) for other in others), x])


def _first_channels(x, channels):
    """The first channels, with zeros for missing ones."""
    missing = channels - x.shape[-1]
    if missing <= 0:
        return x[..., :channels] if missing else x
    return tf.keras.layers.Lambda(lambda t: tf.pad(t, [[0, 0], [0, 0], [0, 0], [0, missing]]))(x)


def _route(sources, layer, name):
    if layer.groups > 1:
        sources = [_group(source, layer) for source in sources]
    if len(sources) == 1:
        return sources[0]
    return tf.keras.layers.Concatenate(name=name)(sources)


def _group(source, layer):
    channels = source.shape[-1] // layer.groups
    return source[..., channels * layer.group_id:channels * (layer.group_id + 1)]


def _max_pool(inputs, layer, name):
    """A maximum without explicit padding in the operator, which TensorFlow 1.15 and Neuron's compilers do not know."""
    (x,) = inputs
    is_same = all(_is_same(length, layer) for length in x.shape[1:3])

    def pool(t):
        if layer.padding and not is_same:
            t = tf.pad(t, _around(layer), constant_values=t.dtype.min)
        return tf.nn.max_pool2d(t, layer.size, layer.stride, "SAME" if is_same else "VALID")

    return tf.keras.layers.Lambda(pool, name=name)(x)


def _around(layer) -> list:
    """The padding as `tf.pad` takes it: the smaller half before."""
    before = layer.padding // 2
    return [[0, 0], *[[before, layer.padding - before]] * 2, [0, 0]]


def _local_average(inputs, layer, name):
    """Means of windows without their padding; the share of each window inside the image is a constant."""
    (x,) = inputs
    is_pixel = np.pad(np.ones((1, *x.shape[1:3], 1), np.float32), _around(layer))
    share = tf.nn.avg_pool2d(is_pixel, layer.size, layer.stride, "VALID").numpy()

    def pool(t):
        padded = tf.pad(t, _around(layer))
        return tf.nn.avg_pool2d(padded, layer.size, layer.stride, "VALID") / tf.constant(share, t.dtype)

    return tf.keras.layers.Lambda(pool, name=name)(x)


def _reorg(inputs, layer, name):
    return tf.keras.layers.Lambda(lambda t: tf.nn.space_to_depth(t, layer.stride), name=name)(*inputs)


def _is_same(length, layer) -> bool:
    """Whether TensorFlow's own padding of a side of this length gives the same windows."""
    windows = (length + layer.padding - layer.size) // layer.stride + 1
    wanted = -(-length // layer.stride)
    padding = max((wanted - 1) * layer.stride + layer.size - length, 0)
    return windows == wanted and layer.padding // 2 == padding // 2


def _upsample(inputs, layer, name):
    """Repeats every pixel along its row, then every row. Neuron's compilers take these operators, not a resize."""
    (x,) = inputs
    _, rows, columns, channels = x.shape
    times = layer.stride

    def repeat(t):
        wide = tf.reshape(tf.concat([t] * times, 3), [-1, rows, columns * times * channels])
        return tf.reshape(tf.concat([wide] * times, 2), [-1, rows * times, columns * times, channels])

    return tf.keras.layers.Lambda(repeat, name=name)(x)


# Record → its output before the activation, from the outputs that it reads, the record and the name.
BEFORE_ACTIVATION = {
    records.MaxPool: _max_pool, records.LocalAvgPool: _local_average, records.Reorg: _reorg, records.Route: _route,
    records.Upsample: _upsample, records.Shortcut: _sum, records.MultiShortcut: _sum,
    records.AvgPool: lambda inputs, _, name: tf.keras.layers.GlobalAveragePooling2D(keepdims=True, name=name)(*inputs),
    **dict.fromkeys((records.ScaleChannels, records.Sam),
                    lambda inputs, _, name: tf.keras.layers.Multiply(name=name)(inputs)),
}


def assign(keras_network, architecture: Architecture, weights: list[ConvolutionWeights]) -> None:
    """Sets the weights of a network that was built with `folded=True`, except those of layers that it left out."""
    needed = architecture.needed()
    for (index, conv, channels), numbers in zip(architecture.convolutions(), weights):
        if index not in needed:
            continue
        folded, name = numbers.folded(), f"conv_{index:03d}"
        if conv.groups in (1, channels):  # Keras has the channels of a depthwise kernel in another place
            kernel = folded.kernel.reshape(conv.size, conv.size, channels, -1)
            keras_network.get_layer(name).set_weights([kernel, folded.bias])
        else:
            parts = zip(np.split(folded.kernel, conv.groups, -1), np.split(folded.bias, conv.groups))
            for group, part in enumerate(parts):
                keras_network.get_layer(f"{name}_group_{group}").set_weights(list(part))


def trained_weights(keras_network, architecture: Architecture) -> list[ConvolutionWeights]:
    """The weights of a network that was built with `folded=False` and has no grouped convolutions."""
    return [_trained(keras_network, f"conv_{index:03d}", conv) for index, conv, _ in architecture.convolutions()]


def _trained(keras_network, name, conv) -> ConvolutionWeights:
    kernel, *bias = keras_network.get_layer(name).get_weights()
    if not conv.batch_normalize:
        return ConvolutionWeights(kernel, *bias)
    scale, bias, mean, variance = keras_network.get_layer(f"{name}_bn").get_weights()
    return ConvolutionWeights(kernel, bias, scale, mean, variance)
