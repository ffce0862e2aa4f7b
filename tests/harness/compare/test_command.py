"""`python -m harness.compare`: one table, one plot, and an exit code that follows the verdicts."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.compare.__main__ import main
from tests.harness.compare.runs import record, row, rows, store
from tests.harness.compare.test_claims import AP, G4, INF1

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "\x1b[31m::error::‮ $x^2$ ##vso[task]"


@pytest.fixture
def compare(tmp_path, capsys):
    """A function: records, options → (exit code, lines of the output, lines of the error)."""

    def run(*records, options=()):
        folders = [store(tmp_path / f"run {place}", content) for place, content in enumerate(records)]
        code = main([*map(str, folders), *map(str, options)])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_two_runs_are_a_table(compare):
    code, lines, _ = compare(record(), record(backend="xla", found=rows(185)))
    row, = (line for line in lines if line.startswith("throughput  "))
    assert code == 0 and lines[-1] == "exit code 0"
    assert re.split(r"  +", row) == ["throughput", "100.0 images/s", "185.0 images/s",
                                     "1.85 × (1.80 to 1.90)", "better"]
    assert any(line == "differs: backend cpu → xla" for line in lines)
    assert any("prices: c5.xlarge $0.17/h (on-demand, us-east-1, 2026-01-19" in line for line in lines)


def test_each_of_several_runs_is_compared_with_the_first(compare):
    _, lines, _ = compare(record(), record(found=rows(185)), record(found=rows(50)))
    heads = [line.split() for line in lines if line.startswith("figure ")]
    assert [head[1:3] for head in heads] == [["A", "B"], ["A", "C"]]
    assert [line.split()[-1] for line in lines if line.startswith("throughput  ")] == ["better", "worse"]


def test_what_is_not_comparable_is_exit_code_1(compare):
    code, lines, _ = compare(record(), record(detector={**record()["detector"], "weights": "v"}))
    assert code == 1 and "  all figures: detector weights: w against v" in lines


def test_what_one_run_lacks_is_not_a_failure_and_runs_without_a_common_figure_are(compare):
    alone = [[one] for one in rows() if one["check"] in ("accuracy", "soak")]
    assert compare(record(), record(found=[one for one in rows() if one["check"] != "latency"]))[0] == 0
    assert compare(record(found=alone[0]), record(found=alone[-1]))[0] == 1


@pytest.mark.parametrize(("speed", "expected", "words"), [
    (120.0, 0, "exit code 0: 6 PASS of the article's claims"),
    (100.0, 1, "exit code 1: 4 PASS, 2 FAIL of the article's claims"),
    (111.0, 1, "exit code 1: 5 PASS, 1 INVALID of the article's claims"),
])
def test_the_claims_set_the_exit_code(compare, speed, expected, words):
    code, lines, _ = compare(
        record("g4dn.xlarge", found=rows(**G4), resampled_AP=AP),
        record("inf1.2xlarge", found=rows(**{**INF1, "speed": speed}), resampled_AP=AP),
        options=["--prices", "2020-10-07"])
    assert (code, lines[-1]) == (expected, words)


def test_a_published_run_has_a_name(capsys):
    assert main(["aws-g4dn-soak", "aws-inf1-soak"]) == 1
    assert "exit code 1: 6 INVALID of the article's claims" in capsys.readouterr().out


def test_prices_of_no_common_date_are_said_and_there_is_no_cost(compare):
    code, lines, _ = compare(record(), record(instance="c9.huge"))
    assert code == 0 and any("no cost: no date from " in line and "c5.xlarge and c9.huge" in line for line in lines)
    assert not any("per million images" in line for line in lines)


# Folders, and what the error says.
REFUSED = {
    "one folder": (["a"], "error: 1 folder: give 2 to 26 to compare"),
    "27 folders": (["a"] * 27, "error: 27 folders: give 2 to 26 to compare"),
    "a folder twice": (["a", "a"], "a run is not compared with itself"),
    "a link to the other folder": (["a", "link"], "a run is not compared with itself"),
    "a copy of the other folder": (["b", "a", "copy"], "a run is not compared with itself"),
    "no folder of that name": (["a", "nowhere"], "nowhere: is not a folder"),
    "no published run of that name": (["a", "aws-inf9"], "aws-inf9: is not a folder"),
    "a way out of the published runs": (["a", "../compare"], "compare: is not a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_not_two_runs_are_exit_code_2(tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    store(tmp_path / "a", record())
    store(tmp_path / "copy", record())
    store(tmp_path / "b", record(found=rows(120)))
    (tmp_path / "link").symlink_to("a")
    folders, words = REFUSED[case]
    assert main(folders) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize(("options", "words"), [
    (["--plot", "x.exe"], "x.exe: must end in .svg, .png, .pdf"),
    (["--plot", "no/where.svg"], "folder no does not exist; make it first"),
    (["--prices", "soon"], "soon: must be a date such as 2020-10-07"),
])
def test_a_wrong_option_is_exit_code_2(tmp_path, capsys, options, words):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), str(tmp_path), *options])
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_is_exit_code_2(compare, tmp_path):
    (tmp_path / "plot.svg").mkdir()
    code, _, errors = compare(record(), record(found=rows(120)), options=["--plot", tmp_path / "plot.svg"])
    assert code == 2 and "plot.svg: was not written" in errors[0]


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_the_plot_is_drawn(compare, tmp_path, suffix):
    path = tmp_path / f"plot.{suffix}"
    code, lines, _ = compare(record(), record(found=rows(185)), record(found=rows(50)), options=["--plot", path])
    assert code == 0 and path.stat().st_size > 5_000 and any(line.startswith("written: ") for line in lines)


def test_a_plot_of_what_cannot_be_compared_says_so(compare, tmp_path):
    other = record(detector={**record()["detector"], "weights": "v"}, found=rows(120))
    assert compare(record(), other, options=["--plot", tmp_path / "plot.svg"])[0] == 1
    assert ET.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")


def test_hostile_names_confuse_no_terminal_no_log_and_no_plot(compare, tmp_path):
    detector = {**record()["detector"], "name": HOSTILE}
    bad = [{**one, "load": HOSTILE, "method": HOSTILE, "why": HOSTILE} for one in rows()]
    code, lines, _ = compare(
        record(HOSTILE, HOSTILE, detector=detector, machine={HOSTILE: HOSTILE, "processor": HOSTILE}),
        record(HOSTILE * 9, HOSTILE, bad, detector=detector, machine={HOSTILE: 1, "processor": HOSTILE}, cast=HOSTILE,
               build={"engine": HOSTILE}),
        options=["--plot", tmp_path / "plot.svg"])
    assert code == 1 and lines
    for line in lines:
        assert line.isprintable() and not line.lstrip().startswith("::") and "##vso[" not in line and len(line) <= 120
    assert ET.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")


def test_values_at_the_edge_of_what_a_record_may_hold_are_drawn(compare, tmp_path):
    found = [[row("throughput", "images_per_second", value, [low, high], method="m"),
              row("soak", "images_per_second", value, None, method="m")]
             for value, low, high in ((1e-20, None, 1e21), (1e21, -1e21, None))]
    code, lines, _ = compare(*(record(found=one) for one in found), options=["--plot", tmp_path / "plot.png"])
    assert code == 0 and all(len(line) <= 120 for line in lines)


def test_the_published_pair_is_in_the_docs_as_it_is_printed(capsys):
    main(["aws-g4dn-soak", "aws-inf1-soak", "--prices", "2020-10-07"])
    printed = capsys.readouterr().out
    assert f"```text\n{printed}```" in (ROOT / "docs" / "comparison.md").read_text("utf-8")
