"""Files of a user opened so that their size is known, and can be refused, before any of it is read."""
from __future__ import annotations

import os
import stat


def open_without_waiting(path, flags) -> int:
    """An `opener` for `open`: a named pipe, which otherwise waits for somebody who writes, is opened at once."""
    return os.open(path, flags | os.O_NONBLOCK)


def regular_size(file) -> int:
    """The open file's bytes. Raises OSError for a pipe or device, which has no size to check before it is read."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file")
    return status.st_size
