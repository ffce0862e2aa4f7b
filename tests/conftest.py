"""What every test folder needs: warnings are errors, chance has a seed, and real material is found where it is."""
from __future__ import annotations

import gc
import os
import signal
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tests import real_data
from tests.buckets import bucket, connect, server  # noqa: F401 - fixtures of tests of what is kept at a URL

# No deadlines and no chance: what fails on a busy machine, or on one run in ten, says nothing of a change. New examples
# are looked for by `--hypothesis-profile search`.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("project")

# What a test starts is a run of its own and no worker of this one.
os.environ.pop("PYTEST_XDIST_WORKER", None)

# Who starts this in the background has it ignore interrupts, and some tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

GATES = Path(__file__).parent / "gates"


def pytest_collection_finish(session):
    """What was imported stays: the garbage collector, which pytest calls at the end of each run that a test makes in
    this process, need not look through TensorFlow again and again. In the gate nothing is changed."""
    if any(GATES not in item.path.parents for item in session.items):
        _freeze()


@cache
def _freeze() -> None:
    """Once in a process."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser):
    real_data.add_option(parser)


@pytest.fixture(scope="session")
def made_once(request, tmp_path_factory):
    """A function: (name, make) → a path at which `make(path)` has made something, once for all workers of this run."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if hasattr(request.config, "workerinput") else own

    def path(name: str, make) -> Path:
        with FileLock(shared / f"{name}.lock"):
            if not (shared / name).exists():
                make(shared / name)
        return shared / name

    return path


@pytest.fixture(scope="session")
def embedded_detector(made_once):
    """The embedded detector, compiled for CPU in FP32."""
    from model.detector import Detector
    from tests.model.samples import compile_embedded

    return Detector(made_once("embedded", compile_embedded))


@pytest.fixture(scope="session")
def real(pytestconfig) -> Path:
    """The folder of real detectors, photographs and inputs (`tests.real_data`)."""
    return real_data.folder(pytestconfig)


def pytest_collection_modifyitems(config, items):
    """Turns warnings of the project's own tests into errors, but for those that pytest.ini names."""
    strict = pytest.mark.filterwarnings("error", *config.getini("filterwarnings"))
    for item in items:
        if GATES not in item.path.parents:
            item.add_marker(strict, append=False)  # a test may excuse what it plants
