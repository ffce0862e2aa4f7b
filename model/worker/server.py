"""The detector's own process: serves requests in the Python that has the detector's TensorFlow.

Runs on Python 3.7 with TensorFlow 1.15 and needs only NumPy, and TensorFlow for a SavedModel. `model.worker.client`
starts it with one end of several socket pairs. The main thread serves the first socket, because TensorFlow and
compilers expect the main thread. Each other socket carries one detection at a time and has its own thread, so callers
do not wait for each other and cannot get each other's responses. Output of libraries goes to stdout and stderr, never
to a socket.
"""
from __future__ import annotations

import os
import platform
import select
import signal
import socket
import sys
import threading
import time
import traceback
from importlib import import_module

from model.graph.saved_model import read_metadata
from model.neuron.compiler_log import next_step
from model.worker.protocol import frame, receive, send

# Seconds between the end of the parent or its connection and the end of all work here.
GRACE = 3
LONGEST_MESSAGE = 100000  # characters of an exception that are sent


def main(arguments) -> None:
    """Serves the sockets with these file descriptors, the first for control, until the other side closes them."""
    control, *others = [_connection(int(number)) for number in arguments]
    threading.Thread(target=_watch, args=(control,), daemon=True).start()
    service = Service()
    threads = [threading.Thread(target=_serve, args=(one, service), daemon=True) for one in others]
    for thread in threads:
        thread.start()
    _serve(control, service)
    for thread in threads:
        thread.join()
    service.close()


def _connection(number: int):
    os.set_inheritable(number, False)  # a compiler that outlives this process must not keep the socket open
    return socket.socket(fileno=number)


def _watch(control) -> None:
    """Ends this process and its children soon after the other side is gone, even if it is busy or hangs."""
    poll = select.poll()
    poll.register(control, 0)  # a hang-up is always reported
    poll.poll()
    signal.alarm(GRACE + 1)  # for libraries that hang at exit, when no thread runs any more
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def _serve(connection, service) -> None:
    try:
        while True:
            header, buffers = receive(connection)
            send(connection, service.response(header, buffers))
    except (EOFError, ConnectionError):
        return
    except BaseException:
        # Without this thread its caller would wait forever; the end of the process is noticed at once.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


class Service:
    """One method per kind of request: (header, buffers) → the fields of the response, of which `arrays` are NumPy's."""

    def __init__(self):
        self._detector = None
        self._kinds = {
            "hello": self._hello, "call": self._call, "load": self._load, "detect": self._detect,
            "fallback": self._fallback, "layers": self._layers, "outputs": self._outputs, "counters": self._counters,
        }

    def response(self, header: dict, buffers: list) -> list:
        """The response as a frame. An exception becomes a response with type, message and traceback."""
        number = header.get("id")
        try:
            fields = {**self._kinds[header["kind"]](header, buffers), "id": number}
            # BF16 is not a type of NumPy; float32 holds all its numbers.
            found = [one if one.dtype.kind in "biuf" else one.astype("float32") for one in fields.get("arrays", ())]
            if "arrays" in fields:
                fields["arrays"] = [[one.dtype.str, one.shape] for one in found]
            return frame(fields, [one.tobytes() for one in found])
        except (Exception, SystemExit) as error:
            return frame({"error": _described(error), "id": number})

    def close(self) -> None:
        """Ends what a user's detector has open."""
        getattr(self._detector, "close", lambda: None)()

    def _hello(self, header, buffers):
        return {"python": platform.python_version()}

    def _call(self, header, buffers):
        module, _, function = header["function"].partition(":")
        return {"result": getattr(import_module(module), function)(**header["arguments"])}

    def _load(self, header, buffers):
        start = imported = time.monotonic()
        if "factory" in header:
            from model.factory import Factory, FactoryDetector

            spec, arguments = header["factory"]
            self._detector = FactoryDetector(Factory(spec, tuple(map(tuple, arguments))))
            versions = self._detector.versions
        else:
            versions = _import_tensorflow(read_metadata(header["compiled"]).get("backend"))
            imported = time.monotonic()
            from model.detector import Detector

            self._detector = Detector(header["compiled"])
        return {"metadata": self._detector.metadata, "versions": versions, "import_seconds": imported - start,
                "load_seconds": time.monotonic() - imported}

    def _detect(self, header, images):
        found = self._detector.detect(images)
        return {"errors": [one.error for one in found],
                "arrays": [array for one in found for array in (one.boxes, one.scores, one.classes)]}

    def _fallback(self, header, images):
        return {"fallback": self._detector.fallback(images[0])}

    def _counters(self, header, buffers):
        return {"counters": self._detector.counters()}

    def _layers(self, header, buffers):
        return {"layers": self._detector.layers()}

    def _outputs(self, header, images):
        return {"arrays": self._detector.outputs(images[0], header["layers"])}


def _described(error) -> dict:
    """An exception as the fields of a response."""
    try:
        message = str(error)
    except Exception as another:
        message = f"its message cannot be read ({type(another).__name__})"
    return {"type": type(error).__name__, "message": message[:LONGEST_MESSAGE],
            "traceback": traceback.format_exc()[-LONGEST_MESSAGE:]}


def _import_tensorflow(backend) -> dict:
    """Imports the packages that the detector needs; returns {package: version}."""
    try:
        tensorflow, numpy = import_module("tensorflow"), import_module("numpy")
    except ImportError as error:
        raise ImportError(f"TensorFlow cannot be imported ({error}); install it in that environment") from error
    if backend == "neuron":
        try:
            import_module("tensorflow.neuron")  # registers the operator of compiled models
        except ImportError as error:
            step = next_step(str(error)) or "install tensorflow-neuron in that environment"
            raise ImportError(f"the detector is compiled for Neuron, but tensorflow.neuron cannot be imported "
                              f"({error}); {step}") from error
    return {"tensorflow": tensorflow.__version__, "numpy": numpy.__version__}
