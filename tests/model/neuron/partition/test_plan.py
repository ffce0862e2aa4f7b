"""The dry run of Neuron's partitioner: AWS's own test graphs, every reason planted and found, our own detector."""
from __future__ import annotations

import time

import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from model.neuron.partition import operators
from model.neuron.partition.frozen import read_graph
from model.neuron.partition.plan import PlanError, plan
from model.neuron.partition.rules import Cause, Reason
from tests.model.neuron.graphs import (
    conv,
    enlarged,
    graph_def,
    placeholder,
    planned,
    reasons,
    segments,
    unknown_length,
    unsupported,
)

HALF = tf.float16


@pytest.fixture
def few_operators(monkeypatch):
    """The list that AWS's own tests of the partitioner use."""
    monkeypatch.setitem(operators.SUPPORTED, "tf1", frozenset({"Conv2D", "Const", "Add", "Relu"}))


def test_the_lists_are_as_long_as_the_published_ones():
    assert len(operators.SUPPORTED["tf2"]) == 75
    # 116 less Placeholder; IdentityN is not among them, SquaredDifference is.
    assert len(operators.SUPPORTED["tf1"]) == 115 and "SquaredDifference" in operators.SUPPORTED["tf1"]
    assert "ResizeNearestNeighbor" in operators.SUPPORTED["tf1"] - operators.SUPPORTED["tf2"]


def nodes_after(plan_) -> int:
    """How many nodes the partitioned graph has: a segment is one, each output of the graph in it one more."""
    left = len(plan_.types) - sum(len(segment.nodes) for segment in plan_.segments)
    return left + len(plan_.segments) + plan_.identities


def two_convolutions():
    """The graph of test_simple in graph_util_test.py of aws-neuron-tensorflow."""
    one, two = (conv(placeholder(f"input{i}", (1, 2, 2, 3), HALF), f"conv2d{i}") for i in range(2))
    total = tf.add(one, two, name="add0")
    tf.nn.relu(total, name="relu0")
    tf.sigmoid(total, name="sigmoid0")


def sums_of_three_convolutions():
    """The graph of test_no_fuse in graph_util_test.py of aws-neuron-tensorflow."""
    x = placeholder("input0", (1, 2, 2, 3), HALF)
    c = [conv(x, f"conv2d{i}") for i in range(3)]
    a = [tf.add(c[i], c[j], name=f"add{n}") for n, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)])]
    for n, (i, j) in enumerate([(2, 1), (1, 0), (2, 0)]):
        tf.nn.relu(tf.add(a[i], a[j], name=f"add{3 + n}"), name=f"relu{n}")


def test_aws_simple_graph_is_one_segment_of_two_outputs(few_operators):
    found = planned(two_convolutions, "input0 input1", "add0 relu0 sigmoid0")
    segment, = found.segments
    assert nodes_after(found) == 6
    assert [str(t) for t in segment.inputs] == [f"input{i}:0 float16 [1, 2, 2, 3]" for i in range(2)]
    assert {tensor.name for tensor in segment.outputs} == {"add0:0", "relu0:0"}
    assert found.on_cpu["sigmoid0"].reason is Reason.UNSUPPORTED


def test_aws_excluded_sum_splits_its_graph_in_three(few_operators):
    found = planned(sums_of_three_convolutions, "input0", "relu0 relu1 relu2", no_fuse=["add0"])
    assert nodes_after(found) == 8 and len(found.segments) == 3
    assert reasons(found) == {"input0": Reason.INPUT, "add0": Reason.EXCLUDED}
    split, = found.splits
    assert split.between == ("add0",) and sum(split.sizes) == len(found.types) - 2


