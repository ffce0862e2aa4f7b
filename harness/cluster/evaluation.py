"""The detections of a whole dataset from many nodes: shards shared out, retried elsewhere, counted once.

Each node has a thread here that hands it one shard after the other. A node whose call fails, for whatever reason, gets
no further shard, and its shard is done by another one. A call that may have run does no harm: a shard counts once.
"""
from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic
from typing import Any

from harness.accuracy.compliance import changed
from harness.accuracy.evaluation import InvalidRun
from harness.accuracy.stored import opened
from harness.cluster import control
from harness.cluster.errors import LATE, NodeError
from harness.cluster.shards import Found, Ledger, Shard, merged
from harness.verdict.verdict import BROKEN, ERROR

MOST_TRIES = 3  # nodes that fail on one shard before the shard is the reason
PULSE = 10.0  # seconds between two looks whether a node still works
ANSWER = 30.0  # seconds within which a node must say how far it is
WAKE = 1.0  # seconds


@dataclass(frozen=True)
class Task:
    """What the nodes are asked: shards and control images, and the load of each node.

    `images` gives what a node is handed for image ids: their bytes, or paths or URLs. `digest` gives the SHA-256
    (`harness.cluster.images.sha256`) that the node must have read; None where the bytes are sent. `deadline` is in
    seconds a request. With `exact` machines of one kind must give the same bytes for the control images.
    """

    shards: Sequence[Shard]
    control: Sequence[int]
    images: Callable[[Sequence[int]], Any]
    digest: Callable[[Sequence[int]], str] | None
    callers: int
    batch_size: int
    deadline: float
    exact: bool


@dataclass
class Outcome:
    """The detections of all images by id, and how they came about."""

    detections: dict[int, Any]
    resumed: int  # shards that the ledger had
    by_node: Counter[str]  # shards that each node did
    lost: list[NodeError]
    again: int  # shards that a second node had to do
    kinds: tuple[str, ...]  # of machines
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = f" on {len(self.kinds)} kinds of machines ({', '.join(self.kinds)})" if len(self.kinds) > 1 else ""
        parts = [f"{sum(self.by_node.values())} shards by {len(self.by_node)} workers{kinds}"]
        if self.resumed:
            parts.append(f"{self.resumed} from an earlier run")
        if self.again:
            parts.append(f"{self.again} done again")
        return ", ".join(parts) + "".join(f"; lost {error}" for error in self.lost)


def detect_all(cluster, ledger: Ledger, task: Task, observe: Callable[[int], object] = lambda images: None,
               say: Callable[[str], object] = lambda line: None, resume: bool = True) -> Outcome:
    """The detections of every shard by the nodes of the cluster, each kept in the ledger at once.

    With `resume` what the ledger has is not done again; without it nothing of an earlier run counts. `observe` gets the
    number of images whenever some are done. Raises InvalidRun where nodes disagree on the control images or on the last
    shard of a node that was lost, where a node reads other images than this process, where a shard fails on several
    nodes, and where all nodes are lost; PlaceError where the ledger cannot be used.
    """
    found, lines = ledger.done(task.shards) if resume else ({}, [])
    for line in lines:
        say(line)
    ledger.prepare()
    observe(sum(len(one.detections) for one in found.values()))
    run = _Run(cluster, ledger, task, observe, say, found)
    run.check_control()
    run.share_out()
    run.check_lost()
    run.check_control()
    return run.outcome()


