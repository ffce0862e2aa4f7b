"""Keeps TensorFlow's log lines out of a command's output.

TensorFlow writes some of them before it reads TF_CPP_MIN_LOG_LEVEL, straight to the file descriptor. The descriptor is
therefore filtered by another process, so that the last message of a library that aborts is not lost.
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
# A line below fatal, as absl and older TensorFlows write it, the notice before it, and its second line.
LOG_LINE = (
    r"^([IWE][0-9]{4} |[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+: [IWE] |WARNING: All log messages before absl::"
    r"|To enable the following instructions: )"
)


@contextmanager
def without_log_lines():
    """Removes the log lines of native libraries from stderr, unless TF_CPP_MIN_LOG_LEVEL asks for them (0, 1).

    Only for a program of its own, because it changes file descriptor 2 of the process.
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
        os.dup2(shown, STDERR)  # closes the last writer, which ends the filter
        os.close(shown)
        with suppress(subprocess.TimeoutExpired):  # a process that the command left behind may hold the pipe
            drop.wait(SECONDS)
