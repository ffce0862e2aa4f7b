"""Error counters of the devices, and how they change while something runs.

The driver counts the outcomes of calls per core under /sys, as totals since it was loaded. Inferentia's uncorrected
memory errors (ECC) are not there; neuron-monitor reports them for each period, so it must run meanwhile.
Sources: SDK docs, pages "Neuron Sysfs User Guide" and "Neuron Monitor User Guide"; the Neuron driver 2.24
(neuron_sysfs_metrics.c, v1/neuron_dhal_v1.c).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from model.neuron.machine.host import HERE, SYSFS, Host
from model.neuron.machine.monitor import PERIOD, Monitor

ECC = ("mem_ecc_uncorrected", "sram_ecc_uncorrected")
GROUPING = ("stats", "status", "hardware", "other_info", "total")  # parts of a counter's path that are not in its name


def totals(host: Host = HERE) -> dict[str, int]:
    """{name: total} of the driver's error counters, such as neuron0/neuron_core2/hw_error; {} without a device."""
    found = _counts(host, "neuron_core*/stats/status/*/total", "stats/hardware/*_uncorrected")
    return {name: total for name, total in found.items() if not name.endswith("/success")}


def inferences(host: Host = HERE) -> dict[str, int]:
    """{core: number of inferences} since the driver was loaded; {} if no device counts them."""
    found = _counts(host, "neuron_core*/stats/other_info/inference_count")
    return {name.rpartition("/")[0]: count for name, count in found.items()}


def _counts(host: Host, *patterns: str) -> dict[str, int]:
    """{name: number} of the devices' counters that can be read; some are a folder with the number in `total`."""
    counts = {}
    for path in host.glob(*(f"{SYSFS}/neuron*/{pattern}" for pattern in patterns)):
        count = host.number(f"{path}/total" if (host.root / path).is_dir() else path)
        if count is not None:
            parts = path[len(SYSFS) + 1:].split("/")
            counts["/".join(part for part in parts if part not in GROUPING)] = count
    return counts


def difference(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """One clause for each counter that has changed: it rose, was reset or is missing. [] if none has."""
    gone = [f"{name} is missing" for name in before if name not in after]
    return gone + [_change(name, before.get(name, 0), now) for name, now in after.items() if now != before.get(name, 0)]


def _change(name: str, then: int, now: int) -> str:
    # A write to a counter sets it to 0, and the errors until then are lost.
    return f"{name} rose by {now - then} to {now}" if now > then else f"{name} was reset from {then} to {now}"


def ecc_events(reports: Iterable[dict]) -> Counter | None:
    """{counter: uncorrected memory errors} in neuron-monitor's reports; None if no report has a device."""
    found = [device for report in reports for device in _reported_devices(report)]
    events = Counter()
    for device in found:
        for kind in ECC:
            count = device.get(kind)
            events[f"neuron{device.get('neuron_device_index', '?')}/{kind}"] += count if isinstance(count, int) else 0
    return events if found else None


def _reported_devices(report: dict) -> list[dict]:
    try:
        return [row for row in report["system_data"]["neuron_hw_counters"]["neuron_devices"] if isinstance(row, dict)]
    except (KeyError, TypeError):  # without a driver the list is null
        return []


class Watch:
    """A context manager that watches the devices for errors; it does nothing on a machine without devices.

    Afterwards `errors` has a clause for each counter that changed, and `unwatched` one for each kind of error that no
    source reports. There were no errors only if both are empty and `has_devices` is true. Exit waits for one more
    report of neuron-monitor.
    """

    def __init__(self, host: Host = HERE):
        self.errors: list[str] = []
        self.unwatched: list[str] = []
        self._host, self._monitor = host, Monitor(host)

    def __enter__(self) -> Watch:
        self._before = totals(self._host)
        self.has_devices = bool(self._before or self._host.numbered("dev/neuron[0-9]*"))
        self._ecc = self.has_devices and not any(name.endswith(ECC) for name in self._before)
        if self._ecc:
            self._monitor.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        if self.has_devices and not self._before:
            self.unwatched.append("errors of the cores: the driver has no counters under /sys")
        if self._ecc:
            self._add_ecc()
        self.errors += difference(self._before, totals(self._host))

    def _add_ecc(self) -> None:
        try:
            events = ecc_events(self._monitor.wait_for_next(PERIOD + 2))
        finally:
            self._monitor.__exit__()
        if events is None:
            why = self._monitor.problem or "neuron-monitor reported no device"
            self.unwatched.append(f"memory errors (ECC): {why}")
        self.errors += [f"{name} rose by {count}" for name, count in (events or {}).items() if count]
