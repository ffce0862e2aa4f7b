"""Verdicts: nothing unmeasured passes, what is INVALID says why, records are strict JSON."""
from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict.targets import Target
from harness.verdict.verdict import (
    BROKEN,
    ERROR,
    NOISY,
    REASONS,
    TOO_FEW,
    Estimate,
    Verdict,
    invalid,
    judge,
    rows_not_judged,
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
    assert (judged.verdict, judged.value) == ("INVALID", None) and f"the value is {value}" in judged.why


@pytest.mark.parametrize("estimate", [(0.9, 0.8, math.nan), (0.9, -math.inf, 1.0), (math.nan, 0.8, 1.0)])
def test_an_interval_that_is_not_finite_is_invalid_and_says_so(estimate):
    judged = verdict(FLOOR, Estimate(*estimate))
    assert (judged.verdict, judged.value) == ("INVALID", None) and "its interval (" in judged.why


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
        "INVALID (too few samples): AP 0.500, must be ≥ 0.480: not decided: it may be from 0.400 to anything; "
        "9 more would show >= 0.48; 8 images"
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


def test_the_message_is_verdict_value_bound_and_evidence():
    assert verdict(FLOOR, 0.47129).message() == "FAIL: AP 0.471, must be ≥ 0.480: 8 images"


def test_the_message_of_an_invalid_run_says_why():
    message = invalid(FLOOR, "3 of 8 images have no detections", BROKEN, **DETAILS).message()
    assert message == "INVALID (broken responses): AP –, must be ≥ 0.480: 3 of 8 images have no detections"


def test_the_message_names_the_cast_or_scenario():
    row = judge(FLOOR, 0.4, 8, evidence="8 images", variant="fp16", **DETAILS)
    assert row.message() == "FAIL: AP (fp16) 0.400, must be ≥ 0.480: 8 images"


def test_the_record_says_all_in_its_evidence():
    record = judge(FLOOR, math.nan, 8, evidence="8 images", **DETAILS).as_record()
    assert (record["why"], record["evidence"]) == ("the value is nan", "the value is nan; 8 images")


@pytest.mark.parametrize("count, words", [(1, "1 row was not judged"), (2, "2 rows were not judged")])
def test_rows_that_nobody_judged_are_counted_in_a_sentence(count, words):
    assert rows_not_judged(count) == words
