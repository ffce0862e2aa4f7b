"""Figures of two runs become a ratio with its interval, or INVALID with the name of what differs."""
from __future__ import annotations

import numpy as np
import pytest

from harness.compare.comparison import BETTER, OPEN, WORSE, compare, differing, known_by_one
from harness.verdict.cost import prices_of_one_date
from harness.verdict.verdict import BROKEN, ERROR, NOT_COMPARABLE, NOT_JUDGED
from tests.harness.compare.runs import SOAK, record, row, rows
from tests.harness.synthetic import detected

DAY = "2026-11-25"
SPEED = ("throughput", "images_per_second")


def by_figure(base, other, prices=None) -> dict:
    return {(one.spec.check, one.spec.metric): one for one in compare(base, other, prices)}


@pytest.fixture
def pair(run):
    """A function: what differs in the second record, what in the first → every figure compared, by check and metric."""

    def compared(other=None, base=None):
        return by_figure(run("A", record(**(base or {}))), run("B", record(**(other or {}))))

    return compared


def test_a_faster_run_is_better_in_every_figure_of_speed(run):
    found = by_figure(run("A", record()), run("B", record(found=rows(speed=185, seconds=0.008, spread=0.005))))
    assert found[SPEED].change.value == pytest.approx(1.85)
    assert found[SPEED].change.low == pytest.approx(1.85 * 0.98**2**0.5, rel=2e-3)
    speeds = [one for key, one in found.items() if key[0] != "accuracy" and key[1] != "drift"]
    assert len(speeds) == 9 and {one.outcome for one in speeds} == {BETTER}


def test_the_other_way_round_it_is_worse(run):
    found = by_figure(run("A", record(found=rows(speed=185))), run("B", record()))
    assert found[SPEED].outcome == WORSE


def test_a_difference_within_the_intervals_is_not_decided(pair):
    found = pair({"found": rows(speed=101)})
    assert found[SPEED].outcome == OPEN and found[SPEED].change.value == pytest.approx(1.01)


def test_a_drift_is_a_difference(pair):
    found = pair({"found": [row("soak", "drift", 0.5, [0.4, 0.6], method=SOAK)]})["soak", "drift"]
    assert (found.change.value, found.outcome) == (pytest.approx(0.499), WORSE)


def changed_row(check, metric, **fields):
    return {"found": [{**one, **fields} if (one["check"], one["metric"]) == (check, metric) else one for one in rows()]}


