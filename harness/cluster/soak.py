"""A soak on every node of a cluster at once: windows that open together, a journal on each node, one verdict each.

The driver says when windows open and asks how far the nodes are; it takes no part in the load. Each node journals its
own soak on its own disk, so that a driver that is killed loses nothing: started again with `resume`, it continues at
the first window that is incomplete on any node, and nodes that are ahead wait. At the end, and when a node is lost, the
journals of the others are copied to the driver.
"""
from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, Callable, NamedTuple

from harness.accuracy.evaluation import InvalidRun
from harness.cluster.beside import Openings, SoakOrder, SoakState, known_mean
from harness.cluster.clock import Offset
from harness.cluster.errors import DIED, NodeError
from harness.cluster.load import LEAD, REACH, ask, attempt, offsets, require_alive
from harness.files import Unreadable, as_json, read_file, write
from harness.soak.journal import JournalError
from harness.soak.result import SoakResult
from harness.soak.run import Plan, is_over, summarise
from harness.stats.estimate import Estimate
from harness.stats.intervals import mean_of_windows
from harness.verdict.verdict import ERROR

RECORD = "soak-nodes.json"  # of the driver's folder: which nodes the soak is on
ON_NODES = "~/.cache/release-gate/soaks"  # the folder of journals on each node
POLL = 1.0  # seconds
READY = 900.0  # seconds until every node has read its journal and warmed up
TRIES = 3  # times that a node may fail to say how far it is before it is lost
PART = 8 << 20  # bytes of a journal at a time
LARGEST_RECORD = 1 << 20  # bytes
# Between two windows, for the last requests of the first: a share of it up to so many seconds, or so many requests.
GAP_SHARE, GAP_SECONDS, GAP_REQUESTS = 0.1, 0.5, 3
APART = 0.1  # share of a window by which windows may open apart and still be added up


class Member(NamedTuple):
    """A node: the name of its handle, its host, and its place, the same in every run, by which its files are named."""

    name: str
    host: str
    place: str


def journal_of(place: str) -> str:
    """The name of the journal of the node in that place."""
    return f"soak-{place}.journal"


def members(cluster) -> list[Member]:
    """The nodes with their places: the host, and a number where several are on one. Raises InvalidRun."""
    found = dict(zip((node.name for node in cluster.nodes), cluster.all("facts", deadline=REACH)))
    require_alive(found)
    seen: Counter[str] = Counter()
    listed = []
    for name, facts in found.items():
        host = re.sub(r"[^\w.-]+", "-", str(facts["host"]), flags=re.ASCII)
        seen[host] += 1
        listed.append(Member(name, host, host if seen[host] == 1 else f"{host}-{seen[host]}"))
    return listed


@dataclass
class ClusterSoak:
    """What a soak on nodes left: its results by node, and how well the windows were aligned.

    `journals` are the driver's copies by node. `lost` says why a node has none, or why its soak ended early. `late` is
    the most by which a window opened later than agreed, `bound` the most that the clocks' offsets are uncertain, and
    `drift` the most by which they moved meanwhile, in seconds; they are None where nothing was run.
    """

    results: dict[str, SoakResult] = field(default_factory=dict)
    journals: dict[str, Path] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    late: float | None = None
    bound: float | None = None
    drift: float | None = None

    @property
    def totals(self) -> list[float]:
        """Images a second of all nodes together in each window that is complete on all of them."""
        found = [{window.number: window.images_per_second for window in one.windows} for one in self.results.values()]
        shared = sorted(set.intersection(*map(set, found))) if found else []
        return [sum(own[number] for own in found) for number in shared]

    @property
    def images_per_second(self) -> Estimate | None:
        """The mean of `totals`; without bounds for fewer than ten windows."""
        return mean_of_windows(self.totals)

    @property
    def is_aligned(self) -> bool:
        """Whether the windows opened so close to each other that the sum of a single one means something."""
        window = min((one.plan["window_seconds"] for one in self.results.values()), default=math.inf)
        return self.late is None or self.late + self.bound + self.drift <= APART * window

    def alignment(self) -> str:
        """How well windows were aligned, in words."""
        if self.late is None:
            return "windows as they were journaled"
        apart = (f"windows opened at most {self.late * 1e3:.1f} ms after the agreed times, clocks known to "
                 f"{self.bound * 1e3:.3f} ms, drifted {self.drift * 1e3:.3f} ms meanwhile")
        return apart if self.is_aligned else f"{apart}: too far apart for the sum of a single window"


