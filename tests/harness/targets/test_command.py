"""`python -m harness.targets`: the table that holds, and a file of bounds from a history."""
from __future__ import annotations

import pytest

from harness.targets.__main__ import main
from harness.verdict.own import read_table
from harness.verdict.targets import TARGETS, markdown_table
from tests.harness.history.past import STEADY, history

OWN = """[[target]]
check = "throughput"
metric = "images_per_second"
bound = 210
sense = ">="
platform = "inf2.xlarge"
source = "what the cameras send"
date = 2026-11-26
"""


@pytest.fixture
def printed(capsys):
    """A function: arguments → (exit code, lines of the output, the error)."""

    def run(*arguments):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as ended:
            code = ended.code
        found = capsys.readouterr()
        return code, found.out.splitlines(), found.err

    return run


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    return path


def test_the_whole_table_is_printed(printed):
    code, lines, _ = printed()
    assert code == 0 and len(lines) == 1 + len(TARGETS)
    assert printed("--markdown")[1] == markdown_table().splitlines()


def test_the_table_of_a_platform_has_what_judges_a_run_there(printed, mine):
    _, lines, _ = printed("--targets", mine, "--platform", "inf2.xlarge")
    assert [line.split()[:4] for line in lines if line.startswith("throughput")] == [
        ["throughput", "images_per_second", "≥", "210"]]
    assert any(line.startswith("accuracy    AP ") for line in lines)
    assert not any(line.startswith("placement") for line in lines)


def test_an_own_row_is_one_of_the_markdown_table(printed, mine):
    _, lines, _ = printed("--targets", mine, "--markdown")
    assert lines[-1] == "| throughput | images_per_second | ≥ 210 | inf2.xlarge | what the cameras send | 2026-11-26 |"


def test_a_file_is_drawn_from_a_history_and_read_back(printed, tmp_path):
    history(tmp_path / "history", STEADY)
    output = tmp_path / "targets.toml"
    code, lines, _ = printed("--from-history", tmp_path / "history", "--platform", "cpu", "-o", output)
    assert code == 0 and lines[-1] == f"written: {output}, {len(read_table(output).own)} bounds for --targets"


def test_of_too_few_runs_nothing_is_written(printed, tmp_path):
    history(tmp_path / "history", STEADY[:2])
    output = tmp_path / "targets.toml"
    output.write_text("as it was")
    code, _, error = printed("--from-history", tmp_path / "history", "--platform", "cpu", "-o", output)
    assert (code, output.read_text()) == (1, "as it was")
    assert error.startswith("nothing was written: ") and "2 comparable baselines of cpu, must be at least 3" in error


@pytest.mark.parametrize(("arguments", "words"), [
    (("--from-history", "x"), "go together: give all three"), (("-o", "x"), "go together: give all three"),
    (("--from-history", "x", "-o", "y"), "go together: give all three"),
    (("--platform", "a b"), "a b: must be a name such as inf2.xlarge"),
    (("--targets", "no.toml"), "no.toml: there is no such file; check the path"),
    (("--from-history", "no://place", "--platform", "cpu", "-o", "x"), "no:// is unknown; use s3://"),
])
def test_wrong_usage_says_what_to_do(printed, arguments, words):
    code, lines, error = printed(*arguments)
    assert (code, lines) == (2, []) and words in error


def test_a_file_that_cannot_be_written_is_named(printed, tmp_path):
    history(tmp_path / "history", STEADY)
    output = tmp_path / "no" / "x"
    code, lines, error = printed("--from-history", tmp_path / "history", "--platform", "cpu", "-o", output)
    assert (code, lines) == (2, []) and "was not written" in error