# What differs in the second run, the figures that cannot be compared for it, and how that is named.
OTHERWISE = {
    "weights": ({"detector": {**record()["detector"], "weights": "v"}}, "all", "detector weights: w against v"),
    "input size": ({"detector": {**record()["detector"], "width": 416}}, "all", "width: 608 against 416"),
    "profile": ({"detector": {**record()["detector"], "profile": "x"}}, "all", "detector profile: aws against x"),
    "data": ({"dataset": {**record()["dataset"], "sha256": "e"}}, "all", "dataset sha256: d against e"),
    "a part of the data": ({"dataset": {**record()["dataset"], "images": 50}}, "all", "images: 5000 against 50"),
    "no detector": ({"detector": None}, "all", "B does not say detector architecture"),
    "no data": ({"dataset": None}, "all", "B does not say dataset sha256"),
    "load": (changed_row(*SPEED, load="8 callers × batch 1"), [SPEED], "load: 2 callers × batch 1 against 8 callers"),
    "method": (changed_row(*SPEED, method="as they please"), [SPEED], "method: images a second under load against as"),
    "no load": (changed_row(*SPEED, load=""), [SPEED], "load: 2 callers × batch 1 against unknown"),
    "windows": (changed_row("jitter", "fps_spread", method="a soak in windows of 1 s"), [("jitter", "fps_spread")],
                "method: a soak in windows of 30 s against a soak in windows of 1 s"),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_differs_is_not_compared_and_named(pair, case):
    other, figures, words = OTHERWISE[case]
    found = pair(other)
    invalid = {key: one for key, one in found.items() if one.reason == NOT_COMPARABLE}
    assert set(invalid) == (set(found) if figures == "all" else set(figures))
    assert all(one.change is None and words in one.why for one in invalid.values())


@pytest.mark.parametrize("bad", [
    {"reason": BROKEN, "verdict": "INVALID", "value": None, "why": "3 images have no detections"},
    {"verdict": "FAIL", "value": 5.0},
], ids=["broken responses", "other responses under load"])
def test_a_run_whose_responses_were_wrong_is_compared_in_nothing(pair, bad):
    found = pair(changed_row("integrity", "changed_responses", **bad))
    assert {one.reason for one in found.values()} == {BROKEN}
    assert all(one.why.startswith("B: integrity changed_responses is ") for one in found.values())


def test_a_figure_that_one_run_lacks_is_named(pair):
    found = pair({"found": [one for one in rows() if one["check"] != "latency"]})
    assert {(one.reason, one.why) for key, one in found.items() if key[0] == "latency"} == {
        (NOT_JUDGED, "not measured in B")}


def test_a_figure_without_a_value_keeps_its_reason(pair):
    found = pair(changed_row(*SPEED, value=None, interval=None, reason="noisy machine", why="a neighbour"))[SPEED]
    assert (found.reason, found.why) == ("noisy machine", "B: noisy machine, a neighbour")


def test_what_is_not_above_0_has_no_ratio(pair):
    found = pair(changed_row(*SPEED, value=0.0, interval=[0.0, 1.0]))[SPEED]
    assert found.change is None and "not above 0" in found.why


def test_ap_is_paired_by_the_resamples_of_the_same_images(run):
    """Each run's own AP varies by 0.02 from resample to resample, their difference by 0.0001."""
    rng = np.random.default_rng(0)
    shared = 0.5 + 0.02 * rng.normal(size=1001)
    moved = shared - 0.004 + 0.0001 * rng.normal(size=1001)
    contents = [record(resampled_AP=values.tolist(), found=[row("accuracy", "AP", float(values[0]), load="")])
                for values in (shared, moved)]
    change = by_figure(run("A", contents[0]), run("B", contents[1]))["accuracy", "AP"].change
    assert change.value == pytest.approx(-0.004, abs=4e-4) and change.high - change.low < 0.001


def test_ap_without_resamples_has_no_interval(pair):
    change = pair({"resampled_AP": None})["accuracy", "AP"].change
    assert (change.value, change.low, change.high) == (0.0, None, None)


BOXES = [[10, 10, 50, 50], [60, 60, 90, 90]]
BOTH, ONE = detected(BOXES, [0.9, 0.8], [0, 1]), detected(BOXES[:1], [0.9], [0])


def test_the_share_of_confident_detections_that_both_runs_have(run):
    found = by_figure(run("A", record(), {1: BOTH, 2: BOTH}), run("B", record(), {1: BOTH, 2: ONE}))
    share = found["accuracy", "matched_share"]
    assert (share.change.value, share.count) == (0.75, 4)


def test_detections_of_another_run_are_not_taken_for_this_one_s(run, tmp_path):
    base = run("A", record(), {1: BOTH})
    other = run("B", record(), {1: BOTH})
    (tmp_path / "B" / "detections.npz").write_bytes((tmp_path / "A" / "detections.npz").read_bytes()[:-1])
    share = by_figure(base, other)["accuracy", "matched_share"]
    assert share.reason == ERROR and "it is another run's" in share.why


def test_a_cost_is_that_of_the_throughput_at_prices_of_one_date(run):
    inf1 = run("A", record("inf1.2xlarge", found=rows(118.9)))
    g4 = run("B", record("g4dn.xlarge", found=rows(67.5)))
    both = {"inf1.2xlarge", "g4dn.xlarge"}
    at = {day: by_figure(g4, inf1, prices_of_one_date(both, day))["soak", "dollars_per_million"]
          for day in ("2020-10-07", DAY)}
    assert at["2020-10-07"].other.value == pytest.approx(1.362, abs=5e-4)
    assert at["2020-10-07"].change.value == pytest.approx(0.629, abs=5e-4)
    assert at[DAY].change.value == pytest.approx(0.391, abs=5e-4)
    assert at[DAY].change.low < at[DAY].change.value < at[DAY].change.high
    assert at[DAY].other.low < at[DAY].other.value < at[DAY].other.high


def test_what_may_differ_is_named_beside(run):
    words = differing(run("A", record()), run("B", record(backend="xla", machine={"processor": "another", "cores": 4})))
    assert words == ["backend cpu → xla", "machine processor made up → another"]


def test_a_publication_is_compared_as_far_as_it_says(run):
    published = record("inf1.2xlarge", detector={"width": 608, "height": 608, "classes": 80}, dataset={"images": 5000},
                       origin={"kind": "published", "date": "2020-10-07", "source": "a page"},
                       found=[row("throughput", "images_per_second", 105.0, None, load="", method="")])
    base, other = run("A", published), run("B", record())
    found = by_figure(base, other)[SPEED]
    assert found.change.value == pytest.approx(100 / 105) and found.change.low is None and found.outcome == OPEN
    assert known_by_one(base, other) == [
        "detector architecture", "detector weights", "detector profile", "dataset sha256", "load of throughput",
        "method of throughput"]