def test_aws_saved_model_is_one_operator_with_two_outputs():
    """The graph of saved_model_test.py, test_simple, whose batch size is open."""
    def build():
        one, two = (conv(placeholder(f"input{i}", (None, 2, 2, 3), HALF), f"conv2d{i}") for i in range(2))
        total = tf.add(one, two, name="add0")
        tf.nn.relu(total, name="relu0")
        tf.nn.relu(conv(tf.sigmoid(total, name="sigmoid0"), "conv2d1_1"), name="relu1")

    found = planned(build, "input0 input1", "relu0 relu1")
    assert nodes_after(found) == 5 and found.identities == 2
    assert found.on_neuron_ratio == 10 / 14  # compiled_graph_op_counts: 12 − 2 in the operator; 5 + 10 − 1 in all
    assert found.operator_ratio == 1 and found.convolutions == (3, 3)
    assert {t.shape for t in found.segments[0].inputs} == {(1, 2, 2, 3)}


def string_input():
    texts = placeholder("x", [1], tf.string)
    tf.raw_ops.Shape(input=tf.identity(texts, name="plain"), name="y")


def pad_before_a_jump():
    x = tf.pad(placeholder(), [[0, 0], [1, 1], [1, 1], [0, 0]], name="pad")
    x = conv(x, "conv", size=3, stride=2)
    for _ in range(4):
        x = tf.nn.relu(x)
    tf.identity(x, name="y")


def two_regions(first, second):
    """Two convolutions on the device that are `first` and `second` other operators long, one on the CPU between."""
    x = conv(placeholder(), "one")
    for n in range(first):
        x = tf.nn.relu(x, name=f"first{n}")
    x = conv(unsupported(x, "cpu"), "two")
    for n in range(second):
        x = tf.nn.relu(x, name=f"second{n}")
    tf.identity(x, name="y")


def cheap_beside_costly():
    x = conv(placeholder(), "conv")
    tf.nn.relu(tf.nn.relu(unsupported(x, "cpu"), name="cheap"), name="y")


def concatenated(after):
    x = conv(placeholder(), "conv")
    x = tf.concat([x, tf.nn.relu(x), tf.tanh(x), tf.sigmoid(x)], -1, name="concat")
    after(x)


def variable_read():
    handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[3], name="variable")
    handle = tf.raw_ops.Reshape(tensor=handle, shape=[], name="handle")
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32, name="read")
    tf.add(value, placeholder("x", [3]), name="y")


def waiting_for_a_segment():
    x = placeholder()
    last = tf.nn.relu(tf.nn.relu(x, name="first"), name="last")
    with tf.control_dependencies([last]):
        unsupported(x, "y")


def int64_to_the_cpu():
    x = conv(placeholder(), "conv")
    whole = tf.cast(x, tf.int64, name="wide")
    y = tf.raw_ops.FloorMod(x=whole, y=tf.constant(3, tf.int64), name="cpu")
    tf.add(tf.cast(y, tf.float32, name="back"), x, name="y")


def select_int64():
    x = placeholder()
    choice = tf.raw_ops.Select(condition=x > 0, x=tf.cast(x, tf.int64), y=tf.cast(-x, tf.int64), name="select")
    tf.cast(choice, tf.float32, name="y")


def constant_for_both():
    x, shared = placeholder(), tf.constant(2.0, name="shared")
    unsupported(tf.nn.relu(conv(x, "conv") * shared) + unsupported(shared, "cpu"), "y")


def waiting_constant():
    x = placeholder()
    with tf.control_dependencies([unsupported(x, "cpu")]):
        waiting = tf.constant(1.0, name="waiting")
    tf.nn.relu(x + waiting, name="y")


