"""The journal loses nothing that was written, reads nothing that is damaged, and belongs to one process at a time."""
from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import journal as module
from harness.journal import Entry, Journal, JournalError, encode, read
from harness.load import Request

ROOT = Path(__file__).resolve().parents[2]
SESSION = {"session": 1, "version": 1, "utc": "2026-11-24T10:00:00Z", "identity": {}, "plan": {}, "canary": {}}
REQUEST = Request(3, (7, 8), 1.0, 1.25, 2.0, 2, "")

microseconds = st.integers(0, 10**10).map(lambda number: number / 1e6)
entries = st.builds(Entry, st.integers(0, 64), microseconds, microseconds, st.integers(1, 64), st.integers(0, 64),
                    st.text(max_size=50), microseconds)
values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                      | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
kinds = st.sampled_from(["canary", "sample", "window", "finish"])
records = st.builds(lambda kind, value: {kind: value}, kinds, values)


def written(path, records=(SESSION,)) -> Path:
    path.write_text("".join(map(encode, records)))
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "soak.journal"


@pytest.fixture
def journal(path):
    """A journal whose session has begun."""
    with Journal(path) as journal:
        journal.add(SESSION)
        yield journal


@settings(max_examples=50)
@given(body=st.lists(records | entries, max_size=20))
def test_what_was_written_is_read(tmp_path_factory, body):
    path = written(tmp_path_factory.mktemp("journal") / "j", [SESSION, *body])
    assert list(read(path)) == [SESSION, *body]


def test_a_request_is_read_as_it_ended(path):
    with Journal(path) as journal:
        journal.add(SESSION)
        begin = time.perf_counter() - journal.seconds()
        journal.add_request(Request(3, (7, 8), begin + 1.0, begin + 1.25, begin + 2.0, 1, 'torn "wire"\n ü'))
    entry = list(read(path))[1]
    assert entry._replace(start=0, end=0) == Entry(3, 0, 0, 2, 1, 'torn "wire"\n ü', 0.25)
    assert (entry.start, entry.end, entry.latency) == pytest.approx((1.25, 2.0, 1.0), abs=1e-3)


def test_a_line_is_a_checksum_and_json():
    assert encode({"finish": "complete"}) == '90329ef2 {"finish":"complete"}\n'


@settings(max_examples=20)
@given(body=st.lists(records | entries, min_size=1, max_size=4), data=st.data())
def test_a_journal_cut_at_any_byte_has_its_whole_lines(tmp_path_factory, body, data):
    path = written(tmp_path_factory.mktemp("journal") / "j", [SESSION, *body])
    content = path.read_bytes()
    cut = data.draw(st.integers(len(encode(SESSION)), len(content)))
    path.write_bytes(content[:cut])
    assert list(read(path)) == [SESSION, *body][:content[:cut].count(b"\n")]


def test_every_cut_of_the_last_line_is_seen_and_removed_before_more_is_written(path):
    sound, last = encode(SESSION), encode({"finish": "complete"})
    for cut in range(len(last)):
        path.write_text(sound + last[:cut])
        seen = []
        with Journal(path, seen.append) as journal:
            journal.add({"window": 1})
        assert (seen, list(read(path))) == ([SESSION], [SESSION, {"window": 1}])


