"""Two runs of one detector, the second faster, as records to change."""
from __future__ import annotations

import pytest

from harness.compare.record import read
from tests.harness.compare.runs import store


@pytest.fixture
def run(tmp_path):
    """A function: name, record, detections by image id → the run that is read from its folder."""
    return lambda name, content, detections=None: read(store(tmp_path / name, content, detections), name)
