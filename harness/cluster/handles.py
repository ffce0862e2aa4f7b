"""What every kind of cluster has: handles to its nodes, and calls of all of them at the same time."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

from harness.cluster.errors import LATE, NodeError, late


class Handle:
    """A node as its caller sees it. Each kind has its own `start` and `finish`."""

    def __init__(self, name: str):
        self.name = name
        self.is_lost = ""  # why, once it is

    def call(self, method: str, *arguments, deadline: float) -> Any:
        """The result of the node's method, within `deadline` seconds. Raises NodeError."""
        if self.is_lost:
            raise NodeError(self.name, self.is_lost)
        return self.finish(self.start(method, *arguments), method, deadline)

    def kill(self, why: str = "was killed") -> None:
        """Ends the node: every call, also one under way, fails from now on."""
        self.is_lost = self.is_lost or why


class Handles(AbstractContextManager):
    """The handles of a cluster, in `nodes`; `close` ends it."""

    nodes: Sequence[Handle]

    def all(self, method: str, *arguments, deadline: float) -> list[Any]:
        """The result or the NodeError of each node, in their order, all within `deadline` seconds."""
        return outcomes(((node, node.start(method, *arguments)) for node in self.nodes), method, deadline)

    def __exit__(self, *error):
        self.close()


def outcomes(calls: Iterable[tuple[Any, Any]], method: str, deadline: float) -> list[Any]:
    """The result or the NodeError of each (handle, call), all within `deadline` seconds. Iterating starts the calls."""
    found, end = [], monotonic() + deadline
    for node, call in list(calls):
        try:
            found.append(node.finish(call, method, end - monotonic()))
        except NodeError as error:
            found.append(late(node.name, method, deadline) if error.kind == LATE else error)
    return found
