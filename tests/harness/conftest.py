"""Fixtures of the harness tests: the made-up data set, and made-up time."""
from __future__ import annotations

import pytest

from harness import load
from harness.dataset import Dataset
from tests.harness import synthetic
from tests.harness.clock import Clock


@pytest.fixture
def coco() -> dict:
    return synthetic.content()


@pytest.fixture
def dataset(tmp_path, coco) -> Dataset:
    return Dataset.load(*synthetic.write(tmp_path, coco))


@pytest.fixture
def answers(dataset) -> dict:
    return synthetic.perfect(dataset)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time of `harness.load`."""
    made_up = Clock()
    monkeypatch.setattr(load, "perf_counter", made_up)
    return made_up
