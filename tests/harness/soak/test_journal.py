"""The journal loses nothing that was written, reads nothing that is damaged, and belongs to one process at a time."""
from __future__ import annotations

import errno
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from itertools import repeat, zip_longest
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load.generator import Request
from harness.soak import journal as module
from harness.soak.journal import Journal, JournalError, read
from harness.soak.run import summarise
from harness.soak.schema import Entry
from tests.harness.soaks import encode, finished, started, window
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).resolve().parents[3]
SESSION = started(windows=3)
OPENING, WINDOW = window(1)[0], window(1)[-1]
SAMPLE = window(1)[-2]
LATER = time.perf_counter() + 1e6  # after every journal of these tests has started
REQUEST = Request(3, (7, 8), LATER, LATER + 0.25, LATER + 1, 2, "")
ENTRY = Entry(0, 1.0, 2.0, 1, 1, "", 0)

microseconds = st.integers(0, 10**10).map(lambda number: number / 1e6)
entries = st.builds(lambda caller, start, length, images, error, late: Entry(caller, start, start + length, images,
                                                                             images, error, late),
                    st.integers(0, 64), microseconds, microseconds, st.integers(1, 64), st.text(max_size=50),
                    microseconds)
numbers = st.integers() | st.floats(-1e21, 1e21)
samples = st.builds(lambda rss, extra: {**SAMPLE, "rss": rss, "extra": extra}, st.none() | numbers.filter(
    lambda number: abs(number) <= 1e21), st.dictionaries(st.text(), numbers.filter(lambda number: abs(number) <= 1e21)))


def written(path, records=(SESSION,)) -> Path:
    path.write_text(encode(records))
    return path


def tied(bodies) -> str:
    """The text of a journal of these lines of JSON, right or wrong, with the checksums that they should have."""
    chain = module._Chain()
    return "".join(map(chain.line, bodies))


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
@given(body=st.lists(samples | entries, max_size=20))
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


def test_a_line_is_a_checksum_of_all_lines_so_far_and_json():
    assert encode([finished()])[8:] == ' {"kind":"finish","outcome":"complete","why":""}\n'
    first, second = encode([ENTRY, ENTRY]).splitlines()
    assert (first[8:], second[8:]) == (' [0,1.0,2.0,1,1,"",0]',) * 2
    assert [int(line[:8], 16) for line in (first, second)] == [crc32(first[9:].encode() * n) for n in (1, 2)]


@settings(max_examples=20)
@given(body=st.lists(samples | entries, min_size=1, max_size=4), data=st.data())
def test_a_journal_cut_at_any_byte_has_its_whole_lines(tmp_path_factory, body, data):
    path = written(tmp_path_factory.mktemp("journal") / "j", [SESSION, *body])
    content = path.read_bytes()
    cut = data.draw(st.integers(len(encode([SESSION])), len(content)))
    path.write_bytes(content[:cut])
    assert list(read(path)) == [SESSION, *body][:content[:cut].count(b"\n")]


def test_every_cut_of_the_last_line_is_seen_and_removed_before_more_is_written(path):
    sound, whole = encode([SESSION]), encode([SESSION, OPENING])
    for cut in range(len(sound), len(whole)):
        path.write_text(whole[:cut])
        seen = []
        with Journal(path, seen.append) as journal:
            journal.add(SAMPLE)
        assert (seen, list(read(path))) == ([SESSION], [SESSION, SAMPLE])