@settings(max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_line_before_the_last_is_refused_with_its_number(tmp_path_factory, place, byte):
    lines = [SESSION, {"window": 1, "begin": 0.5, "end": 1.5}, Entry(0, 1.0, 2.0, 1, 1, "", 0)]
    path = written(tmp_path_factory.mktemp("journal") / "j", lines)
    content = bytearray(path.read_bytes())
    at = int(place * len(content.rstrip(b"\n")))
    if content[at] == byte:
        byte ^= 1
    number = content[:at].count(b"\n") + 1
    content[at] = byte
    path.write_bytes(content)
    with pytest.raises(JournalError, match=rf"/j, line {number}: is damaged"):
        list(read(path))


def test_a_damaged_journal_is_not_written_to(path):
    content = encode(SESSION).replace("session", "sessiom") + encode({"window": 1})
    path.write_text(content)
    with pytest.raises(JournalError, match="line 1: is damaged"):
        Journal(path, lambda record: None)
    assert path.read_text() == content


UNREADABLE = {
    "": "is empty, no soak had begun",
    "half a line": "is empty, no soak had begun",
    encode({"window": 1}): "line 1: is no record of a soak's journal",
    encode(["no", "request"]): "line 1: is no record of a soak's journal",
    encode({**SESSION, "version": 2}): "line 1: is of version 2 of the journal and this reads 1",
    encode(SESSION) + encode({"unheard": "of"}): "line 2: is no record of a soak's journal",
    "picture\n": "line 1: is damaged",
    "x" * (1 << 21): "line 1: is damaged",
}


@pytest.mark.parametrize("content", UNREADABLE, ids=UNREADABLE.values())
def test_what_is_no_journal_is_named(path, content):
    path.write_text(content)
    with pytest.raises(JournalError, match=rf"soak\.journal.*{UNREADABLE[content]}"):
        list(read(path))


def test_a_journal_that_is_not_there_is_named(path):
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be read \(No such file"):
        list(read(path))


def test_a_new_journal_keeps_the_one_before(path):
    written(path, [SESSION, {"window": 1}])
    Journal(path).close()
    assert list(read(Path(f"{path}.previous"))) == [SESSION, {"window": 1}]
    assert path.read_bytes() == b""


def test_it_is_on_the_disk_within_a_second_without_being_closed(journal, path):
    for _ in range(10_000):
        journal.add_request(REQUEST)
    end = time.monotonic() + 30
    while path.read_bytes().count(b"\n") <= 10_000:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_is_synced_while_it_is_written(path, monkeypatch):
    synced = threading.Event()
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: synced.set())
    monkeypatch.setattr(module, "SYNC_SECONDS", 0)
    with Journal(path) as journal:
        journal.add(SESSION)
        assert synced.wait(30)


def test_many_threads_lose_and_double_nothing(path):
    def add(caller):
        for number in range(5000):
            journal.add_request(Request(caller, (0,), 0.0, 0.0, number, 1, ""))

    with Journal(path) as journal:
        journal.add(SESSION)
        threads = [threading.Thread(target=add, args=(caller,)) for caller in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [(entry.caller, round(entry.end - entry.start)) for entry in read(path) if isinstance(entry, Entry)]
    assert Counter(found) == Counter((caller, number) for caller in range(8) for number in range(5000))
    in_order = [[number for one, number in found if one == caller] for caller in range(8)]
    assert in_order == [list(range(5000))] * 8


def test_memory_stays_constant_however_fast_requests_come(path, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1000)
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.001)
    tracemalloc.start()
    try:
        with Journal(path) as journal:
            journal.add(SESSION)
            for request in repeat(REQUEST, 30_000):
                journal.add_request(request)
        assert sum(1 for _ in read(path)) == 30_001
        assert tracemalloc.get_traced_memory()[1] < 1.5e6
    finally:
        tracemalloc.stop()


class Full:
    """A file on a disk that takes so many bytes more."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, content):
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._file.write(content[:self._room])
        self._room -= taken
        return taken

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_a_full_disk_ends_it_with_the_files_name_and_loses_nothing_that_was_there(path):
    journal = Journal(path)
    journal._file = Full(journal._file, room=500)
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be written .*No space left .*make room"):
        journal.add(SESSION)
        while True:
            journal.add_request(REQUEST)
    with pytest.raises(JournalError, match="No space left"):
        journal.close()
    found = list(read(path))
    assert found[0] == SESSION and len(found) > 5
    Journal(path, lambda record: None).close()


def test_what_could_not_be_written_is_noticed_by_close_at_the_latest(path):
    journal = Journal(path)
    journal._file = Full(journal._file, room=0)
    journal.add(SESSION)
    with pytest.raises(JournalError, match="No space left"):
        journal.close()


def test_a_disk_that_takes_nothing_is_not_waited_for_for_ever(path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    release, journal = threading.Event(), Journal(path)
    monkeypatch.setattr(journal, "_write_waiting", release.wait)
    with pytest.raises(JournalError, match=r"nothing was taken for 0\.2 s"):
        for _ in range(100):
            journal.add_request(REQUEST)
    with pytest.raises(JournalError, match="nothing was taken"):
        journal.close()
    release.set()
    journal._writer.join()
    journal._file.close()


def test_nothing_is_added_to_a_closed_journal(path):
    journal = Journal(path)
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.add(SESSION)


@pytest.mark.parametrize("record", [{"sample": float("nan")}, {"sample": object()}, {"sample": "x" * (1 << 20)}],
                         ids=["NaN", "no JSON", "too long"])
def test_a_record_that_could_not_be_read_again_is_refused(journal, record):
    with pytest.raises(JournalError, match="journaled"):
        journal.add(record)


def test_an_endless_error_is_cut(journal, path):
    journal.add_request(REQUEST._replace(error="ü" * (1 << 20)))
    journal.close()
    assert list(read(path))[1].error == "ü" * 2000
    journal.close = lambda: None


def test_a_journal_belongs_to_one_process_at_a_time(journal, path):
    code = "import sys; from harness.journal import Journal; Journal(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].endswith("soak.journal: another process is writing it; wait for its end or "
                                                  "name another")
    with pytest.raises(JournalError, match="another process"):
        Journal(path, lambda record: None)


def test_a_journal_that_goes_on_can_be_read(journal, path):
    end = time.monotonic() + 30
    while not path.read_bytes():
        assert time.monotonic() < end
    assert list(read(path)) == [SESSION]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/no/where")], ids=["folder", "broken link"])
def test_a_place_that_cannot_be_written_is_named(path, make):
    make(path)
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be written"):
        Journal(path)


def test_a_record_is_one_line_of_ascii(path):
    text = encode({"sample": "line\nbreak ü \u2028"})
    assert text.isascii() and text.count("\n") == 1 and json.loads(text[9:]) == {"sample": "line\nbreak ü \u2028"}
