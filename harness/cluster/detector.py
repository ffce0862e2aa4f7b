"""A cluster as one more detector: a request goes to the node with the fewest open ones."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from harness.accuracy.stored import Stored
from harness.cluster.errors import RAISED, NodeError

GRACE = 30.0  # seconds beyond the detector's own deadline, after which a node ends its process and says why


class ClusterDetector:
    """The detectors of a cluster behind the methods of one.

    If a node is lost every request fails with its name and reason, so that no measurement runs on fewer nodes than
    requested. `deadline` is in seconds a request, `first_deadline` for what loads the model onto the device. Who opens
    the cluster says by `identity` what decides the detections, by name. Raises NodeError.
    """

    def __init__(self, cluster, deadline: float, first_deadline: float):
        self.cluster, self.nodes = cluster, cluster.nodes
        self.identity: Mapping[str, Any] = {}
        self._deadline, self._first_deadline = deadline + GRACE, first_deadline + GRACE
        self.metadata, self.versions = (cluster.facts[0][name] for name in ("metadata", "versions"))
        self._lock, self._busy, self._sent, self._lost = Lock(), [0] * len(self.nodes), [0] * len(self.nodes), None

    def detect(self, images: Sequence[bytes]) -> list[Stored]:
        """One `Stored` per encoded image, in order, by one of the nodes."""
        with self._turn() as node:
            return self._asked(node, "detect", list(images), deadline=self._deadline)

    def fallback(self, image: bytes) -> str:
        """Why a node does not run as the backend promises, with its name; '' where all do."""
        lapses = self._all("fallback", image, deadline=self._first_deadline)
        return next((f"{node.name}: {lapse}" for node, lapse in zip(self.nodes, lapses) if lapse), "")

    def counters(self) -> dict[str, float]:
        """The detectors' counters, each added up over the nodes."""
        total: Counter[str] = Counter()
        for one in self._all("counters", deadline=self._deadline):
            total.update(one)
        return dict(total)

    def layers(self) -> list[str]:
        """As `model.detector.Detector.layers`, of the first node."""
        return self._asked(self.nodes[0], "ask", "layers", deadline=self._deadline)

    def reference_pixels(self) -> dict[str, str]:
        """As `model.detector.Detector.reference_pixels`, of the first node."""
        return self._asked(self.nodes[0], "ask", "reference_pixels", deadline=self._first_deadline)

    def outputs(self, image: bytes, layers: list[str]) -> list[Any]:
        """As `model.detector.Detector.outputs`, of the first node."""
        return self._asked(self.nodes[0], "ask", "outputs", image, layers, deadline=self._first_deadline)

    @contextmanager
    def _turn(self):
        """The node that gets the next request."""
        with self._lock:
            if self._lost:
                raise self._lost
            chosen = min(range(len(self.nodes)), key=lambda place: (self._busy[place], self._sent[place]))
            self._busy[chosen] += 1
            self._sent[chosen] += 1
        try:
            yield self.nodes[chosen]
        finally:
            with self._lock:
                self._busy[chosen] -= 1

    def _asked(self, node, method: str, *arguments, deadline: float) -> Any:
        try:
            return node.call(method, *arguments, deadline=deadline)
        except NodeError as error:
            if error.kind != RAISED:  # the node may be gone
                self._lost = self._lost or error
            raise

    def _all(self, method: str, *arguments, deadline: float) -> list[Any]:
        found = self.cluster.all(method, *arguments, deadline=deadline)
        if failed := [one for one in found if isinstance(one, NodeError)]:
            raise failed[0]
        return found
