"""Commits become folders and leave nothing behind; whatever is not a commit gets a sentence."""
from __future__ import annotations

import os
import subprocess

import pytest

from harness.turns.arms import read_arms
from harness.turns.checkout import CheckoutError, Repository
from harness.turns.report import is_equal, remarks


def test_a_commit_is_checked_out_and_removed(project, tmp_path):
    first = project.commit("first", shift=1)
    project.commit("second", shift=2)
    folder = tmp_path / "checkouts"
    folder.mkdir()
    with project.repository.checkout("A", project.repository.commit(first), folder) as place:
        assert "SHIFT = 0.001, 1" in (place / "conftest.py").read_text()
        assert project.checkouts == [str(place)]
    assert project.checkouts == [] and list(folder.iterdir()) == []


def test_a_checkout_is_removed_after_an_error(project, tmp_path):
    project.commit("first")
    commit = project.repository.commit("HEAD")
    with pytest.raises(KeyboardInterrupt), project.repository.checkout("A", commit, tmp_path):
        raise KeyboardInterrupt
    assert project.checkouts == []


def test_what_a_killed_run_left_is_removed(project, tmp_path):
    project.commit("first")
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = tmp_path / "checkouts"
    folder.mkdir()
    left, running, foreign = (folder / f"A-{'0' * 12}-{pid}" for pid in (ended.pid, os.getppid(), "mine"))
    for place in (left, running):
        project.git("worktree", "add", "--detach", str(place), "HEAD")
    foreign.mkdir()
    project.repository.clear(folder)
    assert project.checkouts == [str(running)]
    assert sorted(folder.iterdir()) == sorted([running, foreign])


def test_the_working_tree_is_a_commit_of_its_own(project, tmp_path):
    head = project.commit("first", shift=1)
    project.write(shift=3)
    (project.root / "new.py").write_text("new")
    before = project.git("status", "--porcelain")
    found = project.repository.commit(".")
    assert found.of_working_tree == head and found.hash != head and project.repository.is_dirty()
    with project.repository.checkout("B", found, tmp_path) as place:
        assert "SHIFT = 0.001, 3" in (place / "conftest.py").read_text() and (place / "new.py").read_text() == "new"
    assert project.git("status", "--porcelain") == before and project.git("branch") == "* main"


def test_a_clean_working_tree_is_its_commit(project):
    head = project.commit("first")
    found = project.repository.commit(".")
    assert found.hash == head and not found.of_working_tree


def test_hooks_and_variables_of_git_do_not_reach_a_checkout(project, tmp_path, monkeypatch):
    project.commit("first")
    hook = project.root / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    with project.repository.checkout("A", project.repository.commit("HEAD"), tmp_path) as place:
        assert (place / "conftest.py").is_file()


@pytest.mark.parametrize("revision", ["no-such", "--help", "HEAD~9", "", "HEAD:conftest.py"])
def test_what_is_no_commit_is_named(project, revision):
    project.commit("first")
    with pytest.raises(CheckoutError, match="there is no such commit here; name a commit, branch or tag"):
        project.repository.commit(revision)


def test_a_shallow_clone_is_named(project, tmp_path):
    first = project.commit("first")
    project.commit("second")
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{project.root}", tmp_path / "clone"], check=True)
    with pytest.raises(CheckoutError, match="the clone is shallow: fetch the rest by git fetch --unshallow"):
        Repository(tmp_path / "clone").commit(first)


def test_a_repository_without_a_commit_is_named(project):
    with pytest.raises(CheckoutError, match="has no commit yet"):
        project.repository.commit(".")


def test_a_folder_that_is_not_a_repository_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(CheckoutError, match="is not a git repository"):
        Repository(tmp_path)


def test_a_folder_inside_of_another_repository_is_named(project):
    inside = project.root / "inside"
    inside.mkdir()
    with pytest.raises(CheckoutError, match="is not the top of its git repository"):
        Repository(inside)


def test_a_machine_without_git_is_named(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CheckoutError, match="git: is not installed"):
        Repository(project.root)


def said(project, a: str, b: str) -> list[str]:
    arms = read_arms([f"A={a}", f"B={b}"], "", project.root)
    commits = {arm.name: project.repository.commit(arm.revision) for arm in arms}
    return list(remarks(arms, commits, project.repository.is_dirty()))


def test_a_change_outside_of_the_detector_is_equal(project):
    first = project.commit("first")
    (project.root / "README.md").write_text("words")
    second = project.commit("words")
    lines = said(project, first, second)
    assert lines[0] == f"A  {first[:7]} first" and lines[1] == f"B  {second[:7]} words"
    assert lines[2].startswith("equal detectors:")


@pytest.mark.parametrize("b", ["HEAD --cast bf16", "X=1 HEAD"])
def test_one_commit_with_other_options_is_not_equal(project, b):
    project.commit("first")
    arms = read_arms(["A=HEAD", f"B={b}"], "", project.root)
    assert not is_equal(arms, dict.fromkeys("AB", project.repository.commit("HEAD")))


def test_uncommitted_changes_that_no_arm_has_are_mentioned(project):
    project.commit("first", shift=1)
    project.write(shift=2)
    assert said(project, "HEAD", "HEAD")[-1].endswith("give B=.")
    assert not any("uncommitted changes, which" in line for line in said(project, "HEAD", "."))
