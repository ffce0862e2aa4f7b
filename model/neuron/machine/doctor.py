"""Finds what a machine needs to run the detector on Inferentia, before anything is compiled, with a fix for each gap.

Sources: SDK docs, pages "Neuron Runtime troubleshooting on Inf1" and "Announcing correction of Neuron driver support
for Inf1"; aws-neuron-sdk's issues, by number.
"""
from __future__ import annotations

import os
import re
import shlex
import sys

from model.neuron.machine import environment, instance, software
from model.neuron.machine import packages as wheels
from model.neuron.machine import system as systems
from model.neuron.machine.host import HERE, Host
from model.neuron.machine.preflight import MISSING, OK, UNKNOWN, WRONG, Check, Diagnosis
from model.neuron.machine.software import Interpreter, release
from model.neuron.machine.system import APT, DRIVER_PACKAGE, OLD_DRIVER_PACKAGE, RUNTIME_PACKAGE, TOOLS_PACKAGE

DRIVER = (2, 24)  # the last that AWS supports on Inf1
OLDEST_DRIVER = (2, 21)  # of AWS's own images for Inf1 (amazon-eks-ami #2579, amazon-ecs-ami #557)
FAILING_DRIVER = (2, 4)  # the last that AWS documents as failing on Inf1: "failed programming the engine"
RUNTIME = (2, 23)  # the first that does not support Inf1 (SDK 2.21, #1071)
COMPILER_BYTES = 4 << 30  # tensorflow-neuron's estimate for one neuron-cc (python/graph_util.py)

INF1_TYPES = "inf1.xlarge, inf1.2xlarge, inf1.6xlarge or inf1.24xlarge"
LOAD_DRIVER, DRIVER_LOG = "sudo modprobe neuron", "sudo dmesg | grep -i neuron"

NOT_NEEDED = False  # at the end of a row: the backend works without it


class Machine:
    """Facts that several checks need."""

    def __init__(self, host: Host, interpreter: Interpreter):
        self.host, self.interpreter, self.system = host, interpreter, systems.system(host)
        self.packages = software.packages(host, *systems.PACKAGES)  # None where the system cannot be asked
        self.devices, self.kind = instance.devices(host), instance.instance_type(host)
        kind = self.kind.value or ""
        self.family = kind.partition(".")[0] or (instance.family(host) or "").lower()
        # How many Inferentia chips the machine should have, and whether it has any, with or without a driver.
        sizes = {name: chips for (chips, _), name in instance.INF1.items()}
        self.expected = max(instance.chips_on_pci(host), sizes.get(kind, 0))
        self.is_inf1 = self.expected > 0 or self.family == "inf1" or bool(self.devices.devices and not self.family)

    @property
    def install_driver(self) -> str:
        """The line that installs the last driver for Inf1 and what it is built from; '' if not known here."""
        here, installed = self.system, self.packages or {}
        # dnf does not install an older version over a newer one.
        replaced = [OLD_DRIVER_PACKAGE] if here.manager == APT else [OLD_DRIVER_PACKAGE, DRIVER_PACKAGE]
        removals = [here.remove(name) for name in replaced if name in installed]
        install = here.install(DRIVER_PACKAGE, "2.24.*")
        return systems.in_turn(self.prepare, *removals, here.headers, install, LOAD_DRIVER) if here.manager else ""

    @property
    def prepare(self) -> str:
        """The line that sets up AWS's repository where it is missing, and reads the lists of packages."""
        repository = "" if systems.has_repository(self.host) else self.system.repository
        return systems.in_turn(repository, self.system.refresh)


def diagnose(host: Host = HERE, python: str = sys.executable) -> Diagnosis:
    """Checks the machine and the interpreter of the detector.

    TensorFlow is not imported, so faults that only its import or a first inference shows are not found.
    Raises software.InterpreterError if `python` is not a Python.
    """
    machine = Machine(host, software.interpreter(host, python))
    # Check → what finds the rest of its row: status, what is found, and where there is one the fix.
    finders = {"instance type": _instance, "devices": _devices}
    if machine.is_inf1:
        finders.update({"operating system": _system, "driver": _driver, "runtime": _runtime, "tools": _tools})
        if machine.devices.devices:
            finders.update({"device nodes": _nodes, "cores are free": _free})
    finders["memory"] = _memory
    checks = [Check(name, *find(machine)) for name, find in finders.items()]
    takes_lists = not machine.interpreter.versions.get("tensorflow-neuron", "").startswith("1.15.")
    checks += environment.checks(host.environment, machine.devices.cores, takes_lists)
    return Diagnosis(checks + wheels.checks(host, machine.interpreter), machine.is_inf1)


