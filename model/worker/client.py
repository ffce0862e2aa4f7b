"""Starts a process of another interpreter and sends it requests; `model.worker.server` runs there.

Inf1's TensorFlow needs Python 3.7, 3.9 or 3.10, the caller does not. The process also contains faults: if it hangs,
dies or sends invalid data, the caller gets a WorkerError with its last output, at the deadline at the latest.
"""
from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from queue import LifoQueue
from threading import Lock, Thread
from time import monotonic

import psutil

from model.neuron.runtime import explained
from model.worker.protocol import FrameError, frame, receive, send
from model.worker.responses import check
from model.worker.server import GRACE

STARTUP = 300.0  # seconds; on a new machine, whose disk was never read, importing TensorFlow takes minutes
CALLERS = 8  # detections at the same time

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 7)
# Parses on every Python, so that one that is too old can report it. The project is only on this process's path: with
# PYTHONPATH a compiler that the process starts would import the project's modules instead of its own.
BOOTSTRAP = """\
import sys
if sys.version_info < {0}:
    sys.exit("this is Python %d.%d, must be {0[0]}.{0[1]} or newer" % sys.version_info[:2])
sys.path[:] = [sys.argv[1]] + [folder for folder in sys.path if folder]
from model.worker.server import main
main(sys.argv[2:])
"""


# Lines that TensorFlow, old and new, prints at every start and that explain no error.
NOTICE = re.compile(
    r"I\d{4} |\d{4}-\d\d-\d\d [\d:.]+: I |WARNING: All log messages before absl|E\d{4} .*oneDNN supports \w+ only on"
)


class WorkerError(RuntimeError):
    """The detector's process cannot be started, has died, hangs or sends invalid data; the message names its Python."""


class StartError(WorkerError):
    """The detector's process cannot be started: the fault is the interpreter's, not the detector's."""


class RemoteError(WorkerError):
    """A request raised an exception in the detector's process, which continues to run."""

    def __init__(self, who, type, message, traceback):
        super().__init__(f"{who}: {type}: {message}")
        self.type, self.message, self.traceback = type, message, traceback


class Worker(AbstractContextManager):
    """A process of the interpreter `python` that serves requests from any number of threads at once.

    Each of `callers` sockets carries one detection at a time; further callers wait for a free one. The process gets
    `environment` and this process's variables without PYTHON*, which are meant for this interpreter. Raises WorkerError
    if it is not ready within `startup` seconds. Once it is dead, for example after a missed deadline, every request
    fails with the same reason; it is not restarted.
    """

    def __init__(self, python, environment=(), callers=CALLERS, startup=STARTUP, name=""):
        self._who, self._lock, self._failure, self._numbers = f"{name}{python}", Lock(), "", count()
        self.python, start = "", monotonic()
        self._connections, far = zip(*(socket.socketpair() for _ in range(callers + 1)))
        # All requests but detections share the first socket, which the main thread of the process serves.
        self._control, self._lines = _queue(self._connections[:1]), _queue(self._connections[1:])
        try:
            self._process = _start(self._who, python, environment, far)
        except BaseException:
            _close(self._connections)
            raise
        finally:
            _close(far)
        self._output = _Output(self._process.stdout)
        with closed_on_error(self):
            self.python = self.ask("hello", deadline=startup)[0]["python"]
        self.startup_seconds = monotonic() - start

    def call(self, function: str, deadline=None, **arguments):
        """The result of `module:function` in the process. Arguments and result must be JSON.

        Without a deadline (seconds) it waits without a limit. Raises RemoteError if the function raises.
        """
        return self.ask("call", deadline=deadline, function=function, arguments=arguments)[0]["result"]

    def ask(self, kind: str, buffers=(), deadline=None, **fields) -> tuple:
        """(header, buffers) of the response. Raises WorkerError, or RemoteError for an exception in the process."""
        number = next(self._numbers)
        views = frame({"id": number, "kind": kind, **fields}, buffers)
        lines = self._lines if kind == "detect" else self._control
        connection = lines.get()
        try:
            header, found = self._exchange(connection, views, kind, number, deadline)
        finally:
            lines.put(connection)
        if "error" in header:
            raise RemoteError(self._who, **self._with_symptom(header["error"]))
        return header, found

    def _exchange(self, connection, views, kind, number, deadline):
        end = None if deadline is None else monotonic() + deadline
        try:
            send(connection, views, end)
            header, found = receive(connection, end)
            check(kind, number, header, found)
            return header, found
        except socket.timeout:
            raise self.failed(f"gave no response within {deadline:g} s and was killed") from None
        except FrameError as error:
            raise self.invalid(error) from None
        except (EOFError, OSError):
            raise self.failed("") from None
        except BaseException as error:  # its late response must not be taken for the next request's
            self.failed(f"was interrupted by a {type(error).__name__} and killed")
            raise

    def failed(self, reason: str) -> WorkerError:
        """The error to raise, with the first reason of all. Ends the process; '' stands for its own end."""
        with self._lock:
            if not self._failure:
                status = self._end(0 if reason else GRACE)
                reason = reason or _ending(status)
                early = "" if self.python else " at its start (is it a Python 3.7 or newer?)"
                self._failure = f"{self._who}: its process {reason}{early}{self._explained()}{self._output.shown()}"
        return WorkerError(self._failure)

    def _explained(self) -> str:
        """What the Neuron runtime has printed, explained, as a part of an error; '' if it has printed nothing known."""
        found = explained("\n".join(self._output.lines()))
        return f"; {found}" if found else ""

    def _with_symptom(self, error: dict) -> dict:
        """An error of the process; TensorFlow's words for one of the device leave out what the runtime has printed."""
        found = self._explained() if error["type"] == "DeviceError" else ""
        return {**error, "message": error["message"] + found if found[2:] not in error["message"] else error["message"]}

    def invalid(self, error: FrameError) -> WorkerError:
        """As `failed`, for invalid data that the process has sent."""
        return self.failed(f"sent an invalid response: {error}; it was killed")

    def require_alive(self) -> None:
        """Raises WorkerError if the process is known to be dead."""
        if self._failure:
            raise WorkerError(self._failure)

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> list[str]:
        """The last lines that the process has printed."""
        return self._output.lines()

    def _end(self, patience: float):
        """The exit status of the process, or None if it was killed because it did not end within so many seconds."""
        for connection in self._connections:
            connection.shutdown(socket.SHUT_RDWR)  # wakes the callers that wait for a response
        children = []
        with suppress(psutil.Error):
            children = psutil.Process(self._process.pid).children(recursive=True)
        status = _status(self._process, patience)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # and the processes that it has started
        for child in children:  # some may have left the group
            with suppress(psutil.Error):
                child.kill()
        _status(self._process, GRACE)  # a driver that hangs keeps its process from being killed
        self._output.finish()
        return status

    def close(self) -> None:
        """Ends the process within seconds, even if it hangs. May be called again."""
        with self._lock:
            if not self._failure:
                self._failure = f"{self._who}: its process was closed before this request"
                self._end(GRACE + 2)
        # Taken from the queue first: the number of a closed socket that a thread still uses may become another file's.
        for lines in (self._control, self._lines):
            for connection in [lines.get() for _ in range(lines.maxsize)]:
                connection.close()
                lines.put(connection)

    def __exit__(self, *error):
        self.close()


