"""Measures one arm's detector when asked: a test that runs in the gate of the arm's own commit.

`harness.turns.process` copies this file into the checkout and has the commit's Python run it there. All that it needs
of the commit are the fixtures `detector` and `dataset` of its gate. The load generator and the file of detections are
those of the project that compares, so that both arms are measured by the same code. Requests and responses are lines of
JSON on the socket whose number the variable TURNS has.
"""
import inspect
import json
import os
import socket
import sys
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path

VERSIONS = ("tensorflow", "numpy", "tensorflow-neuron")
PLAIN = (str, int, float, bool, type(None))


def _module(path):
    """A module of the project that compares, which must need nothing else of it."""
    name = f"turns_{Path(path).stem}"
    spec = util.spec_from_file_location(name, path)
    found = sys.modules[name] = util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Probe:
    """What can be asked of an arm; each method takes and gives what JSON can hold."""

    def __init__(self, detector, dataset, settings):
        self._code = inspect.getfile(type(detector))
        self._detector, self._dataset = detector, dataset
        self._generator, self._stored = map(_module, (settings["generator"], settings["stored"]))
        self._samples = [(image, dataset.image_bytes(image)) for image in dataset.image_ids[:settings["images"]]]

    def hello(self):
        """What is measured."""
        facts = getattr(self._detector, "metadata", {})
        return {
            "code": self._code,
            "metadata": {name: value for name, value in facts.items() if isinstance(value, PLAIN)},
            "versions": {"python": sys.version.split()[0], **dict(_versions())},
            "dataset": {"annotations": str(self._dataset.annotations), "images": str(self._dataset.images),
                        "names": list(self._dataset.category_names), "image_ids": list(self._dataset.image_ids),
                        "split": getattr(self._dataset, "split", "")},
        }

    def burst(self, first, images, callers, batch_size):
        """Sends so many images, from number `first` on, each once."""
        count = len(self._samples)
        chosen = [self._samples[(first + place) % count] for place in range(images)]
        load = self._generator.drive(self._detector.detect, chosen,
                                     self._generator.LoadPattern(callers, batch_size), warm_up=0)
        self._require(load)
        return {"images": sum(request.answered for request in load.requests), "seconds": load.seconds,
                "latencies": load.latencies}

    def detections(self, path, callers, batch_size):
        """Writes the detections of the whole dataset into a file."""
        load = self._generator.drive(self._detector.detect, self._dataset,
                                     self._generator.LoadPattern(callers, batch_size))
        self._require(load)
        content = self._stored.packed(load.detections)
        Path(path).write_bytes(content)
        return {"digest": self._stored.digest(content)}

    def _require(self, load):
        if load.failed:
            raise RuntimeError(f"a request failed: {load.failed[0].error}")
        broken = next((own.error for own in load.detections.values() if getattr(own, "error", "")), "")
        if broken:
            raise RuntimeError(f"an image failed: {broken}")


def _versions():
    for name in VERSIONS:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def test_turns(detector, dataset):
    settings = json.loads(os.environ["TURNS"])
    probe = Probe(detector, dataset, settings)
    with socket.socket(fileno=settings["socket"]) as line, line.makefile("rw", encoding="utf-8") as stream:
        while text := stream.readline():
            request = json.loads(text)
            try:
                response = getattr(probe, request.pop("do"))(**request)
            except Exception as error:
                response = {"error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(response) + "\n")
            stream.flush()
