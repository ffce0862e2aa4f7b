"""A bare instance in a folder, in which documented commands are typed: nothing is there before a command has made it.

Its programs are stand-ins for those that change a system or need the network (sudo, apt-get, dnf, rpm, curl, gpg,
modprobe, git, pyenv, python, pip, make). Each does what the real one does to the files that later commands need, and
refuses what the real one would refuse: a package without its repository, a repository without its key, a driver without
the kernel's headers, a Python that cannot be built, a file or an option that is not there.
"""
from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = ("mkdir", "tee", "uname", "cat", "grep", "env")  # real ones that every system has
STAND_INS = ("sudo", "modprobe", "python3")  # that are there before anything is installed
KEY_FILE = "GPG-PUB-KEY-AMAZON-AWS-NEURON.PUB"
APT_URL, DNF_URL = "https://apt.repos.neuron.amazonaws.com", "https://yum.repos.neuron.amazonaws.com"
PYENV_URL, AWS_INDEX = "https://github.com/pyenv/pyenv", "https://pip.repos.neuron.amazonaws.com"
AWS_PACKAGES = {"aws-neuronx-dkms": ["2.24.13.0", "2.31.7.0"], "aws-neuronx-tools": ["2.32.28.0"]}
LIBRARIES = {  # what pyenv needs to build a Python, by the package manager
    "apt-get": {"build-essential", "libssl-dev", "zlib1g-dev", "libbz2-dev", "libreadline-dev", "libsqlite3-dev",
                "libffi-dev", "liblzma-dev"},
    "dnf": {"gcc", "make", "patch", "tar", "openssl-devel", "zlib-devel", "bzip2-devel", "readline-devel",
            "sqlite-devel", "libffi-devel", "xz-devel"},
}
OTHERS = {"apt-get": {"curl", "gnupg", "git", "make", "python3-venv"},
          "dnf": {"git", "gcc-c++", "bzip2", "libxcrypt-compat"}}
PROGRAMS = {"curl": "curl", "gnupg": "gpg", "git": "git", "make": "make"}  # package → its program
RELEASES = {"jammy"}  # of Ubuntu in AWS's repository
WHEELS = {"tensorflow-neuron": {"3.7": "1.15.5.2.8.9.0", "3.9": "2.10.1.2.12.2.0", "3.10": "2.10.1.2.12.2.0"},
          "neuron-cc": {"3.7": "1.13.5.0", "3.9": "1.24.0.0", "3.10": "1.24.0.0"}}