def _start(who, python, environment, far):
    numbers = [connection.fileno() for connection in far]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        return subprocess.Popen(
            [str(python), "-W", "ignore", "-u", "-c", BOOTSTRAP.format(OLDEST), str(ROOT), *map(str, numbers)],
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **inherited, **dict(environment)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
            pass_fds=numbers, start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StartError(f"{who}: cannot be started ({why}); give a Python 3.7 or newer with what the detector needs"
                         ) from None


def _status(process, patience):
    """The exit status, or None if the process still runs after so many seconds."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(patience)


def _ending(status) -> str:
    if status is None:
        return "closed the connection, continued to run and was killed"
    if status >= 0:
        return f"ended with exit status {status}"
    hint = "; if memory ran out, `dmesg` says so" if status == -signal.SIGKILL else ""
    return f"was killed by signal {-status} ({signal.Signals(-status).name}){hint}"


def _queue(items) -> LifoQueue:
    lines = LifoQueue(len(items))
    for item in items:
        lines.put(item)
    return lines


def _close(connections) -> None:
    for connection in connections:
        connection.close()


@contextmanager
def closed_on_error(resource):
    """Closes the resource if the block raises."""
    try:
        yield
    except BaseException:
        resource.close()
        raise


class _Output:
    """The last output of a process, read continuously so that the process never waits for a reader."""

    LINES, SHOWN, LONGEST_LINE, TAIL = 50, 10, 400, 1 << 14  # the last two in characters and bytes

    def __init__(self, pipe):
        self._pipe, self._tail = pipe, b""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self._pipe as pipe:
            for part in iter(lambda: pipe.read(1 << 16), b""):
                self._tail = (self._tail + part)[-self.TAIL:]

    def finish(self):
        """Waits for the last output of a process that has ended, at most 1 s because a child may hold the pipe."""
        self._reader.join(1)

    def lines(self) -> list[str]:
        text = self._tail.decode(errors="replace")
        lines = ("".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.splitlines())
        return [line[:self.LONGEST_LINE] for line in lines if line][-self.LINES:]

    def shown(self) -> str:
        """The last output as the end of an error message."""
        lines = [line for line in self.lines() if not NOTICE.match(line)][-self.SHOWN:]
        return "; its last output:\n" + "\n".join(f"  {line}" for line in lines) if lines else "; it printed nothing"
