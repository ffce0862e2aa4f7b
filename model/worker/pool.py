"""Detectors in processes of their own, with the methods of `model.detector.Detector`."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

import numpy as np

from model.detections import Detections
from model.factory import Factory
from model.neuron.machine.environment import VISIBLE_CORES
from model.worker import responses
from model.worker.client import STARTUP, Worker, WorkerError, closed_on_error
from model.worker.protocol import FrameError

DEADLINE = 60.0  # seconds a request
CALLERS = 128  # two for each core of the largest Inf1 instance
PIXELS = "model.graph.reference_pixels:digests"


class RemoteDetector(Worker):
    """A detector in a process of the interpreter `python`, with the methods of `model.detector.Detector`.

    `source` is the folder of a compiled SavedModel, or a `Factory`. `deadline` is in seconds per request; other
    parameters are those of `Worker`. `versions` holds those of Python, TensorFlow and NumPy, or what the factory's
    detector names; `startup_seconds` includes the import of TensorFlow, `load_seconds` is the model's.
    """

    def __init__(self, python, source, deadline=DEADLINE, startup=STARTUP, **settings):
        super().__init__(python, startup=startup, **settings)
        self._deadline, self._first_deadline = deadline, max(startup, deadline)
        with closed_on_error(self):
            given = {"factory": source} if isinstance(source, Factory) else {"compiled": os.path.abspath(source)}
            facts, _ = self.ask("load", deadline=startup, **given)
        self.metadata, self.versions = facts["metadata"], {"python": self.python, **facts["versions"]}
        self.load_seconds = facts["load_seconds"]
        self.startup_seconds += facts["import_seconds"]

    def detect(self, images: Sequence[bytes]) -> list[Detections]:
        """As `Detector.detect`. Raises WorkerError."""
        if not len(images):
            return []
        header, buffers = self.ask("detect", images, self._deadline)
        with self._valid():
            return responses.detections(header, buffers, len(images))

    def fallback(self, image: bytes) -> str:
        """As `Detector.fallback`. It may take as long as the start, because it loads the model onto the device."""
        return self.ask("fallback", [image], self._first_deadline)[0]["fallback"]

    def counters(self) -> dict[str, float]:
        """As `FactoryDetector.counters`."""
        return self.ask("counters", deadline=self._deadline)[0]["counters"]

    def layers(self) -> list[str]:
        """As `Detector.layers`."""
        return self.ask("layers", deadline=self._deadline)[0]["layers"]

    def reference_pixels(self) -> dict[str, str]:
        """As `Detector.reference_pixels`."""
        return self.call(PIXELS, deadline=self._first_deadline)

    def outputs(self, image: bytes, layers: list[str]) -> list[np.ndarray]:
        """As `Detector.outputs`, with float32 in place of BF16."""
        header, buffers = self.ask("outputs", [image], self._first_deadline, layers=layers)
        with self._valid():
            found = responses.arrays(header, buffers)
            if len(found) != len(layers):
                raise FrameError(f"it has {len(found)} arrays for {len(layers)} layers")
            return found

    @contextmanager
    def _valid(self):
        """Ends the process if its arrays are not those of a response."""
        try:
            yield
        except FrameError as error:
            raise self.invalid(error) from None


class WorkerPool(AbstractContextManager):
    """Processes of the same detector, each with one NeuronCore, or a single process with all cores.

    A request goes to the process with the fewest open requests, in turn if several have as few. If a process is dead,
    every request fails with its name and reason, so that no measurement runs on fewer processes than requested.
    `callers` is the number of requests at the same time, in all; `settings` are those of `RemoteDetector`. Raises
    WorkerError.
    """

    def __init__(self, python, source, workers=1, environment=(), callers=CALLERS, **settings):
        environment = dict(environment)
        if workers > 1 and VISIBLE_CORES in {**os.environ, **environment}:
            raise WorkerError(f"{VISIBLE_CORES} is set, but each of {workers} workers needs a NeuronCore of its own; "
                              "unset it or use one worker")

        def start(number):
            core = {VISIBLE_CORES: str(number)} if workers > 1 else {}
            name = f"worker {number + 1} of {workers} ({VISIBLE_CORES}={number}), " if workers > 1 else ""
            return RemoteDetector(python, source, environment={**environment, **core}, name=name,
                                  callers=-(-callers // workers), **settings)

        with ThreadPoolExecutor(workers) as pool:
            starts = [pool.submit(start, number) for number in range(workers)]
        self.detectors = [one.result() for one in starts if not one.exception()]
        self._lock, self._busy, self._sent = Lock(), [0] * workers, [0] * workers
        with closed_on_error(self):
            for one in starts:
                one.result()
        self.metadata, self.versions = self.detectors[0].metadata, self.detectors[0].versions
        self.startup_seconds = max(one.startup_seconds for one in self.detectors)
        self.load_seconds = max(one.load_seconds for one in self.detectors)

    def detect(self, images: Sequence[bytes], among: int | None = None) -> list[Detections]:
        """As `Detector.detect`, in one of the first `among` processes, by default of all. Raises WorkerError."""
        with self._lock:
            for one in self.detectors:
                one.require_alive()
            chosen = min(range(among or len(self.detectors)), key=lambda i: (self._busy[i], self._sent[i]))
            self._busy[chosen] += 1
            self._sent[chosen] += 1
        try:
            return self.detectors[chosen].detect(images)
        finally:
            with self._lock:
                self._busy[chosen] -= 1

    def fallback(self, image: bytes) -> str:
        """As `Detector.fallback`, of the first process that does not run as the backend promises."""
        return next(filter(None, (one.fallback(image) for one in self.detectors)), "")

    @property
    def pid(self) -> int:
        """The process id of the first process."""
        return self.detectors[0].pid

    def counters(self) -> dict[str, float]:
        """As `FactoryDetector.counters`, each added up over the processes."""
        total: Counter[str] = Counter()
        for one in self.detectors:
            total.update(one.counters())
        return dict(total)

    def layers(self) -> list[str]:
        """As `Detector.layers`."""
        return self.detectors[0].layers()

    def reference_pixels(self) -> dict[str, str]:
        """As `Detector.reference_pixels`."""
        return self.detectors[0].reference_pixels()

    def outputs(self, image: bytes, layers: list[str]) -> list[np.ndarray]:
        """As `Detector.outputs`."""
        return self.detectors[0].outputs(image, layers)

    def close(self) -> None:
        """Ends the processes. May be called again."""
        with ThreadPoolExecutor(len(self.detectors) or 1) as pool:
            list(pool.map(lambda one: one.close(), self.detectors))

    def __exit__(self, *error):
        self.close()
