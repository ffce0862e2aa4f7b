"""Frames: what goes in comes out, whatever its size and however it is cut; anything else is an error and no hang."""
from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.worker import protocol as frames
from model.worker.protocol import MAGIC, PREFIX, FrameError, frame, receive, send


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def there_and_back(pair, header, buffers, **settings):
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, pair[0], frame(header, buffers), **settings)
        received = receive(pair[1], **settings)
        sent.result(60)
    return received


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=9)


@given(header=st.dictionaries(st.text().filter(lambda key: key != "sizes"), JSON, max_size=5),
       buffers=st.lists(st.binary(max_size=300), max_size=9))
def test_header_and_buffers_come_out_as_they_went_in(header, buffers):
    near, far = socket.socketpair()
    with near, far:
        assert there_and_back((near, far), header, buffers) == (header, buffers)


@pytest.mark.parametrize("sizes", [[0], [0, 5, 0], [20_000_000], [1] * 3000], ids=["none", "gaps", "20 MB", "3000"])
@pytest.mark.parametrize("limited", [False, True], ids=["no limit", "time limit"])
def test_any_number_and_size_of_buffers(pair, sizes, limited):
    buffers = [bytes([i % 256]) * size for i, size in enumerate(sizes)]
    end = {"end": time.monotonic() + 60} if limited else {}
    assert there_and_back(pair, {"a": 1}, buffers, **end) == ({"a": 1}, buffers)


def test_frames_that_arrive_together_are_told_apart(pair):
    for number in range(20):
        send(pair[0], frame({"number": number}, [b"x" * number]))
    assert [receive(pair[1]) for _ in range(20)] == [({"number": n}, [b"x" * n]) for n in range(20)]


def test_a_frame_that_arrives_byte_by_byte_is_read(pair):
    whole = b"".join(frame({"a": "é"}, [b"123", b"45"]))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: [pair[0].send(whole[i:i + 1]) for i in range(len(whole))])
        assert receive(pair[1], time.monotonic() + 10) == ({"a": "é"}, [b"123", b"45"])


def raw(header) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return PREFIX.pack(MAGIC, len(text)) + text


NO_FRAMES = {
    "print": (b"Hello, world!\n", r"it starts with b'Hell', must start with b'DET1'"),
    "endless header": (PREFIX.pack(MAGIC, 2**32 - 1), "its header has 4,294,967,295 bytes, must have at most 16,7"),
    "no JSON": (raw(b"{"), "its header is invalid: b'{'"),
    "no text": (raw(b"\xff\xfe\x00"), "its header is invalid"),
    "no object": (raw([1]), "its header is invalid"),
    "no sizes": (raw({}), "its header is invalid"),
    "sizes are an object": (raw({"sizes": {}}), "its header is invalid"),
    "sizes are a number": (raw({"sizes": 0}), "its header is invalid"),
    "a size is NaN": (raw({"sizes": [float("nan")]}), "its header is invalid"),
    "a size is a fraction": (raw({"sizes": [1.5]}), "its header is invalid"),
    "NaN anywhere": (raw({"sizes": [], "id": float("nan")}), "its header is invalid"),
    "a key twice": (raw(b'{"id":1,"sizes":[],"id":2}'), "its header is invalid"),
    "sizes are text": (raw({"sizes": "12"}), "its header is invalid"),
    "a size is true": (raw({"sizes": [True]}), "its header is invalid"),
    "a size below 0": (raw({"sizes": [-1]}), "its header is invalid"),
    "endless buffers": (raw({"sizes": [2**30] * 3}), "its header is invalid"),
    "deep": (raw(b"[" * 100_000), "its header is invalid"),
}


@pytest.mark.parametrize("content, message", NO_FRAMES.values(), ids=NO_FRAMES)
def test_what_is_no_frame_is_an_error_at_once(pair, content, message):
    pair[0].sendall(content)
    with pytest.raises(FrameError, match=message):
        receive(pair[1], time.monotonic() + 5)


@pytest.mark.parametrize("length", [0, 3, PREFIX.size, PREFIX.size + 4, -1])
def test_a_frame_that_breaks_off_is_an_end(pair, length):
    pair[0].sendall(b"".join(frame({"a": 1}, [b"12345"]))[:length])
    pair[0].close()
    with pytest.raises(EOFError, match="has closed"):
        receive(pair[1])


@pytest.mark.parametrize("length", [0, 3, PREFIX.size, -1])
def test_a_frame_that_does_not_go_on_ends_with_the_time(pair, length):
    pair[0].sendall(b"".join(frame({"a": 1}, [b"12345"]))[:length])
    end = time.monotonic() + 0.2
    with pytest.raises(socket.timeout):
        receive(pair[1], end)
    assert time.monotonic() >= end - 0.01


def test_a_receiver_that_takes_nothing_ends_with_the_time(pair):
    with pytest.raises(socket.timeout):
        send(pair[0], frame({}, [bytes(20_000_000)]), time.monotonic() + 0.2)


def test_a_time_that_has_passed_is_no_endless_wait(pair):
    with pytest.raises(socket.timeout):
        receive(pair[1], time.monotonic() - 1)


def test_what_the_other_side_would_refuse_is_not_sent(monkeypatch):
    monkeypatch.setattr(frames, "LARGEST_BODY", 10)
    with pytest.raises(FrameError, match="a request of 12 bytes, must have at most 10; send fewer images"):
        frame({}, [b"123456"] * 2)
    with pytest.raises(FrameError, match=r"a header of 17,000,0.. bytes, must"):
        frame({"text": "x" * 17_000_000})


def test_a_header_is_strict_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        frame({"a": float("nan")})


@pytest.mark.parametrize("unfit", ["text", None, 3])
def test_what_holds_no_bytes_is_refused(unfit):
    with pytest.raises(TypeError, match="bytes-like"):
        frame({}, [unfit])