def run(cluster, plan: Plan, folder: str | Path, identity: dict[str, Any], *, deadline: float, resume: bool = False,
        progress: Callable[[int], Any] = lambda windows: None, on_nodes: str | None = None,
        poll: float = POLL) -> ClusterSoak:
    """Run the soak of a plan on every node and copy its journals into `folder`, each named by its node's place.

    `identity` says what is measured (strict JSON); each node adds its own machine and place. `on_nodes` is the folder
    of journals on each node (default: ON_NODES), `poll` the seconds between two looks; `progress` gets the number of
    windows that have become complete on every node. The images are those of `harness.cluster.load.hold`. A node that is
    lost, or a soak that fails on one, ends it on all; `lost` says why, and the others' journals can be resumed.

    With `resume` it continues: JournalError where its nodes, its plan or what it measures are others, or where it
    failed. Raises InvalidRun where a node does not respond before the first window.
    """
    run_of = _Run(cluster, plan, Path(folder), identity, deadline, on_nodes or ON_NODES, poll)
    run_of.prepare(resume)
    try:
        run_of.work(resume, progress)
    finally:
        run_of.stop()
        run_of.collect()
    return run_of.soak


def finished(folder: str | Path, plan: Plan, identity: dict[str, Any]) -> ClusterSoak | None:
    """The soak that ended earlier on every node, from the driver's copies of the journals; None if there is none.

    Raises JournalError for a copy that cannot be read, or of another soak.
    """
    folder = Path(folder)
    places = _recorded(folder)["places"] if (folder / RECORD).is_file() else []
    journals = {place: folder / journal_of(place) for place in places}
    if not journals or not all(path.is_file() and is_over(path, plan, {**identity, "node": place})
                               for place, path in journals.items()):
        return None
    return ClusterSoak({place: summarise(path) for place, path in journals.items()}, journals)


def _recorded(folder: Path) -> dict[str, Any]:
    """The driver's record of the soak. Raises JournalError."""
    path = folder / RECORD
    try:
        found = json.loads(read_file(path, LARGEST_RECORD))
        if isinstance(found["places"], list) and all(isinstance(one, str) for one in found["places"]):
            return found
        why = "it does not list the nodes"
    except FileNotFoundError:
        why = "there is none"
    except Unreadable as error:
        why = f"it {error}"
    except (ValueError, KeyError, TypeError):
        why = "it is not JSON of a soak's nodes"
    raise JournalError(f"{path}: cannot resume, because the list of the soak's nodes is missing ({why}); start a new "
                       "soak without resuming")


