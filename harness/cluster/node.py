"""What one node does with its detector. Knows no Ray: an actor is one of these, and so is a thread in a test."""
from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

from harness.accuracy.compliance import require_answered
from harness.accuracy.stored import Stored
from harness.cluster import facts
from harness.cluster.beside import Beside
from harness.cluster.images import Images
from harness.cluster.shards import ShardError, pack
from harness.load.generator import LoadPattern, drive


class Response(NamedTuple):
    """A shard's detections: packed, or by image id where they are none to keep (NaN, an error, another type).

    `sha256` is that of the encoded images (`harness.cluster.images.sha256`), `seconds` what the node took.
    """

    content: bytes
    detections: dict[int, Stored]
    sha256: str
    seconds: float


class Node:
    """A detector that `opener` opens, under a name.

    `opener` is "module:function", a function that is called with `arguments` and returns a context manager of a
    detector, with the methods of `model.worker.pool.WorkerPool`. What it needs is imported here, and so the caller
    need not have it. Every method may be called from several threads at once.
    """

    def __init__(self, opener: str, arguments: dict[str, Any], name: str):
        self.name = name
        self._open, self._lock, self._ended = ExitStack(), Lock(), 0
        module, _, function = opener.partition(":")
        self._detector = self._open.enter_context(getattr(import_module(module), function)(**arguments))
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

    def detect_shard(self, image_ids: Sequence[int], images: Sequence[str | bytes], callers: int, batch_size: int,
                     deadline: float) -> Response:
        """The detections of these images, under the load of an evaluation on one machine.

        Each of `images` is an encoded image, or the path or URL that this node reads it from. Raises InvalidRun where a
        request fails or has no response within `deadline` seconds, and UnreadableImage.
        """
        pattern = LoadPattern(callers, batch_size)
        return respond(self._detector, Images(image_ids, images), pattern, deadline, self._count)

    def progress(self) -> int:
        """How many requests of all shards have ended so far: a node whose number stands still does not work."""
        return self._ended

    def _count(self, request: Any) -> None:
        with self._lock:
            self._ended += 1

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


def respond(detector: Any, samples: Images, pattern: LoadPattern, deadline: float,
            observe: Callable[[Any], object] | None = None) -> Response:
    """A detector's response for the images of a shard. Raises InvalidRun and UnreadableImage as `Node.detect_shard`."""
    start = perf_counter()
    load = drive(detector.detect, samples, pattern, deadline=deadline, warm_up=0, observe=observe)
    require_answered(load)
    found = {image: _stored(own) for image, own in load.detections.items()}
    try:
        return Response(pack(samples.image_ids, found), {}, samples.sha256, perf_counter() - start)
    except ShardError:
        return Response(b"", found, samples.sha256, perf_counter() - start)


def _stored(found: Any) -> Stored:
    """Detections as plain arrays of a type that every process of the project knows."""
    return Stored(found.boxes, found.scores, found.classes, getattr(found, "error", ""))
