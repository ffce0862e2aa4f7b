"""Nodes as Ray's actors, on a Ray cluster of several nodes on this machine."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from fixtures import ROOT
from harness.accuracy.evaluation import InvalidRun
from harness.cluster.control import chosen
from harness.cluster.errors import DIED, LATE, RAISED, ClusterError, NodeError
from harness.cluster.evaluation import detect_all
from harness.cluster.ray_cluster import Cluster
from harness.cluster.shards import Ledger
from tests.harness.cluster.doubles import OPENER
from tests.harness.cluster.ray_nodes import needs_ray, ray_nodes
from tests.harness.cluster.work import EXPECTED, IMAGES, contents, failed, task

# What Ray warns of among itself is not this project's.
pytestmark = [needs_ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SOON = 60.0  # seconds, more than anything here takes


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes(*[{"num_cpus": 1}] * 3) as nodes:
        yield nodes


@pytest.fixture
def workers_of(cluster):
    """A function: number of workers, the opener's arguments → the detectors on the cluster, closed at the end."""
    opened = []

    def start(workers, **arguments):
        opened.append(Cluster(cluster.address, OPENER, arguments, workers))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def ledger(tmp_path):
    return Ledger(str(tmp_path / "shards"), {"detector": "double"})


def test_calls_errors_and_deadlines(workers_of):
    first, second = workers_of(2).nodes
    assert first.call("detect", [b"abc"], deadline=SOON)[0].boxes.tolist() == [[0, 0, 3, 3]]
    raised = failed(first, "ask", "broken")
    assert (raised.kind, "ValueError: it is broken" in str(raised)) == (RAISED, True)
    assert failed(first, "ask", "sleep", 5, deadline=0.5).kind == LATE
    assert first.call("clock", deadline=SOON) > 0  # while the other call still sleeps
    died = failed(second, "die")
    assert (died.kind, failed(second, "clock").kind) == (DIED, DIED)


def test_the_workers_are_spread_over_the_nodes(workers_of):
    hosts = [one["node"] for one in workers_of(3).facts]
    assert len(set(hosts)) == 3


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_detections_are_the_same_whatever_the_number_of_workers(workers_of, ledger, workers):
    assert contents(detect_all(workers_of(workers), ledger, task())) == EXPECTED


def test_a_node_that_is_killed_in_the_middle_costs_no_image(cluster, workers_of, ledger):
    doomed = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    nodes = workers_of(4, delay=0.3)
    killed = []

    def observe(images):
        if len(ledger.names()) > 4 and not killed:
            killed.append(True)
            cluster.remove_node(doomed, allow_graceful=False)

    outcome = detect_all(nodes, ledger, task(callers=1, batch_size=1), observe)
    assert contents(outcome) == EXPECTED and killed
    assert len(outcome.lost) == 1 and outcome.lost[0].kind != RAISED and outcome.again == 1


@pytest.mark.parametrize(("fault", "words"), [
    ("hangs", "no response within 1 s"), ("dies", "died"), ("raises", "it is broken"),
])
def test_a_worker_that_fails_in_the_middle_is_named_and_costs_no_image(workers_of, ledger, tmp_path, fault, words):
    nodes = workers_of(3, fault=fault, after=4, claim=str(tmp_path / "claim"))
    outcome = detect_all(nodes, ledger, task(deadline=1.0))
    assert contents(outcome) == EXPECTED
    assert [words in str(error) for error in outcome.lost] == [True] and outcome.again == 1


def test_a_worker_that_is_stopped_is_given_up(workers_of, ledger):
    nodes = workers_of(2, delay=0.1)
    pid = nodes.facts[0]["pid"]
    stopped = []

    def observe(images):
        if images and not stopped:
            stopped.append(os.kill(pid, signal.SIGSTOP))

    try:
        outcome = detect_all(nodes, ledger, task(deadline=2.0), observe)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert contents(outcome) == EXPECTED and [error.name for error in outcome.lost] == [nodes.nodes[0].name]


def test_a_worker_that_detects_something_else_is_named(workers_of, ledger, tmp_path):
    with pytest.raises(InvalidRun, match=r"worker . of 3 .*: other detections than the other 2 workers in 4 of 4"):
        detect_all(workers_of(3, fault="wrong", claim=str(tmp_path / "claim")), ledger, task())