# Reason → route, what builds the graph, the node that is to have it, options. All inputs are x, all outputs y.
PLANTED = {
    Reason.INPUT: ("tf1", lambda: tf.nn.relu(placeholder(), name="y"), "x", {}),
    Reason.EXCLUDED: ("tf1", two_regions, "one", {"no_fuse": ["one"]}),
    Reason.UNSUPPORTED: ("tf1", two_regions, "cpu", {}),
    Reason.STRING: ("tf2", string_input, "plain", {}),
    Reason.CONTROL_INPUT: ("tf1", waiting_constant, "waiting", {}),
    Reason.FIRST_CONVOLUTION: ("tf2", pad_before_a_jump, "pad", {}),
    Reason.SELECT_INT64: ("tf2", select_int64, "select", {}),
    Reason.CHEAP_CONSUMER: ("tf2", lambda: concatenated(lambda x: tf.nn.relu(x, name="y")), "concat", {}),
    Reason.UNKNOWN_SHAPE: ("tf2", lambda: tf.nn.relu(unknown_length(placeholder(), "open"), name="y"), "y", {}),
    Reason.WIDE_TYPE: ("tf1", int64_to_the_cpu, "wide", {}),
    Reason.SHARED_CONSTANT: ("tf1", constant_for_both, "shared", {}),
    Reason.TOO_SMALL: ("tf1", two_regions, "one", {"minimum_segment_size": 6}),
    Reason.CHEAP_SEGMENT: ("tf2", cheap_beside_costly, "cheap", {}),
    Reason.NOT_LARGEST: ("tf2", lambda: two_regions(17, 0), "two", {}),
    Reason.RESOURCE: ("tf2", variable_read, "handle", {}),
    Reason.NO_INPUTS: ("tf1", lambda: (placeholder(), tf.nn.relu([1.0], name="y")), "y", {}),
    Reason.NO_OUTPUTS: ("tf1", waiting_for_a_segment, "last", {}),
    Reason.UNKNOWN_BOUNDARY: (
        "tf1", lambda: tf.nn.relu(tf.tanh(unknown_length(placeholder(), "open")), name="y"), "y", {}),
}


def build_planted(build):
    return lambda: build(3, 3) if build is two_regions else build()


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_is_found_where_it_was_planted(reason):
    route, build, node, options = PLANTED[reason]
    found = planned(build_planted(build), "x", "y", route, **options)
    assert reasons(found)[node] is reason, found.on_cpu[node]


@pytest.mark.parametrize("reason", PLANTED, ids=lambda reason: reason.name)
@pytest.mark.parametrize("route", ["tf1", "tf2"])
def test_every_node_is_in_one_segment_or_has_a_reason(reason, route):
    _, build, _, _ = PLANTED[reason]
    found = planned(build_planted(build), "x", "y", route)
    placed = [name for segment in found.segments for name in segment.nodes]
    assert sorted([*placed, *found.on_cpu]) == sorted(found.types)


def test_details_name_the_tensor_or_the_figure():
    small = planned(lambda: two_regions(3, 3), "x", "y", minimum_segment_size=6)
    assert small.on_cpu["one"].detail == "5 of 6 operators"
    wide = planned(int64_to_the_cpu, "x", "y")
    assert wide.on_cpu["wide"].detail == "wide:0 int64 [1, 8, 8, 3]"
    largest = planned(lambda: two_regions(17, 0), "x", "y", "tf2")
    assert largest.on_cpu["two"].detail == "which has 19 of 22 nodes"


def test_an_unknown_shape_is_blamed_on_where_it_began():
    found = planned(lambda: tf.reduce_sum(tf.tanh(unknown_length(placeholder(), "open")), name="y"), "x", "y", "tf2")
    blamed = Cause(Reason.UNKNOWN_SHAPE, "Where:0 int64 [?, 4]")
    assert found.on_cpu["y"] == found.on_cpu["Tanh"] == found.on_cpu["open"] == blamed


def test_ancestors_of_an_input_stay_on_the_cpu():
    def build():
        x = tf.nn.relu(placeholder(), name="before")
        tf.nn.relu(tf.nn.relu(tf.identity(x, name="middle"), name="after"), name="y")

    found = planned(build, "middle", "y")
    assert reasons(found) == dict.fromkeys(["x", "before", "middle"], Reason.INPUT)
    assert segments(found) == {frozenset({"after", "y"})}


def test_what_reads_a_string_stays_on_the_cpu_in_tf1():
    found = reasons(planned(string_input, "x", "y"))
    assert found["plain"] is found["y"] is Reason.STRING


def test_an_operator_that_is_renamed_is_looked_up_under_its_plain_name(few_operators):
    found = planned(lambda: tf.nn.relu(tf.raw_ops.AddV2(x=placeholder(), y=1.0), name="y"), "x", "y")
    assert found.types["AddV2"] == "AddV2" and "AddV2" in found.segments[0].nodes


