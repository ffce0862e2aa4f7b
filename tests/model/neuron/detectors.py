"""The detectors whose compilation is looked at: what the project ships, and every kind of layer and of profile."""
from __future__ import annotations

from fixtures import embedded
from model.backends import EDGES
from model.decoding import profile_for
from model.formats.detector_files import load_architecture
from model.formats.weights import random_weights
from model.graph.build import build
from model.graph.freeze import frozen_graph, write_saved_model
from model.graph.precision import set_edges
from model.yolov4 import yolov4

# Channels and pixels do not change what operators there are; layers do.
SMALL = dict(size=64, width=0.1)
# Name → a function: the real cfg files → architecture, and the profile.
DETECTORS = {
    "embedded": (lambda real: embedded.ARCHITECTURE, "darknet"),
    "yolov4": (lambda real: yolov4(**SMALL), "darknet"),
    "yolov4-tiny": (lambda real: load_architecture(real() / "darknet" / "yolov4-tiny.cfg", 96), "darknet"),
    "letterbox-diou": (lambda real: embedded.ARCHITECTURE, "letterbox-diou"),
}
QUICK = ("embedded", "yolov4-tiny")  # what stands for all in the shorter tests


def built(name, real, folder):
    """The SavedModel folder of a detector with random weights; `real` gives the folder of the real cfg files."""
    architecture, profile = DETECTORS[name]
    layers = architecture(real)
    return build(layers, random_weights(layers, 1), folder, profile_for(layers, profile))


def exported(saved_model, folder):
    """The SavedModel that is handed to Neuron's compilers, as `model.backends.neuron` writes it."""
    graph_def, inputs, outputs = frozen_graph(saved_model)
    set_edges(graph_def, EDGES["neuron"][0])
    write_saved_model(graph_def, inputs, outputs, folder)
    return folder
