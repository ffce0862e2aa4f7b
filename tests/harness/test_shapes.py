"""The table of load shapes: every check has one on every platform, and the published runs are as published."""
from __future__ import annotations

from collections import Counter

import pytest

from harness.load import Shape
from harness.shapes import SHAPES, markdown_table, shape_for
from harness.targets import ANY, TARGETS, family


@pytest.mark.parametrize(
    ("check", "callers", "batch_size"), [("throughput", 4, 8), ("accuracy", 4, 8), ("soak", 8, 4), ("latency", 8, 1)]
)
def test_inferentia_has_the_published_load(check, callers, batch_size):
    assert shape_for(check, "inf1.2xlarge") == Shape(callers, batch_size)


@pytest.mark.parametrize("check", ["throughput", "accuracy", "soak", "latency", "what comes later"])
def test_any_other_platform_has_that_of_a_laptop(check):
    assert shape_for(check, "cpu") == Shape(2, 1)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.check}-{t.platform}")
def test_every_check_has_a_shape_wherever_it_has_a_target(target):
    assert shape_for(target.check, target.platform)


def test_rows_are_unique():
    assert max(Counter((row.check, row.platform) for row in SHAPES).values()) == 1


def test_the_row_for_anything_is_the_last():
    assert [place for place, row in enumerate(SHAPES) if ANY in (row.check, row.platform)] == [len(SHAPES) - 1]


def test_platforms_are_families():
    assert all(row.platform == family(row.platform) for row in SHAPES)


def test_every_row_has_its_source():
    assert all(row.source for row in SHAPES)


def test_the_readme_table_has_every_row():
    assert len(markdown_table().splitlines()) == 2 + len(SHAPES)


def test_a_row_of_the_readme_table():
    assert "| throughput | inf1 | 4 callers × batch 8 | AWS " in markdown_table()
