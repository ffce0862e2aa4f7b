"""The history: whole entries or none, in a folder and at a URL; what is damaged is named, kept and left out."""
from __future__ import annotations

import builtins
import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import files
from harness.accuracy.stored import FILE as DETECTIONS
from harness.accuracy.stored import DetectionsError, digest, packed
from harness.compare.record import FILE, RunError
from harness.history import key, store
from harness.history.store import History
from harness.places import PlaceError
from tests.buckets import s3_server
from tests.harness.compare.runs import COMMIT, record, row
from tests.harness.synthetic import detected

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.filterwarnings("ignore:Boto3 will no longer support Python")


def content(second: int = 0, **fields) -> bytes:
    """A record of a run that ended in that second of an hour."""
    origin = {"kind": "measured", "date": f"2026-11-25T10:{second // 60:02}:{second % 60:02}Z", "source": "pytest"}
    return files.as_json({**record(), "origin": origin, **fields})


DETECTED = packed({7: detected([[1, 2, 30, 40]], [0.9], [3])})
KEPT = {"detections": digest(DETECTED)}


@pytest.fixture
def working_copy(tmp_path, monkeypatch):
    """A function: name → the working copy of that machine is in use from now on."""
    def use(name):
        monkeypatch.setattr(store, "WORKING_COPY", tmp_path / name)
    use("machine")
    return use


@pytest.fixture(params=["folder", "s3", "file", "memory"])
def place(request, tmp_path, working_copy):
    if request.param == "s3":
        yield request.getfixturevalue("bucket").url
    elif request.param == "folder":
        yield str(tmp_path / "deep" / "history")
    elif request.param == "file":
        yield f"file://{tmp_path}/shared/history"
    else:
        from fsspec.implementations.memory import MemoryFileSystem

        yield "memory://shared/history"
        MemoryFileSystem.store.clear()


# ---- what was added is read


def test_runs_come_back_in_the_order_of_their_ends(place):
    for second in (3, 1, 2):
        History(place).add(content(second))
    found = History(place).runs()
    assert [run.date[-3:-1] for run in found.runs] == ["01", "02", "03"] and found.left_out == []
    assert [run.content for run in found.runs] == [content(second) for second in (1, 2, 3)]


def test_detections_come_back_on_this_machine_and_on_another(place, working_copy):
    History(place).add(content(**KEPT), DETECTED)
    for machine in ("machine", "another"):
        working_copy(machine)
        history = History(place)
        run, = history.runs().runs
        assert packed(history.detections(run)) == DETECTED


def test_a_place_where_nothing_was_ever_kept_has_no_runs(place):
    assert History(place).runs() == ([], [])


def test_the_newest_that_are_wanted_are_read_and_no_others(place, monkeypatch):
    history = History(place)
    for second in range(6):
        history.add(content(second, key={"cast": "fp32" if second % 2 else "bf16"}))
    wanted, asked = key.digest({"cast": "fp32"}), []
    reads = store.read
    monkeypatch.setattr(store, "read", lambda folder, name: asked.append(name) or reads(folder, name))
    found = history.runs(lambda entry: entry.key == wanted, 2).runs
    assert [run.date[-3:-1] for run in found] == ["03", "05"] and len(asked) == 2


def test_a_run_that_is_added_twice_is_one(place):
    added = [History(place).add(content()).name for _ in range(2)]
    assert len(set(added)) == len(History(place).runs().runs) == 1


def test_a_name_says_what_runs_are_chosen_by(tmp_path):
    history = History(tmp_path)
    for second, fields in enumerate([{}, {"commit": {**COMMIT, "clean": False}}, {"commit": {}}]):
        history.add(content(second, **fields))
    found = history.listing().entries
    assert [(one.commit, "-dirty" in one.name, one.is_baseline) for one in found] == [
        ("67709ce00000", False, True), ("67709ce00000", True, False), ("", False, False)]
    assert {one.key for one in found} == {key.digest(record()["key"])} and found[0].date == "20261125T100000Z"


