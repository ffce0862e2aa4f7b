"""What runs in the detector's own process, in whatever Python has the TensorFlow that it needs: answers requests.

Runs on Python 3.7 with TensorFlow 1.15 and needs NumPy and TensorFlow alone. `model.worker.pool` starts it and hands it
one end of several socket pairs. The first is for control and served by the main thread, as TensorFlow and compilers
are used to; each of the others carries one detection at a time and is served by a thread of its own, so nobody waits
for anybody and no answer can reach another's caller. What libraries print goes to stdout and stderr, never there.
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
from model.worker.protocol import frame, receive, send

# Seconds between the parent's goodbye, or its death, and the end of whatever is still going on here.
GRACE = 3
LONGEST_MESSAGE = 100000  # characters of an exception that are sent


def main(arguments) -> None:
    """Serves the sockets of these file descriptors, control first, until the other side has closed them."""
    control, *others = [_connection(int(number)) for number in arguments]
    threading.Thread(target=_watch, args=(control,), daemon=True).start()
    service = Service()
    threads = [threading.Thread(target=_serve, args=(one, service), daemon=True) for one in others]
    for thread in threads:
        thread.start()
    _serve(control, service)
    for thread in threads:
        thread.join()


def _connection(number: int):
    os.set_inheritable(number, False)  # a compiler that outlives this process must not keep the line open
    return socket.socket(fileno=number)


def _watch(control) -> None:
    """Ends this process, and what a job has started, soon after the other side is gone, however busy or hung it is."""
    poll = select.poll()
    poll.register(control, 0)  # of the hang-up one is told unasked
    poll.poll()
    signal.alarm(GRACE + 1)  # for libraries that hang while they are torn down, when no thread here runs any more
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def _serve(connection, service) -> None:
    try:
        while True:
            header, buffers = receive(connection)
            send(connection, service.answer(header, buffers))
    except (EOFError, ConnectionError):
        return
    except BaseException:
        # Without this thread a caller would wait in vain: better an end that is noticed at once.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


class Service:
    """What may be asked of the process: one method a kind of request, from its header and buffers to the answer's."""

    def __init__(self):
        self._detector = None
        self._kinds = {
            "hello": self._hello, "call": self._call, "load": self._load, "detect": self._detect,
            "fallback": self._fallback, "layers": self._layers, "outputs": self._outputs,
        }

    def answer(self, header: dict, buffers: list) -> list:
        """The answer as a frame; what goes wrong is an answer too: type, message and traceback."""
        number = header.get("id")
        try:
            fields, found = self._kinds[header["kind"]](header, buffers)
            return frame({**fields, "id": number}, found)
        except (Exception, SystemExit) as error:
            return frame({"error": _in_words(error), "id": number})

    def _hello(self, header, buffers):
        return {"python": platform.python_version()}, ()

    def _call(self, header, buffers):
        module, _, function = header["function"].partition(":")
        return {"result": getattr(import_module(module), function)(**header["arguments"])}, ()

    def _load(self, header, buffers):
        begin = time.monotonic()
        versions = _import_tensorflow(read_metadata(header["compiled"]).get("backend"))
        imported = time.monotonic()
        from model.detector import Detector

        self._detector = Detector(header["compiled"])
        return {"metadata": self._detector.metadata, "versions": versions, "import_seconds": imported - begin,
                "load_seconds": time.monotonic() - imported}, ()

    def _detect(self, header, images):
        answers = self._detector.detect(images)
        shapes, found = _arrays([array for answer in answers for array in answer[:3]])
        return {"errors": [answer.error for answer in answers], "arrays": shapes}, found

    def _fallback(self, header, images):
        return {"fallback": self._detector.fallback(images[0])}, ()

    def _layers(self, header, buffers):
        return {"layers": self._detector.layers()}, ()

    def _outputs(self, header, images):
        shapes, found = _arrays(self._detector.outputs(images[0], header["layers"]))
        return {"arrays": shapes}, found


def _in_words(error) -> dict:
    """An exception as a response, whatever it holds."""
    try:
        message = str(error)
    except Exception as another:
        message = f"its message cannot be read ({type(another).__name__})"
    return {"type": type(error).__name__, "message": message[:LONGEST_MESSAGE],
            "traceback": traceback.format_exc()[-LONGEST_MESSAGE:]}


def _arrays(arrays) -> tuple:
    """→ ([dtype, shape] of each array, its bytes)."""
    # BF16 is no type of NumPy's own; every number of it is one of float32.
    arrays = [array if array.dtype.kind in "biuf" else array.astype("float32") for array in arrays]
    return [[array.dtype.str, array.shape] for array in arrays], [array.tobytes() for array in arrays]


def _import_tensorflow(backend) -> dict:
    """Imports what the detector runs on; → {package: version}."""
    try:
        tensorflow, numpy = import_module("tensorflow"), import_module("numpy")
    except ImportError as error:
        raise ImportError(f"TensorFlow cannot be imported there ({error}): install it in that environment") from error
    if backend == "neuron":
        try:
            import_module("tensorflow.neuron")  # registers the operator that compiled models consist of
        except ImportError as error:
            raise ImportError(f"the detector is compiled for Neuron, and tensorflow.neuron cannot be imported there "
                              f"({error}): install tensorflow-neuron in that environment") from error
    return {"tensorflow": tensorflow.__version__, "numpy": numpy.__version__}
