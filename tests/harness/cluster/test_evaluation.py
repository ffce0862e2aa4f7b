"""Shards shared out to nodes: done again elsewhere where a node is lost, counted once, INVALID without proof."""
from __future__ import annotations

import pytest

from harness.accuracy.evaluation import InvalidRun
from harness.cluster import evaluation
from harness.cluster.evaluation import detect_all
from harness.cluster.images import sha256
from harness.cluster.local import LocalCluster
from harness.cluster.shards import Ledger
from tests.harness.cluster.doubles import OPENER
from tests.harness.cluster.work import EXPECTED, IMAGES, contents, task


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(evaluation, "PULSE", 0.1)
    monkeypatch.setattr(evaluation, "ANSWER", 0.5)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(str(tmp_path / "shards"), {"detector": "double"})


def cluster_of(count, **arguments) -> LocalCluster:
    return LocalCluster(OPENER, arguments, [f"worker {n}" for n in range(1, count + 1)])


def one_of(count, tmp_path, fault, after=0) -> LocalCluster:
    """Nodes of which the first has a fault, from a number of requests on."""
    return cluster_of(count, fault=fault, after=after, claim=str(tmp_path / "claim"))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_detections_are_those_of_one_machine_whatever_the_number_of_nodes(ledger, count):
    done = []
    outcome = detect_all(cluster_of(count), ledger, task(), done.append)
    assert contents(outcome) == EXPECTED and sum(done) == len(IMAGES)
    assert (outcome.lost, outcome.again, sum(outcome.by_node.values())) == ([], 0, 10)


def test_every_shard_is_in_the_ledger_when_it_is_done(ledger):
    detect_all(cluster_of(2), ledger, task())
    assert len(ledger.done(task().shards)[0]) == 10


# In the control images, and in the middle of the shards: 2 requests of control images come first.
@pytest.mark.parametrize("after", [0, 4])
def test_a_shard_whose_node_raises_is_done_by_another_and_the_node_is_named(ledger, tmp_path, after):
    outcome = detect_all(one_of(3, tmp_path, "raises", after), ledger, task())
    assert contents(outcome) == EXPECTED
    assert [error.name for error in outcome.lost] == ["worker 1"] and "it is broken" in str(outcome)
    assert outcome.again == (1 if after else 0)


def test_a_detector_that_hangs_costs_its_node_and_no_image(ledger, tmp_path):
    outcome = detect_all(one_of(2, tmp_path, "hangs", 4), ledger, task(deadline=0.5))
    assert contents(outcome) == EXPECTED and "no response within 0.5 s" in str(outcome.lost[0])


class Frozen:
    """A node's handle that gives no response any more from a call on, as a machine that was cut off."""

    def __init__(self, handle, after):
        self._handle, self._left, self.name = handle, after, handle.name

    def __getattr__(self, name):
        return getattr(self._handle, name)

    def start(self, method, *arguments):
        self._left -= method == "detect_shard"
        return self._handle.start("clock" if self._left < 0 else method, *arguments) if self._left >= 0 else None

    def finish(self, call, method, deadline):
        if call is None:
            raise evaluation.NodeError(self.name, "no response", evaluation.LATE)
        return self._handle.finish(call, method, deadline)

    def call(self, method, *arguments, deadline):
        if self._left < 0:
            raise evaluation.NodeError(self.name, f"{method} gave no response", evaluation.LATE)
        return self._handle.call(method, *arguments, deadline=deadline)


def test_a_node_that_does_not_even_say_how_far_it_is_is_given_up(ledger):
    cluster = cluster_of(2)
    cluster.nodes[0] = Frozen(cluster.nodes[0], 2)
    outcome = detect_all(cluster, ledger, task())
    assert contents(outcome) == EXPECTED and "progress gave no response" in str(outcome.lost[0])


def test_a_node_that_was_unavailable_may_have_done_its_shard_which_counts_once(ledger):
    cluster, shards = cluster_of(2), task().shards
    first = cluster.nodes[0]

    def finish(call, method, deadline):
        type(first).finish(first, call, method, deadline)
        if len(ledger.names()) > 2:
            raise evaluation.NodeError(first.name, "is unavailable", "unavailable")
        return type(first).finish(first, first.start(method, *asked[-1]), method, deadline)

    asked, start = [], first.start
    first.start = lambda method, *arguments: asked.append(arguments) or start(method, *arguments)
    first.finish = finish
    outcome = detect_all(cluster, ledger, task())
    assert contents(outcome) == EXPECTED and len(ledger.done(shards)[0]) == len(shards)


def test_with_all_nodes_lost_the_run_is_invalid_and_names_each_with_its_reason(ledger):
    with pytest.raises(InvalidRun) as raised:
        detect_all(cluster_of(2, fault="raises", after=6), ledger, task())
    message = str(raised.value)
    assert "all 2 workers were lost" in message and "worker 1: " in message and "worker 2: " in message
    assert "run again with --resume" in message and str(ledger.place) in message


