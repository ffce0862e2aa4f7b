"""Fixtures of the tests of comparisons in turns."""
from __future__ import annotations

import pytest

from tests.harness.turns.projects import Project


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)
