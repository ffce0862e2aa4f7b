"""Nodes as actors of a Ray cluster. The only file of the project that imports Ray.

Ray places the actors, carries calls and says which died. It retries nothing (`max_restarts=0, max_task_retries=0`): a
call that may have run is the caller's to judge. Every call has a deadline.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from harness.cluster import facts
from harness.cluster.errors import DIED, RAISED, UNAVAILABLE, ClusterError, NodeError, Raised, late
from harness.cluster.handles import Handle, Handles
from harness.cluster.node import Node

AUTO, LOCAL = "auto", "local"
STARTUP = 600.0  # seconds until every detector is open: TensorFlow on a new machine takes minutes
CONNECT = 60.0  # seconds
CLOSING = 30.0  # seconds
CONCURRENCY = 256  # calls of one actor at the same time
PACKAGE = "ray>=2.40,<3"
NEURON_CORES = "neuron_cores"


def ray_module():
    """Ray. Raises ClusterError where it is not installed."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ClusterError(f"--ray needs Ray ({error}): pip install '{PACKAGE}'") from None
    return ray


class RayNode(Node):
    """A node that is an actor. What it raises reaches the caller as `Raised`."""

    def __init__(self, opener: str, arguments: dict[str, Any], name: str):
        with _plain_errors():
            super().__init__(opener, arguments, name)

    def run(self, method: str, *arguments) -> Any:
        """What a method returns."""
        with _plain_errors():
            return getattr(self, method)(*arguments)

    def facts(self) -> dict[str, Any]:
        """As `Node.facts`, with the id of Ray's node."""
        return {**super().facts(), "node": ray_module().get_runtime_context().get_node_id()}


@contextmanager
def _plain_errors():
    try:
        yield
    except Exception as error:  # of any framework
        raise Raised(f"{type(error).__name__}: {error}") from None


class RayHandle(Handle):
    """An actor with one detector."""

    def __init__(self, ray, actor, name: str):
        super().__init__(name)
        self._ray, self._actor = ray, actor

    def start(self, method: str, *arguments):
        """Starts a call; a reference to its result."""
        return self._actor.run.remote(method, *arguments)

    def finish(self, call, method: str, deadline: float) -> Any:
        """The result of a call that was started. Raises NodeError."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(call, timeout=max(deadline, 0))
        except errors.GetTimeoutError:
            raise late(self.name, method, deadline) from None
        except errors.ActorUnavailableError as error:
            raise NodeError(self.name, f"is unavailable ({_first_line(error)})", UNAVAILABLE) from None
        except errors.RayTaskError as error:
            why = str(error.cause) if isinstance(error.cause, Raised) else _first_line(error)
            raise NodeError(self.name, why, RAISED) from None
        except (errors.RayError, OSError) as error:  # died, could not be placed, its result is lost
            self.is_lost = self.is_lost or _reason(error)
            raise NodeError(self.name, self.is_lost, DIED) from None

    def kill(self, why: str = "was killed") -> None:
        """As `Handle.kill`: ends the actor's process."""
        super().kill(why)
        with suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)


