"""Frames: the format of requests and responses on a socket between the caller's and the detector's process.

A frame is a prefix (a magic number and the length of the header), a header in JSON, and raw buffers whose sizes are in
the header. There is no pickle, because NumPy 1 cannot load one of NumPy 2, and loading one runs code.
Runs on Python 3.7 and needs only the standard library.
"""
from __future__ import annotations

import json
import socket
import struct
from time import monotonic

PREFIX = struct.Struct("<4sI")
MAGIC = b"DET1"
LONGEST_HEADER = 1 << 24  # bytes
LARGEST_BODY = 1 << 31  # bytes of all buffers: far above any batch, to avoid allocating invalid sizes
BUFFERS_A_CALL = 512  # the kernel's limit is 1,024


class FrameError(ValueError):
    """Received data is not a frame, or a frame to send is too large."""


def frame(header: dict, buffers=()) -> list:
    """The memory views of a frame, for `send`. The buffers (bytes or similar) are not copied.

    Raises FrameError if it is too large, ValueError or TypeError if the header is not strict JSON.
    """
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    sizes = [len(view) for view in views]
    if sum(sizes) > LARGEST_BODY:
        raise FrameError(f"a request of {sum(sizes):,} bytes, must have at most {LARGEST_BODY:,}; send fewer images at "
                         "once")
    text = json.dumps({**header, "sizes": sizes}, allow_nan=False).encode()
    if len(text) > LONGEST_HEADER:
        raise FrameError(f"a header of {len(text):,} bytes, must have at most {LONGEST_HEADER:,}")
    return [memoryview(PREFIX.pack(MAGIC, len(text)) + text), *filter(len, views)]


def send(connection, views: list, end=None) -> None:
    """Sends a frame. Raises socket.timeout if it is not sent by `end` (a time of time.monotonic())."""
    while views:
        _limit(connection, end)
        sent = connection.sendmsg(views[:BUFFERS_A_CALL])
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def receive(connection, end=None) -> tuple:
    """The next frame as (header, [bytes of each buffer]).

    Raises FrameError for other data, EOFError if the other side has closed the socket, socket.timeout at `end`.
    """
    magic, length = PREFIX.unpack(_read(connection, PREFIX.size, end))
    if magic != MAGIC:
        raise FrameError(f"it starts with {magic!r}, must start with {MAGIC!r}")
    if length > LONGEST_HEADER:
        raise FrameError(f"its header has {length:,} bytes, must have at most {LONGEST_HEADER:,}")
    header = _header(_read(connection, length, end))
    return header, [_read(connection, size, end) for size in header.pop("sizes")]


def _header(text: bytes) -> dict:
    try:
        header = json.loads(text.decode(), parse_constant=_refuse_constant, object_pairs_hook=_without_doubles)
        sizes = header["sizes"]
        good = (type(sizes) is list and all(type(size) is int and size >= 0 for size in sizes)
                and sum(sizes) <= LARGEST_BODY)
    except (ValueError, LookupError, TypeError, RecursionError):
        good = False
    if not good:
        raise FrameError(f"its header is invalid: {text[:80]!r}")
    return header


def _refuse_constant(name):
    raise ValueError(f"{name} is not a number")


def _without_doubles(pairs) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _read(connection, size: int, end) -> bytes:
    parts = []
    while size:
        _limit(connection, end)
        part = connection.recv(size, socket.MSG_WAITALL)
        if not part:
            raise EOFError("the other side has closed the connection")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _limit(connection, end) -> None:
    # 0 seconds would make the socket non-blocking, which raises another error.
    if end is not None:
        connection.settimeout(max(end - monotonic(), 1e-6))
