"""Settings of AWS's YOLOv4 tutorial: only the network is compiled, in segments of at least 100 operators.

Source: aws-neuron-sdk, src/examples/tensorflow/yolo_v4_demo.
"""
from __future__ import annotations

from model.graph.saved_model import NETWORK

MINIMUM_SEGMENT_SIZE = 100


def excluded(graph_def) -> list:
    """The names of the nodes that stay on the CPU: pre- and post-processing."""
    return [node.name for node in graph_def.node if not node.name.startswith(f"{NETWORK}/")]
