"""Prints an interpreter's version and its distributions as one JSON line. It is run with `python -c`.

It runs in the detector's interpreter, so it uses only the standard library (and setuptools on 3.7) and the syntax of
Python 3.7. It imports none of the distributions, because TensorFlow takes seconds and may be broken.
"""
import json
import os
import platform
import shutil
import sys

try:
    from importlib.metadata import distribution

    def version_and_files(name):
        found = distribution(name)
        return found.version, found.read_text("RECORD")
except ImportError:
    import pkg_resources

    def version_and_files(name):
        found = pkg_resources.get_distribution(name)
        return found.version, found.get_metadata("RECORD")


def report(names):
    versions, bundled = {}, False
    for name in names:
        try:
            version, files = version_and_files(name)
        except Exception:  # not installed, or its metadata are broken
            continue
        if version:
            versions[name], bundled = version, bundled or "libnrt.so" in (files or "")
    # The framework looks for the compiler beside the interpreter, then on PATH.
    folders = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return {
        "python": platform.python_version(),
        "system": "%s %s" % (platform.system(), platform.machine()),  # noqa: UP031 - one style for all the line
        "versions": versions,
        "bundles_runtime": bundled,
        "neuron_cc": shutil.which("neuron-cc", path=folders),
    }


print(json.dumps(report(sys.argv[1:])))
