"""Frames: how requests and answers travel over a socket between a caller's process and the detector's own.

A frame is a prefix (a magic number and the header's length), a header in JSON, and raw buffers, of which the header
gives the sizes. There is no pickle: one that NumPy 2 wrote does not load in NumPy 1, and loading one runs code.
Runs on Python 3.7 and needs the standard library alone.
"""
from __future__ import annotations

import json
import socket
import struct
from time import monotonic

PREFIX = struct.Struct("<4sI")
MAGIC = b"DET1"
LONGEST_HEADER = 1 << 24  # bytes
LARGEST_BODY = 1 << 31  # bytes of all buffers together: far above any batch, and nonsense must not be allocated
BUFFERS_A_CALL = 512  # the kernel takes 1,024


class FrameError(ValueError):
    """What came is not a frame, or what is to be sent would not be one that the other side takes."""


def frame(header: dict, buffers=()) -> list:
    """What `send` takes: memory views of a frame. The buffers, bytes or alike, are not copied.

    Raises FrameError for what is too large, and ValueError or TypeError for a header that strict JSON cannot say.
    """
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    sizes = [len(view) for view in views]
    if sum(sizes) > LARGEST_BODY:
        raise FrameError(f"{sum(sizes):,} bytes are more than one request takes, which is {LARGEST_BODY:,}: "
                         "send fewer images at once")
    text = json.dumps({**header, "sizes": sizes}, allow_nan=False).encode()
    if len(text) > LONGEST_HEADER:
        raise FrameError(f"a header of {len(text):,} bytes is longer than the {LONGEST_HEADER:,} that are taken")
    return [memoryview(PREFIX.pack(MAGIC, len(text)) + text), *filter(len, views)]


def send(connection, views: list, end=None) -> None:
    """Sends a frame. At `end`, a time of time.monotonic(), socket.timeout is raised if it is not gone by then."""
    while views:
        _limit(connection, end)
        sent = connection.sendmsg(views[:BUFFERS_A_CALL])
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def receive(connection, end=None) -> tuple:
    """The next frame as (header, [bytes of each buffer]).

    Raises FrameError for what is not a frame, EOFError where the other side has closed, socket.timeout at `end`.
    """
    magic, length = PREFIX.unpack(_read(connection, PREFIX.size, end))
    if magic != MAGIC:
        raise FrameError(f"it begins with {magic!r} and not with {MAGIC!r}")
    if length > LONGEST_HEADER:
        raise FrameError(f"its header of {length:,} bytes is longer than the {LONGEST_HEADER:,} that are taken")
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
        raise FrameError(f"its header is none: {text[:80]!r}")
    return header


def _refuse_constant(name):
    raise ValueError(f"{name} is not a number")


def _without_doubles(pairs) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
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
    # A limit of 0 seconds would mean not to wait at all, and another error.
    if end is not None:
        connection.settimeout(max(end - monotonic(), 1e-6))
