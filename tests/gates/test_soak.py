"""Gates: is the detector steady from window to window, and from the soak's begin to its end?"""
from __future__ import annotations

import pytest

from harness.estimates import narrowing
from harness.statistics import requests_needed
from harness.verdict import Estimate

MEGABYTE = 1e6
LONG = 600  # seconds from which on what memory does tells of hours
NAMED = 2  # windows that deviate, in the evidence; the report has all of them


@pytest.mark.jitter
@pytest.mark.gate("jitter")
def test_jitter(soak, unless_noisy, judge):
    worst, gap = soak.worst_window, soak.longest_gap
    judge(
        "jitter",
        unless_noisy({
            "fps_spread": soak.fps_spread, "worst_P99_over_P50": soak.worst_P99_over_P50, "longest_gap_seconds": gap,
            **{f"{name}_seconds": bound.estimate for name, bound in soak.percentiles.items()},
        }) | {"noise": soak.noise},
        soak.requests,
        f"{_windows(soak)}; P99 at worst {worst.P99 * 1e3:.1f} ms, in window {worst.number}{_few(worst)}; {gap:.2f} s "
        f"without any answer at longest{_deviations(soak)}",
    )


@pytest.mark.soak
@pytest.mark.gate("soak")
def test_soak(soak, unless_noisy, judge):
    speed, growth = soak.images_per_second, soak.memory_growth
    judge(
        "soak",
        {
            "failed_requests": soak.failed_requests + soak.lost_images, "incomplete_windows": soak.incomplete_windows,
            "memory_growth_mb": None if growth is None else growth / MEGABYTE,
            **unless_noisy({"images_per_second": _bounded(speed, soak), "drift": _bounded(soak.drift, soak)}),
        },
        soak.requests,
        f"{_windows(soak)}, {soak.images:,} images, {speed.estimate:.4g} images/s{_trend(soak.drift)}; memory "
        f"{_memory(soak)}; {len(soak.sessions)} session{'s' if soak.interruptions else ''}",
    )


def _bounded(interval, soak) -> Estimate | None:
    return interval and narrowing(interval, soak.plan["seconds"], "seconds of soak")


def _trend(drift) -> str:
    if drift is None:
        return ""
    return f", at the end {abs(drift.estimate):.1%} {'fewer' if drift.estimate > 0 else 'more'} than at the begin"


def _memory(soak) -> str:
    rate = soak.memory_growth_per_hour
    hourly = f", {rate.estimate / MEGABYTE:+.0f} MB an hour" if rate and soak.plan["seconds"] >= LONG else ""
    return "unknown" if soak.memory_growth is None else f"{soak.memory_growth / MEGABYTE:+.0f} MB{hourly}"


def _windows(soak) -> str:
    return (f"{len(soak.windows)} windows of {soak.plan['window_seconds']:g} s, from {min(soak.rates):.4g} to "
            f"{max(soak.rates):.4g} images/s")


def _few(window) -> str:
    """A P99 of fewer requests is little more than the slowest of them."""
    needed = requests_needed(99)
    return f" of {window.requests} requests ({needed} would bound it)" if window.requests < needed else ""


def _deviations(soak) -> str:
    """Those that are farthest from the mean speed."""
    speed = soak.images_per_second.estimate
    by_distance = sorted(soak.deviations, key=lambda one: -abs(soak.rates[one.window - 1] - speed))
    found = [f"window {one.window}: {one.what}, {one.cause}" for one in by_distance[:NAMED]]
    return "; " + "; ".join(found) if found else ""
