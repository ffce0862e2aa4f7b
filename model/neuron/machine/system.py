"""The operating system of a machine: which it is, and how AWS's packages are installed on it, as lines to paste.

Sources: os-release(5); SDK docs, pages "TensorFlow Neuron setup" for Ubuntu 22 and Amazon Linux 2023 and "Neuron
Driver release notes"; aws-neuron-sdk's issues, by number.
"""
from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from model.neuron.machine.host import Host

DRIVER_PACKAGE, OLD_DRIVER_PACKAGE = "aws-neuronx-dkms", "aws-neuron-dkms"  # the old name until SDK 2.3 (#661)
RUNTIME_PACKAGE, TOOLS_PACKAGE = "aws-neuronx-runtime-lib", "aws-neuronx-tools"
PACKAGES = (DRIVER_PACKAGE, OLD_DRIVER_PACKAGE, RUNTIME_PACKAGE)
KEY = "GPG-PUB-KEY-AMAZON-AWS-NEURON.PUB"
APT_URL, DNF_URL = "https://apt.repos.neuron.amazonaws.com", "https://yum.repos.neuron.amazonaws.com"
APT = "apt-get"  # else dnf, or its older name yum
# (id, version) of the systems that AWS's last pages for Inf1 name, and of those that older pages name.
KNOWN = {("ubuntu", "20.04"), ("ubuntu", "22.04"), ("amzn", "2023")}
ENDED = {("ubuntu", "16.04"): "SDK 1.x", ("ubuntu", "18.04"): "SDK 2.13", ("amzn", "2018.03"): "SDK 1.x"}
# What pyenv builds a Python from, and the framework's wheels need.
BUILD_TOOLS = {
    APT: "build-essential curl git libssl-dev zlib1g-dev libbz2-dev libreadline-dev libsqlite3-dev libffi-dev "
         "liblzma-dev",
    "dnf": "gcc gcc-c++ make patch tar git openssl-devel zlib-devel bzip2 bzip2-devel readline-devel sqlite-devel "
           "libffi-devel xz-devel libxcrypt-compat",
}


def in_turn(*lines: str) -> str:
    """Lines for a shell as one, each run if those before it succeeded; '' stands for nothing to do."""
    return " && ".join(filter(None, lines))


class System(NamedTuple):
    """An operating system as os-release names it; '' where it does not say. Without a manager every line is ''."""

    id: str
    version: str
    codename: str
    name: str
    manager: str  # apt-get, dnf, yum or ''
    in_container: bool

    def _manage(self, words: str) -> str:
        return f"sudo {self.manager} {words}" if self.manager else ""

    def install(self, package: str, version: str) -> str:
        """The line that installs this version of a package, older or newer than what is there."""
        if self.manager == APT:
            return self._manage(f"install -y --allow-downgrades {shlex.quote(f'{package}={version}')}")
        return self._manage(f"install -y {shlex.quote(f'{package}-{version}')}")

    def remove(self, package: str) -> str:
        """The line that removes a package."""
        return self._manage(f"remove -y {package}")

    @property
    def refresh(self) -> str:
        """The line that reads the lists of packages anew; '' where installing does so."""
        return self._manage("update") if self.manager == APT else ""

    @property
    def build_tools(self) -> str:
        """The line that installs what a Python is built from."""
        tools = BUILD_TOOLS.get(self.manager, BUILD_TOOLS["dnf"])
        return in_turn(self.refresh, self._manage(f"install -y {tools}"))

    @property
    def headers(self) -> str:
        """The line that installs the headers of the running kernel, from which the driver is built."""
        if self.manager == APT:
            return self._manage("install -y linux-headers-$(uname -r)")
        return self._manage('install -y "kernel-devel-uname-r = $(uname -r)"')

    @property
    def repository(self) -> str:
        """The line that sets up AWS's repository for Neuron."""
        if self.manager == APT:
            release = self.codename or '$(. /etc/os-release && echo "$VERSION_CODENAME")'
            return (f"sudo mkdir -p /etc/apt/keyrings && curl -fsSL {APT_URL}/{KEY} | sudo gpg --batch --yes --dearmor "
                    "-o /etc/apt/keyrings/neuron.gpg && "
                    f'echo "deb [signed-by=/etc/apt/keyrings/neuron.gpg] {APT_URL} {release} main" | '
                    "sudo tee /etc/apt/sources.list.d/neuron.list")
        if not self.manager:
            return ""
        lines = f"[neuron]\\nname=Neuron YUM Repository\\nbaseurl={DNF_URL}\\nenabled=1\\nmetadata_expire=0\\n"
        return f"printf '{lines}' | sudo tee /etc/yum.repos.d/neuron.repo && sudo rpm --import {DNF_URL}/{KEY}"


def system(host: Host) -> System:
    """The operating system of a machine."""
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', host.text("etc/os-release") or "", re.MULTILINE))
    manager = next((name for name in (APT, "dnf", "yum") if host.tool(name)), "")
    in_container = any((host.root / mark).exists() for mark in (".dockerenv", "run/.containerenv"))
    return System(fields.get("ID", ""), fields.get("VERSION_ID", ""), fields.get("VERSION_CODENAME", ""),
                  fields.get("PRETTY_NAME", ""), manager, in_container or bool(host.environment.get("container")))


def has_repository(host: Host) -> bool:
    """Whether AWS's repository for Neuron is among those of the package manager."""
    files = host.glob("etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/yum.repos.d/*")
    return any("repos.neuron.amazonaws.com" in (host.text(path) or "") for path in files)


def lockdown(host: Host) -> str:
    """The kernel's lockdown (integrity or confidentiality), with which it loads only signed modules; '' without one."""
    found = re.search(r"\[(\w+)\]", host.text("sys/kernel/security/lockdown") or "")
    return found[1] if found and found[1] != "none" else ""