def _instance(machine: Machine) -> tuple:
    kind, family = machine.kind, machine.family
    text = f"{kind.value} ({kind.source})" if kind.value else f"of family {family}" if family else "unknown"
    if machine.devices.devices and not machine.is_inf1:
        return WRONG, f"{text}: tensorflow-neuron does not support its chips (#795); use {INF1_TYPES}"
    return OK if kind.value else UNKNOWN, text


def _devices(machine: Machine) -> tuple:
    cores, count = machine.devices.cores, len(machine.devices.devices)
    if not count and not machine.expected:
        return MISSING, f"none in neuron-ls, /sys or /dev; {machine.devices.problem}; use {INF1_TYPES}"
    if not count:
        text = f"the driver shows 0 of {machine.expected}; {machine.devices.problem}"
        if machine.system.in_container:
            return MISSING, f"{text}; {_for_container(machine)}"
        return MISSING, text, machine.install_driver
    text = f"{count} with {'an unknown number of' if cores is None else cores} cores ({machine.devices.source})"
    if machine.is_inf1 and count < machine.expected:
        return (WRONG, f"{text} of {machine.expected} on this machine; {_for_container(machine)}; outside of one a "
                "chip did not start", DRIVER_LOG)
    return OK if cores else UNKNOWN, text


def _for_container(machine: Machine) -> str:
    """What a container needs to see the devices (#482, #633): the driver is the host's, the devices are passed on."""
    given = " ".join(f"--device=/dev/neuron{number}" for number in range(max(machine.expected, 1)))
    if machine.host.text("sys/module/neuron/version"):
        return f"the host has the driver, so start the container with {given}"
    return f"in a container: install the driver on the host, then start the container with {given}"


def _system(machine: Machine) -> tuple:
    here = machine.system
    text, version = here.name or here.id or "unknown", (here.id, here.version)
    if version in systems.ENDED:
        return (WRONG, f"{text}: AWS supported it until {systems.ENDED[version]} only; start the instance with Ubuntu "
                "22.04 or Amazon Linux 2023")
    if version not in systems.KNOWN or not here.manager:
        return (UNKNOWN, f"{text}: AWS's pages for Inf1 name Ubuntu 20.04, 22.04 and Amazon Linux 2023", "",
                NOT_NEEDED)
    if not systems.has_repository(machine.host) and not here.in_container:
        return (MISSING, f"{text}, without AWS's {here.manager} repository for Neuron (#483): no package of Neuron "
                "can be installed", here.repository, NOT_NEEDED)
    return OK, text, "", NOT_NEEDED


def _driver(machine: Machine) -> tuple:
    driver, packages, in_container = software.driver(machine.host), machine.packages or {}, machine.system.in_container
    built = [name for name in (DRIVER_PACKAGE, OLD_DRIVER_PACKAGE) if name in packages]
    if in_container and built:
        return (WRONG, f"{built[0]} {packages[built[0]]} is installed in a container, whose kernel is the host's "
                "(#353, #425); the driver belongs on the host", machine.system.remove(built[0]))
    if OLD_DRIVER_PACKAGE in packages:
        return (WRONG, f"{OLD_DRIVER_PACKAGE} {packages[OLD_DRIVER_PACKAGE]} is the old name, which AWS no longer "
                f"builds (#661); the package is now {DRIVER_PACKAGE}", machine.install_driver)
    if not driver and in_container:
        return MISSING, f"the kernel module neuron is not loaded; {_for_container(machine)}"
    if not driver:
        return MISSING, "the kernel module neuron is neither loaded nor installed", machine.install_driver
    text = f"{driver.version or 'unknown version'} ({driver.source})"
    if not driver.loaded:
        return _not_loaded(machine, f"{text} is installed but not loaded")
    return _driver_version(machine, driver.version, text)


def _not_loaded(machine: Machine, text: str) -> tuple:
    locked = systems.lockdown(machine.host)
    if not locked:
        return WRONG, text, LOAD_DRIVER
    text += (f": the kernel is locked down ({locked}, by Secure Boot) and loads only signed modules (#794); sign the "
             "module, or start the instance from an image without UEFI Secure Boot")
    return WRONG, text, "sudo dmesg | grep -iE 'neuron|lockdown|signature'"


