"""The doctor: each thing that keeps a detector from running on Inf1 is found beforehand, with what to do."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model.__main__ import main
from model.neuron.machine import environment, software
from model.neuron.machine.device import SYSFS
from model.neuron.machine.doctor import diagnose
from model.neuron.machine.packages import INDEX, ROUTES
from model.neuron.machine.preflight import MISSING, OK, UNKNOWN, WRONG, Check, Diagnosis
from tests.model.interpreters import pythons
from tests.model.neuron.planted import AMAZON, WHEELS, Planted, inf1, operating_system, row

ROOT = Path(__file__).parents[4]
TF1_WHEELS = {
    **WHEELS,
    "tensorflow-neuron": "1.15.5.2.9.3.0",
    "neuron-cc": "1.17.0.0+1",
    "tensorflow": "1.15.5",
    "numpy": "1.18.2",
}


def diagnosed(machine: Planted) -> Diagnosis:
    return diagnose(machine.host, str(machine.root / "neuron/bin/python"))


@pytest.mark.parametrize("chips, size", [(1, "inf1.xlarge"), (1, "inf1.2xlarge"), (4, "inf1.6xlarge")])
def test_a_machine_on_which_all_is_well_is_ready(tmp_path, chips, size):
    found = diagnosed(inf1(tmp_path, chips, size))
    assert {check.status for check in found.checks} == {OK}, found.table()
    assert found.ready and found.summary() == "This machine has everything that the Neuron backend needs."


def test_tensorflow_1_on_python_3_7_is_ready_too(tmp_path):
    machine = inf1(tmp_path)
    machine.python(TF1_WHEELS, python="3.7.16")
    found = diagnosed(machine)
    assert found.ready and {check.status for check in found.checks} == {OK}, found.table()


def test_a_laptop_is_told_that_the_rehearsal_works_without(tmp_path):
    machine = Planted(tmp_path)
    machine.python({"tensorflow": "2.21.0"}, python="3.13.0")
    found = diagnosed(machine)
    assert not found.ready
    assert found.table().splitlines()[-1] == (
        "This machine has no Inferentia (Inf1) device; the gate also runs on the CPU."
    )
    assert not {"driver", "runtime", "tools", "device nodes", "cores are free"} & {c.name for c in found.checks}


# What is planted on a machine that was well → check, status, a part of what is found, a part of what to do.
def no_device(machine):
    for path in [*(machine.root / SYSFS).rglob("*"), *(machine.root / "dev").iterdir()]:
        if path.is_file():
            path.unlink()
    os.rename(machine.root / SYSFS, machine.root / "gone")
    machine.tool("neuron-ls", code=1, errors="Unable to read device information from the driver.")
    (machine.root / "sys/module/neuron/version").unlink()


def installed_driver(machine):
    no_device(machine)
    machine.tool("modinfo", "2.24.7.0\n")


def pci_chip(machine):
    no_device(machine)
    (machine.root / "sys/devices/virtual/dmi/id/product_name").unlink()
    machine.write("sys/bus/pci/devices/0000:00:1f.0/vendor", "0x1d0f")
    machine.write("sys/bus/pci/devices/0000:00:1f.0/device", "0x7064")


def driver(version):
    return lambda machine: machine.write("sys/module/neuron/version", version)


def holders(*commands):
    return lambda machine: machine.tool(
        "neuron-ls",
        [row(neuron_processes=[{"pid": 4711 + i, "command": command} for i, command in enumerate(commands)])],
    )


def wheels(python="3.10.12", system="Linux x86_64", runtime=True, compiler=True, **changes):
    versions = {
        key: value for key, value in {**WHEELS, **{k.replace("_", "-"): v for k, v in changes.items()}}.items() if value
    }
    return lambda machine: machine.python(versions, python, system, runtime, compiler)


def set_to(**variables):
    return lambda machine: machine.set(**variables)


def no_neuron_ls(machine):
    (machine.root / "opt/aws/neuron/bin/neuron-ls").unlink()


def no_dpkg(machine):
    (machine.root / "opt/aws/neuron/bin/dpkg-query").unlink()


def image(machine):
    machine.write("opt/aws_neuron_venv_tensorflow_2_10_inf1/bin/python")
    machine.python({})


def amazon(plant=lambda machine: None):
    """Amazon Linux 2023 in place of Ubuntu."""

    def change(machine):
        operating_system(machine, *AMAZON, manager="dnf")
        plant(machine)

    return change


def both(*plants):
    return lambda machine: [plant(machine) for plant in plants]


def debian_package(name, version="2.24.7.0"):
    return lambda machine: machine.tool("dpkg-query", f"installed {name} {version}\n")


def container(machine):
    machine.write(".dockerenv")


def no_repository(machine):
    for path in ("etc/apt/sources.list.d/neuron.list", "etc/yum.repos.d/neuron.repo"):
        (machine.root / path).unlink(missing_ok=True)


def locked_down(machine):
    installed_driver(machine)
    machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")


PLACEHOLDERS = dict(tensorflow_neuron="1.0", neuron_cc="1.0.post1", compiler=False)
HEADERS, DNF_HEADERS = "linux-headers-$(uname -r)", 'sudo dnf install -y "kernel-devel-uname-r = $(uname -r)"'
INSTALL = "sudo apt-get install -y --allow-downgrades 'aws-neuronx-dkms=2.24.*' && sudo modprobe neuron"
DNF_INSTALL = "sudo dnf install -y 'aws-neuronx-dkms-2.24.*' && sudo modprobe neuron"
PIP = "/neuron/bin/python -m pip install --extra-index-url https://pip.repos.neuron.amazonaws.com "
TF1_FILE, TF2_FILE = "requirements-neuron-tf115.txt", "requirements-neuron-tf210.txt"
PYENV = "~/.pyenv/bin/pyenv install 3.7.16 && ~/.pyenv/versions/3.7.16/bin/python -m venv ~/neuron && ~/neuron/bin/py"
FAULTS = {
    "no driver: devices": (no_device, "devices", MISSING, "Unable to read device information from the driver", INSTALL),
    "no driver: driver": (no_device, "driver", MISSING, "neither loaded nor installed", f"{HEADERS} && {INSTALL}"),
    "no driver on Amazon Linux": (amazon(no_device), "driver", MISSING, "neither", f"{DNF_HEADERS} && {DNF_INSTALL}"),
    "no driver and no repository": (
        both(no_device, no_repository),
        "driver",
        MISSING,
        "neither",
        "sudo tee /etc/apt/sources.list.d/neuron.list && sudo apt-get update && ",
    ),
    "no driver and no repository on Amazon Linux": (
        amazon(both(no_device, no_repository)),
        "driver",
        MISSING,
        "neither",
        "sudo tee /etc/yum.repos.d/neuron.repo && sudo rpm --import https://",
    ),
    "a driver that is not loaded": (
        installed_driver,
        "driver",
        WRONG,
        "2.24.7.0 (modinfo) is installed but not loaded",
        "sudo modprobe neuron",
    ),
    "Secure Boot (794)": (locked_down, "driver", WRONG, "loads only signed modules (#794); sign the module", "dmesg"),
    "the old name (661)": (
        debian_package("aws-neuron-dkms", "2.3.26.0"),
        "driver",
        WRONG,
        "is the old name",
        f"sudo apt-get remove -y aws-neuron-dkms && sudo apt-get install -y {HEADERS} && {INSTALL}",
    ),
    "a driver in a container (353, 425)": (
        both(container, debian_package("aws-neuronx-dkms")),
        "driver",
        WRONG,
        "the driver belongs on the host",
        "sudo apt-get remove -y aws-neuronx-dkms",
    ),
    "a container whose host has no driver (482)": (
        both(container, no_device),
        "driver",
        MISSING,
        "install the driver on the host, then start the container with --device=/dev/neuron0",
        "",
    ),
    "a container without the device (633)": (
        both(no_device, container, lambda m: m.write("sys/module/neuron/version", "2.24.7.0\n")),
        "devices",
        MISSING,
        "the host has the driver, so start the container with --device=/dev/neuron0",
        "",
    ),
    "chips on the bus alone": (pci_chip, "devices", MISSING, "the driver shows 0 of 1", INSTALL),
    "a driver past Inf1": (
        driver("2.26.5.0"),
        "driver",
        UNKNOWN,
        "2.26.5.0 (/sys/module/neuron) is not supported by AWS on Inf1, one report of it working",
        INSTALL,
    ),
    "a driver past Inf1 on Amazon Linux": (
        amazon(both(driver("2.29.0.0"), lambda m: m.tool("rpm", "installed aws-neuronx-dkms 2.29.0.0\n"))),
        "driver",
        UNKNOWN,
        "one report",
        "sudo dnf remove -y aws-neur",
    ),
    **{
        f"driver {version}, which fails": (
            driver(version),
            "driver",
            WRONG,
            "AWS documents 2.4 and older as failing",
            INSTALL,
        )
        for version in ("1.5.0.0", "2.0.1.0", "2.3.26.0", "2.4.6.0")
    },
    **{
        f"driver {version}, of which nothing is known": (
            driver(version),
            "driver",
            UNKNOWN,
            "nothing is known of it",
            INSTALL,
        )
        for version in ("2.5.41.0", "2.19.1.0", "2.20.74.0")
    },
    **{
        f"driver {version}, which is good": (driver(version), "driver", OK, version, "")
        for version in ("2.21.37.0", "2.22.2.0", "2.24.13.0")
    },
    "a driver of no version": (driver("unknown"), "driver", UNKNOWN, "must be 2.21 to 2.24", ""),
    "a newer runtime": (
        debian_package("aws-neuronx-runtime-lib", "2.23.110.0-9b5179492"),
        "runtime",
        WRONG,
        "2.23.110.0-9b5179492 no longer supports",
        "sudo apt-get remove -y aws-neuronx-runtime-lib",
    ),
    "a newer runtime on Amazon Linux": (
        amazon(lambda m: m.tool("rpm", "installed aws-neuronx-runtime-lib 2.23.110.0\n")),
        "runtime",
        WRONG,
        "no longer supports",
        "sudo dnf remove -y aws-neuronx-runtime-lib",
    ),
    "the runtime of the same time": (
        debian_package("aws-neuronx-runtime-lib", "2.22.14.0"),
        "runtime",
        OK,
        "aws-neuronx-runtime-lib 2.22.14.0",
        "",
    ),
    "no dpkg": (no_dpkg, "runtime", UNKNOWN, "without dpkg or rpm other installations are unknown", ""),
    "no runtime seen": (wheels(runtime=False), "runtime", UNKNOWN, "tensorflow-neuron has no libnrt.so", ""),
    "no tools": (no_neuron_ls, "tools", MISSING, "nor memory errors", "'aws-neuronx-tools=2.*'"),
    "no tools on Amazon Linux": (
        amazon(no_neuron_ls),
        "tools",
        MISSING,
        "nor memory",
        "install -y 'aws-neuronx-tools-2.*'",
    ),
    "tools not on PATH": (
        set_to(PATH=""),
        "tools",
        WRONG,
        "neuron-ls is not on PATH (#447)",
        "export PATH=/opt/aws/neuron/bin:$PATH",
    ),
    "a broken tool": (lambda m: m.tool("neuron-ls", "oops"), "tools", WRONG, "must write a JSON list,", "neuron-ls -j"),
    "no tools: processes": (no_neuron_ls, "cores are free", UNKNOWN, "only neuron-ls shows", ""),
    "cores in use (453)": (
        holders("python serve.py"),
        "cores are free",
        WRONG,
        "used by process 4711 (python serve.py); a core serves only one process, so workers × cores must be",
        "kill 4711",
    ),
    "cores in use by many": (holders(*"abcdef"), "cores are free", WRONG, "4714 (d) and 2 more", "kill 4711 4712 4713"),
    "no device node": (
        lambda m: (m.root / "dev/neuron0").unlink(),
        "device nodes",
        MISSING,
        "neuron0 does not exist; in a container: start it with --device=/dev/neuron0",
        "sudo modprobe -r neuron && sudo modprobe neuron",
    ),
    "a chip that did not come up": (
        lambda m: m.write("sys/devices/virtual/dmi/id/product_name", "inf1.6xlarge"),
        "devices",
        WRONG,
        "1 with 4 cores (neuron-ls) of 4 on this machine",
        "dmesg",
    ),
    "unknown cores": (
        lambda m: (no_neuron_ls(m), m.write(f"{SYSFS}/neuron0/core_count", "")),
        "devices",
        UNKNOWN,
        "1 with an unknown number of cores (sysfs)",
        "",
    ),
    "little memory (287, 434)": (
        lambda m: m.write("proc/meminfo", "MemAvailable: 2097152 kB\n"),
        "memory",
        WRONG,
        "2.0 GiB available: neuron-cc may end with std::bad_alloc or BrokenProcessPool",
        "",
    ),
    "no meminfo": (lambda m: m.write("proc/meminfo", "MemFree: 1 kB"), "memory", UNKNOWN, "does not show it", ""),
    "hidden cores": (
        set_to(NEURON_RT_VISIBLE_CORES="0-2"),
        "environment",
        WRONG,
        "NEURON_RT_VISIBLE_CORES=0-2 hides 1 of 4 cores",
        "unset NEURON_RT_VISIBLE_CORES",
    ),
    "a list of cores for an older runtime (PR 1024)": (
        both(lambda m: m.python(TF1_WHEELS, python="3.7.16"), set_to(NEURON_RT_VISIBLE_CORES="0,1,2,3")),
        "environment",
        WRONG,
        "which the runtime in tensorflow-neuron 1.15 refuses; it takes a range",
        "unset NEURON_RT_VISIBLE_CORES",
    ),
    "obsolete groups": (
        set_to(NEURONCORE_GROUP_SIZES="1,1,1,1"),
        "environment",
        WRONG,
        "NEURONCORE_GROUP_SIZES=1,1,1,1 is obsolete",
        "unset NEURONCORE_GROUP_SIZES",
    ),
    "neuron-rtd": (set_to(NEURON_INTERNAL_USE_GRPC_RUNTIME="yes"), "environment", WRONG, "before 2.0", "unset"),
    "flags of the compiler": (
        set_to(NEURON_CC_FLAGS="--fp32-cast=matmult"),
        "environment",
        WRONG,
        "would change what is compiled",
        "unset NEURON_CC_FLAGS",
    ),
    "Ubuntu 18.04": (
        lambda m: operating_system(m, "ubuntu", "18.04", "bionic"),
        "operating system",
        WRONG,
        "ubuntu 18.04: AWS supported it until SDK 2.13",
        "",
    ),
    "Ubuntu 24.04": (
        lambda m: operating_system(m, "ubuntu", "24.04", "noble"),
        "operating system",
        UNKNOWN,
        "ubuntu 24.04: AWS's pages for Inf1 name",
        "",
    ),
    "an unknown system": (
        lambda m: (m.root / "etc/os-release").unlink(),
        "operating system",
        UNKNOWN,
        "unknown: AWS",
        "",
    ),
    "no repository (483)": (
        no_repository,
        "operating system",
        MISSING,
        "without AWS's apt-get repository",
        "gpg --batch",
    ),
    "no repository on Amazon Linux (483)": (
        amazon(no_repository),
        "operating system",
        MISSING,
        "without AWS's dnf repos",
        "baseurl=https://yum.repos.neuron.amazonaws.com",
    ),
    "a Python without wheels": (
        wheels(python="3.11.7", tensorflow_neuron=None),
        "Python",
        WRONG,
        "3.11.7, Linux",
        PYENV,
    ),
    "no Python 3.7 on Amazon Linux": (
        amazon(wheels(python="3.11.7", tensorflow_neuron=None)),
        "Python",
        WRONG,
        "3.11.7",
        "sudo dnf install -y gcc gcc-c++ make patch",
    ),
    "a Python 3.7 is there": (
        both(wheels(python="3.11.7", tensorflow_neuron=None), lambda m: m.tool("python3.7")),
        "Python",
        WRONG,
        "3.11.7",
        "python3.7 -m venv ~/neuron && ~/neuron/bin/python -m pip",
    ),
    "TensorFlow 1 on Python 3.10": (
        wheels(tensorflow_neuron="1.15.5.2.9.3.0"),
        "Python",
        WRONG,
        "1.15.5 for Python 3.7",
        PYENV,
    ),
    "TensorFlow 2 on Python 3.7": (wheels(python="3.7.16"), "Python", WRONG, "2.10.1 for 3.9 and 3.10", PYENV),
    "a Mac": (wheels(system="Darwin arm64"), "Python", WRONG, "3.10.12, Darwin arm64", ""),
    "no framework": (
        wheels(tensorflow_neuron=None),
        "tensorflow-neuron",
        MISSING,
        "not installed in this Python",
        TF2_FILE,
    ),
    "no framework on Python 3.7": (
        wheels("3.7.16", tensorflow_neuron=None),
        "tensorflow-neuron",
        MISSING,
        "not installed",
        TF1_FILE,
    ),
    "no framework on AWS's image": (
        image,
        "tensorflow-neuron",
        MISSING,
        "not installed",
        "opt/aws_neuron_venv_tensorflow_2_10_inf1/bin/python",
    ),
    "the framework of Inf2": (
        wheels(tensorflow_neuron=None, tensorflow_neuronx="2.10.1.2.1.0"),
        "tensorflow-neuron",
        MISSING,
        "tensorflow-neuronx 2.10.1.2.1.0 is for Inf2 and Trn1",
        TF2_FILE,
    ),
    "both frameworks": (
        wheels(tensorflow_neuronx="2.10.1.2.1.0"),
        "tensorflow-neuron",
        WRONG,
        "beside tensorflow-n",
        "-m pip uninstall -y tensorflow-neuronx",
    ),
    "an older framework": (
        wheels(tensorflow_neuron="2.8.4.2.11.4.0"),
        "tensorflow-neuron",
        WRONG,
        "must be 2.10.1 or",
        TF2_FILE,
    ),
    "no compiler": (wheels(neuron_cc=None), "neuron-cc", MISSING, "nothing can be compiled", TF2_FILE),
    "a compiler without its program": (
        wheels(compiler=False),
        "neuron-cc",
        WRONG,
        "neither besi",
        "--force-reinstall --no-deps neuron-cc==1.24.0.0",
    ),
    "another compiler": (
        wheels(neuron_cc="1.22.0.0+1"),
        "neuron-cc",
        UNKNOWN,
        "should be 1.24.0.0",
        f"{PIP}neuron-cc==1.24.0.0",
    ),
    "the compiler of TensorFlow 2 beside 1.15 (485, 598)": (
        lambda m: m.python({**TF1_WHEELS, "neuron-cc": "1.24.0.0"}, python="3.7.16"),
        "neuron-cc",
        UNKNOWN,
        "should be 1.13.5.0",
        f"{PIP}neuron-cc==1.13.5.0",
    ),
    "another TensorFlow": (
        wheels(tensorflow="2.11.0"),
        "tensorflow",
        WRONG,
        "2.11.0; tensorflow-neuron needs tensor",
        f"{PIP}'tensorflow==2.10.1.*'",
    ),
    "no TensorFlow": (wheels(tensorflow=None), "tensorflow", MISSING, "not installed", f"{PIP}'tensorflow==2.10.1.*'"),
    "a newer protobuf": (
        wheels(protobuf="3.20.3"),
        "protobuf",
        WRONG,
        "3.20.3; tensorflow-neuron needs protobuf<3.20",
        f"{PIP}'protobuf<3.20'",
    ),
    "PyPI's placeholder of the framework (916)": (
        wheels(**PLACEHOLDERS),
        "tensorflow-neuron",
        WRONG,
        '1.0 is PyPI\'s placeholder, an empty package of that name ("WRONG PACKAGE", #916)',
        "-m pip uninstall -y tensorflow-neuron neuron-cc && ",
    ),
    "PyPI's placeholder of the framework on 3.7": (
        wheels("3.7.16", **PLACEHOLDERS),
        "tensorflow-neuron",
        WRONG,
        "placeholder",
        TF1_FILE,
    ),
    "PyPI's placeholder of the compiler (916)": (
        wheels(**PLACEHOLDERS),
        "neuron-cc",
        WRONG,
        "1.0.post1 is PyPI's placeh",
        TF2_FILE,
    ),
    "numpy 2": (
        wheels(numpy="2.0.2"),
        "numpy",
        WRONG,
        "2.0.2; tensorflow-neuron needs numpy<1.26",
        f"{PIP}'numpy<1.26'",
    ),
    "numpy past AWS's cap": (
        wheels(numpy="1.26.4"),
        "numpy",
        UNKNOWN,
        "AWS's last cap for Inf1 is 1.25.2",
        "'numpy<1.26'",
    ),
}


@pytest.mark.parametrize("plant, name, status, found, fix", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_machine_is_found_with_its_fix(tmp_path, plant, name, status, found, fix):
    machine = inf1(tmp_path)
    plant(machine)
    diagnosis = diagnosed(machine)
    (check,) = (check for check in diagnosis.checks if check.name == name)
    assert check.status == status and found in check.found and fix in check.fix and bool(fix) == bool(check.fix), check
    assert diagnosis.ready or check.blocks or any(other.blocks for other in diagnosis.checks)
    if status == UNKNOWN or check.blocks:
        assert name in diagnosis.summary() or any(other.blocks for other in diagnosis.checks if other.name != name)
        assert "has everything" not in diagnosis.summary()


@pytest.mark.parametrize("plant", [case[0] for case in FAULTS.values()], ids=FAULTS)
def test_each_repair_is_a_line_that_a_shell_reads_and_that_starts_with_a_program(tmp_path, plant):
    machine = inf1(tmp_path)
    plant(machine)
    for check in diagnosed(machine).checks:
        ended = subprocess.run(["bash", "-n", "-c", check.fix], capture_output=True, text=True, check=False)
        assert ended.returncode == 0 and not ended.stderr and "\n" not in check.fix, check
        for part in re.split(r" && | \| ", check.fix.partition("  #")[0]):
            assert not part or PROGRAMS.match(part), f"{check.name}: {part!r} is not a command"


PROGRAMS = re.compile(r"(sudo|curl|echo|printf|git|grep|export|unset|kill|python[\d.]*|(~|/)[\w./~-]+) ")


def test_without_a_known_package_manager_no_line_is_made_up(tmp_path):
    machine = inf1(tmp_path)
    no_device(machine)
    (machine.root / "opt/aws/neuron/bin/apt-get").unlink()
    fixes = {check.name: check.fix for check in diagnosed(machine).checks}
    assert fixes["driver"] == fixes["operating system"] == ""


@pytest.mark.parametrize("family, size", [("Inf2", "inf2.xlarge"), ("Trn1", "trn1.2xlarge"), ("Inf2", "")])
def test_chips_of_another_family_are_not_what_is_needed(tmp_path, family, size):
    machine = inf1(tmp_path, size=size)
    machine.chip(family=family)
    found = diagnosed(machine)
    assert found.checks[0].status == WRONG and not found.has_chips and not found.ready
    # No advice to put the driver of Inf1 on it, nor anything else that it has no use for.
    assert INSTALL not in found.table() and "device nodes" not in found.table()


def test_placeholders_are_all_that_is_wrong_and_no_repair_brings_them_back(tmp_path):
    machine = inf1(tmp_path)
    wheels(**PLACEHOLDERS)(machine)
    fixes = {check.name: check.fix for check in diagnosed(machine).checks if check.blocks}
    assert fixes.keys() == {"tensorflow-neuron", "neuron-cc"}
    assert all("1.0" not in fix.partition("&&")[2] and fix.endswith(TF2_FILE) for fix in fixes.values())


def test_the_requirements_files_pin_what_the_doctor_asks_for():
    for route in ROUTES.values():
        pins = dict(re.findall(r"^([\w-]+)==(\S+)$", route.file.read_text(), re.MULTILINE))
        assert software.release(pins["tensorflow-neuron"])[:3] == route.framework
        assert software.release(pins["neuron-cc"]) == route.compiler
        assert f"--extra-index-url {INDEX}" in route.file.read_text()


def test_what_the_wheels_have_to_agree_with_is_moot_without_them(tmp_path):
    machine = inf1(tmp_path)
    machine.python({"tensorflow": "2.21.0", "protobuf": "6.33.0", "numpy": "2.3.0"})
    assert not {"tensorflow", "protobuf", "numpy"} & {check.name for check in diagnosed(machine).checks}


def test_a_node_that_may_not_be_opened_is_wrong(tmp_path, monkeypatch):
    # Root may open anything, so the system's response is planted, not the file's mode.
    machine = inf1(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (check,) = (check for check in diagnosed(machine).checks if check.name == "device nodes")
    assert (check.status, check.fix) == (WRONG, "sudo chmod a+rw /dev/neuron0") and "#415" in check.found


SETTINGS = {
    "all cores": ({"VISIBLE_CORES": "0-3"}, 4, []),
    "all cores, listed": ({"VISIBLE_CORES": "0, 1,2-3"}, 4, []),
    "the same number": ({"VISIBLE_CORES": "0-3", "NUM_CORES": "4"}, 4, []),
    "0 is all": ({"NUM_CORES": "0"}, 4, []),
    "empty is unset": ({"VISIBLE_CORES": "", "NUM_CORES": ""}, 4, []),
    "some, of an unknown number": ({"VISIBLE_CORES": "0"}, None, []),
    "one core": ({"VISIBLE_CORES": "1"}, 4, ["hides 3 of 4 cores"]),
    "past the last": ({"VISIBLE_CORES": "0-4"}, 4, ["names core 4, but the last core is 3"]),
    "backwards": ({"VISIBLE_CORES": "3-0"}, 4, ["must be a list of cores"]),
    "words": ({"VISIBLE_CORES": "all"}, None, ["must be a list of cores"]),
    "huge": ({"VISIBLE_CORES": "0-99999999999"}, 4, ["must be a list of cores"]),
    "a trailing comma": ({"VISIBLE_CORES": "0-3,"}, 4, ["must be a list of cores"]),
    "contradiction": ({"VISIBLE_CORES": "0-3", "NUM_CORES": "2"}, 4, ["contradicts NEURON_RT_VISIBLE_CORES=0-3"]),
    "fewer": ({"NUM_CORES": "3"}, 4, ["hides 1 of 4 cores"]),
    "more": ({"NUM_CORES": "5"}, 4, ["asks for more than the 4 cores of this machine"]),
    "negative": ({"NUM_CORES": "-1"}, 4, ["must be a number of cores"]),
    "both malformed": (
        {"VISIBLE_CORES": "x", "NUM_CORES": "y"},
        4,
        ["must be a list of cores", "must be a number of cores"],
    ),
}


@pytest.mark.parametrize("variables, cores, clauses", SETTINGS.values(), ids=SETTINGS)
def test_settings_that_hide_cores_or_contradict_each_other(variables, cores, clauses):
    found = environment.checks({f"NEURON_RT_{name}": value for name, value in variables.items()}, cores)
    assert [check.status for check in found] == ([WRONG] * len(clauses) or [OK])
    assert all(clause in check.found for clause, check in zip(clauses, found))


def test_a_command_stays_on_one_line_and_no_text_steers_the_terminal():
    check = Check("cores", WRONG, "held by \x1b[31mred " + "word " * 60, "kill " + "12345 " * 60)
    lines = Diagnosis([check], True).table().splitlines()
    assert len([line for line in lines if "kill" in line]) == 1 and max(map(len, lines[:2])) <= 120
    assert "\x1b" not in "".join(lines) and "held by ?[31mred" in lines[1]


# The command line.


@pytest.fixture
def off_ec2(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_doctor_prints_a_table_and_its_exit_code_tells(capsys, off_ec2):
    code = main(["doctor"])
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["status", "check", "found"]
    assert code == (0 if "This machine has everything that the Neuron backend needs." in printed else 1)


def test_doctor_prints_json(capsys, off_ec2):
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report.keys() == {"ready", "summary", "checks", "facts"} and code == 1 - report["ready"]
    assert {"name", "status", "found", "fix", "needed"} == report["checks"][0].keys()
    assert "neuron_devices" in report["facts"]


def test_doctor_looks_at_the_detector_s_python(capsys, off_ec2, tmp_path):
    python = Planted(tmp_path).python(TF1_WHEELS, python="3.7.16")
    main(["doctor", "--detector-python", python, "--json"])
    rows = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert rows["tensorflow-neuron"]["found"] == "1.15.5.2.9.3.0" and python in rows["Python"]["found"]


def test_doctor_names_the_option_that_is_no_python(capsys, off_ec2, tmp_path):
    assert main(["doctor", "--detector-python", str(tmp_path / "python")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'python'}: must be a Python 3.7 or newer")
    assert error.count("\n") == 1


@pytest.mark.parametrize("version", ["3.7", "3.9", "3.10", "3.13"])
def test_doctor_runs_on_any_python_from_3_7_on(version, off_ec2):
    """A bare one: nothing is installed for it."""
    found = pythons(version)
    if not found:
        pytest.skip(f"no Python {version} here")
    run = subprocess.run([found[-1], "-m", "model", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1) and run.stdout.startswith("status") and not run.stderr


def test_doctor_works_in_a_python_without_tensorflow_or_numpy(off_ec2):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['tensorflow', 'numpy'])); "
        "from model.__main__ import main; sys.exit(main(['doctor']))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1) and run.stdout.startswith("status") and not run.stderr
