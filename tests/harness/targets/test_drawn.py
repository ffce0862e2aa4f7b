"""Bounds drawn from a history: rows that --targets accepts, beyond what runs of one detector differ by."""
from __future__ import annotations

import pytest

from harness.files import as_json
from harness.targets.drawn import COST, DRAWN, MARGIN, SPEED, TooFew, bound, drawn, toml
from harness.verdict.metrics import MEASURED
from harness.verdict.own import read_table
from tests.harness.compare.runs import COMMIT, record, row, rows
from tests.harness.history.past import STEADY, content, history

DAY = "2026-11-26"
DOLLARS = 0.17  # an hour


def with_cost(speed: float, ap: float = 0.5) -> list[dict]:
    """The rows of a run at this speed, with its cost."""
    found = [one for one in rows(speed, 2 / speed) if one["metric"] != "AP"]
    return [*found, row("accuracy", "AP", ap), row("cost", "dollars_per_million", 1e6 / speed / 3600 * DOLLARS)]


@pytest.fixture
def kept(tmp_path):
    """A function: speeds, platform, AP → a history of runs with a cost at these speeds."""
    def keep(speeds=STEADY, platform="cpu", ap=0.5, **fields):
        made = history(tmp_path / "history", ())
        for hour, speed in enumerate(speeds):
            made.add(content(speed, hour, platform=platform, found=with_cost(speed, ap), **fields))
        return made

    return keep


def by_metric(found) -> dict:
    return {(one.check, one.metric): one for one in found.rows}


def test_every_metric_that_was_measured_is_drawn(kept):
    found = by_metric(drawn(kept(), "cpu", DAY))
    assert set(found) == {(spec.check, spec.metric) for spec in DRAWN if spec.metric != "joules_per_image"} | {COST}
    assert all(one.metric in MEASURED[one.check] for one in found.values())
    assert {(one.platform, one.date) for one in found.values()} == {("cpu", DAY)}


def test_a_bound_is_beyond_every_run_on_the_losing_side(kept):
    found = by_metric(drawn(kept(), "cpu"))
    assert 0.9 * min(STEADY) < found[SPEED].bound < (1 - MARGIN) * min(STEADY)
    assert (1 + MARGIN) * 2 / min(STEADY) < found["latency", "P50_seconds"].bound < 1.1 * 2 / min(STEADY)
    assert found["accuracy", "AP"].bound == pytest.approx(0.495)


def test_the_cost_follows_the_price_from_the_throughput_that_was_drawn(kept):
    found = by_metric(drawn(kept(), "cpu"))
    cost, speed = found[COST], found[SPEED].bound
    assert cost.images_per_second == speed
    assert cost.bound == pytest.approx(1e6 / speed / 3600 * DOLLARS, rel=1e-4)
    assert "follows the price" in cost.reason


def test_the_source_says_which_runs(kept):
    assert by_metric(drawn(kept(), "cpu"))[SPEED].source == (
        "2 % beyond the prediction interval of the median of 5 runs from 2026-11-01 to 2026-11-01, commits 0000004, "
        "0000003, 0000002 and 2 more: 100.0 images/s, runs from 99.0 images/s to 101.0 images/s")


@pytest.mark.parametrize("platform", ["cpu", "inf2.xlarge", "inf1.2xlarge"])
def test_the_file_is_read_back_as_the_rows(kept, tmp_path, platform):
    found = drawn(kept(platform=platform), platform, DAY)
    path = tmp_path / "targets.toml"
    path.write_text(toml(found.rows), encoding="utf-8")
    assert found.rows and read_table(path).own == tuple(found.rows)


def test_what_would_loosen_a_published_row_is_left_out_and_named(kept):
    found = drawn(kept(ap=0.484), "cpu")
    assert ("accuracy", "AP") not in by_metric(found)
    assert found.left_out == ["accuracy AP ≥ 0.479: looser than the published accuracy AP ≥ 0.48, which stays"]


def test_of_a_published_platform_only_what_is_tighter_is_drawn(kept):
    found = drawn(kept(platform="inf1.2xlarge"), "inf1.2xlarge")
    assert {line.partition(" ≥")[0].partition(" ≤")[0] for line in found.left_out} == {
        "throughput images_per_second", "soak images_per_second", "soak drift", "cost dollars_per_million"}
    assert {"latency", "jitter", "accuracy"} == {row.check for row in found.rows}


@pytest.mark.parametrize(("speeds", "fields", "words"), [
    ((), {}, "0 comparable baselines of cpu, must be at least 3; run the whole gate again"),
    (STEADY[:2], {}, "2 comparable baselines of cpu, must be at least 3; run"),
    (STEADY, {"platform": "inf2.xlarge"}, "0 comparable baselines of cpu, must be at least 3; it has baselines of "
                                          "inf2.xlarge; run"),
    (STEADY, {"incomplete": ["3 rows were not judged"]}, "0 comparable baselines of cpu"),
    (STEADY, {"commit": {**COMMIT, "clean": False}}, "0 comparable baselines of cpu"),
])
def test_too_few_runs_say_how_many_there_are(kept, speeds, fields, words):
    with pytest.raises(TooFew, match=words):
        drawn(kept(speeds, **fields), "cpu")


def test_runs_of_another_key_are_not_drawn_from(kept):
    made = kept()
    made.add(content(50.0, 100, key={**record()["key"], "cores": 8}))
    with pytest.raises(TooFew, match="1 comparable baseline of cpu"):
        drawn(made, "cpu")


def test_figures_under_another_load_are_not_drawn_from(kept):
    made = kept(STEADY[:3])
    for hour in (10, 11, 12):
        found = [{**one, "load": "4 callers × batch 8"} if one["check"] == "throughput" else one
                 for one in with_cost(500.0)]
        made.add(as_json(record(found=found, origin={"kind": "measured", "date": f"2026-11-02T{hour}:00:00Z",
                                                     "source": "pytest"})))
    assert by_metric(drawn(made, "cpu"))[SPEED].bound == pytest.approx(490.0)


@pytest.mark.parametrize("spec", DRAWN, ids=lambda spec: f"{spec.check}-{spec.metric}")
def test_more_runs_that_differ_as_much_bring_the_bound_nearer(spec):
    limits = [bound(spec, values, 8) for values in (STEADY[:3], STEADY, STEADY * 2)]
    assert limits == sorted(limits, reverse=spec.sense == "<=")
