"""Fixtures of the harness tests: the made-up dataset, and made-up time."""
from __future__ import annotations

import pytest

from harness.accuracy.dataset import Dataset
from harness.load import generator as load
from tests.harness import synthetic
from tests.harness.clock import Clock


@pytest.fixture
def coco() -> dict:
    return synthetic.content()


@pytest.fixture
def made_up_dataset(tmp_path, coco) -> Dataset:
    return Dataset.load(*synthetic.write(tmp_path, coco))


@pytest.fixture
def right_detections(made_up_dataset) -> dict:
    return synthetic.perfect(made_up_dataset)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time of `harness.load.generator`."""
    made_up = Clock()
    monkeypatch.setattr(load, "perf_counter", made_up)
    return made_up
