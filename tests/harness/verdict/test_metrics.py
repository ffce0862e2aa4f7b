"""Metrics as a person writes them."""
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict.metrics import METRICS, label, margin, shown, value_and_bound
from harness.verdict.targets import TARGETS

SHOWN = {
    ("AP", 0.6581): "0.658", ("AP_drop", 0.00031): "0.0003", ("AP_drop", -0.00031): "-0.0003",
    ("P99_seconds", 0.029): "29.0 ms", ("P99_seconds", 4.2): "4,200 ms", ("P50_seconds", 0.1234): "123.4 ms",
    ("images_per_second", 118.52): "118.5 images/s", ("efficiency", 0.9812): "98.1 %", ("drift", -0.005): "-0.5 %",
    ("dollars_per_million", 1.3621): "$1.362", ("dollars_per_million", 1000): "$1,000",
    ("memory_growth_mb", 512.0): "512 MB", ("longest_gap_seconds", 0.031): "0.03 s", ("P99_over_P50", 1.268): "1.27 ×",
    ("failed_requests", 12345): "12,345", ("AP", None): "–", ("of nobody", 0.123456): "0.1235",
}


@pytest.mark.parametrize(("metric", "value"), SHOWN)
def test_a_value_has_its_unit(metric, value):
    assert shown(metric, value) == SHOWN[metric, value]


def test_every_metric_of_the_target_table_has_a_name():
    assert {target.metric for target in TARGETS} <= set(METRICS)


def test_names_are_told_apart():
    assert len({label(metric) for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(("value", "texts"), [
    (0.4799999, ("0.4799999", "0.4800000")), (0.4704, ("0.470", "0.480")), (0.48, ("0.480", "0.480")),
    (None, ("–", "0.480")),
])
def test_what_differs_from_its_bound_looks_different(value, texts):
    assert value_and_bound("AP", value, 0.48) == texts


@given(st.sampled_from(TARGETS), st.floats(-2, 2).filter(lambda share: abs(share) > 1e-6))
def test_no_value_that_misses_its_bound_looks_like_the_bound(target, share):
    value = target.bound * (1 + share) if target.bound else share
    one, other = value_and_bound(target.metric, value, target.bound)
    assert one != other


@pytest.mark.parametrize(("value", "bound", "sense", "text"), [
    (0.66, 0.48, ">=", "+38 %"), (0.47, 0.48, ">=", "-2.1 %"), (29, 50, "<=", "+42 %"), (75, 50, "<=", "-50 %"),
    (0.48, 0.48, ">=", "+0.0 %"), (0, 0, "<=", "–"), (3, 0, "<=", "–"), (None, 1, ">=", "–"), (9.9, 1, ">=", "+890 %"),
    (14.35, 1, "<=", "-14 ×"), (60, 1, ">=", "+60 ×"), (-60, 1, "<=", "> +100 %"),
    (-0.01, 0.5, "<=", "> +100 %"), (0, 0.5, "<=", "+100 %"), (-0.1, 0.5, ">=", "-120 %"),
])
def test_the_margin_is_a_share_of_the_bound(value, bound, sense, text):
    assert margin(value, bound, sense) == text


@given(st.sampled_from(list(METRICS)), st.floats(-1e9, 1e9))
def test_any_value_is_one_short_text(metric, value):
    assert re.fullmatch(r"-?\$?[\d,]+(\.\d+)?( \S+)?", shown(metric, value))
