"""Load and soak on Ray's nodes: one is killed in the middle, and a driver that is killed is resumed."""
from __future__ import annotations

import subprocess
import sys
from threading import Thread
from types import SimpleNamespace

import pytest

from fixtures import ROOT
from harness.accuracy.evaluation import InvalidRun
from harness.cluster.load import NodesUnderLoad, hold
from harness.cluster.ray_cluster import Cluster
from harness.cluster.soak import run
from harness.load.generator import LoadPattern, images_per_second
from harness.soak.journal import JournalError
from harness.soak.run import Plan, summarise
from tests.harness.cluster.doubles import OPENER
from tests.harness.cluster.ray_nodes import needs_ray, ray_nodes
from tests.waiting import until

pytestmark = [needs_ray, pytest.mark.filterwarnings("ignore")]  # what Ray does among itself is not this project's
SAMPLES = [(number, b"x" * (number + 1)) for number in range(20)]
PLAN, LONG = Plan(6, 0.5, LoadPattern(2, 1)), Plan(600, 0.5, LoadPattern(2, 1))
IDENTITY = {"detector": "double"}
DRIVER = """
import sys
sys.path.insert(0, {root!r})
from tests.harness.cluster import test_ray_soak as test
with test.Cluster({address!r}, test.OPENER, {{"delay": 0.01}}, 2) as cluster:
    test.soak(cluster, test.Plan(6, 0.5, test.LoadPattern(2, 1)), {folder!r})
"""


def soak(cluster, plan, folder, **options):
    """A soak with the journals of nodes and driver in folders of the test."""
    hold(cluster, SAMPLES, deadline=60)
    return run(cluster, plan, f"{folder}/report", IDENTITY, deadline=30, poll=0.2, on_nodes=f"{folder}/nodes",
               **options)


def journals(folder) -> list:
    """The results so far of the journals on the nodes."""
    found = []
    for path in sorted((folder / "nodes").rglob("*.journal")):
        try:
            found.append(summarise(path))
        except JournalError:  # it has no whole line yet
            continue
    return found


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes(*[{"num_cpus": 1}] * 2) as nodes:
        yield nodes


def test_load_on_rays_nodes_starts_together_and_is_one_load(cluster):
    with Cluster(cluster.address, OPENER, {"delay": 0.01}, 2) as nodes:
        hold(nodes, SAMPLES, deadline=60)
        with NodesUnderLoad(nodes, len(SAMPLES)) as loaded:
            whole = loaded.send(LoadPattern(2, 1), seconds=2)
            own = [images_per_second(loads) for loads in loaded.by_node.values()]
    assert len(own) == 2 and images_per_second([whole]) == pytest.approx(sum(own), rel=0.3)
    assert all(0 < clock.bound < 1 for clock in loaded.offsets.values())


@pytest.mark.slow
def test_two_nodes_do_nearly_twice_as_much_as_one(cluster):
    """The detector waits as for a device, so that other work on this machine does not share it."""
    with Cluster(cluster.address, OPENER, {"delay": 0.05}, 2) as nodes:
        hold(nodes, SAMPLES, deadline=60)
        one, two = fastest(nodes.nodes[:1]), fastest(nodes.nodes)
    assert two >= 1.8 * one > 0


def fastest(nodes) -> float:
    """Images a second of these nodes in the fastest of three rounds."""
    with NodesUnderLoad(SimpleNamespace(nodes=nodes), len(SAMPLES)) as loaded:
        return max(images_per_second([loaded.send(LoadPattern(2, 1), seconds=3)]) for _ in range(3))


def test_a_driver_that_is_killed_is_resumed_on_every_node(cluster, tmp_path):
    script = DRIVER.format(root=str(ROOT), address=cluster.address, folder=str(tmp_path))
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        until(lambda: len(found := journals(tmp_path)) == 2 and all(one.windows for one in found), 120)
    finally:
        driver.kill()
        driver.wait()
    before = [len(one.windows) for one in journals(tmp_path)]
    told = []
    with Cluster(cluster.address, OPENER, {"delay": 0.01}, 2) as nodes:
        found = soak(nodes, PLAN, tmp_path, resume=True, progress=told.append)
    assert min(before) <= told[0] < PLAN.windows and sum(told) == PLAN.windows
    assert [(one.finished, len(one.windows), one.interruptions) for one in found.results.values()] == [
        ("complete", PLAN.windows, 1)] * 2
    assert not found.lost and len(found.totals) == PLAN.windows


def test_a_node_that_is_killed_in_the_middle_of_a_soak_is_named_and_the_others_journal_kept(cluster, tmp_path):
    doomed = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    with Cluster(cluster.address, OPENER, {"delay": 0.01}, 3) as nodes:
        ended = []
        thread = Thread(target=lambda: ended.append(soak(nodes, LONG, tmp_path)))
        thread.start()
        until(lambda: len(found := journals(tmp_path)) == 3 and all(one.windows for one in found), 120)
        cluster.remove_node(doomed, allow_graceful=False)
        thread.join(180)
    found, = ended
    assert len(found.lost) == 1 and len(found.results) == 2
    assert all(one.windows and not one.finished for one in found.results.values())
    assert next(iter(found.lost)) not in found.results


def test_a_worker_that_dies_makes_a_round_of_load_invalid_by_its_name(cluster):
    with Cluster(cluster.address, OPENER, {"delay": 0.01}, 2) as nodes:
        hold(nodes, SAMPLES, deadline=60)
        name = nodes.nodes[1].name
        with NodesUnderLoad(nodes, len(SAMPLES)) as loaded:
            loaded.send(LoadPattern(2, 1), seconds=1)
            nodes.nodes[1].kill("was killed by the test")
            with pytest.raises(InvalidRun) as raised:
                loaded.send(LoadPattern(2, 1), seconds=1)
    assert f"1 of 2 nodes did not do their part: {name}: was killed by the test" in str(raised.value)
