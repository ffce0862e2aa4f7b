"""What files say reaches a log escaped and cut: no control character, no line that a CI system runs."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.text import COMMAND, LINE_COMMAND, is_plain, label, printable, shown
from harness.verdict.table import table
from harness.verdict.targets import Target
from harness.verdict.verdict import BROKEN, invalid

CASES = {
    "a newline": ("no\n::error file=x::pwned", r"no\n::error file=x::pwned"),
    "a workflow command": ("::error::pwned", r"\x3a:error::pwned"),
    "one after blanks": ("  ::error::pwned", r"  \x3a:error::pwned"),
    "an older command": ("a ##[error]pwned", r"a \x23#[error]pwned"),
    "Azure's": ("##vso[task.setvariable]", r"\x23#vso[task.setvariable]"),
    "TeamCity's": ("##teamcity[x]", r"\x23#teamcity[x]"),
    "a colour": ("\x1b[31mred", r"\x1b[31mred"),
    "a title": ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    "eight bits": ("\x9b31m", r"\x9b31m"),
    "back to the start": ("FAIL\rPASS", r"FAIL\rPASS"),
    "another direction": ("a\u202egnp.exe", r"a\u202egnp.exe"),
    "an isolate": ("a\u2066b", r"a\u2066b"),
    "no width": ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
    "a separator of lines": ("a\u2028::b", r"a\u2028::b"),
    "half a surrogate": ("a\ud800b", r"a\ud800b"),
    "a tag": ("a\U000e0041", r"a\U000e0041"),
    "NUL": ("a\0b", r"a\x00b"),
    "a name": ("Größe, 物体 (2) #1: C++ 50 %", "Größe, 物体 (2) #1: C++ 50 %"),
    "a node id": ("tests/test_a.py::test[b]", "tests/test_a.py::test[b]"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_name_is_one_printable_line(case):
    name, expected = CASES[case]
    assert shown(name) == expected and is_plain(name) is (name == expected)


def test_a_name_of_megabytes_is_cut():
    assert shown("x" * 100_000_000) == "x" * 120 + "…" and len(printable("x\n" * 10_000_000)) == 8_001


def test_a_message_keeps_its_lines():
    assert printable("a\r\n  b\n\n::c\x1b") == "a\n  b\n\n" + r"\x3a:c\x1b"


def is_harmless(line) -> bool:
    return line.isprintable() and not LINE_COMMAND.search(line) and not COMMAND.search(line)


HOSTILE = st.text(st.sampled_from(":#[]ab \n\r\t\x1b\x85\u2028\u202e-") | st.characters(), max_size=200)
ROW = Target("accuracy", "AP", 0.48, ">=", "any", "source", "2024-09-16")


@given(text=HOSTILE, width=st.integers(20, 130), reason=st.sampled_from([BROKEN, "not judged"]))
def test_no_line_of_the_table_is_a_command_however_it_is_wrapped(text, width, reason):
    row = invalid(ROW, text, reason, platform="cpu", backend="cpu", command="pytest")
    lines = table([row], width)
    assert lines and all(map(is_harmless, lines))
    assert all(map(is_harmless, row.message().split("\n")))


@given(text=HOSTILE)
def test_no_line_of_a_message_is_a_command(text):
    assert all(map(is_harmless, printable(text).split("\n"))) and is_harmless(shown(text))


@pytest.mark.parametrize(("name", "text"), [
    ("_hidden", " _hidden"), (r"$\frac{$", r"\$\frac{\$"), ("a\x00b", r"a\x00b"), ("x" * 10_000, f"{'x' * 40}…"),
])
def test_a_label_of_a_plot_is_neither_left_out_nor_read_as_mathematics(name, text):
    assert label(name) == text


@pytest.mark.parametrize("reason", [BROKEN, "not judged"])
@pytest.mark.parametrize("width", range(60, 130, 7))
def test_a_command_that_wrapping_puts_at_the_start_of_a_line_is_none(width, reason):
    text = "word ::error::pwned " * 20
    lines = table([invalid(ROW, text, reason, platform="cpu", backend="cpu", command="pytest")], width)
    assert len(lines) > 2 and all(map(is_harmless, lines))
