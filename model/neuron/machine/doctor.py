"""Finds what a machine needs to run the detector on Inferentia, before anything is compiled, with a fix for each gap.

Sources: SDK docs, pages "Neuron Runtime troubleshooting on Inf1" and "Announcing correction of Neuron driver support
for Inf1"; aws-neuron-sdk's issues, by number.
"""
from __future__ import annotations

import re
import shlex
import sys
from typing import NamedTuple

from model.neuron.machine import device, environment, software
from model.neuron.machine import packages as wheels
from model.neuron.machine.host import HERE, Host
from model.neuron.machine.preflight import MISSING, OK, UNKNOWN, WRONG, Check, Diagnosis
from model.neuron.machine.software import Interpreter, release

DRIVER = (2, 24)  # the last that supports Inf1
RUNTIME = (2, 23)  # the first that does not (SDK 2.21, #1071)
COMPILER_BYTES = 4 << 30  # tensorflow-neuron's estimate for one neuron-cc (python/graph_util.py)

INSTALL_DRIVER = ("sudo apt-get install linux-headers-$(uname -r) && "
                  "sudo apt-get install --allow-downgrades 'aws-neuronx-dkms=2.24.*'")
OTHER_INSTANCE = "use an Inf1 instance: inf1.xlarge, inf1.2xlarge, inf1.6xlarge or inf1.24xlarge"


class Machine(NamedTuple):
    """Facts that several checks need; `on_bus` counts chips on the PCI bus, with or without a driver."""

    host: Host
    devices: device.Devices
    kind: device.Known
    family: str
    on_bus: int

    @property
    def expected(self) -> int:
        """The number of Inferentia chips that the machine should have."""
        sizes = {name: chips for (chips, _), name in device.INF1.items()}
        return max(self.on_bus, sizes.get(self.kind.value, 0))

    @property
    def is_inf1(self) -> bool:
        """Whether the machine has Inferentia chips, with or without a driver."""
        return self.expected > 0 or self.family == "inf1" or bool(self.devices.devices and not self.family)


def diagnose(host: Host = HERE, python: str = sys.executable) -> Diagnosis:
    """Checks the machine and the interpreter of the detector.

    TensorFlow is not imported, so faults that only its import or a first inference shows are not found.
    Raises software.InterpreterError if `python` is not a Python.
    """
    interpreter, machine = software.interpreter(host, python), _machine(host)
    checks = [_instance(machine), _devices(machine)]
    if machine.is_inf1:
        checks += [_driver(host), _runtime(host, interpreter), _tools(machine)]
    if machine.is_inf1 and machine.devices.devices:
        checks += [_nodes(machine), _free(machine.devices)]
    cores = machine.devices.cores if machine.devices.devices else None
    checks += [_memory(host), *environment.checks(host.environment, cores), *wheels.checks(host, interpreter)]
    return Diagnosis(checks, machine.is_inf1)


def _machine(host: Host) -> Machine:
    kind = device.instance_type(host)
    family = str(kind.value).partition(".")[0] if kind.value else (device.family(host) or "").lower()
    return Machine(host, device.devices(host), kind, family, device.chips_on_pci(host))


def _instance(machine: Machine) -> Check:
    kind, family = machine.kind, machine.family
    text = f"{kind.value} ({kind.source})" if kind.value else f"of family {family}" if family else "unknown"
    if machine.devices.devices and not machine.is_inf1:
        return Check("instance type", WRONG, f"{text}: tensorflow-neuron does not support its chips", OTHER_INSTANCE)
    return Check("instance type", OK if kind.value else UNKNOWN, text)


def _devices(machine: Machine) -> Check:
    cores, count = machine.devices.cores, len(machine.devices.devices)
    if not count and not machine.expected:
        return Check("devices", MISSING, f"none in neuron-ls, /sys or /dev; {machine.devices.problem}", OTHER_INSTANCE)
    if not count:
        return Check("devices", MISSING, f"the driver shows 0 of {machine.expected}; {machine.devices.problem}",
                     f"{INSTALL_DRIVER} && sudo modprobe neuron")
    text = f"{count} with {'an unknown number of' if cores is None else cores} cores ({machine.devices.source})"
    if machine.is_inf1 and count < machine.expected:
        return Check("devices", WRONG, f"{text} of {machine.expected} on this machine", "in a container: pass every "
                     "/dev/neuron* to it; else a chip did not start: sudo dmesg | grep -i neuron")
    return Check("devices", OK if cores else UNKNOWN, text)


def _driver(host: Host) -> Check:
    driver = software.driver(host)
    if not driver:
        return Check("driver", MISSING, "the kernel module neuron is neither loaded nor installed; its package is in "
                     "AWS's Neuron apt repository", f"{INSTALL_DRIVER} && sudo modprobe neuron")
    text = f"{driver.version or 'unknown version'} ({driver.source})"
    if not driver.loaded:
        return Check("driver", WRONG, f"{text} is installed but not loaded", "sudo modprobe neuron")
    return Check("driver", *_driver_version(driver.version, text))


