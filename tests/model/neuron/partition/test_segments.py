"""Segments of random graphs: no path leaves one and returns, and they are those of the published algorithm."""
from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import graph_pb2

from model.neuron.partition.graph import Graph, Node, Tensor
from model.neuron.partition.plan import plan
from model.neuron.partition.rules import Reason
from model.neuron.partition.segments import contracted, driven_out

FLOAT = tf.float32.as_datatype_enum


@st.composite
def graphs(draw, loops=False):
    """A random graph whose names are not in its order, with control edges and with nodes that are not candidates."""
    count = draw(st.integers(2, 12))
    names = draw(st.permutations(range(count)))
    nodes = []
    for index, name in enumerate(names):
        sources = st.lists(st.integers(0, index - 1), max_size=3) if index else st.just([])
        inputs, controls = draw(sources), draw(sources) if draw(st.integers(0, 3)) == 0 else []
        nodes.append(make(f"n{name:02}", inputs, controls))
    if loops and draw(st.booleans()):
        start = draw(st.integers(0, count - 2))
        end = draw(st.integers(start + 1, count - 1))
        nodes[start] = nodes[start]._replace(inputs=(*nodes[start].inputs, (end, 0)))
    candidates = draw(st.sets(st.integers(0, count - 1), min_size=1))
    return Graph(tuple(nodes), frozenset(), frozenset()), frozenset(candidates)


def make(name, inputs=(), controls=(), kind="Relu", dtype="float32") -> Node:
    return Node(name, kind, None, tuple((i, 0) for i in inputs), tuple(controls), (Tensor(f"{name}:0", dtype, (1,)),))


def paths_from(edges, start) -> set:
    """Everything behind a node."""
    found, waiting = set(), [start]
    while waiting:
        here = waiting.pop()
        new = {b for a, b, _ in edges if a == here} - found
        found |= new
        waiting.extend(new)
    return found


def edges_of(graph) -> list[tuple]:
    """(from, to, whether only a control edge)"""
    data = [(s, i, False) for i, node in enumerate(graph.nodes) for s, _ in node.inputs]
    return data + [(s, i, True) for i, node in enumerate(graph.nodes) for s in node.controls]


def order_of(graph) -> list[int]:
    """Depth first, recursively: of all neighbours the last by name first, and a node after all behind it."""
    order, seen = [], set()

    def visit(index):
        if index not in seen:
            seen.add(index)
            behind = {b for a, b, _ in edges_of(graph) if a == index}
            for other in sorted(behind, key=lambda i: graph.nodes[i].name, reverse=True):
                visit(other)
            order.append(index)

    starts = [i for i, node in enumerate(graph.nodes) if not node.sources]
    for index in sorted(starts, key=lambda i: graph.nodes[i].name, reverse=True):
        visit(index)
    return order


def literally(graph, candidates) -> set:
    """The segments by contracting one edge after the other in the graph, each after a search for another path."""
    edges, group = edges_of(graph), {index: {index} for index in candidates}

    def is_other_path(source, target):
        others = {a for a, b, _ in edges if b == target} - {source}
        return bool(others & paths_from(edges, source))

    for source in order_of(graph):
        while source in candidates:
            ready = [b for a, b, waits in edges if a == source and b in candidates and not waits and b != source
                     and not is_other_path(source, b)]
            if not ready:
                break
            target = ready[0]
            for index in group[target]:
                group[source].add(index)
                group[index] = group[source]
            rename = {target: source}
            edges = [(rename.get(a, a), rename.get(b, b), waits) for a, b, waits in edges]
            edges = [(a, b, waits) for a, b, waits in edges if a != b]
    return {frozenset(group[index]) for index in candidates}


@settings(max_examples=400)
@given(graphs(loops=True))
def test_segments_are_those_of_the_published_algorithm(drawn):
    graph, candidates = drawn
    assert set(contracted(graph, candidates)) == literally(graph, candidates)


@pytest.mark.parametrize("first, other", [("a", "b"), ("b", "a")])
def test_of_two_merges_that_exclude_each_other_the_last_by_name_wins(first, other):
    """0 → 2 and 1 → 3 would both merge, but each is part of a path that leaves the other: 0 → 4 → 3 and 1 → 5 → 2."""
    graph = Graph((make(first), make(other), make("c", [0, 5]), make("d", [1, 4]), make("e", [0]), make("f", [1])),
                  frozenset(), frozenset())
    merged = {0, 2} if first == "b" else {1, 3}
    assert merged in contracted(graph, frozenset({0, 1, 2, 3}))


