"""Nodes in threads of this process, with the handles that a cluster of Ray has: for tests, and where Ray is not needed.
"""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from harness.cluster.errors import RAISED, NodeError, late
from harness.cluster.node import Node


class LocalHandle:
    """A node of this process; `call` runs its method in a thread of its own."""

    def __init__(self, node: Node):
        self.name, self.node = node.name, node
        self.is_lost = ""  # why, once it is

    def start(self, method: str, *arguments) -> SimpleQueue:
        """Starts a call; the queue gets (result, error) when it ends."""
        outcome: SimpleQueue = SimpleQueue()
        Thread(target=self._run, args=(outcome, method, arguments), daemon=True).start()
        return outcome

    def _run(self, outcome: SimpleQueue, method: str, arguments: tuple) -> None:
        try:
            outcome.put((getattr(self.node, method)(*arguments), None))
        except NodeError as error:  # a test plants what Ray would raise
            outcome.put((None, error))
        except Exception as error:
            outcome.put((None, NodeError(self.name, f"{type(error).__name__}: {error}", True, RAISED)))

    def finish(self, outcome: SimpleQueue, method: str, deadline: float) -> Any:
        """The result of a call that was started. Raises NodeError."""
        if self.is_lost:
            raise NodeError(self.name, self.is_lost, False)
        try:
            result, error = outcome.get(timeout=max(deadline, 0))
        except Empty:
            raise late(self.name, method, deadline) from None
        if self.is_lost:
            raise NodeError(self.name, self.is_lost, True)
        if error:
            raise error
        return result

    def call(self, method: str, *arguments, deadline: float) -> Any:
        """The result of the node's method, within `deadline` seconds. Raises NodeError."""
        return self.finish(self.start(method, *arguments), method, deadline)

    def kill(self, why: str = "was killed") -> None:
        """Ends the node: every call, also one under way, fails from now on."""
        self.is_lost = self.is_lost or why


class LocalCluster(AbstractContextManager):
    """As `harness.cluster.ray_cluster.Cluster`, of nodes in threads: one for each name."""

    def __init__(self, opener: str, arguments: dict[str, Any], names: Sequence[str]):
        self.nodes = [LocalHandle(Node(opener, arguments, name)) for name in names]
        self.facts = [one.node.facts() for one in self.nodes]

    def all(self, method: str, *arguments, deadline: float) -> list[Any]:
        """The result or the NodeError of each node, in their order, all within `deadline` seconds."""
        end = monotonic() + deadline
        started = [node.start(method, *arguments) for node in self.nodes]
        return [_outcome(node, call, method, end - monotonic()) for node, call in zip(self.nodes, started)]

    def put(self, value: Any) -> Any:
        """The value in a form that is handed to several calls without being sent again."""
        return value

    def close(self) -> None:
        """Closes every node's detector."""
        for one in self.nodes:
            one.node.close()

    def __exit__(self, *error):
        self.close()


def _outcome(node: LocalHandle, call: SimpleQueue, method: str, deadline: float) -> Any:
    try:
        return node.finish(call, method, deadline)
    except NodeError as error:
        return error
