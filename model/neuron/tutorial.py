"""How AWS's YOLOv4 tutorial compiles: the network alone, in pieces no smaller than a hundred operators.

Source: aws-neuron-sdk, src/examples/tensorflow/yolo_v4_demo.
"""
from __future__ import annotations

from model.graph.saved_model import NETWORK

MINIMUM_SEGMENT_SIZE = 100


def excluded(graph_def) -> list:
    """The names of the nodes that are to stay on the CPU: all that decode pictures or boxes."""
    return [node.name for node in graph_def.node if not node.name.startswith(f"{NETWORK}/")]
