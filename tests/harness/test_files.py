"""A file is written whole or not at all, links are replaced and never written through, and leftovers are cleared."""
from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from harness.files import (
    Unwritable,
    clear_drafts,
    is_being_written,
    is_draft,
    own_folder,
    write,
    write_folder,
    write_json,
)


def test_what_was_written_is_read_back(tmp_path):
    records = [{"value": 0.5, "words": "ü"}]
    write_json(tmp_path / "results.json", records)
    assert json.loads((tmp_path / "results.json").read_text()) == records
    assert os.listdir(tmp_path) == ["results.json"]


def test_others_may_read_it_as_any_new_file(tmp_path):
    (tmp_path / "usual").write_text("")
    write(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


IN_THE_WAY = {
    "no folder": lambda path: path.parent.rmdir(),
    "a folder": lambda path: path.mkdir(),
    "a full folder": lambda path: (path / "inside").mkdir(parents=True),
    "a file for the folder": lambda path: (path.parent.rmdir(), path.parent.write_text("")),
}


@pytest.mark.parametrize("plant", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_is_in_the_way_is_named_with_what_to_do(tmp_path, plant):
    path = tmp_path / "report" / "results.json"
    path.parent.mkdir()
    plant(path)
    with pytest.raises(Unwritable, match=r"report/results\.json: was not written \(.*\); make room, remove"):
        write_json(path, [])
    assert not path.is_file()


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"bytes"])
def test_what_strict_json_cannot_say_is_refused_and_the_old_file_stays(tmp_path, value):
    write_json(tmp_path / "results.json", ["old"])
    with pytest.raises(Unwritable, match=r"results\.json: was not written .*not be JSON"):
        write_json(tmp_path / "results.json", [value])
    assert json.loads((tmp_path / "results.json").read_text()) == ["old"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch, step):
    path = tmp_path / "results.json"
    write_json(path, [{"old": 1}])

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(Unwritable, match="No space left"):
        write_json(path, [{"new": 2}])
    assert (os.listdir(tmp_path), json.loads(path.read_text())) == (["results.json"], [{"old": 1}])


@pytest.mark.parametrize("name", ["results.json", ".results.json.{pid}.draft"], ids=["the file", "its draft"])
def test_a_link_is_replaced_and_its_target_untouched(tmp_path, name):
    target, path = tmp_path / "target", tmp_path / "report" / "results.json"
    target.write_text("precious")
    path.parent.mkdir()
    (path.parent / name.format(pid=os.getpid())).symlink_to(target)
    write_json(path, [1])
    assert target.read_text() == "precious" and not path.is_symlink() and json.loads(path.read_text()) == [1]


def test_a_pipe_is_replaced_without_waiting_for_its_reader(tmp_path):
    os.mkfifo(tmp_path / "results.json")
    write_json(tmp_path / "results.json", [1])
    assert json.loads((tmp_path / "results.json").read_text()) == [1]


def test_a_folder_of_files_is_there_whole_and_stays_as_it_is(tmp_path):
    for content in (b"first", b"second"):
        write_folder(tmp_path / "deep" / "entry", {"a": content, "b": b""})
    found = {path.name: path.read_bytes() for path in (tmp_path / "deep" / "entry").iterdir()}
    assert found == {"a": b"first", "b": b""}
    assert os.listdir(tmp_path / "deep") == ["entry"]


@pytest.mark.parametrize("plant", [
    lambda path: path.write_text(""), lambda path: path.symlink_to(path.parent / "nowhere"),
], ids=["a file", "a link"])
def test_what_is_in_the_way_of_a_folder_is_named_and_no_draft_stays(tmp_path, plant):
    plant(tmp_path / "entry")
    with pytest.raises(Unwritable, match=r"entry: was not written \("):
        write_folder(tmp_path / "entry", {"a": b""})
    assert os.listdir(tmp_path) == ["entry"]


def test_a_draft_is_known_by_its_name_and_so_is_one_that_is_being_written():
    assert is_draft(".a.1.draft") and not is_draft("a.1.draft") and not is_draft(".a.draft")
    assert is_being_written(f".a.{os.getpid()}.draft") and not is_being_written(".a.999999999.draft")


def test_a_folder_may_be_there_and_a_file_or_a_link_may_not(tmp_path):
    assert own_folder(tmp_path / "a" / "b") == own_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "broken"):
        with pytest.raises(Unwritable, match=f"{name}: cannot be a folder .*; remove what is in its way"):
            own_folder(tmp_path / name)


def test_drafts_of_killed_runs_are_removed_and_those_of_running_ones_are_not(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait(60)
    running = tmp_path / f".a.json.{os.getppid()}.draft"
    for path in (running, tmp_path / f".a.json.{killed.pid}.draft", tmp_path / ".hidden", tmp_path / "a.json"):
        path.write_text("")
    stuck = tmp_path / f".b.json.{killed.pid}.draft"
    stuck.mkdir()
    line, = clear_drafts(tmp_path)
    assert line.startswith(f"{stuck}: a killed run left it and it cannot be removed (")
    assert {path.name for path in tmp_path.iterdir()} == {running.name, ".hidden", "a.json", stuck.name}
