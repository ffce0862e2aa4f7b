"""The journal of a soak: a file that is appended to as things happen, so that a killed process loses nothing.

Each line is a record: a CRC-32 as eight hexadecimal digits, a space, JSON. The CRC is that of the JSON of all lines up
to and including this one, so that no line can be lost, doubled, swapped or inserted unnoticed. Times are seconds since
the session started, to the microsecond. Every process that continues the soak adds a session. The records, in order:

    {"kind": "session", "number": 1, "version": 2, "utc": "2026-11-24T10:00:00Z", "identity": {…}, "plan": {…}, …}
    {"kind": "opening", "at": …}                                      before each window
    [caller, start, end, images, answered, error, late]               a request, sent `late` seconds after it was due
    {"kind": "sample", "at": …, "seconds": …, …}                      the machine over the `seconds` before
    {"kind": "window", "number": 1, "start": …, "end": …, …}          the window of the requests since its opening is
                                                                      complete; the machine's conditions
    {"kind": "finish", "outcome": "complete", "why": ""}              the soak is over; or "failed" and why, if no
                                                                      request failed

`harness.soak.schema` has their fields and says how to add one.
"""
from __future__ import annotations

import errno
import io
import json
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic, perf_counter, sleep
from typing import Any, BinaryIO, Callable
from zlib import crc32

import filelock

from harness.load.generator import Request
from harness.soak.schema import LONGEST_ERROR, Entry, Order, fault, shown

LONGEST_LINE = 1 << 20  # bytes
START_ANEW = "restore the file or start a new soak"
WRITE_SECONDS, SYNC_SECONDS = 0.1, 1.0
MOST_WAITING = 50_000  # requests not yet written; beyond that callers wait, so that memory is bounded
MOST_AT_ONCE = 10_000
PATIENCE = 30.0  # seconds without progress after which a disk counts as hung


class JournalError(ValueError):
    """The journal cannot be read, written or continued; the message names the file, what is wrong and what to do."""


def read(path: str | Path) -> Iterator[dict | Entry]:
    """The records of a journal in the order they were written, one at a time, whatever its length.

    A last line that was cut off, as when a process is killed while it writes, is left out. JournalError names the
    first line that is damaged, misplaced or not a record, and a file that is empty or of another version.
    """
    return (record for _, _, record in _scan(Path(path)))


class _Chain:
    """Ties the lines of a journal to one another: `crc` is the CRC-32 of the JSON of all lines so far."""

    def __init__(self, crc: int = 0):
        self.crc = crc

    def line(self, body: str) -> str:
        self.crc = crc32(body.encode(), self.crc)
        return f"{self.crc:08x} {body}\n"