class Cluster(Handles):
    """A Ray cluster with one actor for each of `workers` detectors, in `nodes`.

    `address` is `local` (a Ray of one node is started here), `auto` (the cluster that this machine belongs to) or
    host:port. `opener` and `arguments` are those of `Node`. Each actor asks for `cpus` cores and, where it is not 0,
    for `neuron_cores`; without `workers` there is one on each node of Ray's, or one for each `neuron_cores`. Raises
    ClusterError where Ray cannot be reached, where there is no room, where a detector does not open within ten
    minutes, or where versions differ.
    """

    def __init__(self, address: str, opener: str, arguments: dict[str, Any], workers: int | None = None,
                 cpus: float = 1, neuron_cores: int = 0, say: Callable[[str], object] = lambda line: None):
        self._ray, self.nodes = ray_module(), []
        self._is_own = not self._ray.is_initialized()
        self._connect(address)
        try:
            wanted = {"num_cpus": cpus, **({"resources": {NEURON_CORES: neuron_cores}} if neuron_cores else {})}
            count = workers or self._usual_workers(neuron_cores)
            self._require_room(count, cpus, neuron_cores)
            say(f"starting {count} detectors on Ray's nodes …")
            self.nodes = [self._placed(opener, arguments, number, count, wanted) for number in range(1, count + 1)]
            self._require_ready()
            self.facts = self._require_alike()
        except BaseException:
            self.close()
            raise

    # ---- the cluster

    def _connect(self, address: str) -> None:
        if not self._is_own:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # its words on the terminal are not the verdict's
        outcome: SimpleQueue = SimpleQueue()
        if address == LOCAL:  # in this thread, because the processes that it starts end with the thread
            _initialize(self._ray, outcome, address=LOCAL, include_dashboard=False)
        else:  # in a thread of its own, because Ray waits for minutes where the cluster is gone
            Thread(target=_initialize, args=(self._ray, outcome), kwargs={"address": address}, daemon=True).start()
        try:
            why = outcome.get(timeout=CONNECT)
        except Empty:
            why = f"no response within {CONNECT:g} s"
        if why:
            raise ClusterError(f"--ray {address}: Ray cannot be reached ({why}); start it by `ray start --head`, "
                               "submit this run as a job, or give --ray local")

    def _usual_workers(self, neuron_cores: int) -> int:
        if not neuron_cores:
            return sum(node["Alive"] for node in self._ray.nodes())
        return int(self._ray.cluster_resources().get(NEURON_CORES, 0)) // neuron_cores or 1

    def _require_room(self, count: int, cpus: float, neuron_cores: int) -> None:
        """Raises ClusterError where the cluster has fewer cores than were asked for: Ray would wait for ever."""
        there = self._ray.cluster_resources()
        for name, wanted, advice in (("CPU", count * cpus, "--ray-workers or --ray-cpus"),
                                     (NEURON_CORES, count * neuron_cores, "--ray-workers")):
            if there.get(name, 0) < wanted:
                raise ClusterError(f"--ray: {count} workers ask for {wanted:g} {name}, the cluster has "
                                   f"{there.get(name, 0):g}; give less by {advice}, or add nodes")

    # ---- the actors

    def _placed(self, opener, arguments, number: int, count: int, wanted: dict) -> RayHandle:
        name = f"worker {number} of {count}"
        path = os.pathsep.join(filter(None, (str(facts.ROOT), os.environ.get("PYTHONPATH"))))
        actor = self._ray.remote(RayNode).options(
            **wanted, max_restarts=0, max_task_retries=0, max_concurrency=CONCURRENCY, scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        ).remote(opener, arguments, name)
        return RayHandle(self._ray, actor, name)

    def _require_ready(self) -> None:
        if failed := [error for error in self.all("ready", deadline=STARTUP) if isinstance(error, NodeError)]:
            others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise ClusterError(f"--ray: {failed[0]}{others}; every worker must start, repair the node or ask for fewer")

    def _require_alike(self) -> list[dict[str, Any]]:
        """The facts of each node; the nodes are named with their host from now on."""
        found = self.all("facts", deadline=CONNECT)
        if lost := [one for one in found if isinstance(one, NodeError)]:
            raise ClusterError(f"--ray: {lost[0]}")
        if lines := facts.differences(facts.own(), [(n.name, one) for n, one in zip(self.nodes, found)]):
            raise ClusterError(f"--ray: {lines[0]}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""))
        for node, one in zip(self.nodes, found):
            node.name = f"{node.name} ({one['host']})"
        return found

    # ---- calls

    def put(self, value: Any) -> Any:
        """The value in Ray's object store: handed to any number of calls, it crosses to each machine once."""
        return self._ray.put(value)

    def close(self) -> None:
        """Closes every detector, ends the actors, and Ray where this object has started or joined it."""
        with suppress(Exception):
            self.all("close", deadline=CLOSING)
        for node in self.nodes:
            node.kill("was closed")
        if self._is_own and self._ray.is_initialized():
            self._ray.shutdown()


def _initialize(ray, outcome: SimpleQueue, **settings) -> None:
    """Connects to Ray; the queue gets why that failed, or ''."""
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **settings)
        outcome.put("")
    except Exception as error:  # ConnectionError, ValueError, RuntimeError: by what is wrong
        outcome.put(_first_line(error))


def _reason(error: BaseException) -> str:
    """Why an actor is gone, in one line. An actor that failed in its constructor says what that raised."""
    first = _first_line(error)
    if "creation task" not in first:
        return f"died ({first})"
    raised = " ".join(str(error).split()).rpartition(f"{Raised.__name__}: ")[2]
    return f"could not start ({raised[:500]})"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
