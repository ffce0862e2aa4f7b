"""Fixtures of the harness tests: the made-up data set."""
from __future__ import annotations

import pytest

from harness.dataset import Dataset
from tests.harness import synthetic


@pytest.fixture
def coco() -> dict:
    return synthetic.content()


@pytest.fixture
def dataset(tmp_path, coco) -> Dataset:
    return Dataset.load(*synthetic.write(tmp_path, coco))


@pytest.fixture
def answers(dataset) -> dict:
    return synthetic.perfect(dataset)
