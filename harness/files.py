"""Writes files whole or not at all. A link in their place is replaced, never written through."""
from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

DRAFT = re.compile(r"\..+\.(\d+)\.draft")


class Unwritable(ValueError):
    """A file was not written; the message names it, the reason and what to do. What was there before is unchanged."""


def write(path: str | Path, content: bytes) -> None:
    """Write the whole file durably, or raise Unwritable."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with suppress(FileNotFoundError):
            draft.unlink()  # of a killed run that had the id of this process
        _write_new(draft, content)
        os.replace(draft, path)
    except OSError as error:
        raise Unwritable(f"{path}: was not written ({error.strerror or error}); make room, remove what is in its way, "
                         "or name another folder") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _write_new(path: Path, content: bytes) -> None:
    # "x" refuses anything that is there by now, links included.
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | Path, content: Any) -> None:
    """Write strict JSON, or raise Unwritable."""
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unwritable(f"{path}: was not written ({error}); it would not be JSON") from error
    write(path, f"{text}\n".encode())


def own_folder(path: str | Path) -> Path:
    """Make a folder; its path. Raises Unwritable where something else, or a link, is in its way."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            raise OSError("it is a link")
    except OSError as error:
        raise Unwritable(f"{path}: cannot be a folder ({error.strerror or error}); remove what is in its way, or name "
                         "another folder") from error
    return path


def clear_drafts(folder: Path) -> list[str]:
    """Remove half-written files of killed runs from a folder; a line in words for each that cannot be removed."""
    lines = []
    for draft in folder.glob(".*.draft"):
        found = DRAFT.fullmatch(draft.name)
        if found and not _runs_elsewhere(int(found[1])):
            try:
                draft.unlink()
            except OSError as error:
                lines.append(f"{draft}: a killed run left it and it cannot be removed ({error.strerror}); remove it")
    return lines


def _runs_elsewhere(pid: int) -> bool:
    return pid != os.getpid() and psutil.pid_exists(pid)
