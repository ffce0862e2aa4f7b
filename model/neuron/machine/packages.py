"""Checks whether an interpreter can compile for Inf1 and run compiled models: its version and its packages.

Inf1 and its TensorFlow are at the end of their life, so the versions that work together are pinned here.
Sources: SDK docs, pages "TensorFlow Neuron setup" and "Release content"; aws-neuron-tensorflow, setup.py and
python/neuron_cc.py.
"""
from __future__ import annotations

import shlex

from model.neuron.machine.host import Host
from model.neuron.machine.preflight import MISSING, OK, UNKNOWN, WRONG, Check
from model.neuron.machine.software import Interpreter, release

PINS = {  # framework's major version → the requirement, and the versions of Python that have wheels
    "2": ("tensorflow-neuron[cc]==2.10.1.2.12.2.0", {(3, 9), (3, 10)}),
    "1": ("tensorflow-neuron[cc]==1.15.5.*", {(3, 7)}),
}
FRAMEWORKS = {(2, 10, 1), (1, 15, 5)}
NEURON_CC = (1, 24, 0, 0)  # the last for Inf1; on Python 3.7 pip finds an older one for 1.15.5
PROTOBUF = (3, 20)
NUMPY = (2,)
INDEX = "https://pip.repos.neuron.amazonaws.com"
IMAGE_PYTHON = "opt/aws_neuron_venv_tensorflow_2_10_inf1/bin/python"  # of the Deep Learning AMI, SDK 2.26.1 and older


def checks(host: Host, interpreter: Interpreter) -> list[Check]:
    """Checks of the interpreter and the framework, and if that is installed, of the compiler and their companions."""
    framework = interpreter.versions.get("tensorflow-neuron", "")
    route = "1" if framework.startswith("1.15.") or (not framework and interpreter.python.startswith("3.7.")) else "2"
    rows = [_python(interpreter, route), _framework(host, interpreter, route)]
    if framework:
        rows.append(_compiler(interpreter, route))
    if release(framework)[:3] in FRAMEWORKS:
        rows += _companions(interpreter)
    return rows


def _python(interpreter: Interpreter, route: str) -> Check:
    text = f"{interpreter.python}, {interpreter.system} ({interpreter.path})"
    if _fits(interpreter, route):
        return Check("Python", OK, text)
    return Check("Python", WRONG, f"{text}; tensorflow-neuron is for Linux x86_64, 2.10.1 for Python 3.9 and 3.10, "
                 "1.15.5 for 3.7; the fix makes neuron/bin/python, to be given as the detector's Python",
                 f"python3.10 -m venv neuron && {_pip('neuron/bin/python', *_wanted('2'))}")


def _fits(interpreter: Interpreter, route: str) -> bool:
    return release(interpreter.python)[:2] in PINS[route][1] and interpreter.system == "Linux x86_64"


def _wanted(route: str) -> tuple[str, str]:
    return PINS[route][0], "protobuf<3.20"


def _pip(python: str, *arguments: str) -> str:
    return shlex.join((python, "-m", "pip", "install", "--extra-index-url", INDEX, *arguments))


def _framework(host: Host, interpreter: Interpreter, route: str) -> Check:
    version, other = (interpreter.versions.get(name) for name in ("tensorflow-neuron", "tensorflow-neuronx"))
    install = _pip(interpreter.path, *_wanted(route))
    if not version:
        instead = f"; tensorflow-neuronx {other} is for Inf2 and Trn1" if other else ""
        image = host.root / IMAGE_PYTHON
        if image.exists():
            return Check("tensorflow-neuron", MISSING, f"not installed in this Python{instead}; give {image}, "
                         "which has it, as the detector's Python", f"python -m model doctor --detector-python {image}")
        fix = install if _fits(interpreter, route) else ""
        return Check("tensorflow-neuron", MISSING, f"not installed in this Python{instead}", fix)
    if other:
        remove = shlex.join((interpreter.path, "-m", "pip", "uninstall", "tensorflow-neuronx"))
        return Check("tensorflow-neuron", WRONG, f"{version} beside tensorflow-neuronx {other} for Inf2, Trn1", remove)
    if release(version)[:3] not in FRAMEWORKS:
        return Check("tensorflow-neuron", WRONG, f"{version}, must be 2.10.1 or 1.15.5, the last for Inf1", install)
    return Check("tensorflow-neuron", OK, version)


def _compiler(interpreter: Interpreter, route: str) -> Check:
    version, install = interpreter.versions.get("neuron-cc"), _pip(interpreter.path, PINS[route][0])
    if not version:
        return Check("neuron-cc", MISSING, "not installed; nothing can be compiled for the device", install)
    if not interpreter.neuron_cc:
        return Check("neuron-cc", WRONG, f"{version}, but its program is neither beside {interpreter.path} nor on PATH",
                     _pip(interpreter.path, "--force-reinstall", "--no-deps", "neuron-cc"))
    text = f"{version} ({interpreter.neuron_cc})"
    if route == "2" and release(version) != NEURON_CC:
        return Check("neuron-cc", UNKNOWN, f"{text}, should be 1.24.0.0, the last for Inf1",
                     _pip(interpreter.path, "neuron-cc==1.24.0.0"))
    return Check("neuron-cc", OK, text)


def _companions(interpreter: Interpreter) -> list[Check]:
    framework = release(interpreter.versions["tensorflow-neuron"])[:3]
    name = ".".join(map(str, framework))
    rules = {  # distribution → whether a version fits, and the requirement for pip
        "tensorflow": (lambda version: version[:3] == framework, f"tensorflow=={name}.*"),
        "protobuf": (lambda version: version < PROTOBUF, "protobuf<3.20"),
        "numpy": (lambda version: version < NUMPY, "numpy<2"),
    }
    return [_companion(interpreter, distribution, *rule) for distribution, rule in rules.items()]


def _companion(interpreter: Interpreter, name: str, fits, requirement: str) -> Check:
    version, install = interpreter.versions.get(name), _pip(interpreter.path, requirement)
    if not version:
        return Check(name, MISSING, f"not installed; tensorflow-neuron needs {requirement}", install)
    if not fits(release(version)):
        return Check(name, WRONG, f"{version}; tensorflow-neuron needs {requirement}", install)
    return Check(name, OK, version)