class CleanRoot:
    """A bare instance with this package manager: apt-get (Ubuntu 22.04) or dnf (Amazon Linux 2023)."""

    def __init__(self, folder: Path, manager: str):
        self.folder = folder
        sources = {"apt-get": "etc/apt/sources.list.d", "dnf": "etc/yum.repos.d"}[manager]
        for name in ("home", "bin", "packages", sources):
            (folder / name).mkdir(parents=True)
        for name in BASE:
            (folder / "bin" / name).symlink_to(_real(name))
        rpm = ["rpm", "curl"] if manager == "dnf" else []  # Amazon Linux has curl-minimal
        for name in (*STAND_INS, manager, *rpm):
            _stand_in(folder / "bin" / name, name, folder)

    def type(self, script: str) -> subprocess.CompletedProcess:
        """Types lines in the project's folder; the first that fails ends it."""
        environment = {"HOME": str(self.folder / "home"), "PATH": str(self.folder / "bin"), "LANG": "C.UTF-8",
                       "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run([_real("bash"), "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    @property
    def installed(self) -> set:
        """The names of the installed packages."""
        return {path.name for path in (self.folder / "packages").iterdir()}

    @property
    def made(self) -> list:
        """What make was called with, in order."""
        path = self.folder / "made"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _real(name: str) -> str:
    return next(f"{place}/{name}" for place in ("/usr/bin", "/bin") if os.path.exists(f"{place}/{name}"))


def _stand_in(path: Path, name: str, folder: Path, **facts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = json.dumps({"name": name, "root": str(folder), "path": str(path), **facts})
    path.write_text(f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                    f"from tests.clean_root import act\nact({settings!r}, sys.argv[1:])\n")
    path.chmod(0o755)


class Refused(Exception):
    """What the real program would refuse."""


class Act:
    """One call of a stand-in."""

    def __init__(self, name, root, path, built=""):
        self.name, self.root, self.path, self.built = name, Path(root), Path(path), built
        self.manager = "apt-get" if (self.root / "bin/apt-get").exists() else "dnf"

    def has(self, package: str) -> bool:
        return (self.root / "packages" / package).exists()

    def add(self, package: str) -> None:
        (self.root / "packages" / package).write_text("")
        if package in PROGRAMS:
            _stand_in(self.root / "bin" / PROGRAMS[package], PROGRAMS[package], self.root)

    def sudo(self, arguments):
        """As root, but in the root's own folders."""
        program, *rest = [re.sub(r"^/(etc|usr|opt)/", rf"{self.root}/\1/", argument) for argument in arguments]
        if not (self.root / "bin" / program).exists():
            raise Refused(f"sudo: {program}: command not found")
        os.execv(self.root / "bin" / program, [program, *rest])

    def apt_get(self, arguments):
        action, *rest = arguments
        if action == "update":
            return self._read_lists()
        self._require(action == "install" and "-y" in rest, "it would ask: give -y")
        for wanted in rest:
            name, _, version = wanted.partition("=")
            if not wanted.startswith("-"):
                self._install(name, version, f"linux-headers-{os.uname().release}")

    def _read_lists(self):
        for path in (self.root / "etc/apt/sources.list.d").glob("*.list"):
            line = re.fullmatch(r"deb \[signed-by=(\S+)\] (\S+) (\w+) main\n", path.read_text())
            self._require(line and line[2] == APT_URL and line[3] in RELEASES, f"{path.name}: {path.read_text()!r}")
            key = Path(f"{self.root}{line[1]}")
            self._require(key.exists() and key.read_text() == "binary key",
                          f"{line[2]} is not signed: no key in {line[1]}")
            (self.root / "repository").write_text("")

    def dnf(self, arguments):
        action, *rest = arguments
        self._require(action in ("install", "remove") and "-y" in rest, "it would ask: give -y")
        files = [path.read_text() for path in (self.root / "etc/yum.repos.d").glob("*.repo")]
        if any(re.search(rf"^\[\w+\]\nname=.+\nbaseurl={DNF_URL}\nenabled=1\n", text) for text in files):
            (self.root / "repository").write_text("")
        for wanted in rest:
            name, _, version = wanted.partition("-2.")
            if wanted == f"kernel-devel-uname-r = {os.uname().release}":
                self.add("kernel-devel")
            elif not wanted.startswith("-"):
                self._install(name, f"2.{version}" if version else "", "kernel-devel")

    def _install(self, name, version, headers):
        if name in AWS_PACKAGES:
            self._require((self.root / "repository").exists(), f"Unable to locate package {name}")
            self._require(self.manager == "apt-get" or self.has("key"), f"{name}: its public key is not installed")
            self._require(fnmatch.filter(AWS_PACKAGES[name], version or "*"), f"{name}: there is no version {version}")
            self._require(name != "aws-neuronx-dkms" or (version and self.has(headers)),
                          f"{name} cannot be built: give a version, and install {headers} first")
        else:
            known = LIBRARIES[self.manager] | OTHERS[self.manager] | {headers}
            self._require(name in known, f"Unable to locate package {name}")
        self.add(name)

    def rpm(self, arguments):
        self._require(arguments == ["--import", f"{DNF_URL}/{KEY_FILE}"], f"rpm {arguments}")
        self.add("key")

    def curl(self, arguments):
        self._require(arguments == ["-fsSL", f"{APT_URL}/{KEY_FILE}"], f"curl {arguments}")
        print("text key", end="")

    def gpg(self, arguments):
        *options, place = arguments
        self._require(options == ["--batch", "--yes", "--dearmor", "-o"] and sys.stdin.read() == "text key", "no key")
        Path(place).write_text("binary key")

    def modprobe(self, arguments):
        self._require(arguments == ["neuron"] and self.has("aws-neuronx-dkms"), f"Module {arguments} not found")

    def git(self, arguments):
        action, url, place = arguments
        self._require((action, url) == ("clone", PYENV_URL) and not os.path.exists(place), f"git {arguments}")
        _stand_in(Path(place, "bin/pyenv"), "pyenv", self.root)

    def pyenv(self, arguments):
        action, version = arguments
        absent = sorted(name for name in LIBRARIES[self.manager] if not self.has(name))
        self._require(action == "install" and not absent, f"pyenv cannot build {version}: no {absent}")
        _stand_in(self.path.parents[1] / "versions" / version / "bin/python", "python", self.root, built=version)

    def python(self, arguments):
        if arguments[0] == "-c":  # the doctor's probe
            return print(json.dumps(self._probed()))
        self._require(arguments[0] == "-m", f"python {arguments}")
        getattr(self, f"python_{arguments[1]}")(arguments[2:])

    def python3(self, arguments):
        """The system's own, which reads this project without anything installed."""
        self._require(arguments[:3] == ["-m", "model", "doctor"], f"python3 {arguments}")
        command = [sys.executable, "-S", *arguments, "--json"]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        rows = {row["name"]: row for row in json.loads(run.stdout)["checks"]}
        for name in ("Python", "tensorflow-neuron", "neuron-cc"):
            self._require(rows.get(name, {}).get("status") == "ok", f"the doctor says {rows.get(name)}")

    def python_venv(self, arguments):
        place, = arguments
        self._require(self.built, "no venv")
        _stand_in(Path(place, "bin/python"), "python", self.root, built=self.built)

    def python_pip(self, arguments):
        self._require(arguments[0] == "install" and self.path.parts[-3] == "neuron", "pip outside of an environment")
        if arguments[1:] != ["--upgrade", "pip"]:
            option, file = arguments[1:]
            self._require(option == "-r" and Path(file).is_file(), f"Could not open requirements file: {file}")
            self.path.with_name("installed.json").write_text(json.dumps(self._resolved(Path(file).read_text())))

    def _resolved(self, requirements: str) -> dict:
        """The versions that pip finds for these requirements; from PyPI alone the placeholders of Neuron's packages."""
        lines = [line.partition("#")[0].strip() for line in requirements.splitlines()]
        pins = dict(re.fullmatch(r"([\w-]+)(?:==([\w.]+)|<[\d.]+)", line).groups() for line in lines
                    if line and not line.startswith("--"))
        minor = ".".join(self.built.split(".")[:2])
        for name, versions in WHEELS.items():
            found = versions.get(minor) if f"--extra-index-url {AWS_INDEX}" in lines else "1.0"
            self._require(found == pins[name], f"No matching distribution found for {name}=={pins[name]} ({found})")
        return {name: version or "1.0" for name, version in pins.items()}

    def _probed(self) -> dict:
        """What the doctor's probe prints in this Python."""
        installed = self.path.with_name("installed.json")
        versions = json.loads(installed.read_text()) if installed.exists() else {}
        return {"python": self.built, "system": "Linux x86_64", "versions": versions, "bundles_runtime": True,
                "neuron_cc": str(self.path.with_name("neuron-cc")) if "neuron-cc" in versions else None}

    def make(self, arguments):
        python = os.environ.get("DETECTOR_PYTHON", "")
        self._require("neuron" not in arguments or os.access(python, os.X_OK), f"DETECTOR_PYTHON is {python!r}")
        with (self.root / "made").open("a") as file:
            file.write(json.dumps(["make", *arguments]) + "\n")

    def _require(self, holds, why) -> None:
        if not holds:
            raise Refused(f"{self.name}: {why}")


def act(settings: str, arguments: list) -> None:
    """Does what the stand-in's name says, or ends as the real program would."""
    call = Act(**json.loads(settings))
    try:
        getattr(call, call.name.replace("-", "_"))(arguments)
    except (Refused, ValueError, AttributeError) as error:
        sys.exit(f"{call.name} {' '.join(arguments)}: {type(error).__name__}: {error}")
