"""Machines planted in a folder: the driver's files, device nodes, tools and interpreters of an Inf1 instance."""
from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from model.neuron.machine.device import SYSFS
from model.neuron.machine.host import Host

TOOLS = "opt/aws/neuron/bin"
STATUS = ("success", "failure", "timeout", "hw_error", "execute_completed_with_num_error")

# What a complete environment on Inf1 has installed.
WHEELS = {"tensorflow-neuron": "2.10.1.2.12.2.0", "neuron-cc": "1.24.0.0+d58fa6134", "tensorflow": "2.10.1",
          "protobuf": "3.19.6", "numpy": "1.23.5"}


def row(index=0, **changes) -> dict:
    """A device as neuron-ls -j of an inf1.xlarge shows it; a change to None takes the key away."""
    shown = {"neuron_device": index, "bdf": f"0000:00:{0x1f - index:02x}.0", "connected_to": None, "nc_count": 4,
             "memory_size": 8 << 30, "neuroncore_ids": [4 * index + i for i in range(4)], "neuron_processes": []}
    return {key: value for key, value in {**shown, **changes}.items() if value is not None or key == "connected_to"}


class Planted:
    """A root folder that is filled step by step; `host` is how the code sees it."""

    def __init__(self, root: Path):
        self.root = root
        # The tools are found where the packages put them and on PATH; IMDS would ask the real network.
        self.host = Host(root, {"PATH": str(root / TOOLS), "AWS_EC2_METADATA_DISABLED": "true"})

    def set(self, **variables) -> Planted:
        self.host = replace(self.host, environment={**self.host.environment, **variables})
        return self

    def write(self, path: str, text="") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(text))
        return file

    def script(self, path: str, text: str) -> Path:
        """An executable file; PATH is bare, so it names the programs it needs in full."""
        file = self.write(path, text)
        file.chmod(0o755)
        return file

    def tool(self, name: str, shown="", code=0, errors="", folder=TOOLS) -> Path:
        """A tool that prints a text, or a value as JSON, and ends; `errors` only where it fails."""
        text = shown if isinstance(shown, str) else json.dumps(shown, indent=4)
        output, complaint = self.write(f"shown/{name}.out", text), self.write(f"shown/{name}.err", errors)
        fails = f"/bin/cat {output}; /bin/cat {complaint} >&2; exit {code}"
        return self.script(f"{folder}/{name}", f"#!/bin/sh\n{fails if code else f'exec /bin/cat {output}'}\n")

    def chip(self, index=0, cores=4, family="Inf1") -> Planted:
        """What driver 2.24 shows of an Inferentia: no memory errors."""
        self.write(f"{SYSFS}/neuron{index}/core_count", f"{cores}\n")
        self.write(f"{SYSFS}/neuron{index}/info/architecture/instance_type", f"{family}\n")
        for core in range(cores):
            for name in STATUS:
                self.count(name, 0, index, core)
            self.write(f"{SYSFS}/neuron{index}/neuron_core{core}/stats/other_info/inference_count/total", "0\n")
        self.write(f"dev/neuron{index}")
        return self

    def count(self, status: str, total: int, index=0, core=0) -> None:
        self.write(f"{SYSFS}/neuron{index}/neuron_core{core}/stats/status/{status}/total", f"{total}\n")

    def python(self, wheels=WHEELS, python="3.10.12", system="Linux x86_64", runtime=True, compiler=True) -> str:
        """An interpreter that responds like one with these distributions; the path of it."""
        response = {"python": python, "system": system, "versions": dict(wheels), "bundles_runtime": runtime,
                  "neuron_cc": "/neuron/bin/neuron-cc" if compiler else None}
        return str(self.tool("python", json.dumps(response) + "\n", folder="neuron/bin"))


# What os-release says → id, version, codename.
UBUNTU = ("ubuntu", "22.04", "jammy")
AMAZON = ("amzn", "2023", "")


def operating_system(machine: Planted, id: str, version: str, codename="", manager="apt-get") -> None:
    """An operating system with its package manager, and AWS's repository."""
    machine.write("etc/os-release", f'NAME="x"\nID="{id}"\nVERSION_ID="{version}"\nVERSION_CODENAME={codename}\n'
                                    f'PRETTY_NAME="{id} {version}"\n')
    for other in ("apt-get", "dnf", "dpkg-query", "rpm"):
        (machine.root / TOOLS / other).unlink(missing_ok=True)
    machine.tool(manager)
    if manager == "apt-get":
        machine.write("etc/apt/sources.list.d/neuron.list", "deb https://apt.repos.neuron.amazonaws.com jammy main\n")
        machine.tool("dpkg-query", code=1, errors="dpkg-query: no packages found matching aws-neuronx-runtime-lib")
    else:
        machine.write("etc/yum.repos.d/neuron.repo", "[neuron]\nbaseurl=https://yum.repos.neuron.amazonaws.com\n")
        machine.tool("rpm", "package aws-neuronx-runtime-lib is not installed\n", code=1)


def inf1(root: Path, chips=1, size="inf1.2xlarge") -> Planted:
    """A machine on which all is well."""
    machine = Planted(root)
    for index in range(chips):
        machine.chip(index)
    machine.write("sys/devices/virtual/dmi/id/product_name", f"{size}\n")
    machine.write("sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n")
    machine.write("sys/module/neuron/version", "2.24.7.0\n")
    machine.write("proc/meminfo", "MemTotal: 16000000 kB\nMemFree: 1 kB\nMemAvailable: 12582912 kB\n")
    machine.tool("neuron-ls", [row(index) for index in range(chips)])
    operating_system(machine, *UBUNTU)
    machine.python()
    return machine


def report(*devices) -> dict:
    """A report of neuron-monitor with the uncorrected memory errors of each device."""
    rows = [{"neuron_device_index": index, "mem_ecc_corrected": 9, "mem_ecc_uncorrected": memory,
             "sram_ecc_uncorrected": sram, "sram_ecc_corrected": 9} for index, (memory, sram) in enumerate(devices)]
    return {"neuron_runtime_data": [], "system_data": {"neuron_hw_counters": {"neuron_devices": rows, "error": ""}}}


def monitor(machine: Planted, *reports) -> None:
    """A neuron-monitor that keeps its settings, shows these reports and then goes on with the last."""
    lines = [json.dumps(r) if isinstance(r, dict) else r for r in reports]
    shown = machine.write("shown/reports", "\n".join(lines[:-1]) + "\n" * (len(lines) > 1))
    last = machine.write("shown/last", lines[-1] + "\n")
    machine.script(f"{TOOLS}/neuron-monitor",
                   f"#!/bin/sh\n/bin/cp $2 {machine.root}/settings\necho $$ > {machine.root}/pid\n/bin/cat {shown}\n"
                   f"while /bin/cat {last}; do /bin/sleep 0.1; done\n")


def ended(pid: Path) -> bool:
    """Whether the process whose number that file holds ends within 20 s, buried by its parent or not."""
    state, deadline = Path("/proc", pid.read_text().strip(), "stat"), time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if ") Z " in state.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
