"""Load on several nodes becomes one load on one clock, which shows what all of them did together."""
from __future__ import annotations

import time

import pytest

from harness.accuracy.evaluation import InvalidRun
from harness.cluster.clock import Offset
from harness.cluster.load import NodesUnderLoad, hold, merged, offsets
from harness.cluster.local import LocalCluster
from harness.cluster.together import slow
from harness.load.estimates import throughput_estimate
from harness.load.generator import Load, LoadPattern, Request, images_per_second
from harness.machine import noise

OPENER = "tests.harness.cluster.doubles:opened"
SAMPLES = [(number, b"x" * (number + 1)) for number in range(40)]
PATTERN = LoadPattern(2, 2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(noise, "calibrated_iterations", lambda: 1)
    monkeypatch.setattr("harness.cluster.load.LEAD", 0.05)


@pytest.fixture
def cluster():
    with LocalCluster(OPENER, {"delay": 0.005}, ["a", "b", "c"]) as nodes:
        hold(nodes, SAMPLES, deadline=10)
        yield nodes


def shift_clock(monkeypatch, node, seconds: float) -> None:
    """Has a node of this process read a clock that is ahead by so many seconds."""
    ahead = lambda: time.perf_counter() + seconds  # noqa: E731
    monkeypatch.setattr(node.node, "clock", ahead)
    beside, drive = node.node._beside, node.node._beside.drive

    def on_that_clock(pattern, seconds_, first, seed, deadline, opens):
        found = drive(pattern, seconds_, first, seed, deadline, opens - seconds)
        return found._replace(load=shifted(found.load, seconds))

    monkeypatch.setattr(beside, "drive", on_that_clock)


def shifted(load: Load, seconds: float) -> Load:
    return Load([one._replace(due=one.due + seconds, start=one.start + seconds, end=one.end + seconds)
                 for one in load.requests], [], load.detections)


def test_the_requests_of_all_nodes_are_one_load_with_callers_of_their_own(cluster):
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        load = nodes.send(PATTERN, seconds=0.2)
    assert {one.caller for one in load.requests} == set(range(6)) and not load.failed
    assert len(load.requests) == sum(len(loads[0].requests) for loads in nodes.by_node.values())
    assert load.requests == sorted(load.requests, key=lambda one: one.start)


def test_nodes_start_together_although_their_clocks_differ(cluster, monkeypatch):
    shift_clock(monkeypatch, cluster.nodes[0], 1e6)
    shift_clock(monkeypatch, cluster.nodes[2], -3000.0)
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        load = nodes.send(PATTERN, seconds=0.3)
    starts = [min(one.start for one in loads[0].requests) for loads in nodes.by_node.values()]
    bound = max(clock.bound for clock in nodes.offsets.values())
    assert nodes.offsets[cluster.nodes[0].name].seconds == pytest.approx(1e6, abs=1)
    assert max(starts) - min(starts) <= nodes.late + 2 * bound + 0.05
    assert load.seconds < 10


def test_the_merged_load_has_the_figures_of_one_machine():
    """Three nodes of equal requests: their sum is three times one of them, by the same code."""
    one = [Request(caller, (1, 2), at, at, at + 0.1, 2, "") for step in range(100) for caller in (0, 1)
           for at in [step * 0.1]]
    loads = [Load([request._replace(caller=request.caller + 2 * node) for request in one], [], {1: "x"})
             for node in range(3)]
    whole = merged(loads)
    assert images_per_second([whole]) == pytest.approx(3 * images_per_second(loads[:1]))
    assert throughput_estimate([whole]).value == pytest.approx(3 * throughput_estimate(loads[:1]).value)
    assert sorted(whole.latencies) == sorted(3 * loads[0].latencies) and whole.detections == {1: "x"}


def test_each_node_goes_on_with_images_of_its_own(cluster):
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        nodes.send(PATTERN, seconds=0.05)
        nodes.send(PATTERN, seconds=0.05, warm_up=0)
    first = {name: loads[0].requests[0].image_ids for name, loads in nodes.by_node.items()}
    assert len(set(first.values())) == 3
    for loads in nodes.by_node.values():
        ids = [one.image_ids for load in loads for one in sorted(load.requests, key=lambda one: one.start)]
        assert len(set(ids)) == min(len(ids), 20)


def test_a_slow_node_is_named_with_its_rate(cluster):
    cluster.nodes[1].node._detector._delay = 0.02
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        for round_number in range(3):
            nodes.send(PATTERN, seconds=0.4, warm_up=not round_number)
    rates = {name: throughput_estimate(loads) for name, loads in nodes.by_node.items()}
    found, = slow(rates)
    assert found.node == "b" and f"{rates['b'].value:.4g} images/s" in found.how


def test_a_node_that_is_lost_is_named_and_nothing_is_measured(cluster):
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        nodes.send(PATTERN, seconds=0.05)
        cluster.nodes[2].kill("died (its machine was stopped)")
        with pytest.raises(InvalidRun, match=r"1 of 3 nodes did not do their part: c: died \(its machine was stopped"):
            nodes.send(PATTERN, seconds=0.05)


def test_wrong_detections_of_one_node_are_found_although_others_answer_the_same_images(cluster):
    def check(detections):
        return "image 1 has two boxes" if any(len(one.scores) > 1 for one in detections.values()) else ""

    bad = cluster.nodes[1].node._beside
    bad._detect = lambda images: [type(one)(*(field.repeat(2, 0) for field in one[:3]))
                                  for one in cluster.nodes[1].node.detect(images)]
    with NodesUnderLoad(cluster, len(SAMPLES), check=check) as nodes, pytest.raises(
            InvalidRun, match="the speed of b is that of wrong detections: image 1 has two boxes"):
        nodes.send(PATTERN, seconds=0.3)


def test_what_a_detector_raises_names_its_node(cluster):
    def broken(images):
        raise ValueError("device lost")

    cluster.nodes[1].node._beside._detect = broken
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        load = nodes.send(PATTERN, seconds=0.05)
    assert not load.requests and {one.error for one in load.failed} == {"b: ValueError: device lost"}


def test_a_node_that_starts_too_late_is_named(cluster, monkeypatch):
    monkeypatch.setattr("harness.cluster.load.LONGEST_LEAD", 0.1)
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        name = cluster.nodes[0].name
        nodes.offsets[name] = Offset(nodes.offsets[name].seconds - 1e3, 0.001)
        with pytest.raises(InvalidRun, match=r"a started .* s later than agreed in a round of 0\.1 s, 4 times"):
            nodes.send(PATTERN, seconds=0.1)


def test_a_round_that_started_late_is_repeated_with_more_time_to_start(cluster, monkeypatch):
    monkeypatch.setattr("harness.cluster.load.LEAD", -0.1)
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        load = nodes.send(PATTERN, seconds=0.3)
        assert load.requests and nodes.late < 0.1 and all(len(own) == 1 for own in nodes.by_node.values())


def test_the_machine_of_each_node_is_watched(cluster):
    with NodesUnderLoad(cluster, len(SAMPLES)) as nodes:
        load = nodes.send(PATTERN, seconds=0.2)
        found = nodes.slowdowns("a", [load.loaded])
        assert found[0] >= 1.0
        assert set(nodes.readings()) == {"a", "b", "c"}


def test_offsets_of_a_lost_node_are_an_error(cluster):
    cluster.nodes[0].kill()
    with pytest.raises(InvalidRun, match="a: was killed"):
        offsets(cluster.nodes)
