"""Versions that differ between nodes are errors that name the node."""
from __future__ import annotations

import pytest

from harness.cluster import facts

HERE = {"host": "head", "python": "3.11.7", "ray": "2.60.0", "numpy": "2.4.6", "code": "a" * 64}


def test_nodes_that_are_alike_say_nothing():
    assert facts.differences(HERE, [("worker 1", {**HERE, "host": "other", "pid": 7})]) == []


@pytest.mark.parametrize(("what", "value", "words"), [
    ("python", "3.11.9", "python is 3.11.9, here it is 3.11.7; start every node with the same Python"),
    ("ray", "2.59.0", "ray is 2.59.0, here it is 2.60.0; install the same version"),
    ("code", "b" * 64, "code is bbbbbbbbbbbb, here it is aaaaaaaaaaaa; give every node the same commit"),
])
def test_a_difference_names_the_node_its_host_and_what_to_do(what, value, words):
    line, = facts.differences(HERE, [("worker 1", HERE), ("worker 2", {**HERE, "host": "ip-7", what: value})])
    assert line.startswith("worker 2 on ip-7: ") and words in line


def test_a_process_knows_itself():
    found = facts.own()
    assert facts.differences(found, [("worker", found)]) == [] and len(found["code"]) == 64
