"""The article's headline is proved by runs that bear it out, refuted by others, and undecided by what was published."""
from __future__ import annotations

import pytest

from harness.compare import claims
from harness.compare.__main__ import PUBLISHED
from harness.compare.record import read
from harness.soak.run import WINDOW_SECONDS
from harness.verdict.claims import CLAIMS
from harness.verdict.cost import prices_of_one_date
from harness.verdict.loads import METHODS, pattern_for
from harness.verdict.targets import TARGETS
from harness.verdict.verdict import BROKEN, FAIL, INVALID, NOT_COMPARABLE, NOT_JUDGED, PASS, TOO_FEW
from tests.harness.compare.runs import record, rows

G4 = dict(speed=60.0, seconds=0.05, spread=0.12)
INF1 = dict(speed=120.0, seconds=0.015, spread=0.02)
AP = [0.5, *[0.5 + 0.001 * (i % 5 - 2) for i in range(100)]]
NAMES = tuple(claim.target.metric for claim in CLAIMS)


@pytest.fixture
def judged(run):
    """A function: how Inf1's rows differ, fields of its record, order of the folders → verdict by metric."""

    def verdicts(changes=None, fields=None, inf1_first=False):
        runs = [run("A", record("g4dn.xlarge", found=rows(**G4), resampled_AP=AP)),
                run("B", record("inf1.2xlarge", **{"found": rows(**{**INF1, **(changes or {})}), "resampled_AP": AP,
                                                   **(fields or {})}))]
        prices = prices_of_one_date({"inf1.2xlarge", "g4dn.xlarge"}, "2020-10-07")
        found = claims.judged(runs[::-1] if inf1_first else runs, prices, "python -m harness.compare A B")
        return {one.metric: one for one in found}

    return verdicts


@pytest.mark.parametrize("inf1_first", [False, True])
def test_runs_that_bear_the_headline_out_pass_whatever_their_order(judged, inf1_first):
    assert {name: one.verdict for name, one in judged(inf1_first=inf1_first).items()} == dict.fromkeys(NAMES, PASS)


# What is worse than claimed, and the claims that fail for it.
MISSED = {
    "P90": ({"seconds": 0.025}, {}, {"P90_ratio": FAIL}),
    "spread": ({"spread": 0.05}, {}, {"fps_spread": FAIL, "spread_ratio": FAIL}),
    "throughput, and with it cost": ({"speed": 100.0}, {}, {"throughput_ratio": FAIL, "cost_ratio": FAIL}),
    "accuracy": ({}, {"resampled_AP": [one - 0.01 for one in AP],
                      "found": [{**one, "value": 0.49} if one["metric"] == "AP" else one for one in rows(**INF1)]},
                 {"AP_drop": FAIL}),
    "throughput, by no more than the intervals": ({"speed": 111.0}, {}, {"throughput_ratio": INVALID}),
}


@pytest.mark.parametrize("case", MISSED)
def test_a_claim_that_is_missed_is_red_and_the_others_are_not(judged, case):
    changes, fields, expected = MISSED[case]
    found = judged(changes, fields)
    assert {name: one.verdict for name, one in found.items()} == {**dict.fromkeys(NAMES, PASS), **expected}


def test_a_verdict_has_both_values_the_claim_and_the_command(judged):
    one = judged({"speed": 100.0})["throughput_ratio"]
    assert one.short() == "throughput, Inf1 / G4 1.67 ×, must be ≥ 1.85 ×"
    assert one.evidence == "B 100.0 images/s, A 60.0 images/s; claimed: up to 1.85 times the throughput of the best G4"
    assert one.interval[0] < one.value < one.interval[1] and one.command == "python -m harness.compare A B"


def test_another_detector_proves_nothing(judged):
    detector = {**record()["detector"], "weights": "v"}
    found = judged(fields={"detector": detector})
    assert {name: one.reason for name, one in found.items() if name != "fps_spread"} == dict.fromkeys(
        [name for name in NAMES if name != "fps_spread"], NOT_COMPARABLE)