def _body(record: dict | Entry) -> str:
    """A record as JSON. JournalError if it is too long or could not be read again."""
    try:
        body = json.dumps(record, allow_nan=False, separators=(",", ":"))
        wrong = fault(json.loads(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError(f"a record cannot be journaled ({error}): {shown(record)}") from None
    if wrong:
        raise JournalError(f"a record cannot be journaled: {wrong}")
    if len(body) > LONGEST_LINE - 10:
        raise JournalError(f"a record of {len(body):,} characters is too long to be journaled: {shown(record)}")
    return body


class Journal(AbstractContextManager):
    """A journal that this process owns until it is closed; any thread may add to it, at little cost.

    A thread of its own writes records within 0.1 s and makes them safe from a loss of power within about 1 s. A new
    journal replaces an older file, which is kept as `….previous`. With `seen` the older one is continued: `seen` gets
    every record in it, and a last line that was cut off is removed. Once a write has failed, as on a full disk, every
    call raises JournalError, `close` too. Raises JournalError if another process owns the journal.
    """

    def __init__(self, path: str | Path, seen: Callable[[Any], None] | None = None):
        self._path = Path(path)
        self._waiting: deque[str | Request] = deque()
        self._written = 0
        self._failure = ""
        self._closing = Event()
        self._lock = _locked(self._path)
        try:
            end, crc = self._past(seen)
            self._chain = _Chain(crc)
            with _named(self._path, "cannot be written"):
                self._file = _opened(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)
                self._file.truncate(end)
        except BaseException:
            self._lock.release()
            raise
        self._start = perf_counter()
        self._writer = Thread(target=self._write, daemon=True)
        self._writer.start()

    def _past(self, seen: Callable[[Any], None] | None) -> tuple[int, int]:
        """Hand an older journal to `seen`, or set it aside; (the number of bytes to keep of the file, their CRC)."""
        kept = 0, 0
        if seen:
            for end, crc, record in _scan(self._path):
                seen(record)
                kept = end, crc
        elif self._path.is_file():
            with _named(self._path, "cannot be set aside"):
                self._path.replace(f"{self._path}.previous")
        return kept

    def seconds(self, time: float | None = None) -> float:
        """A time of time.perf_counter, by default now, in seconds since this session started."""
        return round((perf_counter() if time is None else time) - self._start, 6)

    def add(self, record: dict) -> None:
        """Add a record of one of `harness.soak.schema.KINDS`. JournalError for one that could not be read again."""
        self._put(_body(record))

    def add_request(self, request: Request) -> None:
        self._put(request)

    def _put(self, record: str | Request) -> None:
        if self._failure:
            raise JournalError(self._failure)
        self._waiting.append(record)
        if len(self._waiting) > MOST_WAITING:
            self._wait()

    def _wait(self) -> None:
        """Wait until there is room again; JournalError if the disk takes nothing any more."""
        written, since = self._written, monotonic()
        while len(self._waiting) > MOST_WAITING and not self._failure:
            sleep(0.001)
            if self._written != written:
                written, since = self._written, monotonic()
            elif monotonic() - since > PATIENCE:
                self._failure = self._unwritable(f"the disk took nothing for {PATIENCE:g} s")
        if self._failure:
            raise JournalError(self._failure)

    def _write(self) -> None:
        synced, is_last = monotonic(), False
        try:
            while not is_last:
                is_last = self._closing.wait(WRITE_SECONDS)
                self._write_waiting()
                if is_last or monotonic() - synced >= SYNC_SECONDS:
                    os.fsync(self._file.fileno())
                    synced = monotonic()
        except Exception as error:
            self._failure = self._unwritable(error)

    def _write_waiting(self) -> None:
        left = len(self._waiting)  # not until it is empty, because others go on adding
        while left:
            number = min(left, MOST_AT_ONCE)
            bodies = [self._encoded(self._waiting.popleft()) for _ in range(number)]
            lines = memoryview("".join(map(self._chain.line, bodies)).encode())
            while lines:
                lines = lines[self._file.write(lines):]
            self._written += number
            left -= number

    def _encoded(self, record: str | Request) -> str:
        """The JSON of a record; that of requests is written by hand, because there are so many."""
        if isinstance(record, str):
            return record
        start, end = record.start - self._start, record.end - self._start
        error = json.dumps(record.error[:LONGEST_ERROR]) if record.error else '""'
        late = f"{record.start - record.due:.6f}" if record.start > record.due else "0"
        images = len(record.image_ids)
        return f"[{record.caller},{start:.6f},{end:.6f},{images},{record.answered},{error},{late}]"

    def _unwritable(self, why) -> str:
        return (f"{self._path}: cannot be written ({why}); what it has is sound: make room or repair the disk, then "
                "resume")

    def close(self) -> None:
        """Write the rest and release the file. JournalError if not everything could be written."""
        self._closing.set()
        self._writer.join(PATIENCE)
        failure = self._failure or (self._unwritable("the disk hangs") if self._writer.is_alive() else "")
        self._failure = failure or f"{self._path}: is closed"
        if not self._writer.is_alive():
            self._file.close()
        self._lock.release()
        if failure:
            raise JournalError(failure)

    def __exit__(self, *exception) -> None:
        self.close()


def _locked(path: Path) -> filelock.BaseFileLock:
    with _named(path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{path}.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise JournalError(f"{path}: another process is writing it; wait for its end or name another file") from None
    except OSError as error:
        raise JournalError(f"{path}.lock: cannot be locked ({error.strerror or error}); remove it if no soak is "
                           "running, or name another folder") from None
    return lock


@contextmanager
def _named(path: Path, problem: str) -> Iterator[None]:
    """Turn an OSError into a JournalError that names the file."""
    try:
        yield
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror or error
        raise JournalError(f"{path}: {problem} ({why})") from None


def _opened(path: Path, flags: int) -> BinaryIO:
    """Open a plain file without buffers; OSError for anything else, without waiting for the other end of a pipe."""
    file = os.fdopen(os.open(path, flags | os.O_NONBLOCK, 0o666), "rb" if flags == os.O_RDONLY else "ab", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a plain file")
    return file


def _scan(path: Path) -> Iterator[tuple[int, int, dict | Entry]]:
    """Each record with the place of the byte after it and the CRC of all lines so far."""
    end, chain, order = 0, _Chain(), Order()
    try:
        with io.BufferedReader(_opened(path, os.O_RDONLY), 1 << 16) as file:
            for number in count(1):
                line = file.readline(LONGEST_LINE)
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    break
                end += len(line)
                record = _decoded(line, chain, order, f"{path}, line {number}")
                yield end, chain.crc, record
    except OSError as error:
        raise JournalError(f"{path}: cannot be read ({error.strerror or error}); is a soak journaled there?") from None
    if not end:
        raise JournalError(f"{path}: is empty, because no soak had started; start one")


def _decoded(line: bytes, chain: _Chain, order: Order, where: str) -> dict | Entry:
    """The record of a line. JournalError names its place."""
    body = line[9:-1]
    chain.crc = crc32(body, chain.crc)
    if line != b"%08x %s\n" % (chain.crc, body):
        raise JournalError(f"{where}: is damaged, or a line before it was lost, doubled or moved; {START_ANEW}")
    try:
        record = _STRICT.decode(body.decode())
        wrong = fault(record)
    except (ValueError, RecursionError) as error:
        wrong = f"is not JSON ({str(error)[:80]})"
    if not wrong:
        record = Entry(*record) if isinstance(record, list) else record
        wrong = order.fault(record)
    if wrong:
        raise JournalError(f"{where}: {wrong}; {START_ANEW}")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_without_doubles)