def test_with_all_workers_lost_each_is_named(workers_of, ledger):
    with pytest.raises(InvalidRun, match=r"all 2 workers were lost: worker . of 2 .*; worker . of 2"):
        detect_all(workers_of(2, fault="dies", after=6), ledger, task())


DRIVER = """
import sys
from harness.cluster.evaluation import detect_all
from harness.cluster.ray_cluster import Cluster
from harness.cluster.shards import Ledger
from tests.harness.cluster.doubles import OPENER
from tests.harness.cluster.work import task
with Cluster(sys.argv[1], OPENER, {"delay": 0.3}, 2) as nodes:
    detect_all(nodes, Ledger(sys.argv[2], {"detector": "double"}), task())
"""


def test_a_driver_that_was_killed_is_resumed(cluster, workers_of, ledger):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, cluster.address, ledger.place], cwd=ROOT,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 2 * SOON
    while len(ledger.done(task().shards)[0]) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    kept = len(ledger.done(task().shards)[0])
    outcome = detect_all(workers_of(2), ledger, task())
    assert 3 <= kept < 10 and outcome.resumed == kept and sum(outcome.by_node.values()) == 10 - kept
    assert contents(outcome) == EXPECTED


def test_images_cross_through_the_object_store_and_by_path(workers_of, ledger, tmp_path):
    for image, encoded in IMAGES.items():
        (tmp_path / f"{image}.jpg").write_bytes(encoded)
    read = task(images=lambda own: [f"{tmp_path}/{image}.jpg" for image in own], control=chosen(list(IMAGES), 2))
    assert contents(detect_all(workers_of(2), ledger, read)) == EXPECTED


@pytest.mark.parametrize(("workers", "arguments", "words"), [
    (9, {}, "9 workers ask for 9 CPU, the cluster has 3; give less by --ray-workers"),
    (2, {"delay": "x"}, "worker 1 of 2: could not start (ValueError: could not convert string to float: 'x')"),
    (1, {"unknown": 1}, "could not start (TypeError"),
    (1, {"fault": "start"}, "could not start (Unpicklable: this and that)"),
])
def test_what_cannot_start_is_a_sentence(cluster, workers, arguments, words):
    with pytest.raises(ClusterError) as raised:
        Cluster(cluster.address, OPENER, arguments, workers)
    assert words in str(raised.value)


def test_a_cluster_that_is_not_there_is_a_sentence():
    """In a process of its own: the thread that still waits for the cluster is not another test's."""
    code = ("from harness.cluster import ray_cluster; ray_cluster.CONNECT = 5.0; "
            f"ray_cluster.Cluster('127.0.0.1:9', {OPENER!r}, {{}}, 1)")
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=2 * SOON)
    assert "ClusterError: --ray 127.0.0.1:9: Ray cannot be reached (" in ended.stderr


def test_each_worker_gets_neuron_cores_of_its_own(cluster):
    nodes = [cluster.add_node(num_cpus=2, resources={"neuron_cores": 2}, object_store_memory=100_000_000)
             for _ in range(2)]
    try:
        with Cluster(cluster.address, OPENER, {}, None, 1, 1) as detectors:
            seen = [(facts["node"], node.call("ask", "visible_cores", deadline=SOON))
                    for node, facts in zip(detectors.nodes, detectors.facts)]
        with Cluster(cluster.address, OPENER, {}, 1, 1, 2) as detectors:
            both = detectors.nodes[0].call("ask", "visible_cores", deadline=SOON)
    finally:
        for one in nodes:
            cluster.remove_node(one)
    assert len(set(seen)) == 4 and {cores for _, cores in seen} == {"0", "1"}
    assert sorted(both.split(",")) == ["0", "1"]


def test_a_nodes_error_comes_back_through_ray(workers_of):
    [node] = workers_of(1).nodes
    assert isinstance(failed(node, "ask", "unknown"), NodeError)
    assert failed(node, "ask", "unpicklable").why == "Unpicklable: this and that"
    assert node.call("clock", deadline=SOON) > 0
