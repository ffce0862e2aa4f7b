"""The journal of a soak: a file that is appended to as things happen, so that a killed process loses nothing.

A record a line: the CRC-32 of the rest as eight hexadecimal digits, a space, JSON. Times are seconds since the session
began, to the microsecond. Every process that carries the soak on adds a session. The records, in the order of a run:

    {"session": 1, "version": 1, "utc": "2026-11-24T10:00:00Z", "identity": {…}, "plan": {…}, "canary": {…}}
    {"canary": seconds, "begin": …, "end": …}            before each window, and after the last
    [caller, start, end, images, answered, error, late]  a request; it was to start `late` seconds before it did
    {"sample": …, "seconds": …, …}                       what `harness.sampler` saw in the `seconds` up to then
    {"window": 1, "begin": …, "end": …}                  the requests since the canary were window 1, which is complete
    {"finish": "complete", "why": ""}                    or "failed" and why, if no request failed: the soak is over
"""
from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic, perf_counter, sleep
from typing import Any, Callable, NamedTuple
from zlib import crc32

import filelock

from harness.load import Request

VERSION = 1
KINDS = ("session", "canary", "sample", "window", "finish")
LONGEST_LINE = 1 << 20  # bytes
LONGEST_ERROR = 2000  # characters
WRITE_SECONDS, SYNC_SECONDS = 0.1, 1.0
MOST_WAITING = 50_000  # requests that are not yet written; whoever has more waits, so that memory is bounded
MOST_AT_ONCE = 10_000
PATIENCE = 30.0  # seconds without progress after which a disk counts as hung


class JournalError(ValueError):
    """The journal cannot be read, written or continued; the message names the file, what is wrong and what to do."""


class Entry(NamedTuple):
    """One request as it was journaled: times in seconds since its session began, error is '' when it answered."""

    caller: int
    start: float
    end: float
    images: int
    answered: int
    error: str
    late: float

    @property
    def latency(self) -> float:
        """Seconds of the whole request from when it was due."""
        return self.end - self.start + self.late


def read(path: str | Path) -> Iterator[dict | Entry]:
    """The records of a journal in the order they were written, one at a time, whatever its length.

    A last line that was cut off, as when a process is killed while it writes, is left out. JournalError names the
    first line that is damaged, and a file that is empty or not of this version.
    """
    return (record for _, record in _scan(Path(path)))


