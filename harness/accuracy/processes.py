"""Questions to pycocotools, each answered in a process of its own, which imports pycocotools and NumPy alone.

They are new processes of the same Python, not forks: the one that asks may have threads and a framework loaded.
"""
from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600.0  # seconds: several times as long as 100,000 images take
CODE = "import sys; sys.path.insert(0, sys.argv[1]); from harness.accuracy import processes; processes.main()"


class ProcessError(RuntimeError):
    """A process gave no result; the message says why and what to do."""


def in_processes(work: Callable, questions: Sequence[tuple]) -> list[Any]:
    """What `work` returns for each question, its arguments; a function of a module. Raises ProcessError.

    All processes have ended when it returns or raises.
    """
    with contextlib.ExitStack() as running:
        waits = [running.enter_context(_started(work, question)) for question in questions]
        return [wait() for wait in waits]


@contextlib.contextmanager
def _started(work: Callable, question: tuple) -> Iterator[Callable[[], Any]]:
    # Files in place of pipes, so that no process waits for a reader.
    with TemporaryFile() as content, TemporaryFile() as output, TemporaryFile() as errors:
        pickle.dump((work, question), content)
        content.seek(0)
        process = subprocess.Popen([sys.executable, "-c", CODE, str(ROOT)], stdin=content, stdout=output, stderr=errors)
        try:
            yield lambda: _result(process, output, errors)
        finally:
            process.kill()
            process.wait()


def _result(process: subprocess.Popen, output: IO[bytes], errors: IO[bytes]) -> Any:
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise ProcessError(f"pycocotools gave no figures within {PATIENCE:g} s; run it again on a machine without "
                           "other work") from None
    if code:
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2] or "nothing was printed"
        raise ProcessError(f"the process of pycocotools ended with exit code {code} ({last[:300]}); -9 is what a "
                           "machine without memory does: free some, and run it again")
    output.seek(0)
    return pickle.load(output)


def main() -> None:
    """Reads work and question from standard input and writes the result to standard output."""
    work, question = pickle.load(sys.stdin.buffer)
    pickle.dump(work(*question), sys.stdout.buffer)
