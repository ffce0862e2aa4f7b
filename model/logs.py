"""Keeps TensorFlow's log lines out of what a command prints.

TensorFlow writes some of them before it reads TF_CPP_MIN_LOG_LEVEL, straight to the file descriptor. So the
descriptor goes through a filter, in a process of its own: what the library says when it aborts must not be lost.
"""
from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
LEVEL_OF_ERRORS = "2"
STDERR = 2
SECONDS = 5  # to wait for the filter's last line
# A line below fatal, as absl and older TensorFlows write it, the notice before it, and a line that belongs to one.
LOG_LINE = (
    r"^([IWE][0-9]{4} |[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+: [IWE] |WARNING: All log messages before absl::"
    r"|To enable the following instructions: )"
)


@contextmanager
def without_log_lines():
    """While it lasts stderr shows no log lines of native libraries, unless TF_CPP_MIN_LOG_LEVEL asks for them (0, 1).

    For a program of its own: it changes the process's file descriptor 2.
    """
    if os.environ.setdefault(LEVEL, LEVEL_OF_ERRORS) < LEVEL_OF_ERRORS or not shutil.which("grep"):
        yield
        return
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.stderr.flush()
    shown, stream = os.dup(STDERR), sys.stderr
    drop = subprocess.Popen(["grep", "--line-buffered", "-Ev", LOG_LINE], stdin=subprocess.PIPE, stdout=shown,
                            start_new_session=True)
    os.dup2(drop.stdin.fileno(), STDERR)
    drop.stdin.close()
    try:
        with os.fdopen(os.dup(shown), "w", encoding=stream.encoding, errors=stream.errors, buffering=1) as own:
            sys.stderr = own
            yield
    finally:
        sys.stderr = stream
        os.dup2(shown, STDERR)  # the last writer is gone, so that the filter ends
        os.close(shown)
        with suppress(subprocess.TimeoutExpired):  # unless a process that the command has left behind holds the pipe
            drop.wait(SECONDS)
