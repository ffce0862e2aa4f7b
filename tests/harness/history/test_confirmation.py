"""A loss is measured again in turns: what a stand-in of that command writes, and every way in which it fails."""
from __future__ import annotations

import json
import sys

import pytest

from harness.history.confirmation import STANDS_FOR, Confirmation, Unconfirmed, command, measured_in_turns
from harness.turns.outcome import CHECKS, Row

ROW = {"check": "throughput", "metric": "images_per_second", "outcome": "DIFFERENT", "change": -0.1, "low": -0.12,
       "high": -0.08, "rounds": 12, "why": "more than we read"}


@pytest.fixture
def turns(tmp_path):
    """A function: what a command writes, or None → what is read of it; the command gets the file as its last word."""

    def run(content, code=0, error="", seconds=30.0):
        source = f"import sys, pathlib, time\nsys.stderr.write({error!r})\n"
        if content is not None:
            source += f"pathlib.Path(sys.argv[-1]).write_text({content!r})\n"
        script = tmp_path / "turns.py"
        script.write_text(source + ("time.sleep(60)\n" if code == "hang" else f"sys.exit({code})\n"))
        return measured_in_turns([sys.executable, str(script)], tmp_path, seconds)

    return run


def test_the_command_names_both_revisions_and_the_options_of_both():
    words = command("67709ce", ".", ["--backend", "neuron", "--coco", "/data/my coco"])
    assert words == [sys.executable, "-m", "harness.turns", "A=67709ce", "B=.", "--only", "speed", "--both",
                     "--backend neuron --coco '/data/my coco'"]
    assert "--both" not in command("67709ce", ".")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_rows_are_read_whatever_the_exit_code_says_of_them(turns, code):
    found = turns(json.dumps({"rows": [ROW], "more": 1}), code)
    assert found == {("throughput", "images_per_second"): Confirmation("DIFFERENT", -0.1, -0.12, -0.08, 12)}
    assert str(next(iter(found.values()))) == "DIFFERENT, -10.0 % (-12.0 % to -8.0 %) in 12 rounds in turns"


def test_what_measuring_in_turns_writes_is_what_is_read(turns):
    rows = [Row(check, metric, "SAME", 0.001, -0.01, 0.01, 8, "less than the 2.0 % that matter")._asdict()
            for metric, check in CHECKS.items()]
    assert turns(json.dumps({"rows": rows})).keys() >= set(STANDS_FOR.values())


def test_an_outcome_without_figures_is_read():
    assert str(Confirmation("UNKNOWN", None, None, None, 3)) == "UNKNOWN after 3 rounds in turns"


@pytest.mark.parametrize("content", [
    "", "{", "[]", '{"rows": [{}]}', '{"rows": 1}', json.dumps({"rows": [{**ROW, "outcome": "MAYBE"}]}),
    json.dumps({"rows": [{**ROW, "change": "much"}]}), json.dumps({"rows": [{**ROW, "rounds": None}]}), "\x00\xff",
])
def test_what_cannot_be_read_confirms_nothing(turns, content):
    with pytest.raises(Unconfirmed, match="what it wrote cannot be read"):
        turns(content)


def test_a_command_that_fails_says_why_in_its_last_line(turns):
    with pytest.raises(Unconfirmed, match=r"error: A: there is no such commit \\x1b"):
        turns(None, 2, "building\nerror: A: there is no such commit \x1b\n\n")
    with pytest.raises(Unconfirmed, match="the command ended with 7"):
        turns(None, 7)


def test_a_command_that_hangs_is_ended(turns):
    with pytest.raises(Unconfirmed, match="took longer than"):
        turns(None, "hang", seconds=1.0)


def test_a_program_that_is_not_there_confirms_nothing(tmp_path):
    with pytest.raises(Unconfirmed, match="cannot be started"):
        measured_in_turns([str(tmp_path / "nothing")], tmp_path)
