"""What one node does with its detector. Knows no Ray: an actor is one of these, and so is a thread in a test."""
from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from time import perf_counter
from typing import Any

from harness.accuracy.stored import Stored
from harness.cluster import facts
from harness.cluster.beside import Beside


class Node:
    """A detector that `opener` opens, under a name.

    `opener` is "module:function", a function that is called with `arguments` and returns a context manager of a
    detector, with the methods of `model.worker.pool.WorkerPool`. What it needs is imported here, and so the caller
    need not have it. Every method may be called from several threads at once.
    """

    def __init__(self, opener: str, arguments: dict[str, Any], name: str):
        self.name = name
        self._open = ExitStack()
        self._detector = self._open.enter_context(_function(opener)(**arguments))
        self._beside = Beside(self.detect, self.counters)

    def ready(self) -> bool:
        """True, once the detector is open."""
        return True

    def facts(self) -> dict[str, Any]:
        """As `harness.cluster.facts.own`, with the detector's `metadata` and `versions`."""
        return {**facts.own(), "metadata": getattr(self._detector, "metadata", {}),
                "versions": getattr(self._detector, "versions", {})}

    def clock(self) -> float:
        """Seconds of time.perf_counter of this process."""
        return perf_counter()

    def detect(self, images: Sequence[bytes]) -> list[Stored]:
        """The detections of each encoded image, in order. Raises whatever the detector raises."""
        return [_stored(found) for found in self._detector.detect(list(images))]

    def fallback(self, image: bytes) -> str:
        """Why the detector does not run as its backend promises, or ''."""
        return self._detector.fallback(image)

    def counters(self) -> dict[str, float]:
        """The detector's counters by name; empty where it has none."""
        return getattr(self._detector, "counters", dict)()

    def ask(self, method: str, *arguments) -> Any:
        """What another method of the detector returns, such as `layers` or `reference_pixels`."""
        return getattr(self._detector, method)(*arguments)

    def beside(self, method: str, *arguments) -> Any:
        """What a method of `harness.cluster.beside.Beside` returns: load and soak beside the detector."""
        return getattr(self._beside, method)(*arguments)

    def close(self) -> None:
        """Ends the load and closes the detector. May be called again."""
        self._beside.close()
        self._open.close()

    def die(self) -> None:
        """Kills the process of this node at once, as an operator or the kernel would. Only for tests."""
        os.kill(os.getpid(), signal.SIGKILL)


def _function(name: str):
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _stored(found: Any) -> Stored:
    """Detections as plain arrays of a type that every process of the project knows."""
    return Stored(found.boxes, found.scores, found.classes, getattr(found, "error", ""))
