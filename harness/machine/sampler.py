"""Samples the machine once a second in a thread of its own, to explain a detector that is not steady."""
from __future__ import annotations

import math
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Callable

import psutil

from harness.machine.noise import ProcessTree

PERIOD = 1.0  # seconds
LONGEST_LAST_SAMPLE = 5.0  # seconds


class Sampler:
    """A context manager that hands `record` a sample each second, and a last one at its end; `clock` gives the time.

    A sample is {"kind": "sample", "at": clock's seconds, "seconds": since the one before, "steal", "iowait": shares of
    all cores' time, "others": cores used by processes outside this tree, "load": average of a minute, "mhz",
    "celsius", "available", "rss": bytes, the latter of this process and its children together, "extra": the numbers
    that `extra` gave}. What the machine does not report is None. No error in here reaches the run.
    """

    def __init__(
        self, record: Callable[[dict], Any], clock: Callable[[], float],
        extra: Callable[[], dict] | None = None, period: float = PERIOD,
    ):
        self._record = record
        self._clock = clock
        self._extra = extra or dict
        self._period = period
        self._processes = ProcessTree()
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._end.set()
        self._thread.join(LONGEST_LAST_SAMPLE)

    def _run(self) -> None:
        before, is_last = self._counters(), False
        with suppress(Exception):  # the journal cannot be written: the run gets the same error
            while not is_last:
                is_last = self._end.wait(self._period)
                now = self._counters()
                self._record({"kind": "sample", "at": now["at"], **_differences(before, now), **self._present()})
                before = now

    def _counters(self) -> dict[str, Any]:
        own = _reported(lambda: self._processes.seconds()[0])
        return {"at": self._clock(), "cpu": _reported(_cpu_seconds), "own": own}

    def _present(self) -> dict[str, Any]:
        return {
            "load": _reported(lambda: psutil.getloadavg()[0]),
            "mhz": _reported(lambda: psutil.cpu_freq().current),
            "celsius": _reported(lambda: max(
                sensor.current for group in psutil.sensors_temperatures().values() for sensor in group)),
            "available": _reported(lambda: psutil.virtual_memory().available),
            "rss": _reported(self._rss),
            "extra": {str(name): value for name, value in (_reported(self._extra) or {}).items() if _is_number(value)},
        }

    def _rss(self) -> int:
        found = (_reported(process.memory_info) for process in self._processes.all())
        return sum(one.rss for one in found if one)


def _cpu_seconds() -> dict[str, float]:
    """Seconds of all cores since the machine started; user time includes that of guests."""
    times = psutil.cpu_times()._asdict()
    total = sum(value for name, value in times.items() if not name.startswith("guest"))
    steal, iowait = times.get("steal"), times.get("iowait")
    busy = total - times["idle"] - (iowait or 0) - (steal or 0)
    return {"total": total, "busy": busy, "steal": steal, "iowait": iowait}


def _differences(before: dict, now: dict) -> dict[str, Any]:
    """The shares of the time between two readings of the counters."""
    seconds = now["at"] - before["at"]
    figures = {"seconds": round(seconds, 6), "steal": None, "iowait": None, "others": None}
    if not (before["cpu"] and now["cpu"] and seconds > 0):
        return figures
    spent = {name: None if value is None else max(0.0, value - before["cpu"][name])
             for name, value in now["cpu"].items()}
    if spent["total"]:
        figures |= {name: spent[name] and spent[name] / spent["total"] for name in ("steal", "iowait")}
    if before["own"] is not None and now["own"] is not None:
        figures["others"] = max(0.0, spent["busy"] - (now["own"] - before["own"])) / seconds
    return figures


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _reported(ask: Callable[[], Any]) -> Any:
    """The reported value, or None: machines and drivers differ in what they report and in how they fail."""
    try:
        found = ask()
    except Exception:
        return None
    return None if isinstance(found, float) and not math.isfinite(found) else found
