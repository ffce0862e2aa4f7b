"""The target table: no row twice, every row with its source and date."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict import targets
from harness.verdict.metrics import MEASURED
from harness.verdict.targets import (
    ANY,
    CHECKS,
    PUBLISHED,
    RELEASE,
    TARGETS,
    Table,
    Target,
    family,
    fault,
    is_looser,
    kind,
    markdown_table,
    published_beside,
    scopes,
)

rows = PUBLISHED.rows


def test_rows_are_unique():
    assert max(Counter((t.check, t.metric, t.platform, t.backend) for t in TARGETS).values()) == 1
    of_any_backend = {(t.check, t.metric, t.platform) for t in TARGETS if t.backend == ANY}
    assert not [t for t in TARGETS if t.backend != ANY and (t.check, t.metric, t.platform) in of_any_backend]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.check}-{t.metric}-{t.platform}")
def test_every_row_has_a_sense_a_source_and_a_date(target):
    assert target.sense in (">=", "<=") and target.source and date.fromisoformat(target.date)


@pytest.fixture
def publish(monkeypatch):
    """A function: these rows are all that there are."""
    def publish(*published):
        monkeypatch.setattr(targets, "TARGETS", published)
        return targets.Table().rows

    return publish


def test_the_row_of_the_platform_goes_before_that_of_any(publish):
    [general] = rows("accuracy", "cpu")
    special = replace(general, platform="cpu", bound=0.1)
    assert publish(special, general)("accuracy", "cpu") == [special]


def test_a_row_for_any_platform_is_the_fallback():
    assert [row.bound for row in rows("accuracy", "inf1.xlarge")] == [0.48]


def test_the_row_of_the_family_goes_before_that_of_any(publish):
    [general] = rows("accuracy", "cpu")
    special = replace(general, platform="inf1", bound=0.1)
    published = publish(special, general)
    assert (published("accuracy", "inf1.2xlarge"), published("accuracy", "cpu")) == ([special], [general])


def test_the_row_of_the_instance_goes_before_that_of_its_family(publish):
    [general] = rows("accuracy", "cpu")
    special, wider = (replace(general, platform=platform) for platform in ("inf1.xlarge", "inf1"))
    assert publish(special, wider)("accuracy", "inf1.xlarge") == [special]


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
     ("throughput", "inf1.xlarge", True), ("throughput", "gpu", True), ("latency", "g5.xlarge", True),
     ("placement", "g4dn.xlarge", False), ("throughput", "tpu", False)],
)
def test_a_check_has_rows_on_the_platforms_whose_family_has_a_bound(check, platform, expected):
    assert bool(rows(check, platform)) is expected


@pytest.mark.parametrize("platform", ["inf1.2xlarge", "inf1", "gpu", "g5.xlarge", "cpu"])
def test_a_published_platform_lacks_no_check_that_a_cpu_has(platform):
    assert PUBLISHED.without_bound(platform) == []


def test_a_platform_of_ones_own_lacks_what_has_no_row_for_any():
    assert PUBLISHED.without_bound("inf2.xlarge") == ["throughput", "latency", "jitter", "cost"]


def test_caches_are_looked_for_on_every_platform():
    assert {row.metric for row in rows("integrity", "inf2.xlarge")} == set(MEASURED["integrity"])


@pytest.mark.parametrize(("platform", "expected"), [("inf1.2xlarge", "inf1"), ("inf1", "inf1"), ("cpu", "cpu")])
def test_the_family_of_a_platform(platform, expected):
    assert family(platform) == expected


GPUS = ("g4dn.xlarge", "g4dn.metal", "g5.xlarge", "g5g.xlarge", "g6e.2xlarge", "gr6.4xlarge", "p2.xlarge",
        "p3.2xlarge", "p3dn.24xlarge", "p4de.24xlarge", "p6-b200.48xlarge", "gpu")
OTHERS = ("g4ad.xlarge", "c5.xlarge", "inf1.2xlarge", "inf2.xlarge", "trn1.2xlarge", "t3.micro", "cpu", "any")


@pytest.mark.parametrize("platform", [*GPUS, *OTHERS])
def test_instances_with_nvidias_gpus_are_one_kind_and_no_others_are(platform):
    assert (kind(platform) == "gpu") is (platform in GPUS)


def test_a_platform_has_the_rows_of_its_kind():
    assert scopes("g4dn.xlarge") == ("g4dn.xlarge", "g4dn", "gpu", "any")
    assert (scopes("inf1.2xlarge"), scopes("cpu")) == (("inf1.2xlarge", "inf1", "any"), ("cpu", "any"))


BY_AWS = {  # what AWS published of its GPU instances, by instance and backend; of uncompiled ones a throughput alone
    ("g4dn.xlarge", "gpu"): {"throughput": 39.0, "soak": 38.2, "cost": 3.746},
    ("g4dn.xlarge", "xla"): {"throughput": 39.0, "soak": 66.1, "cost": 2.165},
    ("p3.2xlarge", "gpu"): {"throughput": 111.0, "soak": 108.8, "cost": 7.658},
    ("p3.2xlarge", "xla"): {"throughput": 111.0, "soak": 108.8, "cost": 7.658},
}


def bounds(check, platform, backend) -> dict:
    """Metric → bound of the rows, which must hold there."""
    found = rows(check, platform, backend)
    assert all(row.holds_on(platform) for row in found)
    return {row.metric: row.bound for row in found}


@pytest.mark.parametrize(("platform", "backend"), BY_AWS)
def test_a_gpu_instance_is_judged_by_its_published_figures(platform, backend):
    found = BY_AWS[platform, backend]
    assert bounds("throughput", platform, backend) == {"images_per_second": found["throughput"], "efficiency": 0.01}
    assert bounds("soak", platform, backend)["images_per_second"] == found["soak"]
    assert bounds("cost", platform, backend) == {"dollars_per_million": found["cost"]}
    assert bounds("jitter", platform, backend)["fps_spread"] == 0.12


@pytest.mark.parametrize("platform", ["g5.xlarge", "g4dn.2xlarge", "gpu"])
@pytest.mark.parametrize("backend", ["gpu", "xla"])
@pytest.mark.parametrize("check", ["throughput", "soak", "cost"])
def test_what_is_asked_of_one_gpu_instance_is_not_passed_over_on_another(check, platform, backend):
    published = {"images_per_second", "dollars_per_million"}
    assert {row.metric for row in rows(check, platform, backend) if not row.holds_on(platform)} == published & {
        row.metric for row in rows(check, "g4dn.xlarge", backend)}


@pytest.mark.parametrize("check", ["latency", "integrity", "jitter", "soak"])
def test_any_gpu_has_every_row_that_inf1_has(check):
    of_gpu, of_inf1 = ({row.metric for row in rows(check, platform)} for platform in ("p3.2xlarge", "inf1.2xlarge"))
    assert of_inf1 - of_gpu == ({"P50_seconds", "P99_seconds"} if check == "latency" else set())


def test_the_readme_table_has_every_row():
    assert len(markdown_table().splitlines()) == 2 + len(TARGETS)


def test_a_row_of_one_backend_says_so_in_the_table():
    assert "| soak | images_per_second | ≥ 66.1 | g4dn.xlarge, `--backend xla` | AWS's " in markdown_table()


def test_a_row_of_the_readme_table():
    assert "| throughput | images_per_second | ≥ 105 | inf1.2xlarge | AWS " in markdown_table()


@pytest.mark.parametrize("target", [one for one in TARGETS if one.check != RELEASE], ids=str)
def test_every_row_is_one_that_a_file_could_have(target):
    assert target.metric in MEASURED[target.check] and fault(target) == ""


# ---- own rows beside the published ones

SPEED = Target("throughput", "images_per_second", 60.0, ">=", "inf1.2xlarge", "own", "2026-11-26", reason="larger")


def own(**fields) -> Target:
    return replace(SPEED, **fields)


def judged_by(platform, *owns, backend=ANY) -> list:
    """The rows of throughput's speed on the platform."""
    return [row for row in Table(owns).rows("throughput", platform, backend) if row.metric == "images_per_second"]


