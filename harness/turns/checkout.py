"""Commits as folders: what a revision means, a checkout of it in a git worktree, and nothing left of it afterwards."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from harness.text import shown
from harness.turns.arms import SNAPSHOT

OWNED = re.compile(r"[AB]-[0-9a-f]{12}-(\d+)")  # a checkout and the process that made it
# What decides how a detector behaves and is measured: folders and files at the top of a commit.
SOURCES = re.compile(r"model|harness|fixtures|conftest\.py|pytest\.ini|requirements.*\.txt")
HASH = 7  # characters of a hash that a person reads
NOBODY = {f"GIT_{who}_{what}": f"{who.lower()}@localhost" for who in ("AUTHOR", "COMMITTER")
          for what in ("NAME", "EMAIL")}


class CheckoutError(ValueError):
    """A revision cannot be had; the message names it, what is wrong and what to do."""


class Commit(NamedTuple):
    """A commit by its full hash and title. `sources` maps what decides about a detector to its git object.

    `of_working_tree` names the commit that uncommitted changes were made on, '' for a commit as it is.
    """

    hash: str
    title: str
    sources: dict[str, str]
    of_working_tree: str = ""

    def __str__(self) -> str:
        if self.of_working_tree:
            return f"the working tree on {self.of_working_tree[:HASH]}, {shown(self.title, 72)}"
        return f"{self.hash[:HASH]} {shown(self.title, 72)}"


class Repository:
    """The git repository of a project's folder. Raises CheckoutError where there is none, or no git."""

    def __init__(self, root: Path):
        self.root = root
        if not shutil.which("git"):
            raise CheckoutError("git: is not installed, and commits cannot be compared without it; install it")
        try:
            top = self.git("rev-parse", "--show-toplevel")
        except CheckoutError as error:
            raise CheckoutError(f"{root}: is not a git repository ({error}); compare commits in a clone") from error
        if Path(top).resolve() != root.resolve():
            raise CheckoutError(f"{root}: is not the top of its git repository, {top}; compare commits in a clone")

    def git(self, *arguments: str, **variables: str) -> str:
        """What git prints. Raises CheckoutError with its last line. No hook runs, and no variable of a hook counts."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        ended = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", *arguments], cwd=self.root, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", check=False,
            env={**own, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", **variables},
        )
        if ended.returncode:
            lines = ended.stderr.strip().splitlines() or [f"git {arguments[0]} ended with {ended.returncode}"]
            raise CheckoutError(shown(lines[-1], 300))
        return ended.stdout.strip()

    def commit(self, revision: str) -> Commit:
        """The commit of a revision, or a new one of the working tree that no branch knows. Raises CheckoutError."""
        if revision == SNAPSHOT:
            return self._snapshot()
        try:
            found = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except CheckoutError:
            raise CheckoutError(f"{shown(revision)}: there is no such commit here{self._how_to_find()}") from None
        return self._described(found)

    def _how_to_find(self) -> str:
        if self.git("rev-parse", "--is-shallow-repository") == "true":
            return "; the clone is shallow: fetch the rest by git fetch --unshallow"
        return "; name a commit, branch or tag, or fetch it"

    def _described(self, found: str) -> Commit:
        entries = (line.split(None, 3) for line in self.git("ls-tree", found).splitlines())
        sources = {name: digest for _, _, digest, name in entries if SOURCES.fullmatch(name)}
        return Commit(found, self.git("show", "--no-patch", "--format=%s", found), sources)

    def is_dirty(self) -> bool:
        """Whether the working tree has changes that are in no commit."""
        return bool(self.git("status", "--porcelain"))

    def _snapshot(self) -> Commit:
        """What is in the working tree and not ignored; the user's index and branches stay as they are."""
        try:
            head = self._described(self.git("rev-parse", "--verify", "HEAD"))
        except CheckoutError as error:
            raise CheckoutError(f"{SNAPSHOT}: has no commit yet to compare with ({error}); commit first") from None
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self.git("read-tree", "HEAD", **index)
            self.git("add", "--all", "--", ".", **index)
            tree = self.git("write-tree", **index)
        if tree == self.git("rev-parse", "HEAD^{tree}"):
            return head
        made = self.git("commit-tree", tree, "-p", "HEAD", "-m", "uncommitted changes", **NOBODY)
        return self._described(made)._replace(of_working_tree=head.hash)

    @contextmanager
    def checkout(self, name: str, commit: Commit, folder: Path) -> Iterator[Path]:
        """A checkout of the commit in a new folder below `folder`, removed at the end. Raises CheckoutError."""
        place = folder / f"{name}-{commit.hash[:12]}-{os.getpid()}"
        try:
            self.git("worktree", "add", "--detach", "--force", str(place), commit.hash)
            yield place
        finally:
            self._remove(place)

    def clear(self, folder: Path) -> None:
        """Removes what killed runs have left in a folder of checkouts; call it before the first checkout."""
        for place in folder.iterdir():
            owner = OWNED.fullmatch(place.name)
            if owner and (int(owner[1]) == os.getpid() or not psutil.pid_exists(int(owner[1]))):
                self._remove(place)

    def _remove(self, place: Path) -> None:
        with suppress(CheckoutError):
            self.git("worktree", "remove", "--force", "--force", str(place))
        shutil.rmtree(place, ignore_errors=True)
        with suppress(CheckoutError):
            self.git("worktree", "prune")
