"""The table of verdicts: one line a row, evidence once a check, at any width and whatever a file says."""
from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.verdict.table import COLUMNS, outcomes, table
from harness.verdict.targets import TARGETS, Target
from harness.verdict.verdict import BROKEN, NOISY, NOT_JUDGED, Estimate, invalid, judge, without_repeats

FLOOR = Target("accuracy", "AP", 0.48, ">=", "any", "source", "2024-09-16")
P99 = Target("latency", "P99_seconds", 0.0518, "<=", "any", "source", "2024-09-16")
P50 = Target("latency", "P50_seconds", 0.0408, "<=", "any", "source", "2024-09-16")
DETAILS = dict(platform="cpu", backend="cpu", command="pytest -m accuracy")
UNDECIDED = Estimate(0.029, 0.02, 0.06, more=lambda limit, sense: "9 more would decide", reason=NOISY)


def verdict(target, value, evidence="8 images", **details):
    return judge(target, value, 320, evidence=evidence, **DETAILS, **details)


def test_a_row_is_one_line_with_units_margin_and_samples():
    head, row, *_ = table([verdict(P99, 0.029)])
    assert head.split() == [name for name in COLUMNS if name]
    assert re.split("  +", row) == ["PASS", "latency", "P99", "29.0 ms", "≤ 51.8 ms", "+44 %", "320"]


def test_a_row_that_is_not_decided_has_its_reason_in_the_line_and_says_below_what_would_decide():
    lines = table([verdict(P99, UNDECIDED)])
    assert lines[1].startswith("INVALID  latency") and lines[1].endswith("–      320  noisy machine")
    assert lines[3:] == ["latency  not decided: it may be from 20.0 ms to 60.0 ms; 9 more would decide; 8 images"]


def test_evidence_that_rows_share_is_said_once_and_each_reason_with_its_row():
    lines = table([verdict(P50, 0.02), verdict(P99, UNDECIDED)])
    assert " ".join(" ".join(lines[4:]).split()) == (
        "latency P99: not decided: it may be from 20.0 ms to 60.0 ms; 9 more would decide; 8 images")


def test_an_error_of_a_whole_check_is_said_once_and_without_names():
    lines = table([invalid(target, "device lost", BROKEN, **DETAILS) for target in (P50, P99)])
    assert [line.split()[-2:] for line in lines[1:3]] == [["broken", "responses"]] * 2
    assert lines[4:] == ["latency  device lost"]


def test_what_checks_have_in_common_is_written_with_the_first_of_them():
    lines = table([invalid(target, "device lost", BROKEN, **DETAILS) for target in (FLOOR, P50, P99)])
    assert lines[5:] == ["accuracy  device lost", "latency   as accuracy"]


def test_what_two_casts_have_in_common_is_written_once():
    lines = table([invalid(FLOOR, "device lost", BROKEN, variant=cast, **DETAILS) for cast in ("bf16", "fp16")])
    assert lines[4:] == ["accuracy  device lost", "accuracy  as accuracy bf16"]


def test_the_evidence_of_a_pass_is_one_line_and_of_anything_else_whole():
    long = "word " * 60
    passed, failed = table([verdict(P99, 0.029, long)]), table([verdict(P99, 0.06, long)])
    assert passed[-1].endswith(" …") and len(passed) == 4
    assert " ".join(failed[3:]).split().count("word") == 60


def test_casts_are_told_apart():
    lines = table([verdict(FLOOR, 0.5, variant="bf16"), verdict(FLOOR, 0.4, variant="fp16")])
    assert "AP, bf16" in lines[1] and "AP, fp16" in lines[2] and len(lines) == 6


def test_checks_stand_in_the_order_of_the_target_table():
    rows = [verdict(target, target.bound) for target in reversed(TARGETS)]
    found = [line.split()[1] for line in table(rows, 200)[1:len(rows) + 1]]
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(target.check for target in TARGETS))


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_longer_than_the_width(width):
    rows = [verdict(target, value, "word " * 100) for target in TARGETS for value in (target.bound, None, 123456.789)]
    lines = table([replace(one, variant="a-very-long-scenario-name") for one in rows], width)
    assert max(map(len, lines)) <= width


def test_every_row_of_the_target_table_fits_in_120_columns_with_its_reason():
    rows = [replace(verdict(target, 123456.789), reason="too few samples", verdict="INVALID") for target in TARGETS]
    assert all(line.endswith("too few samples") for line in table(rows)[1:len(rows) + 1])


def test_rows_that_were_not_judged_come_last_and_those_of_a_check_on_one_line():
    skipped = [replace(target, metric=metric) for target in (FLOOR, P99) for metric in ("one", "two")]
    rows = [invalid(target, "deselected by -m cost", NOT_JUDGED, **DETAILS) for target in skipped]
    lines = table([*rows, verdict(FLOOR, 0.5)])
    assert lines[1].startswith("PASS") and lines[5:] == [
        "INVALID  accuracy  not judged, deselected by -m cost: one, two",
        "INVALID  latency   not judged, deselected by -m cost: one, two",
    ]


def test_what_was_not_judged_alone_needs_no_header():
    row = invalid(FLOOR, "the run ended", NOT_JUDGED, **DETAILS)
    assert table([row]) == ["INVALID  accuracy  not judged, the run ended: AP"]


def test_long_reasons_are_wrapped_below_their_start():
    lines = table([invalid(FLOOR, "not reached: " + "word " * 30, NOT_JUDGED, **DETAILS)], 60)
    assert len(lines) > 2 and max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 19) for line in lines[1:])


def test_outcomes_are_counted_in_one_order():
    rows = [verdict(P99, UNDECIDED), verdict(P99, 0.02), verdict(P50, 0.02), verdict(FLOOR, 0.1)]
    assert outcomes(rows) == "2 PASS, 1 FAIL, 1 INVALID"
    assert outcomes([]) == ""


def test_evidence_that_rows_share_is_written_once():
    assert without_repeats(["a; b", "a; b"]) == ["a; b"]
    assert without_repeats(["a; b", "a; b; bound of mine.toml"]) == ["a; b", "bound of mine.toml"]
    assert without_repeats(["a; 3 %", "b; 3 %"]) == ["a; 3 %", "b; 3 %"]  # each is another row's own
