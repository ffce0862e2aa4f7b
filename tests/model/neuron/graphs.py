"""Small graphs for the tests of the planner, and plans of them."""
from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.neuron.partition.plan import plan

v1 = tf.compat.v1


def graph_def(build):
    """The GraphDef of what the function adds to a new graph."""
    with tf.Graph().as_default() as graph:
        build()
    return graph.as_graph_def()


def planned(build, inputs, outputs, route="tf1", **options):
    return plan(graph_def(build), inputs.split(), outputs.split(), route, **options)


def placeholder(name="x", shape=(1, 8, 8, 3), dtype=tf.float32):
    return v1.placeholder(dtype, shape, name=name)


def conv(x, name, filters=3, size=1, stride=1, padding="VALID"):
    kernel = np.ones((size, size, x.shape[-1], filters), x.dtype.as_numpy_dtype)
    return tf.nn.conv2d(x, kernel, stride, padding, name=name)


def unsupported(x, name):
    """An operator that neither route has."""
    return tf.raw_ops.Asinh(x=x, name=name)


def enlarged(x, name):
    """Nearest-neighbour enlargement, which tf1 has and tf2 has not."""
    return tf.raw_ops.ResizeNearestNeighbor(images=x, size=[16, 16], name=name)


def unknown_length(x, name):
    """A float vector of as many numbers as x has true ones."""
    return tf.cast(tf.where(x > 0)[:, 0], tf.float32, name=name)


def reasons(plan_) -> dict:
    return {name: cause.reason for name, cause in plan_.on_cpu.items()}


def segments(plan_) -> set:
    return {frozenset(segment.nodes) for segment in plan_.segments}
