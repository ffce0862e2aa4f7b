"""The commit that a folder's code is at, as git says."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

SECONDS = 30.0  # for one question; a large checkout on a slow disk takes seconds


def head(folder: str | Path) -> dict[str, Any]:
    """Hash, clean (nothing uncommitted), branch ('' for none), title and author_date; {} where git does not say.

    Uncommitted are changes of tracked files, and Python files that git neither tracks nor ignores: those run too.
    """
    try:
        name, date, title = _git(folder, "log", "-1", "--no-show-signature", "--format=%H%x00%aI%x00%s").split("\0")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        added = _git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py")
        branch = _git(folder, "branch", "--show-current")
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return {"hash": name, "clean": not (changed or added), "branch": branch, "title": title, "author_date": date}


def of(folder: str | Path, revision: str) -> str:
    """The hash of the commit that a revision is of; '' where git knows none."""
    try:
        return _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def _git(folder: str | Path, *arguments: str) -> str:
    """What git prints. Raises OSError or SubprocessError where it cannot."""
    # Variables such as GIT_DIR, which git's own hooks set, would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"  # it looks, and must not be in the way of who commits
    ended = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True, timeout=SECONDS,
                           env=environment)
    return ended.stdout.decode(errors="replace").strip("\n")
