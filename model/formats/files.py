"""Files of a user: checked before they are read, and replaced only by complete ones."""
from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path

from model.quoting import shown


@contextmanager
def naming(path, error_type):
    """Puts the file's name in front of the messages of `error_type` that are raised meanwhile."""
    try:
        yield
    except error_type as error:
        raise error_type(f"{shown(path, 200)}: {error}") from None


@contextmanager
def opened(path, kind: str, error_type):
    """(open file, size in bytes) of a regular file, so that its size can be checked before any of it is read.

    Raises `error_type` if there is no such file or it is not a regular one; it never waits at a named pipe. `kind` says
    in the message what the file should be.
    """
    try:
        with open(path, "rb", opener=lambda file, flags: os.open(file, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")
            yield file, status.st_size
    except error_type:
        raise
    except FileNotFoundError:
        raise error_type(f"there is no such {kind}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise error_type(f"cannot be read as a {kind}: {shown(why, 100)}") from None


def read_whole(path, most: int, kind: str, error_type) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises `error_type` before it reads a larger one."""
    with opened(path, kind, error_type) as (file, size):
        if size > most:
            raise error_type(f"has {size:,} bytes, must have at most {most:,} for a {kind}")
        return file.read(most)


def replace_file(path, content: bytes) -> None:
    """Writes the file, in place of an old one only when complete."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
