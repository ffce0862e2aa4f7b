"""The target table: no row twice, every row with its source and date."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date

import pytest

from harness.verdict import targets
from harness.verdict.targets import TARGETS, concerns, family, markdown_table, rows


def test_rows_are_unique():
    assert max(Counter((t.check, t.metric, t.platform) for t in TARGETS).values()) == 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.check}-{t.metric}-{t.platform}")
def test_every_row_has_a_sense_a_source_and_a_date(target):
    assert target.sense in (">=", "<=") and target.source and date.fromisoformat(target.date)


def test_the_row_of_the_platform_goes_before_that_of_any(monkeypatch):
    [general] = rows("accuracy", "cpu")
    special = replace(general, platform="cpu", bound=0.1)
    monkeypatch.setattr(targets, "TARGETS", (special, general))
    assert rows("accuracy", "cpu") == [special]


def test_a_row_for_any_platform_is_the_fallback():
    assert [row.bound for row in rows("accuracy", "inf1.xlarge")] == [0.48]


def test_the_row_of_the_family_goes_before_that_of_any(monkeypatch):
    [general] = rows("accuracy", "cpu")
    special = replace(general, platform="inf1", bound=0.1)
    monkeypatch.setattr(targets, "TARGETS", (special, general))
    assert (rows("accuracy", "inf1.2xlarge"), rows("accuracy", "cpu")) == ([special], [general])


def test_the_row_of_the_instance_goes_before_that_of_its_family(monkeypatch):
    [general] = rows("accuracy", "cpu")
    special, wider = (replace(general, platform=platform) for platform in ("inf1.xlarge", "inf1"))
    monkeypatch.setattr(targets, "TARGETS", (special, wider))
    assert rows("accuracy", "inf1.xlarge") == [special]


def test_metrics_of_all_widths_are_judged_together():
    assert [row.metric for row in rows("soak", "inf1.2xlarge")] == [
        "failed_requests", "incomplete_windows", "images_per_second", "drift", "memory_growth_mb",
    ]


@pytest.mark.parametrize("platform", ["inf1.24xlarge", "inf1"])
@pytest.mark.parametrize("check", ["throughput", "latency", "soak", "cost"])
def test_what_is_asked_of_one_instance_type_is_not_passed_over_on_another(check, platform):
    metrics = {row.metric: row.holds_on(platform) for row in rows(check, platform)}
    assert metrics == {row.metric: row.platform != "inf1.2xlarge" for row in rows(check, "inf1.2xlarge")}
    assert all(row.holds_on("inf1.2xlarge") for row in rows(check, "inf1.2xlarge"))


def test_speed_is_judged_by_other_rows_on_a_cpu():
    assert [row.metric for row in rows("throughput", "cpu")] == ["efficiency"]


@pytest.mark.parametrize(
    ("check", "platform", "expected"),
    [("accuracy", "cpu", True), ("placement", "cpu", False), ("placement", "inf1", True), ("latency", "inf1", True),
     ("throughput", "inf1.xlarge", True), ("throughput", "gpu", False)],
)
def test_a_check_concerns_the_platforms_whose_family_has_a_bound(check, platform, expected):
    assert concerns(check, platform) is expected


@pytest.mark.parametrize(("platform", "expected"), [("inf1.2xlarge", "inf1"), ("inf1", "inf1"), ("cpu", "cpu")])
def test_the_family_of_a_platform(platform, expected):
    assert family(platform) == expected


def test_a_check_without_rows_names_what_to_do():
    with pytest.raises(LookupError, match="no target for latency on gpu; add a row"):
        rows("latency", "gpu")


def test_the_readme_table_has_every_row():
    assert len(markdown_table().splitlines()) == 2 + len(TARGETS)


def test_a_row_of_the_readme_table():
    assert "| throughput | images_per_second | ≥ 105 | inf1.2xlarge | AWS " in markdown_table()
