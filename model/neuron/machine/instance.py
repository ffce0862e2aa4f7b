"""This machine's Inferentia hardware and Neuron software, each fact with its source.

Sources: SDK docs, pages "Neuron LS User Guide", "Neuron Sysfs User Guide" and "AWS Inf1 Architecture"; the Neuron
driver (neuron_sysfs_metrics.c); EC2 user guide, "Retrieve instance metadata" (IMDSv2).
"""
from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from model.neuron.machine import software
from model.neuron.machine.host import HERE, SYSFS, Host

NEURON_LS_SECONDS = 10
IMDS_SECONDS = 1.0  # in all; outside EC2 nothing responds at that address
INFERENTIA_PCI = {"0x7064", "0x7065", "0x7066", "0x7067"}  # device ids of vendor 0x1d0f, Amazon
# (chips, vCPUs) → type, from the page "AWS Inf1 Architecture".
INF1 = {(1, 4): "inf1.xlarge", (1, 8): "inf1.2xlarge", (4, 24): "inf1.6xlarge", (16, 96): "inf1.24xlarge"}


class Device(NamedTuple):
    """One chip. `cores` and `processes` (id → command) are None if the source does not show them."""

    index: int
    cores: int | None
    processes: dict[int, str] | None


class Devices(NamedTuple):
    """The chips, the source that listed them ('' if none did), and the problem with neuron-ls."""

    devices: tuple[Device, ...]
    source: str
    problem: str

    @property
    def cores(self) -> int | None:
        """The number of cores in all, or None if that of a device is unknown."""
        counts = [device.cores for device in self.devices]
        return None if None in counts else sum(counts)


class Known(NamedTuple):
    """A fact and its source, both None if it is unknown."""

    value: Any
    source: str | None


def devices(host: Host = HERE) -> Devices:
    """The chips from neuron-ls, else from the driver's files under /sys, else from the nodes /dev/neuron*."""
    listed, problem = _neuron_ls(host)
    by_node = tuple(Device(index, None, None) for index in nodes(host))
    for source, found in (("neuron-ls", listed), ("sysfs", _sysfs(host)), ("device nodes", by_node)):
        if found:
            return Devices(found, source, problem)
    return Devices((), "", problem)


def _neuron_ls(host: Host) -> tuple[tuple[Device, ...], str]:
    shown, problem = host.ask("neuron-ls", "-j", seconds=NEURON_LS_SECONDS)
    if problem:
        return (), problem
    rows = _json_list(shown)
    if rows is None:
        return (), f"neuron-ls -j must write a JSON list, wrote {shown.strip()[:40]!r}"
    found = tuple(_device(host, row, at) for at, row in enumerate(rows) if isinstance(row, dict))
    return found, "" if found else "neuron-ls lists no device"


def _json_list(text: str) -> list | None:
    """The JSON list in a tool's output, before which some versions print a notice; None without one."""
    for start in re.finditer(r"^\s*\[", text, re.MULTILINE):
        try:
            return json.JSONDecoder().raw_decode(text, start.end() - 1)[0]
        except (ValueError, RecursionError):
            continue
    return None


def _device(host: Host, row: dict, at: int) -> Device:
    """The device in a row of neuron-ls, whose keys differ between versions."""
    index = _whole(row.get("neuron_device"), at)
    ids, listed = row.get("neuroncore_ids"), row.get("neuron_processes")
    cores = len(ids) if isinstance(ids, list) else host.number(f"{SYSFS}/neuron{index}/core_count")
    return Device(index, _whole(row.get("nc_count"), cores), _processes(listed) if isinstance(listed, list) else None)


def _processes(rows: list) -> dict[int, str]:
    """{process id: command} of the processes that use cores, without Neuron's own tools."""
    commands = {_whole(row.get("pid"), 0): str(row.get("command") or "").strip() or "?"
                for row in rows if isinstance(row, dict)}
    return {pid: command for pid, command in commands.items()
            if pid and not Path(command.split()[0]).name.startswith("neuron-")}


def _whole(value, otherwise):
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _sysfs(host: Host) -> tuple[Device, ...]:
    folders = host.numbered(f"{SYSFS}/neuron[0-9]*")
    return tuple(Device(index, host.number(f"{SYSFS}/neuron{index}/core_count"), None) for index in folders)


