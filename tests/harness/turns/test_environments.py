"""A commit runs with the Python that has its requirements: the running one, or one that is made once."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.turns import environments
from harness.turns.environments import EnvironmentFailed, digest, python_of


def commit(folder: Path, base: str = "numpy\n") -> Path:
    folder.mkdir()
    (folder / "requirements.txt").write_text("-r requirements-base.txt\ntensorflow\n")
    (folder / "requirements-base.txt").write_text(base)
    return folder


@pytest.fixture
def made(monkeypatch) -> list:
    """The commands that would make environments."""
    commands = []

    def run(command, requirements):
        commands.append(command)
        Path(command[3] if "venv" in command else Path(command[0]).parents[1]).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments, "_run", run)
    return commands


def test_equal_requirements_run_in_this_python(tmp_path, made):
    ours, theirs = commit(tmp_path / "ours"), commit(tmp_path / "theirs")
    assert python_of(theirs, "requirements.txt", ours, tmp_path / "environments") == sys.executable and not made


def test_other_requirements_get_an_environment_once(tmp_path, made):
    ours, theirs = commit(tmp_path / "ours"), commit(tmp_path / "theirs", base="numpy<2\n")
    pythons = {python_of(theirs, "requirements.txt", ours, tmp_path / "environments") for _ in range(2)}
    python, = pythons
    assert Path(python).parents[2] == tmp_path / "environments" and len(made) == 2
    assert made[1][:4] == [python, "-m", "pip", "install"]


def test_an_environment_that_was_not_finished_is_made_again(tmp_path, made):
    ours, theirs = commit(tmp_path / "ours"), commit(tmp_path / "theirs", base="numpy<2\n")
    place = tmp_path / "environments" / digest(theirs, "requirements.txt")[:16]
    (place / "bin").mkdir(parents=True)
    python_of(theirs, "requirements.txt", ours, tmp_path / "environments")
    assert len(made) == 2 and not (place / "bin").exists()


def test_a_commit_without_the_file_is_named(tmp_path):
    with pytest.raises(EnvironmentFailed, match=r"requirements-gpu\.txt: the commit has no such file"):
        python_of(commit(tmp_path / "theirs"), "requirements-gpu.txt", tmp_path, tmp_path)


def test_requirements_that_include_themselves_end(tmp_path):
    theirs = commit(tmp_path / "theirs", base="-r requirements.txt\n")
    assert digest(theirs, "requirements.txt") != digest(commit(tmp_path / "ours"), "requirements.txt")


def test_why_an_environment_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "requirements.txt").write_text("")
    with pytest.raises(EnvironmentFailed) as failed:
        environments._run([sys.executable, "-c", "print('first'); raise SystemExit('no room')"],
                          tmp_path / "requirements.txt")
    assert "requirements.txt: its environment could not be made (no room)" in str(failed.value)