def test_an_entry_is_a_report_folder(tmp_path):
    run = History(tmp_path).add(content(**KEPT), DETECTED)
    assert sorted(os.listdir(run.folder)) == [DETECTIONS, FILE]
    assert (run.folder / FILE).read_bytes() == content(**KEPT)


@pytest.mark.parametrize(("fields", "words"), [
    ({"kind": "x"}, "is not the record"), ({"origin": {"kind": "measured", "date": "now", "source": ""}}, "date now"),
])
def test_what_is_not_a_run_is_not_kept(tmp_path, fields, words):
    with pytest.raises(RunError, match=words):
        History(tmp_path / "history").add(content(**fields))
    assert not (tmp_path / "history").exists()


# ---- which are baselines

OBJECTIONS = {
    "uncommitted changes": {"commit": {**COMMIT, "clean": False}},
    "a clean that is a text": {"commit": {**COMMIT, "clean": "yes"}},
    "no commit": {"commit": {}},
    "a part of the gate": {"incomplete": ["3 rows were not judged"]},
    "a FAIL": {"rows": [row("accuracy", "AP", 0.5), row("integrity", "changed_responses", 1.0, verdict="FAIL")]},
    "an INVALID": {"rows": [row("accuracy", "AP", 0.5, verdict="INVALID", reason="noisy machine")]},
    "a FAIL of a second cast": {"rows": [row("parity", "AP_drop", 0.1, variant="all"),
                                         row("parity", "AP_drop", 0.3, variant="none", verdict="FAIL")]},
    "nothing that decides": {"rows": [row("latency", "P50_seconds", 0.1, decisive=False)]},
    "no rows": {"rows": []},
    "a publication": {"origin": {"kind": "published", "date": "2026-11-25T10:00:00Z", "source": "a page"}},
}


@pytest.mark.parametrize("case", OBJECTIONS)
def test_what_is_not_a_whole_clean_pass_is_kept_and_is_not_a_baseline(tmp_path, case):
    History(tmp_path).add(content(**OBJECTIONS[case]))
    run, = History(tmp_path).runs().runs
    entry, = History(tmp_path).listing().entries
    assert not run.is_baseline and run.objections and not entry.is_baseline


def test_a_miss_that_decides_nothing_leaves_a_baseline(tmp_path):
    found = [row("accuracy", "AP", 0.5), row("latency", "P90_seconds", 0.1, verdict="INVALID", decisive=False)]
    assert History(tmp_path).add(content(rows=found)).is_baseline


# ---- damage: named, kept, left out


def overwritten(text: bytes):
    return lambda entry: (entry / FILE).write_bytes(text)


def renamed(old, new):
    return lambda entry: entry.rename(entry.with_name(entry.name.replace(old, new)))


def as_pipe(entry):
    (entry / FILE).unlink()
    os.mkfifo(entry / FILE)


def as_folder(entry):
    (entry / FILE).unlink()
    (entry / FILE).mkdir()


def as_file(entry):
    (entry / FILE).unlink()
    entry.rmdir()
    entry.write_text("")


