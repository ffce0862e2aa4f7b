"""Writes files whole or not at all, and reads those that somebody names.

A link in the place of a file that is written is replaced, never written through.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import get_ident
from typing import Any

import psutil

DRAFT = re.compile(r"\..+\.(\d{1,9})\.draft")


class Unwritable(ValueError):
    """A file was not written; the message names it, the reason and what to do. What was there before is unchanged."""


class Unreadable(ValueError):
    """A file was not read; the message says why, without the file's name."""


def read_file(path: str | Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes, never of a pipe or a device that would block.

    Raises Unreadable, and FileNotFoundError where there is no such file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("is not a file")
        if found.st_size > most:
            raise Unreadable(f"has {found.st_size:,} bytes, at most {most:,} are read")
        with open(handle, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(handle)


def write(path: str | Path, content: bytes) -> None:
    """Write the whole file durably, or raise Unwritable."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.unlink(missing_ok=True)  # of a killed run that had the id of this process
        _write_new(draft, content)
        os.replace(draft, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> Unwritable:
    return Unwritable(f"{path}: was not written ({error.strerror or error}); make room, remove what is in its way, or "
                      "name another folder")


def _write_new(path: Path, content: bytes) -> None:
    # "x" refuses anything that is there by now, links included.
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_folder(path: str | Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files durably, or raise Unwritable. One that is there by this name stays as it is.

    What a killed process leaves beside it is a draft (`is_draft`).
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}-{get_ident()}.{os.getpid()}.draft")
    try:
        draft.mkdir(parents=True)
        for name, content in files.items():
            _write_new(draft / name, content)
        _flush(draft)
        try:
            os.rename(draft, path)
        except OSError:
            if not path.is_dir():
                raise
        _flush(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Makes the names in a folder as durable as the content of its files, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)


def as_json(content: Any) -> bytes:
    """Strict JSON, as `write_json` writes it. Raises ValueError, TypeError or RecursionError for what has none."""
    return f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode()


def from_json(content: bytes) -> Any:
    """What strict JSON says. Raises ValueError or RecursionError for what is none."""
    return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a number of JSON")


def write_json(path: str | Path, content: Any) -> None:
    """Write strict JSON, or raise Unwritable."""
    try:
        encoded = as_json(content)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unwritable(f"{path}: was not written ({error}); it would not be JSON") from error
    write(path, encoded)


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
    lines, own = [], f".{os.getpid()}.draft"  # of a killed run that had the id of this process
    for draft in folder.glob(".*.draft"):
        if is_draft(draft.name) and (draft.name.endswith(own) or not is_being_written(draft.name)):
            try:
                draft.unlink()
            except OSError as error:
                lines.append(f"{draft}: a killed run left it and it cannot be removed ({error.strerror}); remove it")
    return lines


def is_draft(name: str) -> bool:
    """Whether a file or folder of this name is half written, by a process that was killed or still runs."""
    return DRAFT.fullmatch(name) is not None


def is_being_written(name: str) -> bool:
    """Whether it is a draft of a process that runs on this machine."""
    found = DRAFT.fullmatch(name)
    return found is not None and psutil.pid_exists(int(found[1]))