def _driver_version(machine: Machine, version: str | None, text: str) -> tuple:
    numbers, install = release(version or ""), machine.install_driver
    if not numbers:
        return UNKNOWN, f"{text}; must be 2.21 to 2.24 for Inf1"
    if numbers[:2] > DRIVER:
        return UNKNOWN, f"{text} is not supported by AWS on Inf1, one report of it working; 2.24 is the last", install
    if numbers[:2] <= FAILING_DRIVER:
        return WRONG, f"{text}: AWS documents 2.4 and older as failing on Inf1; must be 2.21 to 2.24", install
    if numbers[:2] < OLDEST_DRIVER:
        return UNKNOWN, f"{text}: nothing is known of it on Inf1; must be 2.21 to 2.24 (#655)", install
    return OK, text


def _runtime(machine: Machine) -> tuple:
    version, bundled = (machine.packages or {}).get(RUNTIME_PACKAGE), machine.interpreter.bundles_runtime
    if version and release(version)[:2] >= RUNTIME:
        return (WRONG, f"{RUNTIME_PACKAGE} {version} no longer supports Inf1 (#1071), and the wheel has its own",
                machine.system.remove(RUNTIME_PACKAGE))
    text = "the wheel has libnrt.so" if bundled else "tensorflow-neuron has no libnrt.so"
    text += f"; {RUNTIME_PACKAGE} {version}" if version else ""
    text += "; without dpkg or rpm other installations are unknown" if machine.packages is None else ""
    return OK if version or (bundled and machine.packages is not None) else UNKNOWN, text


def _tools(machine: Machine) -> tuple:
    tool = machine.host.tool("neuron-ls")
    if not tool:
        return (MISSING, "without neuron-ls and neuron-monitor neither the processes that use cores nor memory errors "
                "are known", systems.in_turn(machine.prepare, machine.system.install(TOOLS_PACKAGE, "2.*")), NOT_NEEDED)
    if machine.devices.problem:
        return WRONG, machine.devices.problem, f"{shlex.quote(tool)} -j", NOT_NEEDED
    if not machine.host.on_path("neuron-ls"):
        return WRONG, f"{tool} is not on PATH (#447)", "export PATH=/opt/aws/neuron/bin:$PATH", NOT_NEEDED
    return OK, tool, "", NOT_NEEDED


def _nodes(machine: Machine) -> tuple:
    nodes = instance.nodes(machine.host)
    absent = [f"/dev/neuron{chip.index}" for chip in machine.devices.devices if chip.index not in nodes]
    if absent:
        given = " ".join(f"--device={node}" for node in absent)
        return (MISSING, f"{', '.join(absent)} does not exist; in a container: start it with {given}",
                "" if machine.system.in_container else f"sudo modprobe -r neuron && {LOAD_DRIVER}")
    closed = [f"/dev/{path.name}" for path in nodes.values() if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        return (WRONG, f"this user may not read and write {', '.join(closed)} (#415)",
                f"sudo chmod a+rw {' '.join(closed)}")
    return OK, f"{len(nodes)} under /dev, open to this user"


def _free(machine: Machine) -> tuple:
    chips = machine.devices.devices
    if any(chip.processes is None for chip in chips):
        return UNKNOWN, "only neuron-ls shows which processes use cores"
    holders = sorted({pid: command for chip in chips for pid, command in chip.processes.items()}.items())
    if not holders:
        return OK, "no process uses any"
    first = ", ".join(f"{pid} ({command[:60]})" for pid, command in holders[:4])
    more = f" and {len(holders) - 4} more" if len(holders) > 4 else ""
    return (WRONG, f"used by process {first}{more}; a core serves only one process, so workers × cores must be at most "
            "the machine's (#453)", f"kill {' '.join(str(pid) for pid, _ in holders)}  # if it may end")


def _memory(machine: Machine) -> tuple:
    line = re.search(r"^MemAvailable:\s*([0-9]+) kB", machine.host.text("proc/meminfo") or "", re.MULTILINE)
    if not line:
        return UNKNOWN, "/proc/meminfo does not show it", "", NOT_NEEDED
    free = int(line[1]) * 1024
    text = f"{free / 2**30:.1f} GiB available"
    if free < COMPILER_BYTES:
        return (WRONG, f"{text}: neuron-cc may end with std::bad_alloc or BrokenProcessPool (#287, #434, #1064), or "
                "take hours (#352, #730); compile on a machine with 32 GiB, such as c5.4xlarge; it needs no "
                "Inferentia", "", NOT_NEEDED)
    return OK, text, "", NOT_NEEDED
