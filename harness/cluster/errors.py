"""What can go wrong with a node, in one error that every kind of cluster raises."""
from __future__ import annotations

# Kinds of errors: what the caller knows of the node.
DIED = "died"  # the node or its process has ended
LATE = "late"  # there was no response within the deadline; the node may still be at work
UNAVAILABLE = "unavailable"  # the connection broke; the node may be back later
RAISED = "raised"  # the method raised an exception, the node continues to run


class ClusterError(RuntimeError):
    """The cluster cannot be used; the message says why and what to do."""


class NodeError(RuntimeError):
    """A call to a node failed. `name` is the node's, `why` says what happened.

    `kind` is DIED, LATE, UNAVAILABLE or RAISED. The method may have run, in full or in part: who calls again must
    expect a second effect.
    """

    def __init__(self, name: str, why: str, kind: str = DIED):
        super().__init__(f"{name}: {why}")
        self.name, self.why, self.kind = name, why, kind

    def __reduce__(self):
        return NodeError, (self.name, self.why, self.kind)


class Raised(RuntimeError):
    """What a node's method raised, as type and message: not every exception survives its way between processes."""


def late(name: str, method: str, deadline: float) -> NodeError:
    """The error of a call without a response within `deadline` seconds."""
    return NodeError(name, f"{method} gave no response within {deadline:g} s", LATE)