def nodes(host: Host = HERE) -> dict[int, Path]:
    """{device number: device node}; there is one node per chip, not per core."""
    return host.numbered("dev/neuron[0-9]*")


def chips_on_pci(host: Host = HERE) -> int:
    """The number of Inferentia chips on the PCI bus, with or without a driver."""
    return sum(host.text(f"{folder}/vendor") == "0x1d0f" and host.text(f"{folder}/device") in INFERENTIA_PCI
               for folder in host.glob("sys/bus/pci/devices/*"))


def family(host: Host = HERE) -> str | None:
    """The instance family that the driver reports: Inf1, Inf2, Trn1."""
    found = (host.text(f"{SYSFS}/neuron{i}/info/architecture/instance_type") for i in host.numbered(f"{SYSFS}/neuron*"))
    return next(filter(None, found), None)


def instance_type(host: Host = HERE) -> Known:
    """The EC2 instance type, such as inf1.2xlarge, from the first source that has it; takes at most a second."""
    sources = {
        "DMI": lambda: host.text("sys/devices/virtual/dmi/id/product_name"),
        "IMDS": lambda: _imds(host, "instance-type"),
        "sysfs": lambda: _type_by_size(host),
    }
    for source, ask in sources.items():
        name = ask() or ""
        if re.fullmatch(r"[a-z][a-z0-9-]*\d[a-z0-9-]*\.[a-z0-9-]+", name):
            return Known(name, source)
    return Known(None, None)


def machine_image(host: Host = HERE) -> str | None:
    """The id of the machine image (AMI) that the instance was started from, from IMDS."""
    found = _imds(host, "ami-id") or ""
    return found if re.fullmatch("ami-[0-9a-f]+", found) else None


def _imds(host: Host, fact: str) -> str | None:
    """A fact of the instance from IMDS. In a thread, because a socket's timeout is per packet, not for the response."""
    vendor = host.text("sys/devices/virtual/dmi/id/sys_vendor") or "Amazon EC2"
    if vendor != "Amazon EC2" or host.environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    base = host.environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    responses: list[str | None] = []
    thread = Thread(target=lambda: responses.append(_ask_imds(base, fact)), daemon=True)
    thread.start()
    thread.join(IMDS_SECONDS)
    return responses[0] if responses else None


def _ask_imds(base: str, fact: str) -> str | None:
    # Not urllib, because it would send the token through a proxy in the environment.
    try:
        url = urlsplit(base)
        with closing(HTTPConnection(url.hostname or "", url.port or 80, timeout=IMDS_SECONDS)) as connection:
            token = _response(connection, "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
            return token and _response(connection, "GET", f"/latest/meta-data/{fact}",
                                       {"X-aws-ec2-metadata-token": token})
    except (OSError, ValueError, HTTPException):
        return None


def _response(connection: HTTPConnection, method: str, path: str, headers: dict) -> str | None:
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read(1000)
    return body.decode("ascii").strip() if response.status == 200 else None


def _type_by_size(host: Host) -> str | None:
    if family(host) != "Inf1":
        return None
    processors = re.findall(r"^processor\s*:", host.text("proc/cpuinfo") or "", re.MULTILINE)
    return INF1.get((len(_sysfs(host)), len(processors)))


def facts(host: Host = HERE, python: str = sys.executable) -> dict[str, Any]:
    """Facts about the machine for a report: a flat dict for JSON, None for unknown values.

    Each key has a second one that ends in `_source`. `python` is the interpreter that runs the detector.
    Raises software.InterpreterError if it is not a Python.
    """
    found, driver, wheels = devices(host), software.driver(host), software.interpreter(host, python)
    known = {
        "instance_type": instance_type(host),
        "neuron_devices": Known(len(found.devices), found.source or None),
        "neuron_cores": Known(found.cores, found.source or None),
        "neuron_driver": Known(driver and driver.version, driver and driver.source),
        **{name.replace("-", "_"): Known(wheels.versions.get(name), wheels.path)
           for name in ("tensorflow-neuron", "neuron-cc")},
    }
    flat: dict[str, Any] = {}
    for name, fact in known.items():
        flat[name] = fact.value
        flat[f"{name}_source"] = None if fact.value is None else fact.source
    return flat
