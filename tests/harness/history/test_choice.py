"""What `--against` names: baselines of the same key, a number of runs back, a commit, a report folder."""
from __future__ import annotations

import pytest

from harness.compare.record import FILE
from harness.history.choice import ChoiceError, choose, described, entries_of
from harness.verdict.verdict import NOT_COMPARABLE, NOT_JUDGED
from tests.harness.history.past import KEY, STEADY, content, hashed, history, run


def speeds(chosen) -> list[float]:
    return [one.figures["throughput", "images_per_second"].estimate.value for one in chosen.runs]


def test_the_baseline_is_the_last_ten_of_its_key(tmp_path):
    kept = history(tmp_path, [100.0 + hour for hour in range(14)])
    kept.add(content(1.0, 20, key={**KEY, "cores": 8}))
    kept.add(content(2.0, 21, commit={**hashed(21), "clean": False}))
    chosen = choose("baseline", run(100), kept)
    assert speeds(chosen) == [104.0 + place for place in range(10)] and chosen.others == chosen.runs
    assert chosen.words == ("the median of 10 runs from 2026-11-01 to 2026-11-01, commits 000000d, 000000c, 000000b "
                            "and 7 more")


def test_a_first_run_has_nothing_to_compare_with(tmp_path):
    chosen = choose("baseline", run(100), history(tmp_path, []))
    assert not chosen.runs and chosen.reason == NOT_JUDGED and "nothing to compare with yet" in chosen.problem


def test_a_first_run_of_another_key_says_what_differs(tmp_path):
    chosen = choose("baseline", run(100, key={**KEY, "tensorflow": "2.22.0"}), history(tmp_path))
    assert "has another key (tensorflow 2.21.0 → 2.22.0); name it by --against" in chosen.problem


def test_an_upgrade_is_compared_on_request_and_says_so(tmp_path):
    chosen = choose("1", run(100, key={**KEY, "tensorflow": "2.22.0"}), history(tmp_path))
    assert speeds(chosen) == [STEADY[-1]]
    assert chosen.remarks == ["across versions, as asked for: tensorflow 2.21.0 → 2.22.0"]


@pytest.mark.parametrize(("fields", "why"), [
    ({"key": {**KEY, "weights": "other"}}, "weights w → other"), ({"key": {}}, "does not say what it must have"),
])
def test_what_differs_in_more_is_not_comparable(tmp_path, fields, why):
    chosen = choose("2", run(100, **fields), history(tmp_path))
    assert chosen.reason == NOT_COMPARABLE and why in chosen.problem and not chosen.runs


def test_a_number_counts_back_from_the_newest(tmp_path):
    assert [speeds(choose(str(number), run(100), history(tmp_path))) for number in (1, 5)] == [[99.5], [100.0]]


def test_a_commit_names_all_its_runs(tmp_path):
    kept = history(tmp_path, STEADY, commit=hashed(7))
    kept.add(content(50.0, 9, commit=hashed(8)))
    assert speeds(choose("v1", run(100), kept, hashed(7)["hash"])) == list(STEADY)


def test_the_name_of_an_entry_names_it(tmp_path):
    kept = history(tmp_path)
    name = kept.listing().entries[2].name
    chosen = choose(name, run(100), kept)
    assert speeds(chosen) == [STEADY[2]] and described(chosen.runs[0])["id"] == name


def test_a_report_folder_is_named_by_itself_or_its_record(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / FILE).write_bytes(content(90.0))
    kept = history(tmp_path / "kept")
    for text in (folder, folder / FILE):
        chosen = choose(str(text), run(100), kept)
        assert speeds(chosen) == [90.0] and len(chosen.others) == len(STEADY)


@pytest.mark.parametrize(("text", "commit", "why"), [
    ("0", "", "0: must be a number of runs back, from 1, the newest, to the 5 that the history has"),
    ("6", "", "6: must be a number"), ("nonsense", "", "is neither baseline, a number of runs back"),
    ("main", "f" * 40, "main: has no run in the history"), ("a\x1b[31m", "", r"a\\x1b\[31m: is neither"),
])
def test_what_names_no_run_is_refused(tmp_path, text, commit, why):
    with pytest.raises(ChoiceError, match=why):
        entries_of(text, history(tmp_path).listing().entries, commit)


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(ChoiceError, match=r"has no run\.json"):
        choose(str(tmp_path), run(100), history(tmp_path / "kept"))


def test_damaged_entries_are_named_and_the_others_used(tmp_path):
    kept = history(tmp_path)
    (tmp_path / kept.listing().entries[0].name / FILE).write_bytes(b"{")
    chosen = choose("baseline", run(100), kept)
    assert len(chosen.runs) == 4 and chosen.remarks[0].startswith("1 entries of the history were left out")
