"""A Python that has the stand-in for `tensorflow.neuron`: a script that starts this one with it."""
from __future__ import annotations

import shlex
import sys
from pathlib import Path

from fixtures import ROOT

# Read by Python at its start: the stand-in is found under the name of what it stands for.
SITE = """
import importlib.util, sys

class Double:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow.neuron":
            sys.path.append({root!r})
            return importlib.util.spec_from_file_location(name, {double!r})

sys.meta_path.insert(0, Double())
"""


def double_python(folder: Path, failure="", route="tf2", machine="") -> Path:
    """The path of an interpreter whose tensorflow.neuron fails in this way on this route.

    `machine` is the folder of the planted machine whose driver is to count what runs. The failure is not part of the
    version, as that of a real compiler is not.
    """
    version = f"0.0+double.{route}"
    metadata = folder / "tensorflow_neuron-0.0.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Name: tensorflow-neuron\nVersion: {version}\n")
    (folder / "sitecustomize.py").write_text(
        SITE.format(root=str(ROOT), double=str(Path(__file__).with_name("neuron.py"))))
    wrapper = folder / "python"
    settings = {"NEURON_DOUBLE": failure, "NEURON_DOUBLE_ROUTE": route, "NEURON_DOUBLE_MACHINE": str(machine),
                "PYTHONPATH": str(folder)}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())
    wrapper.write_text(f'#!/bin/sh\n{exports}\nexec {shlex.quote(sys.executable)} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper
