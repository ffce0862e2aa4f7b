"""`python -m model plan`: what it reads, what it prints, and one clear sentence for everything that it cannot read."""
from __future__ import annotations

import json

import pytest
import tensorflow as tf

from model.__main__ import main
from model.graph.saved_model import SavedModelError
from model.neuron.partition.frozen import read_graph
from model.neuron.partition.plan import plan
from model.neuron.partition.report import as_dict, text
from tests.model.neuron.graphs import conv, graph_def, placeholder, unsupported


def head_and_tail():
    x = conv(placeholder("image", (None, 8, 8, 3)), "network/conv")
    x = tf.nn.relu(tf.nn.relu(x, name="network/relu"), name="network/last")
    unsupported(tf.tanh(tf.tanh(x, name="tail/one"), name="tail/two"), "tail/cpu")


@pytest.fixture
def graph_file(tmp_path):
    """A file with a frozen GraphDef."""
    path = tmp_path / "frozen.pb"
    path.write_bytes(graph_def(head_and_tail).SerializeToString())
    return path


@pytest.fixture
def printed(capsys):
    """Runs the command, which must do, and gives what it printed."""
    def run(*arguments):
        assert main(["plan", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def error(capsys):
    """Runs the command, which must fail, and gives its only line on stderr."""
    def run(*arguments):
        assert main(["plan", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        line, = captured.err.splitlines()
        assert captured.out == ""
        return line

    return run


def test_a_frozen_graph_is_planned_from_its_placeholders_to_what_nobody_reads(printed, graph_file):
    out = printed(graph_file)
    assert out.startswith("prediction: tfn.saved_model.compile of tensorflow-neuron 1.15; the compile log is the truth")
    for line in (
        "nodes           8", "segments        1", "OnNeuronRatio   0.750   ", "AWS's count     0.750   ",
        "operator ratio  0.833   ",
        "convolutions    1 of 1 on the device", "segment 1: 6 nodes", "  in   image:0 float32 [1, 8, 8, 3]",
        "  out  tail/two:0 float32 [1, 8, 8, 3]", "    1  operator type not supported: Asinh 1", "       tail/cpu",
    ):
        assert f"\n{line}" in out, line


def test_prefixes_and_names_are_left_out(printed, graph_file):
    out = printed(graph_file, "--no-fuse", "tail/*", "network/last", "--batch-size", 4)
    assert "4  named in no_fuse: Tanh 2, Relu 1, Asinh 1" in out
    assert "  out  network/relu:0 float32 [4, 8, 8, 3]" in out


def test_inputs_and_outputs_can_be_named(printed, graph_file):
    out = printed(graph_file, "--input", "network/relu:0", "--output", "tail/one")
    assert "nodes           6, and 2 that no output needs" in out and "  in   network/relu:0" in out


def test_the_other_route_and_the_smallest_segment(printed, graph_file):
    assert "prediction: tfn.trace of tensorflow-neuron 2.x;" in printed(graph_file, "--route", "tf2")
    assert "segment too small" in printed(graph_file, "--minimum-segment-size", 9)


def test_json_has_the_whole_plan(printed, graph_file):
    found = json.loads(printed(graph_file, "--json"))
    assert found["prediction"].endswith("the compile log is the truth")
    assert found["on_neuron_ratio"] == found["ratio_without_identities"] == 6 / 8
    assert found["operator_ratio"] == 5 / 6
    assert (found["convolutions_on_device"], found["convolutions"]) == (1, 1)
    segment, = found["segments"]
    assert segment["inputs"] == [{"name": "image:0", "dtype": "float32", "shape": [1, 8, 8, 3]}]
    assert sorted([*segment["nodes"], *found["on_cpu"]]) == sorted(found["types"])
    assert found["on_cpu"]["tail/cpu"] == {"reason": "operator type not supported", "detail": ""}


@pytest.mark.parametrize("route", ["tf1", pytest.param("tf2", marks=pytest.mark.slow)])
def test_a_saved_model_is_frozen_and_planned_by_its_signature(printed, tiny_model, tiny, route):
    out = printed(tiny_model, "--route", route)
    assert f" of {len(tiny.convolutions())} on the device" in out and "image" in out


@pytest.mark.parametrize("route", [pytest.param("tf1", marks=pytest.mark.slow), "tf2"])
def test_a_detector_is_planned_as_the_gate_has_it_compiled(printed, tiny_model, tiny, route):
    out = printed(tiny_model, "--as-compiled", "--route", route)
    convolutions = len(tiny.convolutions())
    assert f"convolutions    {convolutions} of {convolutions} on the device" in out and "segments        1" in out
    assert " float16 [1, 64, 64, 3]" in out


def test_the_gates_own_way_has_no_other_options(error, tiny_model):
    assert error(tiny_model, "--as-compiled", "--no-fuse", "preprocess/*").startswith(
        "error: --as-compiled: inputs, outputs, nodes, segments and batch size are the gate's own; leave out")


def test_a_model_without_the_detectors_parts_is_not_planned_so(error, tmp_path):
    of_tensorflow_1(tmp_path / "model")
    assert "the model has no part `network` between images and head maps" in error(tmp_path / "model", "--as-compiled")


def of_tensorflow_1(path):
    """A SavedModel of TensorFlow 1 with variables, identities and constants that could be folded; its frozen graph."""
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        image = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], "image")
        kernel = tf.compat.v1.get_variable("kernel", [1, 1, 3, 3], use_resource=False)
        x = tf.identity(tf.nn.conv2d(image, kernel, 1, "VALID", name="conv"), name="kept")
        scale = tf.constant(2.0, name="two") * tf.constant(3.0, name="three")
        y = tf.nn.relu(tf.identity(x * scale), name="relu")
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(path), {"image": image}, {"y": y})
        return tf.compat.v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["relu"])