def encode(record: dict | Entry) -> str:
    """The line of a record, ASCII. JournalError for one that strict JSON cannot say or that is longer than 1 MiB."""
    try:
        body = json.dumps(record, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise JournalError(f"a record cannot be journaled ({error}): {str(record)[:200]}") from None
    if len(body) > LONGEST_LINE - 10:
        raise JournalError(f"a record of {len(body):,} characters is too long to be journaled: {str(record)[:200]}")
    return _line(body)


class Journal:
    """A journal that belongs to this process until it is closed; any thread may add to it, at little cost.

    What is added is written by a thread of its own within 0.1 s and safe from a loss of power within about 1 s. A new
    journal takes the place of an older file, which is kept as `….previous`; with `seen` the older one is continued:
    it gets every record that is there, and a last line that was cut off is removed. Once a write has failed, as on a
    full disk, every call raises JournalError, closing it too. Raises JournalError if another process has it.
    """

    def __init__(self, path: str | Path, seen: Callable[[Any], None] | None = None):
        self._path, self._waiting = Path(path), deque()
        self._failure, self._written, self._closing = "", 0, Event()
        self._lock = _locked(self._path)
        try:
            if seen is None:
                self._set_aside()
            end = self._continue(seen) if seen else 0
            self._file = self._open(end)
        except BaseException:
            self._lock.release()
            raise
        self._begin = perf_counter()
        self._writer = Thread(target=self._write, daemon=True)
        self._writer.start()

    def seconds(self, time: float | None = None) -> float:
        """A time of time.perf_counter, by default now, in seconds since this session began."""
        return round((perf_counter() if time is None else time) - self._begin, 6)

    def add(self, record: dict) -> None:
        """Adds a record of one of the KINDS."""
        self._put(encode(record))

    def add_request(self, request: Request) -> None:
        """Adds a request."""
        self._put(request)

    def _put(self, what: str | Request) -> None:
        if self._failure:
            raise JournalError(self._failure)
        self._waiting.append(what)
        if len(self._waiting) > MOST_WAITING:
            self._wait()

    def _wait(self) -> None:
        """Until there is room again; JournalError if the disk takes nothing any more."""
        written, since = self._written, monotonic()
        while len(self._waiting) > MOST_WAITING and not self._failure:
            sleep(0.001)
            if self._written != written:
                written, since = self._written, monotonic()
            elif monotonic() - since > PATIENCE:
                self._failure = self._unwritable(f"nothing was taken for {PATIENCE:g} s")
        if self._failure:
            raise JournalError(self._failure)

    def _set_aside(self) -> None:
        if self._path.is_file():
            with _named(self._path, "cannot be set aside"):
                self._path.replace(f"{self._path}.previous")

    def _continue(self, seen: Callable[[Any], None]) -> int:
        """Hands on what is there; → the bytes of it that are sound."""
        sound = 0
        for end, record in _scan(self._path):
            seen(record)
            sound = end
        return sound

    def _open(self, end: int):
        with _named(self._path, "cannot be written"):
            file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
            file.truncate(end)
            return file

    def _write(self) -> None:
        synced, is_last = monotonic(), False
        try:
            while not is_last:
                is_last = self._closing.wait(WRITE_SECONDS)
                self._write_waiting()
                if is_last or monotonic() - synced >= SYNC_SECONDS:
                    self._sync()
                    synced = monotonic()
        except Exception as error:
            self._failure = self._unwritable(error)

    def _write_waiting(self) -> None:
        left = len(self._waiting)  # not until it is empty: others go on adding
        while left:
            number = min(left, MOST_AT_ONCE)
            lines = memoryview("".join([self._encoded(self._waiting.popleft()) for _ in range(number)]).encode())
            while lines:
                lines = lines[self._file.write(lines):]
            self._written += number
            left -= number

    def _encoded(self, what: str | Request) -> str:
        """As `encode`, and faster for requests."""
        if isinstance(what, str):
            return what
        caller, image_ids, due, start, end, answered, error = what
        begin = self._begin
        text = json.dumps(error[:LONGEST_ERROR]) if error else '""'
        late = f"{start - due:.6f}" if start > due else "0"
        return _line(f"[{caller},{start - begin:.6f},{end - begin:.6f},{len(image_ids)},{answered},{text},{late}]")

    def _sync(self) -> None:
        os.fsync(self._file.fileno())

    def _unwritable(self, why) -> str:
        return (f"{self._path}: cannot be written ({why}); what is there is sound: make room or repair the disk, then "
                "resume")

    def close(self) -> None:
        """Writes what is still to be written and lets go of the file. JournalError if not all could be written."""
        self._closing.set()
        self._writer.join(PATIENCE)
        failure = self._failure or (self._unwritable("the disk hangs") if self._writer.is_alive() else "")
        self._failure = failure or f"{self._path}: is closed"
        if not self._writer.is_alive():
            self._file.close()
        self._lock.release()
        if failure:
            raise JournalError(failure)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def _locked(path: Path) -> filelock.BaseFileLock:
    with _named(path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{path}.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise JournalError(f"{path}: another process is writing it; wait for its end or name another") from None
    return lock


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Turns an OSError into a JournalError that names the file."""
    try:
        yield
    except OSError as error:
        raise JournalError(f"{path}: {what} ({error.strerror or error})") from None


def _scan(path: Path) -> Iterator[tuple[int, dict | Entry]]:
    """Each record with the byte after it."""
    end = 0
    try:
        with open(path, "rb") as file:
            for number in count(1):
                line = file.readline(LONGEST_LINE)
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    break
                end += len(line)
                yield end, _decoded(line, path, number)
    except OSError as error:
        raise JournalError(f"{path}: cannot be read ({error.strerror or error}); is a soak journaled there?") from None
    if not end:
        raise JournalError(f"{path}: is empty, no soak had begun; start one")


def _decoded(line: bytes, path: Path, number: int) -> dict | Entry:
    body, where = line[9:-1], f"{path}, line {number}"
    if line != b"%08x %s\n" % (crc32(body), body):
        raise JournalError(f"{where}: is damaged, so nothing after it can be believed; restore the file or start a new "
                           "soak")
    record = json.loads(body)
    if isinstance(record, list) and len(record) == len(Entry._fields) and number > 1:
        return Entry(*record)
    kind = next(iter(record), None) if isinstance(record, dict) else None
    if kind not in KINDS or (number == 1 and kind != "session"):
        raise JournalError(f"{where}: is no record of a soak's journal: {str(record)[:80]}")
    if kind == "session" and record.get("version") != VERSION:
        raise JournalError(f"{where}: is of version {record.get('version')} of the journal and this reads {VERSION}; "
                           "read it with the release that wrote it, or start a new soak")
    return record


def _line(body: str) -> str:
    return f"{crc32(body.encode()):08x} {body}\n"
