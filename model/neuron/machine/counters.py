"""Error counters of the devices, and how they change while something runs.

The driver counts the outcomes of calls per core under /sys, as totals since it was loaded. Inferentia's uncorrected
memory errors (ECC) are not there; neuron-monitor reports them for each period, so it must run meanwhile.
Sources: SDK docs, pages "Neuron Sysfs User Guide" and "Neuron Monitor User Guide"; the Neuron driver 2.24
(neuron_sysfs_metrics.c, v1/neuron_dhal_v1.c).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from model.neuron.machine.host import HERE, SYSFS, Host
from model.neuron.machine.monitor import Monitor

ECC = ("mem_ecc_uncorrected", "sram_ecc_uncorrected")


def totals(host: Host = HERE) -> dict[str, int]:
    """{name: total} of the driver's error counters, such as neuron0/neuron_core2/hw_error; {} without a device."""
    folders = [path.parent for path in host.root.glob(f"{SYSFS}/neuron*/neuron_core*/stats/status/*/total")]
    counters = [*folders, *host.root.glob(f"{SYSFS}/neuron*/stats/hardware/*_uncorrected")]
    read = {_name(host, path): _total(host, path) for path in sorted(counters) if path.name != "success"}
    return {name: total for name, total in read.items() if total is not None}


def _name(host: Host, path: Path) -> str:
    parts = path.relative_to(host.root / SYSFS).parts
    return "/".join(part for part in parts if part not in ("stats", "status", "hardware"))


def _total(host: Host, path: Path) -> int | None:
    file = path / "total" if path.is_dir() else path
    return host.number(str(file.relative_to(host.root)))


def inferences(host: Host = HERE) -> dict[str, int]:
    """{core: number of inferences} since the driver was loaded; {} if no device counts them."""
    found = sorted(host.root.glob(f"{SYSFS}/neuron*/neuron_core*/stats/other_info/inference_count"))
    read = {"/".join(path.relative_to(host.root / SYSFS).parts[:2]): _total(host, path) for path in found}
    return {name: total for name, total in read.items() if total is not None}


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
    system = report.get("system_data")
    group = system.get("neuron_hw_counters") if isinstance(system, dict) else None
    rows = group.get("neuron_devices") if isinstance(group, dict) else None  # null without a driver
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


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
            events = ecc_events(self._monitor.wait_for_next(self._monitor.period + 2))
        finally:
            self._monitor.__exit__()
        if events is None:
            why = self._monitor.problem or "neuron-monitor reported no device"
            self.unwatched.append(f"memory errors (ECC): {why}")
        self.errors += [f"{name} rose by {count}" for name, count in (events or {}).items() if count]
