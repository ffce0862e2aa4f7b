"""The table of load shapes: every check has one on every platform, and the published runs are as published."""
from __future__ import annotations

from collections import Counter

import pytest

from harness.load.generator import LoadPattern
from harness.verdict.loads import LOADS, Pace, markdown_table, pace_for, pattern_for
from harness.verdict.targets import ANY, TARGETS, family


@pytest.mark.parametrize(
    ("check", "callers", "batch_size"), [("throughput", 4, 8), ("accuracy", 4, 8), ("soak", 8, 4), ("latency", 8, 1)]
)
def test_inferentia_has_the_published_load(check, callers, batch_size):
    assert pattern_for(check, "inf1.2xlarge") == LoadPattern(callers, batch_size)


@pytest.mark.parametrize("check", ["throughput", "accuracy", "soak", "latency", "what comes later"])
def test_any_other_platform_has_that_of_a_laptop(check):
    assert pattern_for(check, "cpu") == LoadPattern(2, 1)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.check}-{t.platform}")
def test_every_check_has_a_shape_wherever_it_has_a_target(target):
    assert pattern_for(target.check, target.platform)


@pytest.mark.parametrize("platform", ["cpu", "inf1.2xlarge", "mine"])
@pytest.mark.parametrize("check", ["throughput", "latency"])
def test_speed_has_a_duration_everywhere_and_on_inferentia_mlperfs(check, platform):
    pace = pace_for(check, platform)
    assert pace.most == {"cpu": 96, "inf1.2xlarge": 600, "mine": 384}[platform]
    assert pace.looks[-1] * pace.round_seconds == pytest.approx(pace.most)
    assert pace.looks[0] * pace.round_seconds == pytest.approx(pace.least)


def test_what_is_not_measured_for_a_time_has_no_duration():
    with pytest.raises(LookupError, match=r"no duration for soak on inf1\.2xlarge; add it to its row"):
        pace_for("soak", "inf1.2xlarge")


def test_looks_are_few_and_known_beforehand():
    assert (Pace(5, 40).looks, Pace(5, 5).looks, Pace(5, 9).looks) == ((3, 6, 12, 24), (3,), (3,))


@pytest.mark.parametrize("pace", [Pace(5, 40), Pace(5, 5), Pace(75, 600), Pace(300, 600)])
def test_looks_share_the_error_as_they_share_the_time(pace):
    shares = [pace.error_share(look) for look in pace.looks]
    assert sum(shares) == pytest.approx(1) and shares == sorted(shares)
    assert pace.error_share(pace.looks[0]) == pytest.approx(pace.looks[0] / pace.looks[-1])


def test_rows_are_unique():
    assert max(Counter((row.check, row.platform) for row in LOADS).values()) == 1


def test_the_rows_for_anything_are_the_last():
    last = [(row.check, row.platform) for row in LOADS if ANY in (row.check, row.platform)]
    assert last == [(ANY, "cpu"), (ANY, ANY)] == [(row.check, row.platform) for row in LOADS[-2:]]


def test_platforms_are_families():
    assert all(row.platform == family(row.platform) for row in LOADS)


def test_every_row_has_its_source():
    assert all(row.source for row in LOADS)


def test_the_readme_table_has_every_row():
    assert len(markdown_table().splitlines()) == 2 + len(LOADS)


def test_a_row_of_the_readme_table():
    assert "| throughput | inf1 | 4 callers × batch 8 | 75 to 600 s | AWS " in markdown_table()
