"""The runs of a key over time: what the report reads, and the steps with their commits and what else changed there."""
from __future__ import annotations

import json

import numpy as np

from harness.history import timeline
from harness.history.store import History
from tests.harness.compare import runs as records
from tests.harness.history.past import KEY, content, hashed, history, run

AT = 20


def stepped(folder, **after) -> History:
    """30 runs, slower by 10 % from the 21st on, which has other facts too."""
    kept, rng = History(folder), np.random.default_rng(0)
    for hour in range(30):
        speed = (90.0 if hour >= AT else 100.0) * float(np.exp(0.005 * rng.normal()))
        kept.add(content(speed, hour, **(after if hour >= AT else {})))
    return kept


def test_a_step_names_its_commit_and_what_else_changed(tmp_path):
    found = timeline.found(timeline.in_order(stepped(tmp_path, environment={"kernel": "6.12"}).runs().runs))
    speed = next(one for one in found if (one.check, one.metric) == ("throughput", "images_per_second"))
    assert speed.run.commit == hashed(AT) and speed.changed == ["kernel 6.1 → 6.12"]
    assert abs(speed.step.before - 100) < 0.5 and abs(speed.step.after - 90) < 0.5 and speed.change == "-9.9 %"


def test_the_record_is_strict_json_with_what_the_report_reads(tmp_path):
    record = json.loads(json.dumps(timeline.record(stepped(tmp_path).runs().runs), allow_nan=False))
    assert len(record["runs"]) == 30
    assert set(record["runs"][0]) == {"date", "commit", "title", "is_baseline", "values", "environment"}
    assert len(record["runs"][0]["values"]["throughput images_per_second"]) == 3
    assert set(record["steps"][0]) == {"check", "metric", "date", "commit", "before", "after", "agreed", "changed"}
    assert {one["commit"] for one in record["steps"]} == {hashed(AT)["hash"]}


def test_only_the_newest_runs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline, "MOST", 7)
    runs = history(tmp_path, [100.0 + place for place in range(9)]).runs().runs
    assert [one["commit"] for one in timeline.record(runs)["runs"]] == [hashed(place)["hash"] for place in range(2, 9)]


def test_runs_stand_in_the_order_of_their_commits():
    """So a commit that was measured after later ones does not make a step forth and back."""
    early = {**hashed(1), "author_date": "2026-10-01T00:00:00+00:00"}
    late = {**hashed(2), "author_date": "2026-10-02T00:00:00+00:00"}
    measured = [run(100.0, 1, commit=early), run(90.0, 2, commit=late), run(100.0, 3, commit=early)]
    assert [one.date[11:13] for one in timeline.in_order(measured)] == ["01", "03", "02"]


def test_a_speed_of_0_is_left_out(tmp_path):
    broken = [records.row("throughput", "images_per_second", 0.0), *records.rows()[1:]]
    kept = history(tmp_path, [100.0] * 8)
    assert timeline.found([*kept.runs().runs, run(100.0, found=broken)]) == []


def test_the_command_lists_the_steps_of_each_key(tmp_path, capsys):
    kept = stepped(tmp_path)
    kept.add(content(100.0, 40, key={**KEY, "cores": 8}))
    assert timeline.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("key ") for line in lines) == 2 and lines[0].endswith("30 runs")
    assert any(f"at 2026-11-01, commit {AT:07x} Change {AT}" in line and "throughput" in line for line in lines)


def test_a_place_that_cannot_be_read_is_named(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    assert timeline.main([str(file)]) == 2
    assert str(file) in capsys.readouterr().err
