"""`python -m harness.history`: a line for each run, and one for each entry that was left out."""
from __future__ import annotations

import pytest

from harness.history.__main__ import main
from harness.history.store import History
from tests.harness.compare.runs import COMMIT
from tests.harness.history.test_store import content, overwritten


@pytest.fixture
def listed(tmp_path, capsys):
    """A function: arguments → (exit code, lines of the output, lines of the error)."""

    def run(*arguments):
        code = main([str(tmp_path), *arguments])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_each_run_is_a_line(tmp_path, listed):
    history = History(tmp_path)
    history.add(content(0))
    history.add(content(1, commit={**COMMIT, "clean": False}, incomplete=["3 rows were not judged"]))
    code, lines, _ = listed()
    assert code == 0 and lines[-1] == "2 runs" and len(lines) == 4
    assert lines[1].split()[:2] == ["2026-11-25T10:00:00Z", "67709ce00000"] and lines[1].endswith(" yes")
    assert lines[2].endswith("no: uncommitted changes; 3 rows were not judged")


def test_what_is_damaged_is_named_and_exit_code_1(tmp_path, listed):
    overwritten(b"")(History(tmp_path).add(content()).folder)
    code, lines, _ = listed()
    assert code == 1 and lines[-1] == "0 runs, 1 left out" and lines[-2].startswith("left out: ")


def test_the_newest_are_listed(tmp_path, listed):
    for second in range(4):
        History(tmp_path).add(content(second))
    assert [line[17:19] for line in listed("--last", "2")[1][1:-1]] == ["02", "03"]
    assert listed("--last", "0")[1][-1] == "4 runs"


def test_a_place_that_cannot_be_read_is_an_error(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 2
    assert "file: the history cannot be read (Not a directory)" in capsys.readouterr().err


def test_a_place_that_is_not_one_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["ftp://me:hush@host/a"])
    assert raised.value.code == 2 and "holds a password" in (error := capsys.readouterr().err) and "hush" not in error


@pytest.mark.parametrize("count", ["-1", "x", ""])
def test_a_number_that_is_not_one_is_wrong_usage(listed, count):
    with pytest.raises(SystemExit) as raised:
        listed(f"--last={count}")
    assert raised.value.code == 2