def test_a_saved_model_of_tensorflow_1_is_frozen_and_otherwise_left_as_it_is(tmp_path):
    expected = of_tensorflow_1(tmp_path / "model")
    graph, inputs, outputs = read_graph(tmp_path / "model")
    assert (inputs, outputs) == (["image:0"], ["relu:0"])
    assert {node.name: node.op for node in graph.node} == {node.name: node.op for node in expected.node}
    assert {"kept", "two", "three", "kernel/read"} <= {node.name for node in graph.node}
    assert len(plan(graph, inputs, outputs, "tf1").segments) == 1


def test_a_saved_model_of_another_origin_is_not_simplified(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="image")], autograph=False)
    def serve(image):
        return {"y": tf.nn.relu(tf.identity(image) * (tf.constant(2.0, name="two") * 3.0))}

    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    graph, _, _ = read_graph(tmp_path / "model")
    kinds = [node.op for node in graph.node]
    assert (kinds.count("Const"), kinds.count("Mul")) == (2, 2) and "Identity" in kinds
    assert "PartitionedCall/Relu" in [node.name for node in graph.node]


def test_a_frozen_saved_model_keeps_its_names(compiled):
    graph, inputs, outputs = read_graph(compiled)
    assert not graph.library.function and inputs == ["image:0"] and len(outputs) == 4
    names = {node.name for node in graph.node}
    assert {name.split(":")[0] for name in outputs} <= names


def test_frozen_or_not_the_same_detector_has_the_same_plan(tiny_model, compiled):
    plans = [plan(*read_graph(path), "tf1") for path in (tiny_model, compiled)]
    one, two = ({**as_dict(found), "types": 0, "unused": 0} for found in plans)
    assert one["convolutions"] == two["convolutions"] and one["on_neuron_ratio"] == two["on_neuron_ratio"]


def test_long_lists_are_cut_and_say_so():
    def build():
        x = placeholder()
        for n in range(30):
            x = conv(unsupported(x, f"cpu{n}"), f"conv{n}")
            x = tf.nn.relu(x, name=f"relu{n}")
        tf.identity(x, name="y")

    out = text(plan(graph_def(build), ["x"], ["y"], "tf1"))
    assert "segments        30" in out and "segment 10:" in out and "segment 11:" not in out
    assert "and 20 more segments" in out and "cpu0, cpu1, cpu2, cpu3, and 26 more" in out
    assert max(map(len, out.splitlines())) <= 120


def test_a_region_that_was_split_is_shown():
    def build():
        x = conv(placeholder(), "conv")
        tf.add(tf.nn.relu(x), unsupported(tf.tanh(x), "between"), name="y")

    out = text(plan(graph_def(build), ["x"], ["y"], "tf1", minimum_segment_size=1))
    assert "split: a connected region became 2 segments" in out and "paths leave it and return through between" in out


FILES = {
    "missing": (lambda path: None, "there is no such file or folder"),
    "empty": (lambda path: path.write_bytes(b""), "must be a SavedModel folder or a file with a frozen GraphDef"),
    "garbage": (lambda path: path.write_bytes(b"\xff" * 999), "must be a SavedModel folder or a file with"),
    "text": (lambda path: path.write_text("node { }"), "must be a SavedModel folder or a file with"),
    "truncated": (lambda path: path.write_bytes(graph_def(head_and_tail).SerializeToString()[:-40]),
                  "must be a SavedModel folder or a file with"),
    "empty folder": (lambda path: path.mkdir(), "is not a SavedModel that can be compiled"),
    "garbage folder": (lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"\xff" * 99)),
                       "is not a SavedModel that can be compiled"),
}


@pytest.mark.parametrize("make, message", FILES.values(), ids=FILES)
def test_what_is_no_model_is_named(error, tmp_path, make, message):
    path = tmp_path / "model"
    make(path)
    assert error(path).startswith(f"error: {path}: {message}")


OPTIONS = {
    "name that is not there": (["--no-fuse", "network"], "--no-fuse network: the graph has no such node"),
    "prefix of nothing": (["--no-fuse", "tail/*", "head/*"], "--no-fuse head/*: the graph has no such node"),
    "output that is not there": (["--output", "boxes"], "the graph has no node boxes"),
    "input that is not there": (["--input", "boxes"], "the graph has no node boxes"),
    "no batch": (["--batch-size", "0"], "--batch-size 0: must be at least 1"),
    "segment size in tf2": (["--route", "tf2", "--minimum-segment-size", "2"],
                            "--minimum-segment-size 2: the route tf2 has none"),
}


@pytest.mark.parametrize("options, message", OPTIONS.values(), ids=OPTIONS)
def test_options_that_do_not_fit_the_graph_are_named(error, graph_file, options, message):
    assert message in error(graph_file, *options)


def test_a_graph_without_outputs_asks_for_them(error, tmp_path):
    path = tmp_path / "frozen.pb"
    path.write_bytes(graph_def(placeholder).SerializeToString())
    assert error(path) == "error: the graph has no outputs; name them"


def test_a_saved_model_without_the_signature_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
    with pytest.raises(SavedModelError, match="has no signature serving_default"):
        read_graph(tmp_path / "model")