@pytest.mark.parametrize("right, kind", [((2, 4, 5), "BatchMatMul"), ((1, 4, 5), "BatchMatMulV2")], ids=str)
def test_matrix_products_are_renamed_unless_they_broadcast(monkeypatch, right, kind):
    monkeypatch.setitem(operators.SUPPORTED, "tf1", frozenset({kind, "Relu", "Const"}))
    found = planned(lambda: tf.nn.relu(tf.raw_ops.BatchMatMulV2(
        x=placeholder("x", (2, 3, 4)), y=tf.ones(right), name="product"), name="y"), "x", "y")
    assert "product" in found.segments[0].nodes


@pytest.mark.parametrize("uses_scratch, kind", [(False, "FusedBatchNorm"), (True, "FusedBatchNormV3")], ids=str)
def test_batch_norm_is_renamed_if_only_its_first_results_are_used(monkeypatch, uses_scratch, kind):
    monkeypatch.setitem(operators.SUPPORTED, "tf1", frozenset({kind, "Add", "Const"}))

    def build():
        ones = tf.ones([3])
        results = tf.raw_ops.FusedBatchNormV3(
            x=placeholder(), scale=ones, offset=ones, mean=ones, variance=ones, is_training=False, name="norm")
        tf.add(results[0], tf.raw_ops.Asinh(x=results[3]) if uses_scratch else 1.0, name="y")

    assert "norm" in planned(build, "x", "y").segments[0].nodes


@pytest.mark.parametrize("dtype, is_planned", [(tf.float32, True), (tf.float16, False)], ids=str)
def test_a_batch_norm_that_is_an_output_has_the_five_of_the_plain_one_in_float32(dtype, is_planned):
    def build():
        ones = tf.ones([3])
        tf.raw_ops.FusedBatchNormV3(x=conv(placeholder(dtype=dtype), "conv"), scale=ones, offset=ones, mean=ones,
                                    variance=ones, is_training=False, name="norm")

    graph = graph_def(build)
    norm, = (node for node in graph.node if node.name == "norm")
    shapes = [[1, 8, 8, 3], *[[3]] * 4, None]
    norm.attr["_output_shapes"].list.shape.extend(tf.TensorShape(shape).as_proto() for shape in shapes)
    found = plan(graph, ["x"], ["norm"], "tf1")
    assert bool(found.segments) == is_planned
    assert not is_planned or len(found.segments[0].outputs) == 5


def test_identities_do_not_count_as_aws_counts():
    found = planned(lambda: tf.identity(tf.nn.relu(tf.identity(tf.tanh(unsupported(placeholder(), "cpu")))), name="y"),
                    "x", "y")
    assert len(found.types) == 6 and len(found.segments[0].nodes) == 4
    assert found.ratio_without_identities == 2 / 4


def test_identities_do_not_make_a_segment_large_enough():
    found = planned(lambda: tf.identity(tf.nn.relu(unsupported(placeholder(), "cpu"), name="relu"), name="y"), "x", "y")
    assert found.on_cpu["relu"] == found.on_cpu["y"] == Cause(Reason.TOO_SMALL, "1 of 2 operators")


def test_scratch_space_of_batch_norm_may_have_any_shape():
    def build():
        ones = tf.ones([3])
        x = tf.raw_ops.FusedBatchNormV3(
            x=conv(placeholder(), "conv"), scale=ones, offset=ones, mean=ones, variance=ones, is_training=False,
            name="norm")
        tf.nn.relu(x[0], name="y")

    graph = graph_def(build)
    norm, = (node for node in graph.node if node.name == "norm")
    shapes = [[1, 8, 8, 3], *[[3]] * 4, [None]]
    norm.attr["_output_shapes"].list.shape.extend(tf.TensorShape(shape).as_proto() for shape in shapes)
    assert "norm" in plan(graph, ["x"], ["y"], "tf2").segments[0].nodes


