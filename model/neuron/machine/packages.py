"""Checks whether an interpreter can compile for Inf1 and run compiled models: its version and its packages.

Inf1 and its TensorFlow are at the end of their life, so the versions that work together are pinned here.
Sources: SDK docs, pages "TensorFlow Neuron setup" and "Release content"; aws-neuron-tensorflow, setup.py and
python/neuron_cc.py.
"""
from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from model.neuron.machine.host import Host
from model.neuron.machine.preflight import MISSING, OK, UNKNOWN, WRONG, Check
from model.neuron.machine.software import Interpreter, release
from model.neuron.machine.system import in_turn, system


class Route(NamedTuple):
    """A way to Inf1: its requirements file, the versions in it, and what Python and companions it needs."""

    file: Path
    framework: tuple[int, ...]  # the release of tensorflow-neuron that fits, of which the file names one version
    compiler: tuple[int, ...]  # the version of neuron-cc in the file, and the last that came with the framework
    last_compiler: tuple[int, ...]
    pythons: frozenset[tuple[int, int]]


ROOT = Path(__file__).resolve().parents[3]
ROUTES = {
    "1": Route(ROOT / "requirements-neuron-tf115.txt", (1, 15, 5), (1, 13, 5, 0), (1, 17, 0, 0),
               frozenset({(3, 7)})),
    "2": Route(ROOT / "requirements-neuron-tf210.txt", (2, 10, 1), (1, 24, 0, 0), (1, 24, 0, 0),
               frozenset({(3, 9), (3, 10)})),
}
PLACEHOLDER = (1, 0)  # the release of the empty packages that PyPI has under the names of Neuron's (#916)
PROTOBUF = (3, 20)
NUMPY, NUMPY_SEEN = (2,), (1, 26)  # AWS's last cap for Inf1 is 1.25.2
INDEX = "https://pip.repos.neuron.amazonaws.com"
FROM_AWS = ("install", "--extra-index-url", INDEX)  # of pip
PYTHON37 = "3.7.16"  # built by pyenv, for want of a package
IMAGE_PYTHON = "opt/aws_neuron_venv_tensorflow_2_10_inf1/bin/python"  # of the Deep Learning AMI, SDK 2.26.1 and older


def checks(host: Host, interpreter: Interpreter) -> list[Check]:
    """Checks of the interpreter and the framework, and if that is installed, of the compiler and their companions."""
    framework = interpreter.versions.get("tensorflow-neuron", "")
    is_tf1 = framework.startswith("1.15.") or (
        interpreter.python.startswith("3.7.") and (not framework or _is_placeholder(framework)))
    route = ROUTES["1" if is_tf1 else "2"]
    found = {"Python": _python(host, interpreter, route), "tensorflow-neuron": _framework(host, interpreter, route)}
    if framework:
        found["neuron-cc"] = _compiler(interpreter, route)
    if release(framework)[:3] == route.framework:
        found.update(_companions(interpreter, route))
    return [Check(name, *row) for name, row in found.items()]


def _is_placeholder(version: str) -> bool:
    return release(version)[:2] == PLACEHOLDER


def _python(host: Host, interpreter: Interpreter, route: Route) -> tuple[str, ...]:
    text = f"{interpreter.python}, {interpreter.system} ({interpreter.path})"
    if _fits(interpreter, route):
        return OK, text
    text += "; tensorflow-neuron is for Linux x86_64, 1.15.5 for Python 3.7 and 2.10.1 for 3.9 and 3.10"
    if interpreter.system != "Linux x86_64":
        return WRONG, f"{text}; run the detector on an Inf1 instance"
    return (WRONG, f"{text}; the fix makes ~/neuron/bin/python, to be given as the detector's Python",
            _environment(host))


def _environment(host: Host) -> str:
    """The line that makes an environment with AWS's documented route in it."""
    install = f"-m venv ~/neuron && ~/neuron/bin/python -m pip install -r {shlex.quote(str(ROUTES['1'].file))}"
    if host.on_path("python3.7"):
        return f"python3.7 {install}"
    build = f"git clone https://github.com/pyenv/pyenv ~/.pyenv && ~/.pyenv/bin/pyenv install {PYTHON37}"
    return in_turn(system(host).build_tools, build, f"~/.pyenv/versions/{PYTHON37}/bin/python {install}")


def _fits(interpreter: Interpreter, route: Route) -> bool:
    return release(interpreter.python)[:2] in route.pythons and interpreter.system == "Linux x86_64"


