"""What could explain a detector that is not steady: the machine, looked at once a second by a thread of its own."""
from __future__ import annotations

import math
from threading import Event, Thread
from typing import Any, Callable

import psutil

from harness.machine.noise import ProcessTree

PERIOD = 1.0  # seconds
CHILDREN_EVERY = 10  # samples: to look for new processes takes milliseconds
LONGEST_LAST_SAMPLE = 5.0  # seconds


class Sampler:
    """A context manager that hands `record` a sample each second, and one when it is left; `clock` gives its time.

    A sample is {"kind": "sample", "at": clock's seconds, "seconds": since the one before, "steal", "iowait": shares of
    all cores' time, "others": cores used by processes that are not ours, "load": average of a minute, "mhz",
    "celsius", "available", "rss": bytes, the latter of this process and its children together, "extra": the numbers
    that `extra` gave}. What the machine does not tell is None. Nothing that goes wrong here reaches the run.
    """

    def __init__(
        self, record: Callable[[dict], Any], clock: Callable[[], float],
        extra: Callable[[], dict] | None = None, period: float = PERIOD,
    ):
        self._record, self._clock, self._extra, self._period = record, clock, extra or dict, period
        self._processes, self._end = ProcessTree(CHILDREN_EVERY), Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._end.set()
        self._thread.join(LONGEST_LAST_SAMPLE)

    def _run(self) -> None:
        before, is_last = self._counters(), False
        try:
            while not is_last:
                is_last = self._end.wait(self._period)
                now = self._counters()
                self._record({"kind": "sample", "at": now["at"], **_differences(before, now), **self._present()})
                before = now
        except Exception:  # the journal cannot be written: whoever drives the run is told so as well
            return

    def _counters(self) -> dict[str, Any]:
        return {"at": self._clock(), "cpu": _told(_cpu_seconds), "own": _told(lambda: self._processes.seconds()[0])}

    def _present(self) -> dict[str, Any]:
        return {
            "load": _told(lambda: psutil.getloadavg()[0]),
            "mhz": _told(lambda: psutil.cpu_freq().current),
            "celsius": _told(_hottest),
            "available": _told(lambda: psutil.virtual_memory().available),
            "rss": _told(self._rss),
            "extra": {str(name): value for name, value in (_told(self._extra) or {}).items() if _is_number(value)},
        }

    def _rss(self) -> int:
        found = (_told(process.memory_info) for process in self._processes.all())
        return sum(one.rss for one in found if one)


def _cpu_seconds() -> dict[str, float]:
    """Of all cores since the machine started; user time holds that of guests as well."""
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


def _hottest() -> float | None:
    return max((sensor.current for group in psutil.sensors_temperatures().values() for sensor in group), default=None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _told(ask: Callable[[], Any]) -> Any:
    """What was answered, or None: machines and drivers differ in what they tell and in how they fail."""
    try:
        found = ask()
    except Exception:
        return None
    return None if isinstance(found, float) and not math.isfinite(found) else found