@settings(max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_line_before_the_last_is_refused_with_its_number(tmp_path_factory, place, byte):
    lines = [SESSION, OPENING, ENTRY]
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
    content = encode([SESSION]).replace("session", "sessiom") + encode([OPENING])
    path.write_text(content)
    with pytest.raises(JournalError, match="line 1: is damaged"):
        Journal(path, lambda record: None)
    assert path.read_text() == content


# Lines that are sound, each by itself.

def few(number, requests=6, **options) -> list:
    """The records of a window with few requests."""
    return [*window(number, **options)[:1 + requests], *window(number, **options)[-2:]]


REAL = [SESSION, *few(1), *few(2), *few(3), OPENING | {"at": 9}, finished()]
STRANGER = encode([ENTRY, OPENING]).splitlines()[1]
MOVES = {
    "lost": lambda lines, one, other: lines[:one] + lines[one + 1:],
    "several lost": lambda lines, one, other: lines[:min(one, other)] + lines[max(one, other):],
    "doubled": lambda lines, one, other: lines[:one] + lines[one:one + 1] + lines[one:],
    "swapped": lambda lines, one, other: [
        lines[other if place == one else one if place == other else place] for place in range(len(lines))],
    "put in": lambda lines, one, other: [*lines[:one], lines[other], *lines[one:]],
    "of another journal": lambda lines, one, other: [*lines[:one], STRANGER, *lines[one:]],
}


@pytest.mark.parametrize("move", MOVES)
def test_lines_are_tied_to_one_another(path, move):
    rng, lines = random.Random(0), encode(REAL).splitlines()
    for _ in range(100):
        one, other = rng.sample(range(len(lines) - 1), 2)
        moved = MOVES[move](lines, one, other)
        path.write_text("\n".join(moved) + "\n")
        first = next(place for place, (a, b) in enumerate(zip_longest(moved, lines)) if a != b)
        with pytest.raises(JournalError, match=rf"soak\.journal, line {first + 1}: is damaged, or a line before it was "
                                               "lost, doubled or moved; restore the file or start a new soak"):
            list(read(path))


def test_a_journal_that_was_continued_is_one_chain(path):
    written(path, [SESSION, OPENING])
    with Journal(path, lambda record: None) as journal:
        journal.add(SAMPLE)
        journal.add_request(REQUEST)
    assert path.read_text().startswith(encode([SESSION, OPENING, SAMPLE])) and len(list(read(path))) == 4


# Lines with the right checksum and odd values.

def line_of(record, **changed) -> str:
    return json.dumps({**record, **changed})


ODD = {
    "an opening at NaN": ('{"kind":"opening","at":NaN}', "is not JSON (NaN is not a number)"),
    "an infinite time": ('[0,Infinity,2,1,1,"",0]', "is not JSON (Infinity is not a number)"),
    "a number beyond all": ('[0,1e999,2,1,1,"",0]', "in a request start is inf, must be a number from 0 to 1e+08"),
    "a text for a number": (line_of(OPENING, at="x"), "in an opening record at is 'x', must be a number"),
    "true for a number": ('[true,1,2,1,1,"",0]', "in a request caller is True, must be an integer from 0"),
    "a fraction of an image": ('[0,1,2,1.5,1,"",0]', "in a request images is 1.5, must be an integer"),
    "a number for a text": ("[0,1,2,1,1,5,0]", "in a request error is 5, must be a text"),
    "an endless error": (json.dumps([0, 1, 2, 1, 1, "x" * 2001, 0]), "must be a text of at most 2000 characters"),
    "a negative time": ('[0,-1,2,1,1,"",0]', "in a request start is -1, must be a number from 0"),
    "an end before its start": ('[0,2,1,1,1,"",0]', "in a request end 1 is before start 2"),
    "more responses than images": ('[0,1,2,1,2,"",0]', "in a request answered 2 is more than its 1 images"),
    "an absurd size": ('[0,1,2,1000000000000,1,"",0]', "images is 1000000000000, must be an integer from 0"),
    "a number of 5,000 digits": ("[" + "9" * 5000 + ',1,2,1,1,"",0]', ""),
    "a request that is too short": ('[0,1,2,1,1,""]', "is not a request, which has 7 values"),
    "no work at all": (line_of(SESSION, number=2, reference=0), "reference is 0, must be an integer from 1"),
    "conditions that are a list": (line_of(WINDOW, conditions=[]), "conditions: is [], must be an object"),
    "conditions that lack one": (line_of(WINDOW, conditions={}), "conditions: reference is missing"),
    "a missing field": ('{"kind":"opening"}', "in an opening record at is missing"),
    "an unknown field": (line_of(OPENING, more=1), "in an opening record 'more' is not a field"),
    "a key twice": ('{"kind":"opening","at":1,"at":2}', "an object has a key twice"),
    "an unknown kind": ('{"kind":"dance"}', "is not a record of a soak's journal: {'kind': 'dance'}"),
    "a list for a kind": ('{"kind":["opening"]}', "is not a record of a soak's journal"),
    "no kind": ('{"opening":1}', "is not a record of a soak's journal"),
    "a number alone": ("5", "is not a record of a soak's journal: 5"),
    "nothing": ("null", "is not a record of a soak's journal: None"),
    "no JSON": ("{", "is not JSON"),
    "no characters": ("", "is not JSON"),
    "endless depth": ("[" * 200_000, "is not JSON"),
    "figures that are texts": (line_of(SAMPLE, rss="x"), "in a sample record rss is 'x'"),
    "counters that are texts": (line_of(SAMPLE, extra={"a": "x"}), "extra is {'a': 'x'}, must be an object of numbers"),
    "counters that are a list": (line_of(SAMPLE, extra=[]), "extra is [], must be an object of numbers"),
    "an unknown outcome": (line_of(finished(), outcome="maybe"), "outcome is 'maybe', must be one of complete"),
    "a second first session": (line_of(SESSION), "session 1 is journaled where session 2 is due"),
    "a session of another detector": (line_of(SESSION, number=2, identity={"detector": "x"}), "has another identity"),
    "a session of another plan": (line_of(SESSION, number=2, plan={**SESSION["plan"], "callers": 9}), "another plan"),
    "a window without its opening": (line_of(WINDOW), "window 1 is journaled where window 1 of 3 is due, after its"),
    "completeness too early": (line_of(finished()), "the soak is called complete after 0 of 3 windows"),
}
ODD_SESSIONS = {
    "no time": ({"utc": None}, "utc is None, must be a time like 2026-11-24T10:00:00Z"),
    "an impossible day": ({"utc": "2026-13-45T10:00:00Z"}, "utc is '2026-13-45T10:00:00Z', must be a time"),
    "an identity that is a text": ({"identity": "x"}, "identity is 'x', must be an object"),
    "an identity without end": ({"identity": {"a": [[[[[[[[[1]]]]]]]]]}}, "must be an object at most 8 levels deep"),
    "a plan that is a list": ({"plan": []}, "plan: is [], must be an object"),
    "no windows": ({"plan": {**SESSION["plan"], "windows": 0}}, "plan: windows is 0, must be an integer from 1"),
    "windows without length": ({"plan": {**SESSION["plan"], "window_seconds": 0}}, "window_seconds is 0, must be"),
    "a text for a plan's number": ({"plan": {**SESSION["plan"], "rate": "fast"}}, "plan: rate is 'fast'"),
    "a text for its reference workload": ({"reference": "x"}, "reference is 'x', must be an integer from 1"),
    "a second session first": ({"number": 2}, "session 2 is journaled where session 1 is due"),
    "an earlier version": ({"version": 1}, "has version 1 of the journal, and this release reads version 2: read it"),
    "a later version": ({"version": 3}, "has version 3 of the journal, and this release reads version 2: read it"),
    "no version": ({"version": "new"}, "version is 'new', must be one of 2"),
}


@pytest.mark.parametrize("body, words", ODD.values(), ids=ODD)
def test_odd_values_with_a_right_checksum_are_named_with_their_line(path, body, words):
    path.write_text(tied([line_of(SESSION), body]))
    with pytest.raises(JournalError, match=rf"soak\.journal, line 2: .*{re.escape(words)}.*; restore the file or"):
        list(read(path))


@pytest.mark.parametrize("changed, words", ODD_SESSIONS.values(), ids=ODD_SESSIONS)
def test_odd_sessions_are_named(path, changed, words):
    path.write_text(tied([line_of(SESSION, **changed)]))
    with pytest.raises(JournalError, match=rf"soak\.journal, line 1: .*{re.escape(words)}"):
        list(read(path))


def test_a_journal_of_version_1_is_refused_by_name(path):
    first = {"session": 1, "version": 1, "utc": SESSION["utc"], "identity": {}, "plan": {}, "noise": {}}
    path.write_text(tied([json.dumps(first)]))
    with pytest.raises(JournalError, match="line 1: has version 1 of the journal, and this release reads version 2"):
        list(read(path))


WRONG_ORDER = {
    "time that goes back": [SESSION, OPENING | {"at": 5}, OPENING],
    "samples that go back": [SESSION, SAMPLE, SAMPLE | {"at": 0}],
    "a window out of turn": [SESSION, OPENING, WINDOW | {"number": 2}],
    "more windows than planned": [SESSION | {"plan": SESSION["plan"] | {"windows": 1}}, *window(1), *window(2)],
    "a window that starts after its end": [SESSION, OPENING, WINDOW | {"start": 50, "end": 51}],
    "a request after the finish": [SESSION, finished("failed"), ENTRY],
    "a session after the finish": [SESSION, finished("failed"), SESSION | {"number": 2}],
    "two ends": [SESSION, finished("failed"), finished("failed")],
}


@pytest.mark.parametrize("records", WRONG_ORDER.values(), ids=WRONG_ORDER)
def test_records_in_a_wrong_order_are_refused(path, records):
    written(path, records)
    with pytest.raises(JournalError, match=rf"soak\.journal, line {len(records)}: "):
        list(read(path))


def mutant_of_bytes(content: bytes, rng) -> bytes:
    at, kind = rng.randrange(len(content)), rng.randrange(4)
    junk = rng.choice([b"", b"\n", b"\0", b"9" * 20, bytes([rng.randrange(256)]), b"NaN", b"-", b'"', b"\xff" * 3])
    return content[:at] + junk + content[at + (kind and rng.randrange(1, 9)):]


def mutant_of_values(content: bytes, rng) -> bytes:
    """Values replaced, removed or put in anywhere, with right checksums."""
    records = [json.loads(line[9:]) for line in content.splitlines()]
    for _ in range(rng.randrange(1, 3)):
        place = rng.randrange(len(records))
        records[place] = replaced(records[place], rng)
    return tied(json.dumps(record, allow_nan=True) for record in records).encode()


VALUES = (None, True, False, -1, 0, 1, 2, 1e-300, 1e300, 10**30, float("nan"), float("inf"), "", "x", "\0\u202e", [],
          {}, [1], {"kind": "opening"}, 0.5, 1e8, 1e-9, "complete", "2026-11-24T10:00:00Z")


def replaced(value, rng):
    """The value, or one in it, replaced."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        copy = value.copy()
        if rng.random() < 0.15:
            del copy[key]
        else:
            copy[key] = replaced(value[key], rng)
        return copy
    return rng.choice(VALUES)


MUTANTS = {"bytes": mutant_of_bytes, "values": mutant_of_values}


@pytest.mark.parametrize("kind", MUTANTS)
def test_thousands_of_mutants_are_sound_or_named_and_never_anything_else(path, kind):
    """A real journal of two sessions: what reads is also summarised, drawn from and said in strict JSON."""
    session = SESSION | {"identity": {"detector": "a", "classes": ["cup", 3, None]}}
    records = [session, *few(1), *few(2)[:5], session | {"number": 2}, *few(2, at=1.0), *few(3, at=3.0)[:4],
               ENTRY._replace(error="no device", answered=0), finished("failed", "wrong")]
    content, rng, outcomes = encode(records).encode(), random.Random(7), Counter()
    for _ in range(1500):
        path.write_bytes(MUTANTS[kind](content, rng))
        try:
            json.dumps(summarise(path).as_record(), allow_nan=False)
            outcomes["sound"] += 1
        except JournalError as error:
            outcomes["named"] += 1
            assert str(error).startswith(str(path)) and len(str(error)) < 600 and str(error).isprintable()
    assert outcomes["named"] > 700 and outcomes["sound"] > 0


UNREADABLE = {
    "": "is empty, because no soak had started",
    "half a line": "is empty, because no soak had started",
    encode([OPENING]): "line 1: an opening record is before the first session",
    "image\n": "line 1: is damaged",
    "x" * (1 << 21): "line 1: is damaged",
}


@pytest.mark.parametrize("content", UNREADABLE, ids=UNREADABLE.values())
def test_what_is_no_journal_is_named(path, content):
    path.write_text(content)
    with pytest.raises(JournalError, match=rf"soak\.journal.*{UNREADABLE[content]}"):
        list(read(path))


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["a pipe", "a folder"])
@pytest.mark.parametrize("seen", [None, print], ids=["anew", "continued"])
def test_what_is_not_a_file_is_refused_without_waiting(path, make, seen):
    make(path)
    for use in (lambda: list(read(path)), lambda: Journal(path, seen)):
        with pytest.raises(JournalError, match=r"soak\.journal: cannot be (read|written) \("):
            use()


def test_a_journal_that_is_not_there_is_named(path):
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be read \(No such file"):
        list(read(path))


def test_a_new_journal_keeps_the_one_before(path):
    written(path, [SESSION, OPENING])
    Journal(path).close()
    assert list(read(Path(f"{path}.previous"))) == [SESSION, OPENING]
    assert path.read_bytes() == b""


def test_it_is_on_the_disk_within_a_second_without_being_closed(journal, path):
    for _ in range(10_000):
        journal.add_request(REQUEST)
    until(lambda: path.read_bytes().count(b"\n") > 10_000)


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
            journal.add_request(Request(caller, (0,), LATER, LATER, LATER + number, 1, ""))

    with Journal(path) as journal:
        journal.add(SESSION)
        threads = [threading.Thread(target=add, args=(caller,)) for caller in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
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
    journal._file = Full(journal._file, room=1000)
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be written .*No space left .*make room"):
        journal.add(SESSION)
        for request in repeat(REQUEST, 1_000_000):
            journal.add_request(request)
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
    with pytest.raises(JournalError, match=r"the disk took nothing for 0\.2 s"):
        for _ in range(100):
            journal.add_request(REQUEST)
    with pytest.raises(JournalError, match="the disk took nothing"):
        journal.close()
    release.set()
    journal._writer.join(PATIENCE)
    journal._file.close()


def test_nothing_is_added_to_a_closed_journal(path):
    journal = Journal(path)
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.add(SESSION)


UNWRITABLE = {
    "NaN": SAMPLE | {"rss": float("nan")}, "no JSON": SAMPLE | {"rss": object()}, "a missing field": {"kind": "sample"},
    "too long": SESSION | {"identity": {"x": "x" * (1 << 20)}}, "an unknown kind": {"kind": "dance"},
    "a text for a number": OPENING | {"at": "x"},
}


@pytest.mark.parametrize("record", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_record_that_could_not_be_read_again_is_refused(journal, record):
    with pytest.raises(JournalError, match="journaled"):
        journal.add(record)


def test_an_endless_error_is_cut(journal, path):
    journal.add_request(REQUEST._replace(error="ü" * (1 << 20)))
    journal.close()
    assert list(read(path))[1].error == "ü" * 2000
    journal.close = lambda: None


def test_a_journal_belongs_to_one_process_at_a_time(journal, path):
    code = "import sys; from harness.soak.journal import Journal; Journal(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True,
                           timeout=PATIENCE)
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].endswith("soak.journal: another process is writing it; wait for its end or "
                                                  "name another file")
    with pytest.raises(JournalError, match="another process"):
        Journal(path, lambda record: None)


def test_a_journal_that_goes_on_can_be_read(journal, path):
    until(path.read_bytes)
    assert list(read(path)) == [SESSION]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/no/where")], ids=["folder", "broken link"])
def test_a_place_that_cannot_be_written_is_named(path, make):
    make(path)
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be written"):
        Journal(path)


def test_a_record_is_one_line_of_ascii(path):
    failed = finished("failed", "line\nbreak ü \u2028")
    text = encode([failed])
    assert text.isascii() and text.count("\n") == 1 and json.loads(text[9:]) == failed


def test_a_link_is_not_written_through(path, tmp_path):
    target = tmp_path / "target"
    path.symlink_to(target)
    with pytest.raises(JournalError, match=r"soak\.journal: cannot be written \(it is a link\)"):
        Journal(path)
    assert not target.exists()
    target.write_text(encode([SESSION]))
    Journal(path).close()
    assert target.read_text() == encode([SESSION]) and path.read_bytes() == b"" and not path.is_symlink()


def test_a_lock_that_cannot_be_taken_is_named(path):
    Path(f"{path}.lock").mkdir()
    with pytest.raises(JournalError, match=r"soak\.journal\.lock: cannot be locked .*; remove it if no soak is"):
        Journal(path)
