"""A run against earlier ones: a row a metric, with evidence; what vanished; equal code; accuracy by pairs of images."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.history.against import AP, Against, causes, judged, lines, lost_most
from harness.history.between_runs import BETTER, SAME, UNKNOWN, WORSE
from harness.history.choice import choose
from harness.history.losses import Image, Part
from harness.stats.estimate import NOISY, TOO_FEW
from harness.verdict.targets import HISTORY, PUBLISHED
from harness.verdict.verdict import BROKEN, FAIL, INVALID, NOT_COMPARABLE, NOT_JUDGED, PASS
from tests.harness.compare import runs as records
from tests.harness.history.past import STEADY, content, hashed, history, run

TARGETS = PUBLISHED.rows(HISTORY, "cpu")
SPEED = "throughput.images_per_second"
DETAILS = {"platform": "cpu", "backend": "cpu-fp32", "command": "pytest tests/gates"}


def against(now, kept, text="baseline") -> Against:
    chosen = choose(text, now, kept)
    return Against(chosen, judged(now, chosen, TARGETS), causes(now, chosen))


def row(found: Against, name=SPEED):
    return next(one for one in found.rows if one.name == name)


@pytest.mark.parametrize(("speed", "outcome", "verdict"), [
    (100.2, SAME, PASS), (85.0, WORSE, FAIL), (115.0, BETTER, PASS),
])
def test_a_speed_is_judged(tmp_path, speed, outcome, verdict):
    one = row(against(run(speed), history(tmp_path)))
    assert (one.outcome, one.verdict, one.before, one.after) == (outcome, verdict, 100.0, speed)
    assert one.change.low < one.change.value < one.change.high
    assert one.change.value == pytest.approx(speed / 100 - 1)


def test_a_verdict_has_its_evidence(tmp_path):
    found = against(run(85.0), history(tmp_path))
    verdict = found.verdict(next(target for target in TARGETS if target.metric == SPEED), **DETAILS)
    assert verdict.verdict == FAIL and verdict.value == pytest.approx(0.15) and verdict.bound == 0.05
    assert verdict.count == 5 and verdict.interval[0] > 0.1
    assert verdict.message().startswith("FAIL: throughput lost 15.0 %, must be ≤ 5.0 %: throughput 100.0 images/s → "
                                        "85.0 images/s, -15.0 % (")
    assert "against the median of 5 runs from 2026-11-01 to 2026-11-01, commits 0000004" in verdict.message()


def test_what_could_not_be_seen_is_said(tmp_path):
    one = row(against(run(97.0), history(tmp_path, (100, 110, 90, 105, 95))))
    assert (one.outcome, one.verdict, one.reason) == (UNKNOWN, INVALID, TOO_FEW)
    assert "cannot tell changes below 40.7 %" in one.why and "more or quieter runs would" in one.why
    many = row(against(run(97.0), history(tmp_path / "many", (100, 110, 90, 105, 95) * 2)))
    assert many.reason == NOISY


@pytest.mark.parametrize("count", [1, 2])
def test_few_runs_never_fail(tmp_path, count):
    one = row(against(run(50.0), history(tmp_path, STEADY[:count])))
    assert (one.outcome, one.verdict, one.reason) == (UNKNOWN, INVALID, TOO_FEW)
    assert "cannot tell" in one.why and "3 runs" in one.why


def test_one_run_of_many_is_held_against_how_much_all_differ(tmp_path):
    one = row(against(run(50.0), history(tmp_path), "3"))
    assert one.verdict == INVALID and "cannot tell changes below" in one.why
    assert row(against(run(99.0), history(tmp_path), "3")).verdict == PASS


def test_a_first_run_is_not_judged_and_fails_nothing(tmp_path):
    found = against(run(100), history(tmp_path, []))
    assert {(one.verdict, one.reason) for one in found.rows} == {(INVALID, NOT_JUDGED)}
    assert lines(found) == [] and found.as_record()["runs"] == []


def test_one_alarm_among_many_metrics_must_be_a_clear_one(tmp_path):
    """A speed that one in 60 runs would have is an alarm by itself, and none among the others."""
    found = records.rows(100.0, 0.02)
    found[0] = records.row("throughput", "images_per_second", 96.4, [95, 98], method=found[0]["method"])
    one = row(against(run(100.0, found=found), history(tmp_path)))
    assert one.outcome == UNKNOWN and one.change.high < 0


def test_the_same_code_is_not_slower(tmp_path):
    kept = history(tmp_path, STEADY, commit=hashed(7))
    one = row(against(run(85.0, commit=hashed(7)), kept))
    assert (one.outcome, one.verdict, one.reason) == (WORSE, INVALID, NOISY)
    assert one.why.endswith("all are runs of one commit, so the difference is the machine's")
    dirty = row(against(run(85.0, commit={**hashed(7), "clean": False}), kept))
    assert dirty.verdict == FAIL


def test_a_compiled_model_and_sources_of_the_same_hash_are_the_same_code(tmp_path):
    code = {"compiled_model": "c", "model": "m", "harness": "h"}
    kept = history(tmp_path, STEADY, environment=code)
    assert row(against(run(85.0, environment=code), kept)).verdict == INVALID
    assert row(against(run(85.0, environment={**code, "model": "other"}), kept)).verdict == FAIL
    assert row(against(run(85.0, environment={}), history(tmp_path / "b", STEADY, environment={}))).verdict == FAIL


def test_what_else_changed_is_named(tmp_path):
    found = against(run(85.0, environment={"kernel": "6.12", "driver": "2.24"}), history(tmp_path))
    assert found.causes == ["kernel 6.1 → 6.12", "driver – → 2.24"]
    assert lines(found)[-1] == "also changed since then: kernel 6.1 → 6.12; driver – → 2.24"


# ---- what is missing


def test_a_metric_that_vanished_is_a_fail(tmp_path):
    found = against(run(100.0, found=records.rows()[1:]), history(tmp_path))
    assert row(found).verdict == FAIL and "vanished" in row(found).why
    assert row(found, "vanished").verdict == FAIL and row(found, "vanished").loss.value == 1
    assert "throughput throughput" in row(found, "vanished").why


def test_a_check_that_vanished_is_a_fail(tmp_path):
    now = run(100.0, found=[one for one in records.rows() if one["check"] != "integrity"])
    one = row(against(now, history(tmp_path)), "vanished")
    assert one.verdict == FAIL and "integrity changed responses" in one.why


def test_a_check_that_was_deselected_is_not_judged(tmp_path):
    lost = records.row("throughput", "efficiency", None, verdict=INVALID, reason=NOT_JUDGED, why="deselected by -m x")
    found = against(run(100.0, found=[*records.rows()[1:], lost]), history(tmp_path))
    assert (row(found).verdict, row(found).reason, row(found).why) == (INVALID, NOT_JUDGED, "deselected by -m x")
    assert row(found, "vanished").verdict == PASS


def test_a_metric_without_a_value_has_the_reason_of_its_own_row(tmp_path):
    bad = records.row("throughput", "images_per_second", None, verdict=INVALID, reason=BROKEN, why="a NaN")
    one = row(against(run(100.0, found=[bad, *records.rows()[1:]]), history(tmp_path)))
    assert (one.verdict, one.reason) == (INVALID, BROKEN) and one.why.endswith(f"{INVALID} ({BROKEN}), a NaN")


def test_speeds_under_another_load_are_not_compared(tmp_path):
    other = records.row("throughput", "images_per_second", 50.0, [49, 51], load="8 callers × batch 4")
    one = row(against(run(100.0, found=[other, *records.rows()[1:]]), history(tmp_path)))
    assert (one.verdict, one.reason) == (INVALID, NOT_COMPARABLE) and "8 callers" in one.why


def test_what_the_baseline_lacks_is_not_compared(tmp_path):
    one = row(against(run(100), history(tmp_path, STEADY, found=records.rows()[1:])))
    assert one.reason == NOT_JUDGED and "did not measure it" in one.why


# ---- accuracy


def accuracy(ap: float, detections: str, seed: int = 0, spread: float = 0.0005, **fields):
    """Fields of a run with this AP: resamples of the same images move AP by 0.01, and this detector by its `spread`."""
    images = 0.01 * np.random.default_rng(0).normal(size=200)
    own = ap + images + spread * np.random.default_rng(seed).normal(size=200)
    found = [one for one in records.rows() if one["check"] != "accuracy"]
    return {"found": [*found, records.row("accuracy", "AP", ap, load="", method=records.METHODS["accuracy"], **fields)],
            "resampled_AP": [ap, *own.tolist()], "detections": detections}


@pytest.mark.parametrize(("ap", "seed", "spread", "outcome", "verdict"), [
    (0.49, 1, 0.0005, WORSE, FAIL), (0.499, 1, 0.0005, SAME, PASS), (0.51, 1, 0.0005, BETTER, PASS),
    (0.499, 1, 0.006, UNKNOWN, INVALID),
])
def test_ap_is_judged_by_pairs_with_one_run(tmp_path, ap, seed, spread, outcome, verdict):
    kept = history(tmp_path, [100.0], **accuracy(0.5, "before"))
    one = row(against(run(100.0, **accuracy(ap, "after", seed, spread)), kept), "accuracy.AP")
    assert (one.outcome, one.verdict) == (outcome, verdict)
    assert one.change.value == pytest.approx(ap - 0.5)


def test_equal_detections_are_equal_without_a_test(tmp_path):
    kept = history(tmp_path, [100.0], **{**accuracy(0.5, "same"), "resampled_AP": None})
    one = row(against(run(100.0, **accuracy(0.5, "same")), kept), "accuracy.AP")
    assert (one.outcome, one.verdict) == (SAME, PASS) and "equal detections" in one.why


def test_too_few_images_for_pairs_show_nothing(tmp_path):
    kept = history(tmp_path, [100.0], **{**accuracy(0.5, "before"), "resampled_AP": None})
    one = row(against(run(100.0, **accuracy(0.4, "after")), kept), "accuracy.AP")
    assert one.outcome == UNKNOWN and "too few images" in one.why


def test_ap_is_held_against_the_run_with_the_median_ap(tmp_path):
    kept = history(tmp_path, [])
    for hour, ap in enumerate((0.5, 0.3, 0.51)):
        kept.add(content(100.0, hour, **accuracy(ap, f"d{hour}", hour)))
    one = row(against(run(100.0, **accuracy(0.5, "after", 9)), kept), "accuracy.AP")
    assert one.before == 0.5 and one.verdict == PASS


def test_the_same_code_does_not_excuse_accuracy(tmp_path):
    kept = history(tmp_path, [100.0], **accuracy(0.5, "before"), commit=hashed(7))
    assert row(against(run(100.0, **accuracy(0.4, "after", 1), commit=hashed(7)), kept), "accuracy.AP").verdict == FAIL


# ---- what is kept


def test_the_record_is_strict_json_with_what_the_report_reads(tmp_path):
    found = against(run(85.0), history(tmp_path))
    found = Against(found.chosen, found.rows, found.causes, [Part("cup", 0.5, 0.4)], [Part("small", 0.2, 0.3)],
                    [Image(7, "7.jpg", 3, 1)], [Part("wrong place", 0.0, 0.25)])
    record = json.loads(json.dumps(found.as_record(), allow_nan=False))
    assert set(record) == {"against", "runs", "rows", "classes", "sizes", "images", "kinds", "causes"}
    speed = next(one for one in record["rows"] if one["check"] == "throughput")
    assert set(speed) == {"check", "metric", "before", "after", "change", "low", "high", "outcome", "verdict", "why"}
    assert record["classes"] == [{"name": "cup", "before": 0.5, "after": 0.4, "change": pytest.approx(-0.1)}]
    assert record["kinds"] == [{"name": "wrong place", "before": 0.0, "after": 0.25, "change": 0.25}]
    assert record["images"] == [{"image_id": 7, "file_name": "7.jpg", "lost": 3, "gained": 1}]
    assert record["runs"][0]["commit"] == hashed(0)["hash"] and len(record["runs"]) == 5


def test_what_lost_most_is_named_first():
    found = Against(None, [], [], [Part("cup", 0.5, 0.4), Part("can", 0.5, 0.6)], [],
                    [Image(7, "7\x1b.jpg", 3, 1), Image(8, "8.jpg", 0, 2)])
    assert lost_most(found) == ["classes: cup -0.100", r"images: 7\x1b.jpg (3 lost)"]


def test_every_target_of_history_has_a_row(tmp_path):
    found = against(run(100), history(tmp_path))
    assert [one.name for one in found.rows] == [target.metric for target in TARGETS]
    assert AP == ("accuracy", "AP") and Path(found.chosen.runs[0].folder).is_dir()


# ---- noise of the machine


def noisy(speed: float, factor: float) -> dict:
    """Fields of a run at this speed, which the machine may have slowed by a factor in every measurement."""
    found = records.rows(speed, 2 / speed)
    for one in found:
        if one["metric"] == "images_per_second":
            one["interval"] = [0.98 * one["value"], factor * one["value"]]
        elif one["metric"] == "P50_seconds":
            one["interval"] = [one["value"] / factor, 1.02 * one["value"]]
    return {"found": found}


def test_a_loss_that_the_noise_of_the_machine_explains_is_not_shown(tmp_path):
    found = against(run(60.0, **noisy(60.0, 2.0)), history(tmp_path))
    assert not [one.name for one in found.rows if one.verdict == FAIL]
    assert (row(found).outcome, row(found).reason) == (UNKNOWN, NOISY)
    assert "the machine was noisier than in the earlier runs" in row(found).why


def test_noise_that_the_earlier_runs_had_too_explains_nothing(tmp_path):
    kept = history(tmp_path, [])
    for hour, speed in enumerate(STEADY):
        kept.add(content(speed, hour, **noisy(speed, 2.0)))
    assert row(against(run(60.0, **noisy(60.0, 2.0)), kept)).verdict == FAIL


def test_a_loss_beyond_the_noise_is_shown(tmp_path):
    assert row(against(run(30.0, **noisy(30.0, 1.5)), history(tmp_path))).verdict == FAIL


def test_noise_makes_nothing_better(tmp_path):
    assert row(against(run(97.0, **noisy(97.0, 2.0)), history(tmp_path, (100, 110, 90, 105, 95)))).verdict == INVALID
    assert row(against(run(120.0, **noisy(120.0, 2.0)), history(tmp_path / "b"))).outcome == BETTER


@pytest.mark.parametrize("interval", [None, [None, None], [0.0, 0.03]])
def test_bounds_that_are_missing_hold_anything(tmp_path, interval):
    found = records.rows(100.0)
    place = next(place for place, one in enumerate(found) if one["check"] == "latency" and "P50" in one["metric"])
    found[place]["interval"] = interval
    assert row(against(run(100.0, found=found), history(tmp_path)), "latency.P50_seconds").verdict == PASS
