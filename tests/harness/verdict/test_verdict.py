"""Verdicts: nothing unmeasured passes; records are strict JSON and reach the disk whole or not at all."""
from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict.targets import Target
from harness.verdict.verdict import (
    BROKEN,
    ERROR,
    NOISY,
    NOT_JUDGED,
    REASONS,
    TOO_FEW,
    Estimate,
    Verdict,
    invalid,
    judge,
    table,
)

FLOOR = Target("accuracy", "AP", 0.48, ">=", "any", "source", "2024-09-16")
CEILING = Target("latency", "P99", 0.05, "<=", "any", "source", "2024-09-16")
DETAILS = dict(platform="cpu", backend="cpu", command="pytest -m accuracy")


def verdict(target, value, count=8) -> Verdict:
    return judge(target, value, count, evidence="8 images", **DETAILS)


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [(FLOOR, 0.48, "PASS"), (FLOOR, 0.4799, "FAIL"), (CEILING, 0.05, "PASS"), (CEILING, 0.0501, "FAIL")],
)
def test_the_bound_itself_passes(target, value, expected):
    assert verdict(target, value).verdict == expected


@pytest.mark.parametrize("target", [FLOOR, CEILING])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_no_finite_value_is_invalid_and_says_so(target, value):
    judged = verdict(target, value)
    assert (judged.verdict, judged.value) == ("INVALID", None) and f"the value is {value}" in judged.evidence


@pytest.mark.parametrize("estimate", [(0.9, 0.8, math.nan), (0.9, -math.inf, 1.0), (math.nan, 0.8, 1.0)])
def test_an_interval_that_is_not_finite_is_invalid_and_says_so(estimate):
    judged = verdict(FLOOR, Estimate(*estimate))
    assert (judged.verdict, judged.value) == ("INVALID", None) and "its interval (" in judged.evidence


# Target, low, estimate, high, verdict.
ESTIMATES = [
    (FLOOR, 0.48, 0.6, 0.7, "PASS"),
    (FLOOR, 0.47, 0.6, 0.7, "INVALID"),
    (FLOOR, 0.3, 0.4, 0.48, "INVALID"),
    (FLOOR, 0.3, 0.4, 0.47, "FAIL"),
    (CEILING, 0.01, 0.02, 0.05, "PASS"),
    (CEILING, 0.01, 0.02, 0.06, "INVALID"),
    (CEILING, 0.05, 0.06, 0.07, "INVALID"),
    (CEILING, 0.051, 0.06, 0.07, "FAIL"),
    (FLOOR, 0.5, 0.6, None, "PASS"),
    (FLOOR, None, 0.6, 0.7, "INVALID"),
    (FLOOR, None, 0.4, 0.47, "FAIL"),
    (CEILING, None, 0.02, 0.03, "PASS"),
    (CEILING, 0.01, 0.02, None, "INVALID"),
    (CEILING, 0.06, 0.07, None, "FAIL"),
    (CEILING, None, 0.02, None, "INVALID"),
]


@pytest.mark.parametrize(("target", "low", "value", "high", "expected"), ESTIMATES)
def test_an_estimate_is_judged_by_its_bounds(target, low, value, high, expected):
    assert verdict(target, Estimate(value, low, high)).verdict == expected


@given(value=st.floats(0, 1), target=st.sampled_from([FLOOR, CEILING]))
def test_an_estimate_without_doubt_is_judged_as_its_value(value, target):
    assert verdict(target, Estimate.exactly(value)) == verdict(target, value)


def test_an_undecided_estimate_keeps_its_value_and_says_what_would_decide():
    judged = verdict(FLOOR, Estimate(0.5, 0.4, None, more=lambda bound, sense: f"9 more would show {sense} {bound}"))
    assert judged.message() == (
        "INVALID: AP = 0.5, should be >= 0.48 "
        "[not decided: it may be from 0.4 to anything; 9 more would show >= 0.48; 8 images]"
    )


UNDECIDED = [
    (Estimate(0.5, 0.4, 0.6), 8, True), (Estimate(0.5, 0.49, 0.6), 8, False), (Estimate(0.2, 0.1, 0.3), 8, False),
    (0.5, 8, False), (math.nan, 8, False), (Estimate(0.5, 0.4, 0.6), 0, False),
]


@pytest.mark.parametrize(("value", "count", "expected"), UNDECIDED)
def test_only_what_was_measured_and_says_too_little_is_undecided(value, count, expected):
    assert verdict(FLOOR, value, count).is_undecided is expected


