"""What git says of a folder: the commit, and whether anything that runs is not in it."""
from __future__ import annotations

import os
import subprocess

import pytest

from harness.history.commit import head

DATE = "2026-11-25T09:00:00+01:00"


def git(folder, *arguments) -> str:
    """What git prints in this folder, for an author of its own."""
    settings = [part for one in ("user.name=A", "user.email=a@b", "commit.gpgsign=false") for part in ("-c", one)]
    environment = {**os.environ, "GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
    return subprocess.run(["git", *settings, "-C", folder, *arguments], capture_output=True, text=True, check=True,
                          env=environment).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "checkout", "-q", "-b", "feature")
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "A title — with a dash\n\nand a body")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout):
    assert head(checkout) == {"hash": git(checkout, "rev-parse", "HEAD"), "clean": True, "branch": "feature",
                              "title": "A title — with a dash", "author_date": DATE}


UNCLEAN = {
    "a changed file": lambda folder: (folder / "code.py").write_text("x = 2\n"),
    "a removed file": lambda folder: (folder / "code.py").unlink(),
    "a new file that is staged": lambda folder: ((folder / "data").write_text(""), git(folder, "add", "data")),
    "a new Python file": lambda folder: (folder / "new.py").write_text(""),
}


@pytest.mark.parametrize("case", UNCLEAN)
def test_what_is_not_committed_is_seen(checkout, case):
    UNCLEAN[case](checkout)
    assert head(checkout)["clean"] is False


def test_reports_and_ignored_code_do_not_make_it_unclean(checkout):
    (checkout / "report").mkdir()
    (checkout / "report" / "run.json").write_text("")
    (checkout / "ignored").mkdir()
    (checkout / "ignored" / "code.py").write_text("")
    assert head(checkout)["clean"] is True


def test_a_commit_without_a_branch(checkout):
    git(checkout, "checkout", "-q", "--detach")
    assert head(checkout)["branch"] == ""


def test_a_hook_s_variables_lead_nowhere_else(checkout, tmp_path_factory, monkeypatch):
    expected = head(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    assert head(checkout) == expected


def test_outside_of_a_checkout_without_commits_and_without_git_there_is_none(tmp_path, checkout, monkeypatch):
    outside = checkout.parent / "outside"
    outside.mkdir()
    assert head(outside) == {}
    git(outside, "init", "-q")
    assert head(outside) == {} == head(outside / "nowhere")
    monkeypatch.setenv("PATH", "")
    assert head(checkout) == {}