def _driver_version(version: str | None, text: str) -> tuple[str, ...]:
    if not version or not release(version):
        return UNKNOWN, f"{text}; 2.24 is the last that supports Inf1"
    if release(version)[:2] > DRIVER:
        return WRONG, f"{text} no longer supports Inf1; 2.24 is the last that does", INSTALL_DRIVER
    if release(version) < (2,):
        return WRONG, f"{text}: must be 2.0 or newer for the runtime", INSTALL_DRIVER
    if release(version)[:2] < DRIVER:
        return UNKNOWN, f"{text} is older than 2.24 and may be incompatible with the runtime (#655)", INSTALL_DRIVER
    return OK, text


def _runtime(host: Host, interpreter: Interpreter) -> Check:
    installed = software.packages(host, "aws-neuronx-runtime-lib")
    version = (installed or {}).get("aws-neuronx-runtime-lib")
    if version and release(version)[:2] >= RUNTIME:
        return Check("runtime", WRONG, f"aws-neuronx-runtime-lib {version} no longer supports Inf1 (#1071), and the "
                     "wheel has its own", "sudo apt-get remove aws-neuronx-runtime-lib")
    bundled = interpreter.bundles_runtime
    text = "the wheel has libnrt.so" if bundled else "tensorflow-neuron has no libnrt.so"
    text += f"; aws-neuronx-runtime-lib {version}" if version else ""
    text += "; without dpkg-query other installations are unknown" if installed is None else ""
    return Check("runtime", OK if version or (bundled and installed is not None) else UNKNOWN, text)


def _tools(machine: Machine) -> Check:
    tool = machine.host.tool("neuron-ls")
    if not tool:
        return Check("tools", MISSING, "without neuron-ls and neuron-monitor neither the processes that use cores "
                     "nor memory errors are known", "sudo apt-get install 'aws-neuronx-tools=2.*'", needed=False)
    if machine.devices.problem:
        return Check("tools", WRONG, machine.devices.problem, f"{shlex.quote(tool)} -j", needed=False)
    if not machine.host.on_path("neuron-ls"):
        return Check("tools", WRONG, f"{tool} is not on PATH (#447)", "export PATH=/opt/aws/neuron/bin:$PATH",
                     needed=False)
    return Check("tools", OK, tool, needed=False)


def _nodes(machine: Machine) -> Check:
    nodes = device.nodes(machine.host)
    absent = [f"/dev/neuron{chip.index}" for chip in machine.devices.devices if chip.index not in nodes]
    if absent:
        given = " ".join(f"--device={node}" for node in absent)
        return Check("device nodes", MISSING, f"{', '.join(absent)} does not exist",
                     f"in a container: start it with {given}; else: sudo modprobe -r neuron; sudo modprobe neuron")
    closed = [f"/dev/{path.name}" for path in nodes.values() if not machine.host.may_open(path)]
    if closed:
        return Check("device nodes", WRONG, f"this user may not read and write {', '.join(closed)} (#415)",
                     f"sudo chmod a+rw {' '.join(closed)}")
    return Check("device nodes", OK, f"{len(nodes)} under /dev, open to this user")


def _free(found: device.Devices) -> Check:
    if any(chip.processes is None for chip in found.devices):
        return Check("cores are free", UNKNOWN, "only neuron-ls shows which processes use cores")
    holders = sorted({process.pid: process.command for chip in found.devices for process in chip.processes}.items())
    if not holders:
        return Check("cores are free", OK, "no process uses any")
    first = ", ".join(f"{pid} ({command[:60]})" for pid, command in holders[:4])
    more = f" and {len(holders) - 4} more" if len(holders) > 4 else ""
    return Check("cores are free", WRONG, f"used by process {first}{more}; a core serves only one process",
                 f"kill {' '.join(str(pid) for pid, _ in holders)}  # if it may end")


def _memory(host: Host) -> Check:
    line = re.search(r"^MemAvailable:\s*([0-9]+) kB", host.text("proc/meminfo") or "", re.MULTILINE)
    if not line:
        return Check("memory", UNKNOWN, "/proc/meminfo does not show it", needed=False)
    free = int(line[1]) * 1024
    text = f"{free / 2**30:.1f} GiB available"
    if free < COMPILER_BYTES:
        return Check("memory", WRONG, f"{text}: neuron-cc may end with std::bad_alloc (#434, #1064)",
                     "compile on a machine with 32 GiB, such as c5.4xlarge; it needs no Inferentia", needed=False)
    return Check("memory", OK, text, needed=False)
