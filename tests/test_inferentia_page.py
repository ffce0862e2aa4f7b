"""docs/inferentia.md can be typed through on a bare instance, and so can what the doctor says to repair one.

What stands in for the instance is `tests.clean_root`; it says nothing of AWS's servers.
"""
from __future__ import annotations

import re

import pytest

from model.neuron.machine.doctor import diagnose
from tests.clean_root import ROOT, CleanRoot
from tests.model.neuron.planted import AMAZON, UBUNTU, Planted, inf1, operating_system
from tests.test_documented_commands import check, fences

PAGE = (ROOT / "docs" / "inferentia.md").read_text("utf-8")
SYSTEMS = {"apt-get": "On Ubuntu 22.04", "dnf": "On Amazon Linux 2023"}
COMMON = ("The detector's Python, on both", "The gate, on both")


def section(heading: str) -> str:
    """The commands of the section with this heading."""
    _, text = PAGE.split(f"### {heading}\n")
    return "".join(content for language, content in fences(re.split(r"^##", text, flags=re.MULTILINE)[0])
                   if language == "sh")


def typed(manager: str) -> str:
    """What somebody types who follows the page on the system with this package manager."""
    return "".join(map(section, (SYSTEMS[manager], *COMMON)))


@pytest.fixture(params=SYSTEMS)
def bare(request, tmp_path) -> CleanRoot:
    root = CleanRoot(tmp_path / "root", request.param)
    root.manager = request.param
    return root


def test_the_page_leads_from_a_bare_instance_to_the_gate(bare, tmp_path):
    ended = bare.type(typed(bare.manager))
    assert ended.returncode == 0, ended.stdout
    assert {"aws-neuronx-dkms", "aws-neuronx-tools"} <= bare.installed
    fetched, gate = bare.made
    assert fetched == ["make", "coco", "weights"] and gate[:2] == ["make", "neuron"]
    for command in bare.made:
        check(" ".join(f"'{word}'" for word in command), tmp_path)


# A line of the page, by a part of it → what is refused without it.
NEEDED = {
    "apt-get": {
        "apt-get install -y curl": "command not found", "gpg --batch": "is not signed: no key",
        "tee /etc/apt": "Unable to locate package aws-neuronx-dkms", "linux-headers": "cannot be built",
        "aws-neuronx-dkms": "Module ['neuron'] not found",
    },
    "dnf": {
        "dnf install -y git": "command not found", "tee /etc/yum": "Unable to locate package aws-neuronx-dkms",
        "rpm --import": "its public key is not installed", "kernel-devel": "cannot be built",
        "git clone": "No such file", "pyenv install": "No such file", "-m venv": "No such file",
        "pip install -r": "the doctor says", "export DETECTOR_PYTHON": "DETECTOR_PYTHON: unbound variable",
    },
}


@pytest.mark.parametrize(("manager", "part"), [(manager, part) for manager, parts in NEEDED.items() for part in parts])
def test_a_line_that_is_left_out_is_missed(manager, part, tmp_path):
    lines = typed(manager).splitlines()
    gone = [line for line in lines if part in line]
    assert len(gone) == 1, gone
    ended = CleanRoot(tmp_path / "root", manager).type("\n".join(line for line in lines if line not in gone))
    assert ended.returncode != 0 and NEEDED[manager][part] in ended.stdout, ended.stdout


@pytest.mark.parametrize(("old", "new", "words"), [
    ("jammy", "noble", "noble"), ("2.24.*", "2.25.*", "there is no version 2.25.*"), (" -y ", " ", "it would ask"),
    ("requirements-neuron-tf115.txt", "requirements-neuron.txt", "Could not open requirements file"),
    ("libssl-dev ", "", "pyenv cannot build 3.7.16: no ['libssl-dev']"),
    ("libssl-dev", "libssl-devel", "Unable to loc"),
    ("requirements-neuron-tf115.txt", "requirements-neuron-tf210.txt", "No matching distribution found"),
])
def test_a_line_that_is_wrong_is_noticed(old, new, words, tmp_path):
    ended = CleanRoot(tmp_path / "root", "apt-get").type(typed("apt-get").replace(old, new))
    assert ended.returncode != 0 and words in ended.stdout, ended.stdout


@pytest.mark.parametrize("name", ["driver", "Python"])
def test_what_the_doctor_says_repairs_a_bare_instance(name, bare, tmp_path):
    """A chip without driver and repository, and a Python for which there are no wheels."""
    machine = inf1(tmp_path / "machine")
    if bare.manager == "dnf":
        operating_system(machine, *AMAZON, manager="dnf")
    else:
        operating_system(machine, *UBUNTU)
    take_away_the_driver(machine)
    machine.python({}, python="3.11.7")
    checks = diagnose(machine.host, str(machine.root / "neuron/bin/python")).checks
    row, = (one for one in checks if one.name == name)
    ended = bare.type(f"{prepared(bare.manager)}\n{row.fix}")
    assert ended.returncode == 0, f"{row.fix}\n{ended.stdout}"
    home = bare.folder / "home"
    assert (home / "neuron/bin/installed.json").exists() if name == "Python" else "aws-neuronx-dkms" in bare.installed


def prepared(manager: str) -> str:
    """What a usual image has of the programs that the doctor's lines call."""
    return f"sudo {manager} install -y {'curl gnupg git' if manager == 'apt-get' else 'git'}"


def take_away_the_driver(machine: Planted) -> None:
    for path in ("sys/module/neuron/version", "etc/apt/sources.list.d/neuron.list", "etc/yum.repos.d/neuron.repo"):
        (machine.root / path).unlink(missing_ok=True)