def test_a_spread_over_other_windows_proves_nothing(judged):
    found = [{**one, "method": "a soak in windows of 1 s"} if one["metric"] == "fps_spread" else one
             for one in rows(**INF1)]
    one = judged(fields={"found": found})["fps_spread"]
    assert one.reason == NOT_COMPARABLE and "the claim is about a soak in windows of 30 s" in one.why


def test_a_detector_with_broken_responses_proves_nothing(judged):
    found = [{**one, "verdict": "FAIL", "value": 3.0} if one["check"] == "integrity" else one for one in rows(**INF1)]
    assert {one.reason for one in judged(fields={"found": found}).values()} == {BROKEN}


def test_what_was_not_measured_is_a_row(judged):
    found = [one for one in rows(**INF1) if one["metric"] != "P90_seconds"]
    one = judged(fields={"found": found})["P90_ratio"]
    assert (one.verdict, one.reason, one.why) == (INVALID, NOT_JUDGED, "not measured in B")


# ---- the published runs


def published(name):
    return read(PUBLISHED / name, name)


def test_the_published_pair_cannot_decide_its_own_headline():
    """And its totals are 1.76 times, not 1.85."""
    runs = [published("aws-g4dn-soak"), published("aws-inf1-soak")]
    prices = prices_of_one_date({run.instance for run in runs}, "2020-10-07")
    found = {one.metric: one for one in claims.judged(runs, prices, "")}
    assert {one.verdict for one in found.values()} == {INVALID}
    assert found["throughput_ratio"].value == pytest.approx(1.761, abs=1e-3)
    assert found["cost_ratio"].value == pytest.approx(0.63, abs=2e-3)
    assert found["throughput_ratio"].reason == TOO_FEW and "no interval was published" in found["throughput_ratio"].why


def test_a_run_beside_a_published_one_is_undecided_where_no_interval_was_published(run):
    mine = record("inf1.2xlarge", found=[{**one, "load": "8 callers × batch 4"} if one["check"] in ("soak", "jitter")
                                         else one for one in rows(**INF1)])
    runs = [published("aws-g4dn-soak"), run("B", {**mine, "dataset": {**mine["dataset"], "images": 5000}})]
    prices = prices_of_one_date({one.instance for one in runs}, "2020-10-07")
    found = {one.metric: one for one in claims.judged(runs, prices, "")}
    assert found["fps_spread"].verdict == PASS  # it is the run's own, with its interval
    assert found["throughput_ratio"].value == pytest.approx(120 / 67.5)
    assert "no interval was published for aws-g4dn-soak" in found["throughput_ratio"].why


@pytest.mark.parametrize("path", sorted(PUBLISHED.iterdir()), ids=lambda path: path.name)
def test_a_published_run_has_its_source_and_no_interval(path):
    run = read(path, path.name)
    assert run.is_published and run.source.startswith("https://") and run.date
    assert all(figure.estimate.low is None and figure.estimate.high is None for figure in run.figures.values())


@pytest.mark.parametrize(("name", "check", "metric"), [
    ("aws-inf1-soak", "soak", "images_per_second"), ("aws-inf1-throughput", "throughput", "images_per_second"),
])
def test_an_inf1_run_of_this_gate_has_load_and_method_of_the_published_one(name, check, metric):
    figure = published(name).figures[check, metric]
    assert figure.load == str(pattern_for(check, "inf1.2xlarge"))
    assert figure.method == METHODS[check].format(window_seconds=WINDOW_SECONDS)


def test_the_published_figures_are_those_of_the_target_table():
    bounds = {(row.check, row.metric, row.platform): row for row in TARGETS}
    soak, speed = published("aws-inf1-soak").figures, published("aws-inf1-throughput").figures
    assert speed["throughput", "images_per_second"].estimate.value == bounds[
        "throughput", "images_per_second", "inf1.2xlarge"].bound
    assert soak["soak", "images_per_second"].estimate.value == bounds[
        "cost", "dollars_per_million", "inf1.2xlarge"].images_per_second
    assert soak["cost", "dollars_per_million"].estimate.value == bounds[
        "cost", "dollars_per_million", "inf1.2xlarge"].bound
