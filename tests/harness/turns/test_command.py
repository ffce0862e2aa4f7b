"""The whole command on commits of a small repository, whose arms run in processes and need no TensorFlow."""
from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from harness.turns import __main__ as command
from tests import waiting
from tests.harness.turns import projects

FEW = ("--rounds", "4", "--pairs", "4", "--callers", "1")


@pytest.fixture
def compare(project, monkeypatch, tmp_path):
    """A function: arguments → exit code; the commits are those of the small repository."""
    monkeypatch.setattr(command, "ROOT", project.root)
    monkeypatch.setattr(command, "CACHE", project.root / ".cache")
    monkeypatch.chdir(project.root)

    def run(*arguments: str) -> int:
        try:
            return command.main([*arguments, "--json", str(tmp_path / "found.json")])
        finally:
            assert project.checkouts == []

    return run


@pytest.fixture
def found(tmp_path):
    """A function: what the command wrote."""
    return lambda: projects.record(tmp_path / "found.json")


def test_a_slower_commit_is_found_and_named(compare, project, found, capsys):
    a, b = project.commit("as it was", seconds=0.002), project.commit("sleeps more", seconds=0.006)
    assert compare(f"A={a}", f"B={b}", *FEW) == 1
    printed, record = capsys.readouterr().out, found()
    rows = {row["metric"]: row for row in record["rows"]}
    assert rows["AP"]["outcome"] == rows["matched_share"]["outcome"] == "SAME"
    assert rows["images_per_second"]["outcome"] == "DIFFERENT" and rows["images_per_second"]["change"] < -0.4
    assert rows["P50_seconds"]["is_worse"] and rows["P50_seconds"]["rounds"] == 4
    assert (record["b"]["hash"], record["b"]["title"]) == (b, "sleeps more") and record["machine"]["cores"]
    assert record["control"]["rounds"] == 4 and len(record["rounds"]) == 4
    assert f"B ({b[:7]} sleeps more)" in printed and "exit code 1: B is worse" in printed


def test_boxes_in_the_wrong_place_are_a_matter_of_accuracy(compare, project, found, capsys):
    a, b = project.commit("as it was"), project.commit("forgets half a pixel", shift=12.0)
    assert compare(f"A={a}", f"B={b}", "--only", "accuracy") == 1
    assert {row["metric"]: row["outcome"] for row in found()["rows"]} == {"AP": "DIFFERENT",
                                                                       "matched_share": "DIFFERENT"}
    assert "forgets half a pixel" in capsys.readouterr().out


@pytest.mark.slow
def test_one_commit_with_two_options(compare, project, found, capsys):
    project.commit("only one")
    assert compare("A=HEAD --seconds 0.006", "B=HEAD --seconds 0.002", "--only", "speed", *FEW) == 0
    row = found()["rows"][0]
    assert row["outcome"] == "DIFFERENT" and row["change"] > 0.5
    assert "equal detectors" not in capsys.readouterr().out


def test_uncommitted_changes_against_their_commit(compare, project, found, capsys):
    head = project.commit("committed", shift=1.0)
    project.write(shift=12.0)
    assert compare("A=HEAD", "B=.", "--only", "accuracy") == 1
    assert found()["b"]["of_working_tree"] == head
    assert f"B  the working tree on {head[:7]}, uncommitted changes" in capsys.readouterr().out


def test_equal_arms_are_measured_and_said_to_be_equal(compare, project, found, capsys):
    project.commit("only one")
    assert compare("A=HEAD", "B=main", "--only", "accuracy") == 0
    assert "equal detectors: " in capsys.readouterr().out


def test_time_that_is_too_short_leaves_speed_unknown(compare, project, found, capsys):
    project.commit("only one")
    assert compare("A=HEAD", "B=HEAD", "--time", "0.1s", *FEW) == 3
    assert {row["outcome"] for row in found()["rows"] if row["check"] == "throughput"} == {"UNKNOWN"}
    assert "exit code 3: nothing is known to be worse" in capsys.readouterr().out


@pytest.mark.parametrize(("conftest", "words"), [
    ("", "fixture 'detector' not found"),
    ("raise RuntimeError('cannot even start')", "cannot even start"),
    ("def broken(:", "SyntaxError"),
])
def test_a_commit_that_cannot_be_measured_is_named(compare, project, capsys, conftest, words):
    good = project.commit("good")
    (project.root / "conftest.py").write_text(
        f"{conftest}\ndef pytest_addoption(parser):\n    parser.addoption('--cache-dir')\n")
    project.git("commit", "-qam", "broken")
    assert compare(f"A={good}", "B=HEAD", *FEW) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: B (") and "broken)" in error and words in error and error.count("\n") == 1


def test_an_option_that_only_one_commit_lacks_is_named(compare, project, capsys):
    project.commit("only one")
    assert compare("A=HEAD", "B=HEAD --no-such-option", *FEW) == 2
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err


def test_another_dataset_is_not_compared(compare, project, capsys, tmp_path):
    a = project.commit("as it was")
    other = tmp_path / "other"
    other.mkdir()
    projects.synthetic.write(other, projects.synthetic.content(30))
    project._data = other
    project.commit("another dataset")
    assert compare(f"A={a}", "B=HEAD", *FEW) == 2
    assert "which differ: give both the same one" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "words"), [
    (["A=HEAD"], "give each once, as A=REV B=REV"),
    (["A=HEAD", "B=nowhere"], "B=nowhere: there is no such commit here"),
    (["A=HEAD", "B=HEAD", "--requirements", "none.txt"], "none.txt: the commit has no such file"),
])
def test_what_cannot_be_compared_is_one_sentence(compare, project, capsys, arguments, words):
    project.commit("only one")
    assert compare(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize("option", [("--within", "0"), ("--within", "x"), ("--rounds", "3"), ("--time", "5"),
                                    ("--time", "0s"), ("--callers", "0"), ("--only", "nothing")])
def test_a_value_that_cannot_be_used_is_refused(compare, option):
    with pytest.raises(SystemExit) as ended:
        compare("A=HEAD", "B=HEAD", *option)
    assert ended.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_leaves_what_was_measured_and_no_checkout(project, tmp_path, number):
    project.commit("only one")
    path = tmp_path / "found.json"
    program = ("import sys, pathlib, harness.turns.__main__ as command; command.ROOT = pathlib.Path(sys.argv[1]); "
               "command.CACHE = command.ROOT / '.cache'; sys.exit(command.main(sys.argv[2:]))")
    with open(tmp_path / "printed", "w+") as printed:
        running = subprocess.Popen(
            [sys.executable, "-c", program, str(project.root), "A=HEAD", "B=HEAD", "--json", str(path),
             "--rounds", "99", "--pairs", "2"],
            stdout=printed, stderr=printed, env={**os.environ, "PYTHONPATH": str(projects.ROOT)}, cwd=project.root)
        waiting.until(lambda: "round 1" in (tmp_path / "printed").read_text() or running.poll() is not None)
        running.send_signal(number)
        assert running.wait(waiting.PATIENCE) == 2
    assert len(projects.record(path)["rounds"]) >= 1 and project.checkouts == []
    text = (tmp_path / "printed").read_text()
    assert "interrupted" in text and "UNKNOWN" in text and "Traceback" not in text
