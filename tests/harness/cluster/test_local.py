"""Nodes in threads: the handles that every kind of cluster has."""
from __future__ import annotations

import pickle

import pytest

from harness.cluster.errors import DIED, LATE, RAISED, NodeError
from harness.cluster.local import LocalCluster
from tests.harness.cluster.doubles import OPENER
from tests.harness.cluster.work import failed

SOON = 30.0  # seconds, more than anything here takes


@pytest.fixture
def cluster():
    with LocalCluster(OPENER, {}, ["a", "b"]) as nodes:
        yield nodes


def test_a_node_detects(cluster):
    found, = cluster.nodes[0].call("detect", [b"abc"], deadline=SOON)
    assert found.boxes.tolist() == [[0, 0, 3, 3]]


def test_all_nodes_are_asked_in_their_order(cluster):
    assert [one["metadata"] for one in cluster.all("facts", deadline=SOON)] == [{"names": None}] * 2


def test_what_a_method_raises_is_the_nodes_error_and_the_node_goes_on(cluster):
    error = failed(cluster.nodes[0], "ask", "broken")
    assert (str(error), error.kind) == ("a: ValueError: it is broken", RAISED)
    assert cluster.nodes[0].call("fallback", b"", deadline=SOON) == ""


def test_a_call_that_hangs_ends_at_its_deadline(cluster):
    error = failed(cluster.nodes[0], "ask", "sleep", 3, deadline=0.05)
    assert (error.kind, "within 0.05 s" in str(error)) == (LATE, True)


def test_a_node_that_was_killed_says_why_and_ran_nothing(cluster):
    called = []
    cluster.nodes[0].node.clock = lambda: called.append(True)
    cluster.nodes[0].kill("was killed by the test")
    error = failed(cluster.nodes[0], "clock")
    assert (str(error), error.kind, called) == ("a: was killed by the test", DIED, [])


def test_one_error_does_not_keep_the_other_nodes_from_responding(cluster):
    cluster.nodes[0].kill()
    lost, clock = cluster.all("clock", deadline=SOON)
    assert isinstance(lost, NodeError) and clock > 0


def test_an_error_survives_its_way_between_processes():
    error = pickle.loads(pickle.dumps(NodeError("a", "is gone", LATE)))
    assert (error.name, error.why, error.kind) == ("a", "is gone", LATE)