def test_foldable_operators_go_along_in_tf2():
    def build():
        x = conv(placeholder(), "conv")
        size = tf.raw_ops.FloorDiv(x=tf.raw_ops.Shape(input=x, name="shape"), y=[1, 1, 1, 1], name="floordiv")
        tf.reshape(x, size, name="y")

    on_device = planned(build, "x", "y", "tf2").segments[0].nodes
    assert {"shape", "floordiv", "conv", "y"} <= set(on_device)


def test_a_concatenation_of_three_is_not_wide():
    def build():
        x = conv(placeholder(), "conv")
        tf.concat([x, tf.nn.relu(x), tf.tanh(x)], -1, name="y")

    assert "y" in planned(build, "x", "y", "tf2").segments[0].nodes


def test_a_convolution_after_the_concatenation_keeps_what_follows_on_the_device():
    found = planned(lambda: concatenated(lambda x: conv(x, "y")), "x", "y", "tf2")
    assert found.convolutions == (2, 2) and "concat" in found.segments[0].nodes


@pytest.mark.parametrize("change", [
    {"stride": 1}, {"padding": "SAME", "stride": 1}, {"size": 1}, {"channels": 32}, {"pixels": 7}, {"groups": 2},
    {"stride": 2, "dilations": 2},
], ids=str)
def test_only_a_first_convolution_that_reads_pixels_in_steps_gives_up_what_comes_before(change):
    options = {"pixels": 6, "channels": 4, "size": 3, "stride": 2, "padding": "VALID", "groups": 1, "dilations": 1,
               **change}
    size, channels = options["size"], options["channels"]

    def build():
        x = placeholder("x", (1, options["pixels"], 6, channels))
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], name="pad")
        kernel = tf.ones([size, size, channels // options["groups"], 4])
        x = tf.nn.conv2d(x, kernel, options["stride"], options["padding"], dilations=options["dilations"])
        for _ in range(4):
            x = tf.nn.relu(x)
        tf.identity(x, name="y")

    assert "pad" in planned(build, "x", "y", "tf2").segments[0].nodes


def test_a_first_convolution_late_in_the_graph_gives_up_nothing():
    def build():
        x = placeholder()
        for n in range(8):
            x = tf.nn.relu(x, name=f"before{n}")
        conv(x, "y", size=2, stride=2)

    assert "before0" in planned(build, "x", "y", "tf2").segments[0].nodes


@pytest.mark.parametrize("size, stride, given", [
    (3, 1, "x:0 float32 [1, 8, 8, 3]"),
    (3, 2, "x:0 float32 [1, 8, 8, 3]"),
    (4, 2, "conv/SamePad:0 float32 [1, 10, 10, 3]"),
])
def test_padding_of_the_first_convolution_is_split_off(size, stride, given):
    """And is left to the CPU if the convolution's steps divide the padded image."""
    def build():
        x = conv(placeholder(), "conv", filters=40, size=size, stride=stride, padding="SAME")
        for _ in range(3):
            x = tf.nn.relu(x)
        tf.add(x, placeholder("z", (1, 1, 1, 40)), name="y")

    found = planned(build, "x z", "y", "tf2")
    assert found.types["conv/SamePad"] == "Pad" and found.types["conv/SamePad/paddings"] == "Const"
    assert {str(tensor) for tensor in found.segments[0].inputs} == {given, "z:0 float32 [1, 1, 1, 40]"}
    assert [tensor.name for tensor in found.segments[0].outputs] == ["y:0"] and found.identities == 1
    assert ("conv/SamePad" in found.on_cpu) == given.startswith("conv/SamePad")


def test_padding_stays_where_no_constant_is_large():
    found = planned(lambda: tf.nn.relu(conv(placeholder(), "conv", size=3, padding="SAME"), name="y"), "x", "y", "tf2")
    assert "conv/SamePad" not in found.types


@pytest.mark.parametrize("first, second, kept", [(17, 0, 1), (7, 0, 2)])
def test_only_a_segment_of_nearly_all_nodes_drives_the_others_out(first, second, kept):
    assert len(planned(lambda: two_regions(first, second), "x", "y", "tf2").segments) == kept


def test_cheap_segments_stay_where_all_are_cheap():
    def build():
        tf.nn.relu(unsupported(tf.nn.relu(placeholder()), "cpu"), name="y")

    assert len(planned(build, "x", "y", "tf2").segments) == 2


def diamond():
    """A lateral path through an operator that tf2 lacks: YOLOv4's way up."""
    x = tf.nn.relu(tf.nn.relu(tf.nn.relu(conv(placeholder(), "deep"))))
    lateral = conv(enlarged(placeholder("other"), "early"), "lateral")
    joined = tf.concat([enlarged(x, "enlarge"), lateral], -1, name="joined")
    wide = conv(joined, "wide")
    down = conv(wide, "down", stride=2)
    tf.concat([down, x], -1, name="y")


def test_a_region_that_a_path_leaves_is_split_and_the_plan_says_through_what():
    found = planned(diamond, "x other", "y wide", "tf2")
    assert len(found.segments) == 2 and found.convolutions == (4, 4)
    split, = found.splits
    assert split.between == ("enlarge",) and sorted(split.sizes) == sorted(len(s.nodes) for s in found.segments)
    in_tf1 = planned(diamond, "x other", "y wide")
    assert len(in_tf1.segments) == 1 and not in_tf1.splits


def test_a_constant_that_two_regions_share_does_not_connect_them():
    def build():
        shared, x = tf.constant(2.0, name="shared"), conv(placeholder(), "conv")
        tf.nn.relu(unsupported(x * shared, "cpu") * shared, name="y")

    found = planned(build, "x", "y")
    assert len(found.segments) == 2 and not found.splits


def test_names_left_out_in_tf2_plan_the_function_with_that_effect():
    found = planned(diamond, "x other", "y wide", "tf2", no_fuse=["wide", "down"])
    assert found.is_manual
    assert {name for name, reason in reasons(found).items() if reason is Reason.EXCLUDED} == {"wide", "down"}
    assert all(found.types[name] in operators.SUPPORTED["tf2"] for segment in found.segments for name in segment.nodes)


def all_but(build, *names) -> list:
    """The names of the other nodes of a graph."""
    return [node.name for node in graph_def(build).node if node.name not in names]


def test_manual_placement_neither_prunes_nor_guards_the_boundary():
    found = planned(int64_to_the_cpu, "x", "y", "tf2", no_fuse=all_but(int64_to_the_cpu, "wide", "back"))
    assert segments(found) == {frozenset({"wide"}), frozenset({"back"})}


def test_weights_outside_a_segment_are_its_inputs():
    def build():
        conv(placeholder(), "y")

    found = planned(build, "x", "y", "tf2", no_fuse=all_but(build, "y"))
    assert [tensor.shape for tensor in found.segments[0].inputs] == [(1, 8, 8, 3), (1, 1, 3, 3)]


def test_one_tensor_of_unknown_shape_costs_the_whole_segment_in_tf1():
    def build():
        x = tf.reduce_sum(conv(placeholder(), "conv"))
        tf.add(x, tf.reduce_sum(tf.nn.relu(unknown_length(placeholder("z"), "open"))), name="y")

    found = planned(build, "x z", "y")
    assert found.convolutions == (0, 1)
    assert found.on_cpu["conv"] == Cause(Reason.UNKNOWN_BOUNDARY, "open:0 float32 [?]")


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_batch_size_takes_the_place_of_the_open_one(batch_size):
    found = planned(lambda: tf.nn.relu(conv(placeholder("x", (None, 4, 4, 3)), "conv"), name="y"), "x:0", "y:0", "tf2",
                    batch_size=batch_size)
    assert {t.shape for s in found.segments for t in (*s.inputs, *s.outputs)} == {(batch_size, 4, 4, 3)}


def test_the_batch_size_reaches_through_a_stack_of_tensors():
    """TensorFlow 1's map_fn: an array as long as the batch, gathered again."""
    def build():
        texts = placeholder("x", [None], tf.string)
        handle, flow = tf.raw_ops.TensorArrayV3(size=tf.shape(texts)[0], dtype=tf.float32, element_shape=[4, 4, 3])
        indices = tf.range(tf.raw_ops.TensorArraySizeV3(handle=handle, flow_in=flow))
        images = tf.raw_ops.TensorArrayGatherV3(
            handle=handle, indices=indices, flow_in=flow, dtype=tf.float32, element_shape=[4, 4, 3], name="images")
        tf.nn.relu(conv(images, "conv"), name="y")

    found = planned(build, "x", "y", batch_size=5)
    assert [str(tensor) for tensor in found.segments[0].inputs] == ["images:0 float32 [5, 4, 4, 3]"]


def test_nodes_that_no_output_needs_count_nowhere():
    found = planned(lambda: (two_regions(2, 2), unsupported(placeholder("z"), "dangling")), "x", "y")
    assert found.unused == ("z", "dangling") and not {"z", "dangling"} & found.types.keys()


def loop():
    """A loop as TensorFlow 1 knows it: a cycle in the graph."""
    x = conv(placeholder(), "conv")
    enter = tf.raw_ops.Enter(data=x, frame_name="loop")
    merge, _ = tf.raw_ops.Merge(inputs=[enter, enter], name="merge")
    more = tf.raw_ops.LoopCond(input=tf.reduce_sum(merge) < 9)
    done, again = tf.raw_ops.Switch(data=merge, pred=more)
    tf.raw_ops.NextIteration(data=tf.nn.relu(tf.nn.relu(again, name="body"), name="body2"), name="next")
    tf.nn.relu(tf.nn.conv2d(tf.raw_ops.Exit(data=done), tf.ones([1, 1, 3, 3]), 1, "SAME", name="after"), name="y")


@pytest.mark.parametrize("route", ["tf1", "tf2"])
def test_a_loop_in_the_graph_is_no_hindrance(route):
    with_loop = graph_def(loop)
    merge, = (node for node in with_loop.node if node.name == "merge")
    merge.input[1] = "next"
    found = plan(with_loop, ["x"], ["y"], route)
    assert set(found.types) == {node.name for node in with_loop.node}
    # In tf1 no shape in a loop is known, nor is any that comes out of it.
    assert "after" in found.on_cpu and "merge" in found.on_cpu


def test_four_thousand_nodes_take_seconds():
    def build():
        x = conv(placeholder(), "first")
        for n in range(280):
            y = conv(x, f"conv{n}")
            x = y * tf.tanh(tf.math.softplus(y)) + (x if n % 9 else unsupported(x, f"cpu{n}"))
            x = tf.concat([tf.sigmoid(x), x * 2.0, tf.nn.relu(x)], -1)[..., :3]
        tf.identity(x, name="y")

    large = graph_def(build)
    assert 3900 < len(large.node) < 5000
    begin = time.process_time()
    found = plan(large, ["x"], ["y"], "tf1")
    assert time.process_time() - begin < 10 and found.convolutions == (281, 281)


INVALID = {
    "unknown route": ({"route": "tf3"}, "route tf3: must be one of: tf1, tf2"),
    "unknown input": ({"inputs": ["z"]}, "no node z"),
    "unknown output": ({"outputs": ["z:0"]}, "no node z"),
    "no output": ({"outputs": []}, "no outputs; name them"),
    "unknown port": ({"inputs": ["x:3"]}, "input x:3: the node x has no such output"),
    "port that is not a number": ({"inputs": ["x:a"]}, "input x:a: the node x has no such output"),
    "unknown name": ({"no_fuse": ["z"]}, "no_fuse z: the graph has no such node"),
    "batch size": ({"batch_size": 0}, "batch_size 0: must be at least 1"),
    "segment size": ({"minimum_segment_size": 0}, "minimum_segment_size 0: must be at least 1"),
    "segment size in tf2": ({"route": "tf2", "minimum_segment_size": 9}, "size 9: the route tf2 has none"),
}


@pytest.mark.parametrize("change, message", INVALID.values(), ids=INVALID)
def test_options_that_make_no_sense_are_named(change, message):
    options = {"inputs": ["x"], "outputs": ["y"], "route": "tf1", **change}
    with pytest.raises(PlanError, match=message):
        plan(graph_def(lambda: tf.nn.relu(placeholder(), name="y")), **options)


def node(graph, op, name, *inputs):
    graph.node.add(op=op, name=name, input=inputs).attr["T"].type = tf.float32.as_datatype_enum


BROKEN = {
    "missing node": (lambda g: node(g, "Relu", "y", "gone"), "node y reads gone, which the graph does not have"),
    "missing port": (lambda g: node(g, "Relu", "y", "x:4"), "cannot import the graph: .*x"),
    "unknown type": (lambda g: node(g, "NeuronOp", "y", "x"), "cannot import the graph: Op type not registered"),
    "two of a name": (lambda g: (node(g, "Relu", "y", "x"), node(g, "Relu", "y", "x")), "cannot import the graph"),
    "cycle": (lambda g: (node(g, "Relu", "y", "z"), node(g, "Relu", "z", "y")), "cannot import the graph"),
    "function call": (lambda g: node(g, "StatefulPartitionedCall", "y", "x"), "node y: calls a function"),
}


@pytest.mark.parametrize("add, message", BROKEN.values(), ids=BROKEN)
def test_a_graph_that_is_none_is_refused_in_one_sentence(add, message):
    graph = graph_pb2.GraphDef()
    graph.CopyFrom(graph_def(placeholder))
    add(graph)
    with pytest.raises(PlanError, match=message) as raised:
        plan(graph, ["x"], ["y"], "tf1")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [None, (1, None, 4, 3), (None, None)], ids=str)
def test_a_shape_that_the_batch_size_does_not_settle_is_refused(shape):
    with pytest.raises(PlanError, match=r"input x:0: has the shape .* all sizes but the first must be known"):
        planned(lambda: tf.nn.relu(placeholder("x", shape), name="y"), "x", "y")


@pytest.fixture(scope="module")
def detector_graph(tiny_model):
    return read_graph(tiny_model)


def scope(graph, *scopes) -> list[str]:
    return [node.name for node in graph.node if node.name.startswith(tuple(f"{name}/" for name in scopes))]


@pytest.mark.parametrize("route", ["tf1", "tf2"])
def test_every_operator_of_our_detector_is_accounted_for(detector_graph, tiny, route):
    graph, inputs, outputs = detector_graph
    found = plan(graph, inputs, outputs, route)
    placed = [name for segment in found.segments for name in segment.nodes]
    assert sorted([*placed, *found.on_cpu]) == sorted(found.types)
    assert found.convolutions[1] == len(tiny.convolutions())
    assert {node.name for node in graph.node} - {*found.types, *found.unused} == set()


@pytest.mark.parametrize("route", ["tf1", "tf2"])
def test_with_the_host_side_left_out_our_detector_is_one_segment_with_all_its_convolutions(detector_graph, tiny, route):
    graph, inputs, outputs = detector_graph
    host = set(scope(graph, "preprocess", "postprocess"))
    found = plan(graph, inputs, outputs, route, no_fuse=host)
    assert host and {name for name, reason in reasons(found).items() if reason is Reason.EXCLUDED} == host
    assert len(found.segments) == 1 and found.convolutions == (len(tiny.convolutions()),) * 2


@pytest.mark.parametrize("route", ["tf1", "tf2"])
def test_our_network_is_one_segment_with_all_its_convolutions(detector_graph, tiny, route):
    """From the images that the network takes to the maps of its heads."""
    graph, _, _ = detector_graph
    network = set(scope(graph, "network"))
    images = {source for node in graph.node if node.name in network for source in node.input
                if source.startswith("preprocess/")}
    maps = {source for node in graph.node if node.name not in network for source in node.input if source in network}
    found = plan(graph, sorted(images), sorted(maps), route)
    segment, = found.segments
    assert found.convolutions == (len(tiny.convolutions()),) * 2
    assert len(segment.inputs) == 1 and len(segment.outputs) == len(tiny.heads)