def test_the_record_has_the_interval():
    assert verdict(FLOOR, Estimate(0.6, 0.5, None)).as_record()["interval"] == (0.5, None)


REASONED = [
    (0.5, 8, ""), (0.4, 8, ""), (Estimate(0.5, 0.4, 0.6), 8, TOO_FEW), (math.nan, 8, BROKEN), (0.5, 0, BROKEN),
    (None, 8, TOO_FEW), (math.inf, 8, BROKEN), (Estimate(math.nan, None, None), 8, BROKEN),
    (Estimate(None, None, None, reason=ERROR), 8, ERROR), (Estimate(0.5, 0.4, math.inf), 8, BROKEN),
    (Estimate(0.5, None, None, reason=NOISY), 8, NOISY), (Estimate(0.5, 0.49, 0.6, reason=NOISY), 8, ""),
]


@pytest.mark.parametrize(("value", "count", "expected"), REASONED)
def test_what_is_invalid_has_a_reason_for_programs_and_nothing_else_has(value, count, expected):
    assert verdict(FLOOR, value, count).reason == expected and expected in ("", *REASONS)


@pytest.mark.parametrize("count", [0, -1])
def test_no_samples_is_invalid(count):
    assert verdict(FLOOR, 0.9, count).verdict == "INVALID"


BOUNDS = st.floats() | st.none()


@given(value=BOUNDS | st.builds(Estimate, BOUNDS, BOUNDS, BOUNDS), count=st.integers(-1, 2))
def test_every_record_is_strict_json(value, count):
    assert json.loads(json.dumps(verdict(FLOOR, value, count).as_record(), allow_nan=False))["metric"] == "AP"


def test_the_message_is_value_bound_and_evidence():
    assert verdict(FLOOR, 0.47129).message() == "AP = 0.47129, should be >= 0.48 [8 images]"


def test_the_message_of_an_invalid_run_says_why():
    message = invalid(FLOOR, "3 of 8 images have no detections", BROKEN, **DETAILS).message()
    assert message == "INVALID: AP = nothing, should be >= 0.48 [3 of 8 images have no detections]"


def test_the_table_keeps_to_100_columns_and_wraps_the_evidence():
    why = "3 of 5000 images have no detections; first 139 (no answer), 285 (no answer), 632 (truncated JPEG)"
    lines = table([verdict(FLOOR, 0.4713), verdict(CEILING, 0.04), invalid(FLOOR, why, BROKEN, **DETAILS)])
    assert max(map(len, lines)) <= 100 and " ".join(" ".join(lines[3:])[50:].split()) == why


def test_the_table_aligns_its_columns():
    header, first, second = table([verdict(FLOOR, 0.4713), verdict(CEILING, 0.04)])
    assert header.index("bound") == first.index(">=") == second.index("<=")


def test_evidence_that_rows_share_is_said_once():
    _, first, second = table([verdict(FLOOR, 0.5), verdict(CEILING, 0.04)])
    assert (first.endswith("  8 images"), second.endswith("  the same")) == (True, True)


def test_evidence_that_differs_is_said_each_time():
    rows = table([verdict(FLOOR, 0.5), invalid(FLOOR, "lost", BROKEN, **DETAILS), verdict(FLOOR, 0.5)])
    assert [row.split("  ")[-1] for row in rows[1:]] == ["8 images", "lost", "8 images"]


def test_rows_that_were_not_judged_come_last_and_those_of_a_check_on_one_line():
    skipped = [replace(target, metric=metric) for target in (FLOOR, CEILING) for metric in ("one", "two")]
    rows = [invalid(target, "deselected by -m cost", NOT_JUDGED, **DETAILS) for target in skipped]
    lines = table([*rows, verdict(FLOOR, 0.5)])
    assert lines[1].startswith("PASS") and lines[2:] == [
        "INVALID  accuracy  one, two: not judged, deselected by -m cost",
        "INVALID  latency   one, two: not judged, deselected by -m cost",
    ]


def test_what_was_not_judged_alone_needs_no_header():
    row = invalid(FLOOR, "the run ended", NOT_JUDGED, **DETAILS)
    assert table([row]) == ["INVALID  accuracy  AP: not judged, the run ended"]


def test_long_reasons_are_wrapped_below_their_start():
    lines = table([invalid(FLOOR, "not reached: " + "word " * 30, NOT_JUDGED, **DETAILS)], 60)
    assert len(lines) > 2 and max(map(len, lines)) <= 60 and all(line.startswith(" " * 19) for line in lines[1:])