def test_an_own_row_replaces_the_published_one_of_its_platform():
    assert judged_by("inf1.2xlarge", SPEED) == [SPEED]
    assert len(Table((SPEED,)).targets) == len(TARGETS)


def test_an_own_row_of_another_type_adds_its_platform():
    assert judged_by("inf1.6xlarge", own(platform="inf1.6xlarge"))[0].holds_on("inf1.6xlarge")
    assert not judged_by("inf1.6xlarge", own(platform="inf1.xlarge"))[0].holds_on("inf1.6xlarge")


def test_a_published_row_of_the_type_goes_before_an_own_one_of_its_family():
    assert judged_by("inf1.2xlarge", own(platform="inf1"))[0].bound == 105.0


def test_an_own_row_of_any_backend_replaces_those_of_each():
    one = Target("soak", "images_per_second", 70.0, ">=", "g4dn.xlarge", "own", "2026-11-26")
    for backend in ("gpu", "xla"):
        assert one in Table((one,)).rows("soak", "g4dn.xlarge", backend)
    assert {row.platform for row in Table((one,)).targets if row.metric == one.metric and row.check == "soak"} == {
        "inf1.2xlarge", "g4dn.xlarge", "p3.2xlarge"}


def test_of_two_rows_of_a_platform_that_of_the_backend_is_judged():
    both = own(platform="inf2.xlarge"), own(platform="inf2.xlarge", backend="xla", bound=80.0)
    for rows_of_both in (both, both[::-1]):
        found = [judged_by("inf2.xlarge", *rows_of_both, backend=backend)[0].bound for backend in ("cpu", "xla")]
        assert found == [60, 80]