@settings(max_examples=300)
@given(graphs())
def test_no_path_leaves_a_segment_and_returns(drawn):
    graph, candidates = drawn
    segments = contracted(graph, candidates)
    assert sorted(index for segment in segments for index in segment) == sorted(candidates)
    for segment in segments:
        outside = graph.descendants(segment) - segment
        assert not (graph.descendants(outside) & segment), "a path returns"


@settings(max_examples=200)
@given(graphs(), st.data())
def test_what_is_driven_out_leaves_only_legal_edges(drawn, data):
    graph, candidates = drawn
    illegal = data.draw(st.sets(st.integers(0, len(graph.nodes) - 1)))

    def is_legal(edge):
        return edge[0] not in illegal

    for segment in contracted(graph, candidates):
        left = segment - driven_out(graph, segment, is_legal, is_legal).keys()
        for index in left:
            assert all(source in left or is_legal((source, port)) for source, port in graph.nodes[index].inputs)
            assert all(consumer in left or is_legal((index, port)) for consumer, port in graph.consumers[index])
        outside = graph.descendants(left) - left
        assert not (graph.descendants(outside) & left), "a path returns"


@pytest.mark.parametrize("wide, gone", [(0, {1, 2}), (1, {1, 2, 3}), (3, {3})], ids=["enters", "inside", "leaves"])
def test_who_reads_a_wide_tensor_goes_with_what_it_is_made_of_and_who_gives_one_with_what_is_made_of_it(wide, gone):
    """0 → 1 → 2 → 3 → 4 with 1, 2, 3 in the segment; 2 is read by 5 outside, and waits for nothing."""
    graph = Graph((make("a"), make("b", [0]), make("c", [1, 0]), make("d", [2]), make("e", [3]), make("f", [1])),
                  frozenset(), frozenset())
    assert set(driven_out(graph, {1, 2, 3}, *[lambda edge: edge[0] != wide] * 2)) == gone


def test_a_constant_leaves_alone():
    graph = Graph((make("k", kind="Const"), make("x"), make("b", [0, 1]), make("cpu", [0])), frozenset(), frozenset())
    out = driven_out(graph, {0, 2}, lambda edge: True, lambda edge: graph.nodes[edge[0]].type != "Const")
    assert out == {0: (0, 0)}


# Types of an operator of so many inputs; the last of each is supported on neither route.
TYPES = {1: ("Relu", "Tanh", "Asinh"), 2: ("Mul", "Maximum", "Atan2")}


@st.composite
def graph_defs(draw):
    """A random GraphDef of element-wise operators behind one placeholder; the last node is the output."""
    graph = graph_pb2.GraphDef()
    graph.node.add(name="x", op="Placeholder").attr["dtype"].type = FLOAT
    for size in (2, 3):
        graph.node[0].attr["shape"].shape.dim.add(size=size)
    for index in range(draw(st.integers(1, 12))):
        earlier = st.sampled_from([node.name for node in graph.node])
        inputs = draw(st.lists(earlier, min_size=1, max_size=2))
        waits = [f"^{draw(earlier)}"] if draw(st.integers(0, 9)) == 0 else []
        node = graph.node.add(name=draw(st.sampled_from("abcxyz")) + f"{index:02}", input=[*inputs, *waits],
                              op=draw(st.sampled_from(TYPES[len(inputs)])))
        node.attr["T"].type = FLOAT
    return graph


@settings(max_examples=150)
@given(graph_defs(), st.sampled_from(["tf1", "tf2"]), st.randoms(), st.integers(0, 3))
def test_plans_of_random_graphs_hold_together_in_any_order_of_their_nodes(graph, route, random, count):
    excluded = {node.name for node in graph.node if node.name != "x"}
    excluded = set(random.sample(sorted(excluded), min(count, len(excluded))))
    shuffled = graph_pb2.GraphDef(node=random.sample(list(graph.node), len(graph.node)))
    output = graph.node[-1].name
    found, again = (plan(g, ["x"], [output], route, excluded) for g in (graph, shuffled))
    placed = [name for segment in found.segments for name in segment.nodes]
    assert sorted([*placed, *found.on_cpu]) == sorted(found.types)
    assert sorted([*found.types, *found.unused]) == sorted(node.name for node in graph.node)
    assert not excluded & set(placed)
    assert {frozenset(s.nodes) for s in found.segments} == {frozenset(s.nodes) for s in again.segments}
    assert found.on_cpu == again.on_cpu and found.on_neuron_ratio == again.on_neuron_ratio
    assert all(found.on_cpu[name].reason is Reason.EXCLUDED for name in excluded & found.types.keys())
