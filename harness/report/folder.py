"""Reads the files of a report folder: what each holds, or in words why it is left out."""
from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.files import Unreadable, from_json, read_file
from harness.text import shown

OUTCOME, RUN, RESULTS, CURVES = "outcome.json", "run.json", "results.json", "precision_recall.json"
AGAINST, HISTORY, JOURNAL, SWEEP = "against.json", "history.json", "soak.journal", "sweep.json"
GALLERY = "gallery"  # the folder of the images that cost most
IMAGE = re.compile(r"\d{1,20}\.jpg")
LARGEST_IMAGE = 64 * 2**10  # bytes
LARGEST = 64 * 2**20  # bytes of a file that is read whole
# What a run always writes anew, or removes at its start. Any other file may be that of an earlier run.
ALWAYS_OWN = (OUTCOME, RUN, RESULTS, AGAINST, HISTORY)


class LeftOut(ValueError):
    """A part of the report is left out; the message says why."""


class Damaged(LeftOut):
    """A file is there and cannot be shown."""


def damaged(name: str, error: Exception) -> Damaged:
    """What says so of a file whose content raised an error."""
    why = f"{type(error).__name__}: {shown(error, 200)}"
    return Damaged(f"{name} is damaged ({why}): run the gate again with --report.")


class Folder:
    """The folder of one run."""

    def __init__(self, path: Path):
        self.path = path
        self._own: list[str] | None = None  # the files that this run wrote, where that is known
        with suppress(Exception):  # whatever is in the outcome, the other files are still shown
            self._own = [str(name) for name in self.json(OUTCOME)["files"]]

    def file(self, name: str) -> Path:
        """The path of a file that this run has written. Raises LeftOut."""
        path = self.path / name
        if not path.exists():
            raise LeftOut(f"{name} is not in this folder.")
        if self._own is not None and name not in (*ALWAYS_OWN, *self._own):
            raise LeftOut(f"{name} in this folder is that of an earlier run.")
        return path

    def json(self, name: str) -> Any:
        """The content of a regular JSON file. Raises LeftOut."""
        path = self.file(name)
        try:
            return from_json(read_file(path, LARGEST))
        except Unreadable as error:
            raise Damaged(f"{name} {error}.") from error
        except (ValueError, RecursionError) as error:
            raise damaged(name, error) from error

    def jpeg(self, name: Any) -> bytes:
        """An image of the gallery. Raises LeftOut for what is not one that a run has stored."""
        if not isinstance(name, str) or not IMAGE.fullmatch(name):
            raise LeftOut(f"{shown(name)} is not the name of an image that a run has stored.")
        path = self.path / GALLERY / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_IMAGE:
            raise LeftOut(f"{GALLERY}/{name} is missing, or not an image that a run has stored.")
        content = path.read_bytes()
        if not content.startswith(b"\xff\xd8\xff"):
            raise Damaged(f"{GALLERY}/{name} is damaged.")
        return content