class _Run:
    """One run of the driver: orders a soak, looks how far it is, and copies the journals."""

    def __init__(self, cluster, plan, folder, identity, deadline, on_nodes, poll):
        self._nodes, self._places = cluster.nodes, {one.name: one.place for one in members(cluster)}
        self._plan, self._folder, self._identity = plan, folder, identity
        self._deadline, self._poll = deadline, poll
        of = json.dumps([plan.as_record(), identity], sort_keys=True)
        self._on_nodes = f"{on_nodes}/{hashlib.sha256(of.encode()).hexdigest()[:16]}"
        self._clocks: dict[str, Offset] = {}
        self._failures: Counter[str] = Counter()
        self._known: dict[str, SoakState] = {}
        self._running: list = []
        self.soak = ClusterSoak()

    def prepare(self, resume: bool) -> None:
        """Checks that the soak may be resumed, or keeps a record of a new one. Raises JournalError."""
        places = list(self._places.values())
        record = {"places": places, "plan": self._plan.as_record(), "identity": self._identity}
        if not resume:
            self._folder.mkdir(parents=True, exist_ok=True)
            write(self._folder / RECORD, as_json(record))
            return
        before = _recorded(self._folder)
        if sorted(before["places"]) != sorted(places):
            raise JournalError(
                f"{self._folder / RECORD}: cannot resume, because this soak started on {', '.join(before['places'])} "
                f"and the nodes are {', '.join(places)} now; start those nodes, or a new soak without resuming")
        for name in ("plan", "identity"):
            if before.get(name) != json.loads(json.dumps(record[name])):
                raise JournalError(
                    f"{self._folder / RECORD}: cannot resume, because the {name} was {before.get(name)!r} when this "
                    f"soak started and is {record[name]!r} now; restore it, or start a new soak without resuming")

    # ---- the soak

    def work(self, resume: bool, progress) -> None:
        """Orders the soak and returns when it runs nowhere any more. JournalError where it has failed."""
        self._clocks = offsets(self._nodes)
        done = self._done(resume)
        self._running = [node for node in self._nodes if not done[node.name][1]]
        if not self._running:
            return
        if failed := [name for name, (windows, ended) in done.items() if ended and windows < self._plan.windows]:
            raise JournalError(f"{self._folder / RECORD}: cannot resume, because the soak failed on "
                               f"{', '.join(failed)}; start a new one without resuming")
        gap = self._gap(ask(self._running, "request_seconds", lambda node: (self._plan.pattern, self._deadline),
                            deadline=READY))
        ask(self._running, "soak_start", lambda node: (self._order(node, resume and done[node.name][0] > 0),),
            deadline=REACH)
        self._await_ready()
        told = min(done[node.name][0] for node in self._running)
        progress(told)
        self._open(told + 1, gap)
        while not self._has_ended():
            sleep(self._poll)
            self._look()
            complete = min((state.windows for state in self._known.values()), default=0)
            progress(max(complete - told, 0))
            told = max(complete, told)

    def _gap(self, requests: Mapping[str, float]) -> float:
        """Seconds between two windows, on every node the same: a window that opens late delays those after it."""
        window = self._plan.window_seconds
        return min(max(min(GAP_SHARE * window, GAP_SECONDS), GAP_REQUESTS * max(requests.values())), window)

    def _done(self, resume: bool) -> dict[str, tuple[int, bool]]:
        """(complete windows, whether it is over) on each node, by name."""
        if not resume:
            return {node.name: (0, False) for node in self._nodes}
        return ask(self._nodes, "soak_found",
                   lambda node: (self._journal(node), self._plan, self._identity_of(node)), deadline=READY)

    def _journal(self, node) -> str:
        return f"{self._on_nodes}/{journal_of(self._places[node.name])}"

    def _identity_of(self, node) -> dict[str, Any]:
        return {**self._identity, "node": self._places[node.name]}

    def _order(self, node, resume: bool) -> SoakOrder:
        return SoakOrder(self._plan, self._journal(node), self._identity_of(node), self._deadline, resume)

    def _await_ready(self) -> None:
        """Waits until every node has warmed up: a window opens on all of them at the same time."""
        end = monotonic() + READY
        while not self._has_ended() and not all(self._is_ready(node) for node in self._running):
            if monotonic() > end:
                slow = [node.name for node in self._running if not self._is_ready(node)]
                raise InvalidRun(f"{', '.join(slow)} did not warm up within {READY:g} s; repair or leave it out, and "
                                 "repeat", ERROR)
            sleep(min(self._poll, 0.1))
            self._look()

    def _is_ready(self, node) -> bool:
        state = self._known.get(node.name)
        return bool(state and (state.is_ready or not state.is_running))

    def _open(self, first: int, gap: float) -> None:
        at, period = perf_counter() + LEAD, self._plan.window_seconds + gap
        if not self._has_ended():
            ask(self._running, "soak_open",
                lambda node: (Openings(first, self._clocks[node.name].on_node(at), period),), deadline=REACH)

    def _look(self) -> None:
        """Asks every node how far it is. One that died is lost at once, one that does not respond after a few times."""
        for name, state in attempt(self._running, "soak_state", deadline=REACH).items():
            if isinstance(state, NodeError):
                self._failures[name] += 1
                if state.kind == DIED or self._failures[name] >= TRIES:
                    self.soak.lost[name] = state.why
            else:
                self._failures[name], self._known[name] = 0, state
                if state.why:
                    self.soak.lost[name] = state.why

    def _has_ended(self) -> bool:
        """Whether the soak is over: on all nodes, or because it cannot be completed on one."""
        if self.soak.lost:
            return True
        states = [self._known.get(node.name) for node in self._running]
        is_short = any(state and not state.is_running and state.windows < self._plan.windows for state in states)
        return is_short or all(state and not state.is_running for state in states)

    # ---- its end

    def stop(self) -> None:
        """Ends the soak where it still runs, with the window that is open, and waits until it has ended."""
        alive = [node for node in self._running if node.name not in self.soak.lost]
        attempt(alive, "soak_stop", deadline=REACH)
        end = monotonic() + self._plan.window_seconds + self._deadline + REACH
        while alive and monotonic() < end:
            states = attempt(alive, "soak_state", deadline=REACH)
            self._known.update({name: one for name, one in states.items() if not isinstance(one, NodeError)})
            alive = [node for node in alive
                     if not isinstance(states[node.name], NodeError) and states[node.name].is_running]
            sleep(min(self._poll, 0.1) if alive else 0)

    def collect(self) -> None:
        """Copies the journal of every node that responds, and measures the clocks again."""
        for node in self._nodes:
            try:
                content = self._copied(node)
            except NodeError as error:
                self.soak.lost.setdefault(node.name, error.why)
                continue
            if content:
                self._keep(node.name, self._folder / journal_of(self._places[node.name]), content)
        self._compare_clocks()

    def _keep(self, name: str, path: Path, content: bytes) -> None:
        write(path, content)
        try:
            self.soak.results[name] = summarise(path)
            self.soak.journals[name] = path
        except JournalError as error:
            self.soak.lost.setdefault(name, str(error))

    def _copied(self, node) -> bytes:
        parts: list[bytes] = []
        while part := node.call("beside", "file_part", self._journal(node), sum(map(len, parts)), PART, deadline=REACH):
            parts.append(part)
        return b"".join(parts)

    def _compare_clocks(self) -> None:
        if not self._known:
            return
        alive = [node for node in self._nodes if node.name not in self.soak.lost and node.name in self._clocks]
        try:
            later = offsets(alive)
        except InvalidRun:
            later = {}
        self.soak.late = max(state.late for state in self._known.values())
        self.soak.bound = max((one.bound for one in self._clocks.values()), default=0.0)
        self.soak.drift = max((self._clocks[name].moved(one) for name, one in later.items()), default=0.0)


def readings(results: Mapping[str, SoakResult], figure: str) -> dict[str, float | None]:
    """The mean over windows of what machines report ("celsius" or "mhz"), by node; None where it is not reported."""
    return {name: known_mean([getattr(window, figure) for window in one.windows]) for name, one in results.items()}
