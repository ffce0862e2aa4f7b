"""A series of comparisons in turns: what was made is kept and counted, and what did not reach its end is made again."""
from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks import turns_series

# Exit codes of what nobody foresaw: Python's own, which is that of "B is worse", and a signal's.
CRASHES = {"an error": 1, "a signal": -9}


def rounds(factor: float) -> list[dict]:
    """Rounds in which B is so many times as fast as A, give or take a hundredth."""
    return [{"order": "AB", "values": {
        arm: {"images_per_second": speed * noise, "P50_seconds": 1 / speed / noise, "reference_seconds": 1.0}
        for arm, speed, noise in (("A", 100, 1), ("B", 100 * factor, near))}} for near in (0.99, 1, 1.01, 1)]


@pytest.fixture
def series(tmp_path, monkeypatch, capsys):
    """A function: exit codes of the comparisons that are to be made → their arguments and what was printed."""

    def run(*codes, arguments=("A/A=main,main", "slower=main,other", "--each", "2")):
        left, made = list(codes), []

        def compared(command, **_):
            made.append(command[3:5])
            draft = Path(command[command.index("--json") + 1])
            factor = (0.8 if "B=other" in command else 1) * (1 + 0.01 * (len(made) % 3))
            draft.write_text(json.dumps({"rounds": rounds(factor), "plan": {"most": 4, "within": 0.02},
                                         "round_seconds": [9.0]}))
            code = left.pop(0)
            if code is KeyboardInterrupt:
                raise code
            said = "" if code in CRASHES else f"a table\nexit code {code}: in words\n"
            return CompletedProcess(command, CRASHES.get(code, code), said, "")

        monkeypatch.setattr("subprocess.run", compared)
        with suppress(KeyboardInterrupt):
            turns_series.main([str(tmp_path), *arguments])
        return made, capsys.readouterr().out

    return run


def test_the_kinds_take_turns_and_are_counted(series):
    made, printed = series(0, 1, 0, 1)
    assert made == [["A=main", "B=main"], ["A=main", "B=other"]] * 2
    assert "A-A: 2 comparisons, B worse in 0, better in 0" in printed
    assert "slower: 2 comparisons, B worse in 2, better in 0\n  images_per_second: 2 DIFFERENT, 0 SAME," in printed
    assert "2 DIFFERENT, 0 SAME, 0 UNKNOWN; -18.8% in the median" in printed


def test_stored_runs_are_counted_too(series):
    _, printed = series(*[0, 1] * 6, arguments=("A/A=main,main", "slower=main,other", "--each", "6"))
    three = "against 3 stored runs, which differ by 0%: 3 comparisons, B worse in"
    assert f"{three} 0" in printed
    assert f"{three} 3, images_per_second undecided in 0" in printed
    assert "against 5 stored runs, which differ by 0%: 1 comparisons" in printed


@pytest.mark.parametrize("end", [turns_series.FAILED, KeyboardInterrupt, *CRASHES])
def test_what_did_not_reach_its_end_is_not_counted_and_made_again(series, end):
    others = () if end is KeyboardInterrupt else (1, 0, 1)
    series(end, *others)
    _, printed = series(arguments=("--count",))
    assert ("A-A: 1 comparisons" in printed) == bool(others)
    made, printed = series(*[0] * (4 - len(others)))
    assert made[0] == ["A=main", "B=main"] and "A-A: 2 comparisons" in printed
