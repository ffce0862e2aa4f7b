"""Fixtures of the harness tests: the made-up data set and the real ones where they are at hand."""
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from harness.dataset import Dataset
from tests.harness import synthetic

# No deadlines: on a busy machine they fail by chance and would say nothing of the code.
settings.register_profile("harness", deadline=None)
settings.load_profile("harness")

REAL = Path(__file__).parents[2] / ".." / "shared" / "data"


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
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"real data sets are not at {REAL}; put the folders coco and retail there")
    return REAL
