"""Nodes in threads of this process, with the handles of a cluster of Ray: for tests, and where Ray is not needed."""
from __future__ import annotations

from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from harness.cluster.errors import RAISED, NodeError, late
from harness.cluster.handles import Handle, Handles
from harness.cluster.node import Node


class LocalHandle(Handle):
    """A node of this process; each call runs in a thread of its own."""

    def __init__(self, node: Node):
        super().__init__(node.name)
        self.node = node

    def start(self, method: str, *arguments) -> SimpleQueue:
        """Starts a call; the queue gets (result, error) when it ends."""
        outcome: SimpleQueue = SimpleQueue()
        Thread(target=self._run, args=(outcome, method, arguments), daemon=True).start()
        return outcome

    def _run(self, outcome: SimpleQueue, method: str, arguments: tuple) -> None:
        try:
            outcome.put((getattr(self.node, method)(*arguments), None))
        except Exception as error:
            outcome.put((None, NodeError(self.name, f"{type(error).__name__}: {error}", RAISED)))

    def finish(self, outcome: SimpleQueue, method: str, deadline: float) -> Any:
        """The result of a call that was started. Raises NodeError."""
        if self.is_lost:
            raise NodeError(self.name, self.is_lost)
        try:
            result, error = outcome.get(timeout=max(deadline, 0))
        except Empty:
            raise late(self.name, method, deadline) from None
        if self.is_lost:
            raise NodeError(self.name, self.is_lost)
        if error:
            raise error
        return result


class LocalCluster(Handles):
    """As `harness.cluster.ray_cluster.Cluster`, of nodes in threads: one for each name."""

    def __init__(self, opener: str, arguments: dict[str, Any], names: Sequence[str]):
        self.nodes = [LocalHandle(Node(opener, arguments, name)) for name in names]
        self.facts = [one.node.facts() for one in self.nodes]

    def put(self, value: Any) -> Any:
        """The value in a form that is handed to several calls without being sent again."""
        return value

    def close(self) -> None:
        """Closes every node's detector."""
        for one in self.nodes:
            one.node.close()