DOLLARS = "dollars_per_million"

# Fields of an own row → the published bound that it is looser than, None where it is not.
LOOSER = {
    "slower": ({}, 105.0), "as fast": ({"bound": 105.0}, None), "faster": ({"bound": 106.0}, None),
    "of a platform of its own": ({"platform": "inf2.xlarge"}, None),
    "of another type": ({"platform": "inf1.xlarge"}, None),
    "of the family, before which that of the type goes": ({"platform": "inf1"}, None),
    "of a check that has a row for any platform": (
        {"check": "accuracy", "metric": "AP", "bound": 0.4, "platform": "inf2.xlarge"}, 0.48),
    "of a value that must be small": (
        {"check": "soak", "metric": "failed_requests", "bound": 1, "sense": "<=", "platform": "x"}, 0),
    "of any backend, where each has its own": (
        {"check": "soak", "bound": 60.0, "platform": "g4dn.xlarge"}, 66.1),
    "of one backend alone": ({"check": "soak", "bound": 60.0, "platform": "g4dn.xlarge", "backend": "gpu"}, None),
    "of a cost that no longer follows the price": (
        {"check": "cost", "metric": DOLLARS, "bound": 0.1, "sense": "<="}, 1.362),
    "of a cost that follows from less": (
        {"check": "cost", "metric": DOLLARS, "bound": 0.1, "sense": "<=", "images_per_second": 118.8}, 1.362),
    "of a cost that follows from as much": (
        {"check": "cost", "metric": DOLLARS, "bound": 9.9, "sense": "<=", "images_per_second": 118.9}, None),
}


@pytest.mark.parametrize("case", LOOSER)
def test_what_is_looser_than_published(case):
    fields, bound = LOOSER[case]
    found = published_beside(own(**fields))
    assert (found and found.bound) == (bound and pytest.approx(bound))


PLATFORMS = ("inf1.2xlarge", "inf1", "inf1.6xlarge", "g4dn.xlarge", "g4dn", "gpu", "g5.xlarge", "cpu", "any", "inf2")
BACKENDS = st.sampled_from([ANY, "xla", "gpu"])


@given(beside=st.sampled_from(TARGETS), share=st.floats(-0.9, 0.9), platform=st.sampled_from(PLATFORMS),
       backend=BACKENDS, machine=st.sampled_from(PLATFORMS), run=BACKENDS)
def test_no_machine_is_judged_by_a_looser_row_that_is_not_known_as_one(beside, share, platform, backend, machine, run):
    one = replace(beside, bound=beside.bound * (1 + share) or share, platform=platform, backend=backend,
                  images_per_second=None)

    def row(table):
        return next((row for row in table.rows(one.check, machine, run) if row.metric == one.metric), None)

    judged, published = row(Table((one,))), row(PUBLISHED)
    if judged == one and published and published.holds_on(machine) and is_looser(judged, published):
        assert published_beside(one)


def test_only_own_rows_are_looser():
    table = Table((SPEED,))
    rows = [row for check in CHECKS for row in table.rows(check, "inf1.2xlarge")]
    assert [(one, published.bound) for one, published in table.loosened(rows)] == [(SPEED, 105.0)]
    assert list(PUBLISHED.loosened(rows)) == []
