"""A soak on several nodes: aligned windows, a journal each, and a driver or a node that ends in the middle."""
from __future__ import annotations

import json
from threading import Thread

import pytest

from harness.accuracy.evaluation import InvalidRun
from harness.cluster import soak as module
from harness.cluster.load import hold
from harness.cluster.local import LocalCluster
from harness.cluster.soak import RECORD, finished, run
from harness.load.generator import LoadPattern
from harness.machine import noise
from harness.soak.journal import JournalError
from harness.soak.run import Plan, summarise
from tests.waiting import until

OPENER = "tests.harness.cluster.doubles:opened"
SAMPLES = [(number, b"x" * (number + 1)) for number in range(20)]
PLAN, LONG = Plan(0.5, 0.1, LoadPattern(2, 1)), Plan(100, 0.1, LoadPattern(2, 1))
IDENTITY = {"detector": "abc"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(noise, "calibrated_iterations", lambda: 1)
    monkeypatch.setattr(module, "LEAD", 0.05)
    monkeypatch.setattr("harness.cluster.facts.socket.gethostname", lambda: "ip 10")


@pytest.fixture
def opened():
    """A function: names of nodes → a cluster of them that has the images."""
    clusters = []

    def open_cluster(*names, delay=0.002):
        cluster = LocalCluster(OPENER, {"delay": delay}, names or ("a", "b"))
        clusters.append(cluster)
        hold(cluster, SAMPLES, deadline=10)
        return cluster

    yield open_cluster
    for one in clusters:
        one.close()


@pytest.fixture
def soaked(tmp_path):
    """A function: runs a soak on a cluster, with journals of the nodes and of the driver in folders of the test."""

    def on(cluster, plan=PLAN, **options):
        return run(cluster, plan, tmp_path / "report", IDENTITY, deadline=10, poll=0.02,
                   on_nodes=str(tmp_path / "nodes"), **options)

    return on


def test_every_node_has_a_journal_and_a_result_of_its_own(opened, soaked, tmp_path):
    told = []
    found = soaked(opened(), progress=told.append)
    assert sum(told) == 5 and not found.lost
    assert {name: path.name for name, path in found.journals.items()} == {
        "a": "soak-ip-10.journal", "b": "soak-ip-10-2.journal"}
    assert [(one.finished, len(one.windows)) for one in found.results.values()] == [("complete", 5)] * 2
    assert found.results["a"].identity["node"] == "ip-10"


def test_windows_open_together_and_are_added_up(opened, soaked):
    found = soaked(opened(), Plan(1.2, 0.1, PLAN.pattern))
    assert found.late >= 0 and found.bound < 1 and "windows opened at most" in found.alignment()
    rates = [one.rates for one in found.results.values()]
    assert found.totals == pytest.approx([sum(row) for row in zip(*rates)])
    assert found.images_per_second.low < found.images_per_second.value < found.images_per_second.high


def test_slow_requests_of_one_window_do_not_delay_those_after_it(opened, soaked):
    found = soaked(opened(delay=0.08), Plan(2, 0.2, PLAN.pattern))
    assert found.late < 0.5 and all(len(one.windows) == 10 for one in found.results.values())


def test_windows_that_opened_far_apart_are_not_called_aligned(opened, soaked):
    found = soaked(opened())
    found.late = 0.05
    assert not found.is_aligned and found.alignment().endswith("too far apart for the sum of a single window")


def test_a_node_that_is_killed_ends_the_soak_and_the_others_journals_are_kept(opened, soaked):
    cluster = opened("a", "b", "c")
    found = []
    thread = Thread(target=lambda: found.append(soaked(cluster, LONG)))
    thread.start()
    until(lambda: cluster.nodes[1].node._beside._soak and cluster.nodes[1].node._beside._soak.state().windows > 1)
    cluster.nodes[1].kill("died (its machine was stopped)")
    thread.join(60)
    ended, = found
    assert ended.lost == {"b": "died (its machine was stopped)"}
    assert set(ended.results) == {"a", "c"} and all(one.windows and not one.finished for one in ended.results.values())
    assert not cluster.nodes[0].node._beside.soak_state().is_running


def test_a_driver_that_ended_resumes_at_the_first_window_that_is_incomplete_on_any_node(opened, soaked, tmp_path):
    def interrupt(windows):
        if windows:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        soaked(opened(), progress=interrupt)
    journals = sorted((tmp_path / "nodes").rglob("*.journal"))
    before = [len(summarise(path).windows) for path in journals]
    assert all(0 < windows < 5 for windows in before) and len(before) == 2
    told = []
    found = soaked(opened(), resume=True, progress=told.append)
    assert told[0] == min(before) and sum(told) == 5
    assert [(one.finished, len(one.windows), one.interruptions) for one in found.results.values()] == [
        ("complete", 5, 1)] * 2


def test_a_node_that_is_ahead_waits_for_the_others(opened, soaked, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        soaked(opened(), progress=lambda windows: (_ for _ in ()).throw(KeyboardInterrupt) if windows else None)
    behind = next((tmp_path / "nodes").rglob("soak-ip-10-2.journal"))
    behind.unlink()  # its disk was replaced
    found = soaked(opened(), resume=True)
    assert [(one.finished, len(one.windows)) for one in found.results.values()] == [("complete", 5)] * 2
    ahead, anew = found.results.values()
    assert len(ahead.sessions) == 2 and len(anew.sessions) == 1


def test_other_nodes_cannot_resume_it(opened, soaked):
    soaked(opened())
    with pytest.raises(JournalError, match="this soak started on ip-10, ip-10-2 and the nodes are ip-10, ip-10-2, ip-"):
        soaked(opened("a", "b", "c"), resume=True)


def test_another_plan_cannot_resume_it(opened, soaked):
    soaked(opened())
    with pytest.raises(JournalError, match="the plan was"):
        soaked(opened(), LONG, resume=True)


def test_without_a_record_nothing_can_be_resumed(opened, soaked, tmp_path):
    with pytest.raises(JournalError, match="the list of the soak's nodes is missing"):
        soaked(opened(), resume=True)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / RECORD).write_text(json.dumps({"places": 3}))
    with pytest.raises(JournalError, match="does not list the nodes"):
        soaked(opened(), resume=True)


def test_a_soak_that_is_over_is_judged_again_without_nodes(opened, soaked, tmp_path):
    ran = soaked(opened())
    again = finished(tmp_path / "report", PLAN, IDENTITY)
    assert sorted(one.images for one in again.results.values()) == sorted(one.images for one in ran.results.values())
    assert again.alignment() == "windows as they were journaled"
    with pytest.raises(JournalError, match="cannot resume"):
        finished(tmp_path / "report", LONG, IDENTITY)


def test_without_a_finished_soak_there_is_none(tmp_path):
    assert finished(tmp_path, PLAN, IDENTITY) is None


def test_a_request_that_fails_on_one_node_ends_the_soak_on_all(opened, soaked):
    cluster = opened()
    calls = []

    def failing(images):
        calls.append(1)
        if len(calls) > 20:
            raise ValueError("device lost")
        return cluster.nodes[0].node.detect(images)

    cluster.nodes[0].node._beside._detect = failing
    found = soaked(cluster, LONG)
    assert found.results["a"].finished == "failed" and "device lost" in found.results["a"].first_error
    assert not found.results["b"].finished and not found.lost


def test_a_node_that_does_not_respond_is_lost_after_a_few_looks(opened, soaked, monkeypatch):
    monkeypatch.setattr(module, "REACH", 0.2)
    cluster = opened()
    monkeypatch.setattr(cluster.nodes[1].node._beside, "soak_state", lambda: until(lambda: False, 2))
    found = soaked(cluster, LONG)
    assert "no response within 0.2 s" in found.lost["b"] and "a" in found.results


def test_a_node_that_is_lost_before_the_soak_is_an_error(opened, soaked):
    cluster = opened()
    cluster.nodes[0].kill()
    with pytest.raises(InvalidRun, match="1 of 2 nodes did not do their part: a: was killed"):
        soaked(cluster)