class _Run:
    """One evaluation under way."""

    def __init__(self, cluster, ledger, task, observe, say, found: dict[int, Found]):
        self._nodes, self._ledger, self._task = list(cluster.nodes), ledger, task
        self._kinds = {node.name: facts["machine"]["processor"] for node, facts in zip(cluster.nodes, cluster.facts)}
        self._put, self._observe, self._say = cluster.put, observe, say
        self._found: dict[int, Found] = dict(found)
        # Detections that no ledger keeps, as those with NaN, which the accuracy check is to see.
        self._unkept: dict[int, dict[int, Any]] = {}
        self._resumed, self._total = set(found), len(task.shards)
        self._waiting = deque(shard for shard in task.shards if shard.number not in found)
        self._tries: dict[int, list[NodeError]] = {}
        self._last: dict[str, Shard] = {}  # of each node, what it did last
        self._lost: list[NodeError] = []
        self._by_node: Counter[str] = Counter()
        self._changed, self._raised, self._is_ended = Condition(), None, False

    # ---- the control images

    def check_control(self) -> None:
        """Has every node detect the control images. Raises InvalidRun where they disagree, or no node is left."""
        self._require_nodes()
        if len(self._resumed) == self._total:
            return  # nothing was, or is to be, detected here
        control_set = Shard(0, 0, tuple(self._task.control))
        handed, found = self._handed(control_set), {}

        def ask(node):
            try:
                found[node.name] = self._asked(node, control_set, handed)
            except NodeError as error:
                self._lose(node, error)
            except BaseException as error:  # ends the run as a whole
                self._raised = self._raised or error

        for thread in self._started(ask):
            thread.join()
        if self._raised:
            raise self._raised
        self._require_nodes()
        responses = [control.Control(node.name, self._kinds[node.name], _detections(found[node.name]))
                     for node in self._nodes]
        if why := control.disagreement(responses, self._task.exact):
            raise self._untrusted(why)

    def check_lost(self) -> None:
        """Has another node do the last shard of each lost one again: a machine that fails may have been wrong before.

        Raises InvalidRun where they differ.
        """
        for name, shard in self._last.items():
            if name not in {node.name for node in self._nodes}:
                self._compare_again(name, shard)

    def _compare_again(self, lost: str, shard: Shard) -> None:
        again = None
        while again is None:
            self._require_nodes()
            node = min(self._nodes, key=lambda one: self._kinds[one.name] != self._kinds[lost])  # of the same kind
            try:
                again = _detections(self._asked(node, shard, self._handed(shard)))
            except NodeError as error:
                self._lose(node, error)
        exact = self._task.exact and self._kinds[node.name] == self._kinds[lost]
        if differing := changed(self._found[shard.number].detections, again, exact):
            raise self._untrusted(f"{lost} was lost, and {node.name} detects something else in {len(differing)} of "
                                  f"{len(shard.image_ids)} images of its last shard, first image {differing[0]}; "
                                  "examine both machines")

    def _untrusted(self, why: str) -> InvalidRun:
        """The error, after what was done in this run is withdrawn: nobody knows since when a node was wrong."""
        self._ledger.withdraw(shard.name for shard in self._task.shards
                              if shard.number in self._found and shard.number not in self._resumed)
        return InvalidRun(why)

    def _require_nodes(self) -> None:
        if not self._nodes:
            done = len(self._found) + len(self._unkept)
            which = f"all {len(self._lost)} workers were" if len(self._lost) > 1 else "the only worker was"
            raise InvalidRun(f"{which} lost: {'; '.join(map(str, self._lost))}; {done} of "
                             f"{self._total} shards are done and kept in {self._ledger}: repair the nodes and run "
                             "again with --resume", ERROR)

    def _started(self, work: Callable[[Any], None]) -> list[Thread]:
        """A thread for each node that is left."""
        threads = [Thread(target=work, args=(node,), daemon=True) for node in self._nodes]
        for thread in threads:
            thread.start()
        return threads

    # ---- the shards

    def share_out(self) -> None:
        """Has the nodes do every shard that is still to do. Raises InvalidRun, or what a thread raised."""
        threads = self._started(self._serve)
        try:
            while any(thread.is_alive() for thread in threads) and not self._raised:
                for thread in threads:
                    thread.join(WAKE / len(threads))
        finally:  # where this process is interrupted the threads end too
            with self._changed:
                self._is_ended = True
                self._changed.notify_all()
        if self._raised:
            raise self._raised
        if not self._is_done():
            self._require_nodes()

    def _serve(self, node) -> None:
        try:
            while shard := self._next():
                try:
                    self._keep(node, shard, self._asked(node, shard, self._handed(shard)))
                except NodeError as error:
                    self._lose(node, error)
                    self._give_back(shard, error)
                    return
        except BaseException as error:  # ends the run as a whole
            with self._changed:
                self._raised = self._raised or error
                self._changed.notify_all()

    def _next(self) -> Shard | None:
        """The next shard to do; None once all are done. While others are under way it waits: they may come back."""
        with self._changed:
            while not (self._is_ended or self._raised or self._is_done()):
                if self._waiting:
                    return self._waiting.popleft()
                self._changed.wait(WAKE)
        return None

    def _is_done(self) -> bool:
        return len(self._found) + len(self._unkept) == self._total

    def _handed(self, shard: Shard) -> Any:
        return self._put(self._task.images(shard.image_ids))

    def _asked(self, node, shard: Shard, handed: Any) -> Any:
        """A node's response. Raises NodeError where it does not come, InvalidRun where it is of other images."""
        task = self._task
        call = node.start("detect_shard", shard.image_ids, handed, task.callers, task.batch_size, task.deadline)
        response = finished(node, call, task.deadline)
        if task.digest and response.sha256 != task.digest(shard.image_ids):
            raise InvalidRun(f"{node.name}: it has other images than this machine under the same names ({shard}); give "
                             "--ray-images send, or the same dataset to every node", ERROR)
        return response

    def _keep(self, node, shard: Shard, response: Any) -> None:
        if response.content:
            about = {"kind": self._kinds[node.name], "seconds": round(response.seconds, 3)}
            self._ledger.publish(shard.name, response.content, node.name, about)
        with self._changed:
            if shard.number in self._found or shard.number in self._unkept:
                return  # another node was faster: it counts once
            if response.content:
                self._found[shard.number] = Found(opened(response.content), node.name, about)
                self._last[node.name] = shard
            else:
                self._unkept[shard.number] = response.detections
            self._by_node[node.name] += 1
            self._changed.notify_all()
        self._observe(len(shard.image_ids))

    def _lose(self, node, error: NodeError) -> None:
        """Gives up a node: what it may still do must not disturb the others."""
        with self._changed:
            self._nodes.remove(node)
            self._lost.append(error)
        node.kill(error.why)
        self._say(f"lost {error}")

    def _give_back(self, shard: Shard, error: NodeError) -> None:
        with self._changed:
            failures = self._tries.setdefault(shard.number, [])
            failures.append(error)
            if len(failures) >= MOST_TRIES:
                self._raised = InvalidRun(f"{shard} failed on {len(failures)} workers: "
                                          f"{'; '.join(map(str, failures))}; try these images on one machine", BROKEN)
            self._waiting.appendleft(shard)
            self._changed.notify_all()

    def outcome(self) -> Outcome:
        """What came of it."""
        detections = merged(self._found)
        for own in self._unkept.values():
            detections.update(own)
        kinds = dict.fromkeys([*(one.about.get("kind", "unknown") for one in self._found.values()),
                               *(self._kinds[name] for name in self._by_node)])
        return Outcome(detections, len(self._resumed), self._by_node, self._lost, len(self._tries), tuple(kinds))


def finished(node, call: Any, patience: float) -> Any:
    """The result of a call that was started, as long as the node works. Raises NodeError.

    Every PULSE seconds the node is asked how far it is. One that does not say so within ANSWER seconds, or that has
    ended no request for `patience` seconds and ANSWER more, is late.
    """
    seen, since = None, monotonic()
    while True:
        try:
            return node.finish(call, "detect_shard", min(PULSE, patience))
        except NodeError as error:
            if error.kind != LATE:
                raise
        now = node.call("progress", deadline=ANSWER)
        if now != seen:
            seen, since = now, monotonic()
        elif monotonic() - since > patience + ANSWER:
            raise NodeError(node.name, f"has ended no request for {monotonic() - since:.0f} s", LATE)


def _detections(response: Any) -> Mapping[int, Any]:
    return opened(response.content) if response.content else response.detections
