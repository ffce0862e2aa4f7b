"""Fixtures of every test folder: the real data sets, weights and cfg files where they are at hand."""
from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# No deadlines: on a busy machine they fail by chance and would say nothing of the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# What a test starts is a run of its own and no worker of this one.
os.environ.pop("PYTEST_XDIST_WORKER", None)

# Who starts this in the background has it ignore interrupts, and some tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

GATES = Path(__file__).parent / "gates"
REAL = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"real material is not at {REAL}; put the folders coco, retail and darknet there")
    return REAL


def pytest_collection_modifyitems(config, items):
    """Turns warnings of the project's own tests into errors, but for those that pytest.ini names."""
    strict = pytest.mark.filterwarnings("error", *config.getini("filterwarnings"))
    for item in items:
        if GATES not in item.path.parents:
            item.add_marker(strict)
