"""What is exported for TensorFlow 1.15 uses only what that version knows, by its own list of operators."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from model.architecture import Convolutional, MaxPool
from model.backends import cpu
from model.detector import Detector
from model.formats.weights import random_weights
from model.graph.build import build
from model.neuron.partition.frozen import read_graph
from model.worker.client import ROOT
from model.worker.pool import RemoteDetector
from tests.model.interpreters import TENSORFLOW_1
from tests.model.neuron.detectors import DETECTORS, exported
from tests.model.samples import one_head, sample_images

LIST = Path(__file__).parents[1].joinpath("tensorflow_1_15_operators.txt")
GRAPH_DEF_VERSION = 134  # of TensorFlow 1.15; a graph whose `min_consumer` is higher is refused there
WITH_TENSORFLOW_1 = pytest.mark.skipif(
    not os.environ.get(TENSORFLOW_1), reason=f"set {TENSORFLOW_1} to the python of an environment with TensorFlow 1.15"
)


def known() -> dict:
    """Operator → {attribute: the data types that it may have; an empty set: any value}."""
    rows = [line.split(" ") for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {row[0]: dict(map(_attribute, row[1:])) for row in rows}


def _attribute(text) -> tuple:
    name, _, types = text.partition(":")
    return name, set(types.split(",")) if types else set()


def problems(graph_def) -> list[str]:
    """What TensorFlow 1.15 would not understand of a GraphDef; [] if nothing."""
    operators, versions = known(), graph_def.versions
    found = [f"calls the function {function.signature.name}" for function in graph_def.library.function]
    if versions.min_consumer > GRAPH_DEF_VERSION or GRAPH_DEF_VERSION in versions.bad_consumers:
        found.append(f"is for GraphDef versions from {versions.min_consumer}, not {list(versions.bad_consumers)}")
    for node in graph_def.node:
        found += _of_attributes(node, operators[node.op]) if node.op in operators else \
            [f"{node.name}: there is no operator {node.op}"]
    return found


def _of_attributes(node, attributes) -> list[str]:
    given = {name: value for name, value in node.attr.items() if not name.startswith("_")}
    unknown = [f"{node.name}: {node.op} has no attribute {name}" for name in given if name not in attributes]
    kinds = [(name, kind) for name, value in given.items() if attributes.get(name) for kind in _types(value)]
    return unknown + [f"{node.name}: {name} of {node.op} is never {kind}"
                      for name, kind in kinds if kind not in attributes[name]]


def _types(value) -> list[str]:
    numbers = [value.type] if value.type else value.list.type
    return [tf.as_dtype(number).name for number in numbers]


def columns(found) -> np.ndarray:
    """Each column of the detections by itself, sorted: the order of equal scores is nobody's promise."""
    return np.sort(np.column_stack([found.boxes, found.scores, found.classes]), 0)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (name == "letterbox-diou")) for name in DETECTORS])
def test_an_exported_detector_is_understood_by_tensorflow_1_15(exported_graph, name):
    _, meta_graph = exported_graph(name)
    assert len(meta_graph.graph_def.node) > 200 and problems(meta_graph.graph_def) == []


@pytest.mark.parametrize("pool", [MaxPool(3, 2, 2), MaxPool(2, 2, 1), *(
    pytest.param(pool, marks=pytest.mark.slow) for pool in (MaxPool(2, 2, 0), MaxPool(5, 1, 4)))], ids=str)
def test_a_max_pool_of_any_padding_is_understood_by_tensorflow_1_15(tmp_path, pool):
    layers = one_head(Convolutional(8), pool)
    saved_model = build(layers, random_weights(layers, 1), tmp_path / "built")
    assert problems(read_graph(exported(saved_model, tmp_path / "exported"))[0]) == []


def add(op, **attributes):
    """A function that adds a node of this type, with data types as attributes."""
    def change(graph_def):
        node = graph_def.node.add(name="planted", op=op)
        for name, value in attributes.items():
            node.attr[name].type = value.as_datatype_enum

    return change


FLAWS = {
    "newer operator": (add("ResizeBilinearV9"), "planted: there is no operator ResizeBilinearV9"),
    "operator of TensorFlow 2": (add("StatelessRandomGetAlg"), "planted: there is no operator StatelessRandomGetAlg"),
    "newer attribute": (add("CombinedNonMaxSuppression", grad=tf.float32),
                        "planted: CombinedNonMaxSuppression has no attribute grad"),
    "newer type": (add("NonMaxSuppressionV5", T=tf.bfloat16), "planted: T of NonMaxSuppressionV5 is never bfloat16"),
    "newer graph": (lambda graph_def: setattr(graph_def.versions, "min_consumer", 135),
                    "is for GraphDef versions from 135, not []"),
    "refused version": (lambda graph_def: graph_def.versions.bad_consumers.append(134),
                        "is for GraphDef versions from 0, not [134]"),
    "function": (lambda graph_def: setattr(graph_def.library.function.add().signature, "name", "f"),
                 "calls the function f"),
}


@pytest.mark.parametrize("change, words", FLAWS.values(), ids=FLAWS)
def test_what_tensorflow_1_15_does_not_know_is_found(exported_graph, change, words):
    graph_def = meta_graph_pb2.MetaGraphDef.FromString(exported_graph("embedded")[1].SerializeToString()).graph_def
    change(graph_def)
    assert problems(graph_def) == [words]


def test_types_that_are_inner_attributes_count_for_nothing():
    graph_def = tf.compat.v1.GraphDef()
    add("Relu", _output_shapes=tf.float32)(graph_def)
    assert problems(graph_def) == []


@WITH_TENSORFLOW_1
def test_the_list_is_that_of_tensorflow_1_15():
    module = "tests.model.neuron.operators_of"
    shown = subprocess.run([os.environ[TENSORFLOW_1], "-W", "ignore", "-m", module], cwd=ROOT, capture_output=True,
                           text=True, check=True, timeout=120)
    assert shown.stdout == LIST.read_text()


@WITH_TENSORFLOW_1
@pytest.mark.parametrize("name", DETECTORS)
def test_an_exported_detector_gives_the_same_detections_on_tensorflow_1_15(built_detector, tmp_path, name):
    compiled = cpu.compile(built_detector(name), tmp_path / "compiled")
    expected = Detector(compiled).detect(sample_images(3))
    with RemoteDetector(os.environ[TENSORFLOW_1], compiled) as remote:
        for one, two in zip(remote.detect(sample_images(3)), expected):
            assert len(one.scores)
            np.testing.assert_allclose(columns(one), columns(two), atol=1e-2)