def _pip(interpreter: Interpreter, *arguments) -> str:
    return _line(interpreter.path, "-m", "pip", *arguments)


def _line(*words) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)


def _install(interpreter: Interpreter, route: Route, *remove: str) -> str:
    """The line that installs the route's pinned packages, in place of those to remove; '' where no wheel fits."""
    if not _fits(interpreter, route):
        return ""
    return in_turn(_pip(interpreter, "uninstall", "-y", *remove) if remove else "",
                   _pip(interpreter, "install", "-r", route.file))


def _framework(host: Host, interpreter: Interpreter, route: Route) -> tuple[str, ...]:
    version, other = (interpreter.versions.get(name) for name in ("tensorflow-neuron", "tensorflow-neuronx"))
    image = host.root / IMAGE_PYTHON
    if not version:
        absent = "not installed in this Python"
        absent += f"; tensorflow-neuronx {other} is for Inf2 and Trn1" if other else ""
        if image.exists():
            return (MISSING, f"{absent}; give {image}, which has it, as the detector's Python",
                    _line("python", "-m", "model", "doctor", "--detector-python", image))
        return MISSING, absent, _install(interpreter, route)
    if _is_placeholder(version):
        return (WRONG, f"{version} is PyPI's placeholder, an empty package of that name (\"WRONG PACKAGE\", #916); "
                f"AWS's own is at {INDEX}", _install(interpreter, route, *_placeholders(interpreter)))
    if other:
        return (WRONG, f"{version} beside tensorflow-neuronx {other} for Inf2, Trn1",
                _pip(interpreter, "uninstall", "-y", "tensorflow-neuronx"))
    if release(version)[:3] != route.framework:
        return WRONG, f"{version}, must be 2.10.1 or 1.15.5, the last for Inf1", _install(interpreter, route)
    return OK, version


def _placeholders(interpreter: Interpreter) -> list[str]:
    return [name for name in ("tensorflow-neuron", "tensorflow-neuronx", "neuron-cc")
            if _is_placeholder(interpreter.versions.get(name, ""))]


def _compiler(interpreter: Interpreter, route: Route) -> tuple[str, ...]:
    version, wanted = interpreter.versions.get("neuron-cc"), ".".join(map(str, route.compiler))
    if not version:
        return MISSING, "not installed; nothing can be compiled for the device", _install(interpreter, route)
    if _is_placeholder(version):
        return (WRONG, f"{version} is PyPI's placeholder, an empty package of that name (#916); AWS's own is at "
                f"{INDEX}", _install(interpreter, route, *_placeholders(interpreter)))
    if not interpreter.neuron_cc:
        return (WRONG, f"{version}, but its program is neither beside {interpreter.path} nor on PATH",
                _pip(interpreter, *FROM_AWS, "--force-reinstall", "--no-deps", f"neuron-cc=={wanted}"))
    text = f"{version} ({interpreter.neuron_cc})"
    if not route.compiler <= release(version) <= route.last_compiler:
        return (UNKNOWN, f"{text}, should be {wanted} beside this TensorFlow",
                _pip(interpreter, *FROM_AWS, f"neuron-cc=={wanted}"))
    return OK, text


def _companions(interpreter: Interpreter, route: Route) -> dict[str, tuple[str, ...]]:
    name = ".".join(map(str, route.framework))
    rules = {  # distribution → whether a version fits, and the requirement for pip
        "tensorflow": (lambda version: version[:3] == route.framework, f"tensorflow=={name}.*"),
        "protobuf": (lambda version: version < PROTOBUF, "protobuf<3.20"),
        "numpy": (lambda version: version < NUMPY, "numpy<1.26"),
    }
    return {distribution: _companion(interpreter, distribution, *rule) for distribution, rule in rules.items()}


def _companion(interpreter: Interpreter, name: str, fits, requirement: str) -> tuple[str, ...]:
    version, install = interpreter.versions.get(name), _pip(interpreter, *FROM_AWS, requirement)
    if not version:
        return MISSING, f"not installed; tensorflow-neuron needs {requirement}", install
    if not fits(release(version)):
        return WRONG, f"{version}; tensorflow-neuron needs {requirement}", install
    if name == "numpy" and release(version) >= NUMPY_SEEN:
        return UNKNOWN, f"{version}; AWS's last cap for Inf1 is 1.25.2", install
    return OK, version