def test_a_run_after_one_that_was_lost_does_only_what_is_missing(ledger):
    with pytest.raises(InvalidRun):
        detect_all(cluster_of(1, fault="raises", after=10), ledger, task())
    kept = len(ledger.done(task().shards)[0])
    outcome = detect_all(cluster_of(1), ledger, task())
    assert 0 < kept == outcome.resumed and outcome.by_node == {"worker 1": 10 - kept}
    assert contents(outcome) == EXPECTED


def test_a_shard_that_fails_wherever_it_runs_is_the_reason_and_not_the_nodes(ledger):
    poison = task().shards[3].image_ids[0]
    images = {**IMAGES, poison: None}
    with pytest.raises(InvalidRun, match=r"shard 4 of 10 .* failed on 3 workers"):
        detect_all(cluster_of(5), ledger, task(images=lambda own: [images[i] for i in own]))


def test_without_resume_nothing_of_an_earlier_run_counts(ledger):
    detect_all(cluster_of(1, fault="wrong"), ledger, task())
    outcome = detect_all(cluster_of(1), ledger, task(), resume=False)
    assert contents(outcome) == EXPECTED and outcome.resumed == 0


def test_a_finished_ledger_asks_no_node(ledger):
    detect_all(cluster_of(1), ledger, task())
    outcome = detect_all(cluster_of(1, fault="raises"), ledger, task())
    assert contents(outcome) == EXPECTED and outcome.resumed == 10 and "10 from an earlier run" in str(outcome)


@pytest.mark.parametrize("exact", [True, False])
def test_a_node_that_detects_something_else_is_named(ledger, tmp_path, exact):
    with pytest.raises(InvalidRun, match=r"^worker 1 \[.*\]: other detections than the other 2 workers in 4 of 4"):
        detect_all(one_of(3, tmp_path, "wrong"), ledger, task(exact=exact))


def test_a_node_that_detects_something_else_from_the_middle_on_is_named_at_the_end(ledger, tmp_path):
    with pytest.raises(InvalidRun, match=r"^worker 1 \[.*\]: other detections"):
        detect_all(one_of(3, tmp_path, "wrong", 3), ledger, task())


def test_what_a_run_with_a_wrong_node_has_done_is_never_resumed(ledger, tmp_path):
    with pytest.raises(InvalidRun):
        detect_all(cluster_of(1, fault="raises", after=10), ledger, task())
    kept = len(ledger.done(task().shards)[0])
    with pytest.raises(InvalidRun, match="other detections"):
        detect_all(one_of(3, tmp_path, "wrong", 3), ledger, task())
    outcome = detect_all(cluster_of(1), ledger, task())
    assert outcome.resumed == kept > 0 and contents(outcome) == EXPECTED


def test_a_node_that_was_wrong_before_it_was_lost_is_found_by_its_last_shard(ledger, tmp_path):
    cluster = one_of(2, tmp_path, "wrong", 2)
    cluster.nodes[0] = Frozen(cluster.nodes[0], 2)
    with pytest.raises(InvalidRun, match=r"^worker 1 was lost, and worker 2 detects something else in \d+ of"):
        detect_all(cluster, ledger, task())
    assert ledger.done(task().shards)[0] == {}


def test_two_nodes_that_differ_are_both_named(ledger, tmp_path):
    with pytest.raises(InvalidRun, match=r"^worker 1 \[.*\], worker 2 \[.*\]: they do not detect the same"):
        detect_all(one_of(2, tmp_path, "wrong"), ledger, task())


def test_detections_that_are_no_numbers_reach_the_accuracy_check_and_no_ledger(ledger):
    outcome = detect_all(cluster_of(1, fault="nan", after=4), ledger, task())
    assert set(outcome.detections) == set(IMAGES) and not ledger.done(task().shards)[0].keys() - {1}


def test_a_node_with_other_images_under_the_same_names_is_named(ledger):
    changed = task(digest=lambda own: sha256([IMAGES[i] for i in own]), images=lambda own: [b"y" for _ in own])
    with pytest.raises(InvalidRun, match=r"worker .: it has other images than this machine"):
        detect_all(cluster_of(2), ledger, changed)


def test_images_are_read_by_path_or_url(ledger, tmp_path):
    for image, encoded in IMAGES.items():
        (tmp_path / f"{image}.jpg").write_bytes(encoded)
    read = task(digest=lambda own: sha256([IMAGES[i] for i in own]),
                images=lambda own: [f"{'file://' if i % 2 else ''}{tmp_path}/{i}.jpg" for i in own])
    assert contents(detect_all(cluster_of(2), ledger, read)) == EXPECTED


def test_an_image_that_a_node_does_not_have_says_what_to_do(ledger, tmp_path):
    with pytest.raises(InvalidRun, match=r"nowhere/\d+.jpg: cannot be read on this node \(No such file.*--ray-images"):
        detect_all(cluster_of(1), ledger, task(images=lambda own: [f"{tmp_path}/nowhere/{i}.jpg" for i in own]))
