"""Runs neuron-monitor, the only source of Inferentia's memory errors (ECC).

Source: SDK docs, page "Neuron Monitor User Guide": one line with a JSON object per period on standard output.
"""
from __future__ import annotations

import json
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE
from threading import Thread

from model.neuron.machine.host import HERE, LONGEST, Host, stop

PERIOD = 1  # seconds from a report to the next
MOST_REPORTS = 100_000  # a day of them, some 700 bytes each


class Monitor:
    """A context manager during which neuron-monitor reports the hardware's counters every second.

    If the tool is not installed or does not start, there are no reports and `problem` says why.
    """

    def __init__(self, host: Host = HERE):
        self.problem = ""
        self._host, self._stack, self._lines = host, ExitStack(), deque(maxlen=MOST_REPORTS)
        self._ended = True

    def __enter__(self) -> Monitor:
        tool = self._host.tool("neuron-monitor")
        try:
            self.problem = "" if tool else "neuron-monitor is not installed"
            if tool:
                self._start(tool)
        except OSError as error:
            self.problem = f"neuron-monitor cannot be run: {error.strerror}"
        return self

    def _start(self, tool: str) -> None:
        settings = Path(self._stack.enter_context(tempfile.TemporaryDirectory()), "settings.json")
        settings.write_text(json.dumps({"period": f"{PERIOD}s", "neuron_runtimes": [],
                                        "system_metrics": [{"type": "neuron_hw_counters"}]}))
        # A pipe, not a file, so that the tool ends at its next report if this process is killed.
        process = self._stack.enter_context(self._host.start([tool, "-c", str(settings)], PIPE, DEVNULL))
        self._ended = False
        reader = Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        self._stack.callback(reader.join)
        self._stack.callback(stop, process)

    def _read(self, output) -> None:
        self._lines.extend(iter(lambda: output.readline(LONGEST), b""))
        self._ended = True

    def __exit__(self, *exception) -> None:
        self._stack.close()

    def reports(self) -> list[dict]:
        """The complete reports so far, oldest first, without lines that are not JSON objects."""
        return [report for report in map(_parsed, tuple(self._lines)) if report]

    def wait_for_next(self, seconds: float) -> list[dict]:
        """All reports, as soon as there is one more, the tool has ended, or so many seconds have passed."""
        now, end = len(self._lines), time.monotonic() + seconds
        while not self._ended and len(self._lines) == now and time.monotonic() < end:
            time.sleep(0.02)
        return self.reports()


def _parsed(line: bytes) -> dict | None:
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None