DAMAGES = {
    "truncated": (lambda entry: os.truncate(entry / FILE, 300), "is not strict JSON"),
    "empty": (overwritten(b""), "is not strict JSON"),
    "binary": (overwritten(bytes(range(256))), "is not strict JSON"),
    "zeros, as after a power cut": (overwritten(bytes(4096)), "is not strict JSON"),
    "foreign": (overwritten(b'{"benchmarks": []}'), "is not the record of a gate's run"),
    "another run's": (overwritten(content(59)), "does not have the SHA-256 of its name"),
    "one figure changed": (lambda entry: overwritten((entry / FILE).read_bytes().replace(b"0.5", b"0.6"))(entry),
                           "does not have the SHA-256 of its name"),
    "renamed to another key": (renamed(key.digest(record()["key"]), key.digest({})), "another key than its record"),
    "without its record": (lambda entry: (entry / FILE).unlink(), "has no run.json"),
    "a pipe": (as_pipe, "is not a file"),
    "a folder": (as_folder, "is not a file"),
    "a file for the entry": (as_file, "is not a folder"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_entry_is_named_kept_and_left_out(tmp_path, case):
    history = History(tmp_path)
    added = [history.add(content(second)) for second in range(3)]
    damage, words = DAMAGES[case]
    damage(added[1].folder)
    before = sorted(tmp_path.rglob("*"))
    found = history.runs()
    assert [run.content for run in found.runs] == [content(0), content(2)]
    line, = found.left_out
    assert words in line and line.endswith("; left out") and line.isprintable() and str(tmp_path) in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_a_newer_release_is_named_kept_and_left_out(tmp_path):
    run, newer = History(tmp_path).add(content()), content(1, version=3)
    name = run.name.replace("T100000Z", "T100001Z").rpartition("_")[0] + f"_{store._sha256(newer)}"
    files.write_folder(tmp_path / name, {FILE: newer})
    found = History(tmp_path).runs()
    assert len(found.runs) == 1 and "has version 3 of the run record" in found.left_out[0]


STRANGERS = ["notes.txt", "20261125T100000Z", ".DS_Store", "x" * 200, "\x1b[2J\n::error::", "0001_abc.json"]


@pytest.mark.parametrize("name", STRANGERS, ids=range(len(STRANGERS)))
def test_what_is_not_an_entry_is_named_and_left_out(tmp_path, name):
    History(tmp_path).add(content())
    (tmp_path / name).write_text("")
    found = History(tmp_path).runs()
    assert len(found.runs) == 1 and found.left_out[0].endswith(": is not an entry; left out")
    assert found.left_out[0].isprintable() and (tmp_path / name).exists()


def test_damaged_entries_do_not_take_the_place_of_older_ones(tmp_path):
    history = History(tmp_path)
    added = [history.add(content(second)) for second in range(5)]
    overwritten(b"")(added[4].folder)
    assert [run.name for run in history.runs(most=2).runs] == [added[2].name, added[3].name]


def test_detections_that_are_not_those_of_the_run_are_refused(place):
    history = History(place)
    history.add(content(**KEPT), b"other")
    run, = history.runs().runs
    with pytest.raises(DetectionsError, match="another run's"):
        history.detections(run)


@given(st.binary(max_size=200))
def test_whatever_a_record_holds_it_is_a_run_or_a_line(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("history")
    overwritten(text)(History(folder).add(content()).folder)
    found = History(folder).runs()
    assert not found.runs and len(found.left_out) == 1


# ---- at every step of publishing


STEPS = ((os, "mkdir"), (builtins, "open"), (os, "fsync"), (os, "rename"))


def was_killed(number: int, work) -> bool:
    """Does the work in a child of this process that is killed at that step; False if it has fewer."""
    child = os.fork()
    if not child:
        numbers = count()

        def counted(original):
            def step(*arguments, **named):
                if next(numbers) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **named)
            return step

        for module, name in STEPS:
            setattr(module, name, counted(getattr(module, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_run_that_is_killed_at_any_step_is_whole_or_left_out_and_nothing_else_is_lost(tmp_path):
    lengths, lines = [], []
    for number in count():
        history = History(tmp_path / str(number))
        history.add(content(0))
        if not was_killed(number, lambda history=history: history.add(content(1, **KEPT), DETECTED)):
            break
        found = history.runs()
        lengths.append(len(found.runs))
        lines += found.left_out
        assert found.runs[0].content == content(0) and len(found.runs) + len(found.left_out) >= 1
        for run in found.runs[1:]:
            assert run.content == content(1, **KEPT) and packed(history.detections(run)) == DETECTED
        history.add(content(2))
        assert history.runs().runs[-1].content == content(2)
    assert len(lengths) >= 7 and set(lengths) == {1, 2}  # killed before and after the rename
    assert {line.partition(": ")[2] for line in lines} == {
        "was left by a run that was killed while it was published; left out"}


def test_a_draft_of_a_run_that_is_being_published_is_not_a_fault(tmp_path):
    run = History(tmp_path).add(content())
    (tmp_path / f".{run.name}.{os.getpid()}.draft").mkdir()
    assert History(tmp_path).runs().left_out == []


PUBLISHES = """
import itertools, os, pathlib, signal, sys
import s3fs
from harness.history import store
from tests.harness.history.test_store import DETECTED, KEPT, content
url, copy, number = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
store.WORKING_COPY, numbers = copy, itertools.count()
def step():
    if next(numbers) == number:
        os.kill(os.getpid(), signal.SIGKILL)
pipe, settle = s3fs.S3FileSystem._pipe_file, store._settle
async def piped(*arguments, **named):
    step()
    return await pipe(*arguments, **named)
def settled(*arguments):
    step()
    settle(*arguments)
s3fs.S3FileSystem._pipe_file, store._settle = piped, settled
store.History(url).add(content(1, **KEPT), DETECTED)
"""


@pytest.mark.parametrize(("number", "published"), [(0, 0), (1, 0), (2, 1)])
def test_a_run_that_is_killed_while_it_is_uploaded_is_uploaded_by_the_next(bucket, tmp_path, working_copy, number,
                                                                           published):
    """Steps: the detections, the record, its move to the copies of what the URL has."""
    command = [sys.executable, "-c", PUBLISHES, bucket.url, tmp_path / "machine", number]
    ended = subprocess.run([*map(str, command)], cwd=ROOT, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    history = History(bucket.url)
    found = history.runs()
    assert len(found.runs) == published and any("waits to be uploaded" in line for line in found.left_out)
    working_copy("another")
    assert all("has no run.json: it is being published" in line for line in History(bucket.url).runs().left_out)
    working_copy("machine")
    History(bucket.url).add(content(2))
    working_copy("another")
    history = History(bucket.url)
    assert [run.content for run in history.runs().runs] == [content(1, **KEPT), content(2)]
    assert packed(history.detections(history.runs().runs[0])) == DETECTED and history.runs().left_out == []


# ---- two at once


def test_machines_that_publish_at_once_all_have(place, working_copy):
    histories = []
    for second in range(4):
        working_copy(f"machine {second}")
        histories.append(History(place))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda second: histories[second].add(content(second, **KEPT), DETECTED), range(4)))
    found = History(place).runs()
    assert [run.content for run in found.runs] == [content(second, **KEPT) for second in range(4)]
    assert found.left_out == []


def test_one_run_that_is_published_by_several_at_once_is_one(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: History(tmp_path).add(content(**KEPT), DETECTED), range(8)))
    assert [run.content for run in History(tmp_path).runs().runs] == [content(**KEPT)]
    assert len(os.listdir(tmp_path)) == 1


ADDS = """
import sys
from harness.history.store import History
from tests.harness.history.test_store import DETECTED, KEPT, content
for second in range(int(sys.argv[2]), 40, 2):
    History(sys.argv[1]).add(content(second, **KEPT), DETECTED)
"""


def test_two_processes_that_publish_at_once_lose_nothing_and_a_reader_sees_whole_runs(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", ADDS, str(tmp_path), str(first)], cwd=ROOT) for first in (0, 1)]
    while any(writer.poll() is None for writer in writers):
        found = History(tmp_path).runs()
        assert found.left_out == [] and all(History(tmp_path).detections(run) for run in found.runs)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [run.content for run in History(tmp_path).runs().runs] == [content(second, **KEPT) for second in range(40)]


# ---- places that cannot be used


def full(*arguments, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["mkdir", "fsync", "rename"])
def test_a_full_disk_is_named_and_leaves_nothing_half_written(tmp_path, monkeypatch, step):
    history = History(tmp_path)
    history.add(content())
    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(files.Unwritable, match=r"was not written \(No space left on device\); make room"):
            history.add(content(1))
    assert len(os.listdir(tmp_path)) == 1 and history.runs().left_out == []


def test_a_file_in_place_of_the_history_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(files.Unwritable, match="was not written"):
        History(tmp_path / "file").add(content())
    with pytest.raises(PlaceError, match=r"file: the history cannot be read \(Not a directory\)"):
        History(tmp_path / "file").runs()


@pytest.mark.parametrize("place", ["", "s3:/bucket", "s3://", "nope://bucket", "ftp://me:hush@host/folder"])
def test_what_is_neither_folder_nor_url_is_refused(place):
    with pytest.raises(PlaceError) as raised:
        History(place)
    assert "hush" not in str(raised.value)


def test_what_a_url_does_not_take_waits_for_the_next_run(bucket, working_copy):
    bucket.refuse_uploads()
    history = History(bucket.url)
    with pytest.raises(PlaceError, match=r"the history cannot be written \(Forbidden\).*; the run waits in "):
        history.add(content(1, **KEPT), DETECTED)
    line, = history.runs().left_out
    assert "waits to be uploaded to " in line
    bucket.client.delete_bucket_policy(Bucket=bucket.name)
    history.add(content(2))
    working_copy("another")
    found = History(bucket.url).runs()
    assert [run.content for run in found.runs] == [content(1, **KEPT), content(2)] and found.left_out == []


def test_no_server_is_named(connect, working_copy):
    server = s3_server()
    url = connect(server).url
    server.stop()
    with pytest.raises(PlaceError, match=r"the history cannot be read \(Could not connect to the endpoint URL"):
        History(url).runs()
    with pytest.raises(PlaceError, match=r"the history cannot be written \(Could not connect.*; the run waits in "):
        History(url).add(content())


def test_a_bucket_that_does_not_exist_is_not_an_empty_history(bucket, working_copy):
    with pytest.raises(PlaceError, match="The specified bucket does not exist"):
        History("s3://no-such-bucket/prefix").runs()


# ---- at a URL


def test_a_run_at_a_url_is_fetched_once_and_its_detections_when_asked_for(bucket, working_copy, monkeypatch):
    History(bucket.url).add(content(**KEPT), DETECTED)
    working_copy("another")
    first = History(bucket.url).runs().runs
    assert os.listdir(first[0].folder) == [FILE]
    bucket.write(bucket.key(FILE), b"changed there")
    assert History(bucket.url).runs().runs == first


def test_a_damaged_copy_is_fetched_again(bucket, working_copy):
    History(bucket.url).add(content())
    run, = History(bucket.url).runs().runs
    (run.folder / FILE).write_text("damaged")
    assert [one.content for one in History(bucket.url).runs().runs] == [content()]


REMOTE = {
    "truncated": b"{", "empty": b"", "another run's": content(59), "huge": b" " * 2000,
}


@pytest.mark.parametrize("case", REMOTE)
def test_a_damaged_entry_at_a_url_is_named_kept_and_left_out(bucket, working_copy, monkeypatch, case):
    monkeypatch.setattr(store, "LARGEST", 10_000)
    history = History(bucket.url)
    for second in (0, 1):
        history.add(content(second))
    damaged = sorted(path for path in bucket.paths() if path.endswith(FILE))[0]
    bucket.write(damaged, REMOTE[case])
    bucket.write("pre/fix/notes.txt", b"")
    working_copy("another")
    found = History(bucket.url).runs()
    assert [run.content for run in found.runs] == [content(1)] and bucket.read(damaged) == REMOTE[case]
    assert found.left_out[0] == "notes.txt: is not an entry; left out"
    assert found.left_out[1].startswith(f"{bucket.url}/2026") and found.left_out[1].endswith("; left out")


# ---- many


def test_many_are_listed_and_chosen_by_name_alone(tmp_path, monkeypatch):
    """How long 10,000 take is what benchmarks/history.py shows."""
    run = History(tmp_path).add(content())
    for second in range(1, 1500):
        (tmp_path / run.name.replace("T100000Z", f"T11{second // 60:02}{second % 60:02}Z")).mkdir()
    monkeypatch.setattr(store, "read", None)
    assert len(History(tmp_path).listing().entries) == 1500
    assert History(tmp_path).runs(lambda entry: entry.key == key.digest({})) == ([], [])
