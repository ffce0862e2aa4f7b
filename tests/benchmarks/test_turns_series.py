"""A series of comparisons in turns: what was made is kept and counted, and what did not reach its end is made again."""
from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks import turns_series

ROWS = {"same": [{"metric": "P50", "outcome": "SAME", "is_worse": False}],
        "worse": [{"metric": "P50", "outcome": "DIFFERENT", "is_worse": True}]}


def rounds(factor: float) -> list[dict]:
    """Three rounds in which B is so many times as fast as A, give or take 2 %."""
    return [{"values": {arm: {"images_per_second": 100 * speed * noise, "P50_seconds": 0.01 / speed / noise}
                        for arm, speed in (("A", 1), ("B", factor))}} for noise in (0.98, 1, 1.02)]




@pytest.fixture
def series(tmp_path, monkeypatch, capsys):
    """A function: exit codes of the comparisons that are to be made → their arguments and what was printed."""

    def run(*codes, arguments=("A/A=main,main", "slower=main,other", "--each", "2")):
        left, made = list(codes), []

        def compared(command, **_):
            made.append(command[3:5])
            draft = Path(command[command.index("--json") + 1])
            is_slower = "B=other" in command
            draft.write_text(json.dumps({"rows": ROWS["worse" if is_slower else "same"],
                                         "rounds": rounds((0.8 if is_slower else 1) * (1 + 0.01 * (len(made) % 3)))}))
            if left[0] is KeyboardInterrupt:
                raise left.pop(0)
            return CompletedProcess(command, left.pop(0), "", "")

        monkeypatch.setattr("subprocess.run", compared)
        with suppress(KeyboardInterrupt):
            turns_series.main([str(tmp_path), *arguments])
        return made, capsys.readouterr().out

    return run


def test_the_kinds_take_turns_and_are_counted(series):
    made, printed = series(0, 1, 0, 1)
    assert made == [["A=main", "B=main"], ["A=main", "B=other"]] * 2
    assert "A-A: 2 comparisons, B worse in 0, better in 0" in printed
    assert "slower: 2 comparisons, B worse in 2, better in 0\n  P50: 2 DIFFERENT, 0 SAME, 0 UNKNOWN" in printed


def test_stored_runs_are_counted_too(series):
    _, printed = series(*[0, 1] * 6, arguments=("A/A=main,main", "slower=main,other", "--each", "6"))
    assert "against 3 stored runs: 3 comparisons, B worse in 0" in printed
    assert "against 3 stored runs: 3 comparisons, B worse in 3, images_per_second undecided in 0" in printed
    assert "against 5 stored runs: 1 comparisons" in printed


@pytest.mark.parametrize("end", [turns_series.FAILED, KeyboardInterrupt])
def test_what_did_not_reach_its_end_is_not_counted_and_made_again(series, end):
    others = () if end is KeyboardInterrupt else (1, 0, 1)
    series(end, *others)
    _, printed = series(arguments=("--count",))
    assert ("A-A: 1 comparisons" in printed) == bool(others)
    made, printed = series(*[0] * (4 - len(others)))
    assert made[0] == ["A=main", "B=main"] and "A-A: 2 comparisons" in printed
