"""Gates: is the detector steady from window to window, and from the soak's start to its end?"""
from __future__ import annotations

import pytest

from harness.soak.estimates import (
    drift_estimate,
    gap_estimate,
    memory_estimate,
    ratio_estimate,
    speed_estimate,
    spread_estimate,
    taken_out,
)
from harness.stats.percentiles import requests_needed

NAMED = 2  # windows that deviate, in the evidence; the report has all of them


@pytest.mark.jitter
@pytest.mark.gate("jitter")
def test_jitter(soak, if_published, judge):
    worst, gap = soak.worst_window, soak.longest_gap
    judge(
        "jitter",
        if_published({
            "fps_spread": spread_estimate(soak), "worst_P99_over_P50": ratio_estimate(soak),
            "longest_gap_seconds": gap_estimate(soak),
        }) | {f"{name}_seconds": bound.value for name, bound in soak.percentiles.items()},
        soak.requests,
        f"{_windows(soak)}{taken_out(soak)}; P99 at worst {worst.P99 * 1e3:.1f} ms, in window {worst.number}"
        f"{_few(worst)}; {gap:.2f} s without any response at longest{_deviations(soak)}",
    )


@pytest.mark.soak
@pytest.mark.gate("soak")
def test_soak(soak, if_published, judge):
    speed = soak.images_per_second
    judge(
        "soak",
        {
            "failed_requests": soak.failed_requests + soak.lost_images, "incomplete_windows": soak.incomplete_windows,
            **if_published({
                "memory_growth_mb": memory_estimate(soak), "images_per_second": speed_estimate(soak),
                "drift": drift_estimate(soak),
            }),
        },
        soak.requests,
        f"{_windows(soak)}, {soak.images:,} images, {speed.value:.4g} images/s{_trend(soak)}; memory "
        f"{_memory(soak)}; {len(soak.sessions)} session{'s' if soak.interruptions else ''}",
    )


def _trend(soak) -> str:
    if soak.drift is None:
        return ""
    left = drift_estimate(soak).value
    return f"; {_change(soak.drift.value)}{_over(soak)}, {_change(left)} without what the machine explains"


def _change(loss) -> str:
    return f"{abs(loss):.1%} {'slower' if loss > 0 else 'faster'}"


def _over(soak) -> str:
    return " each hour" if soak.hours >= 1 else " at the end"


def _memory(soak) -> str:
    growth = memory_estimate(soak)
    return "unknown" if growth is None else f"{growth.value:+.0f} MB{_over(soak)}"


def _windows(soak) -> str:
    return (f"{len(soak.windows)} windows of {soak.plan['window_seconds']:g} s, from {min(soak.rates):.4g} to "
            f"{max(soak.rates):.4g} images/s")


def _few(window) -> str:
    """A P99 of fewer requests is little more than the slowest of them."""
    needed = requests_needed(99)
    return f" of {window.requests} requests ({needed} would bound it)" if window.requests < needed else ""


def _deviations(soak) -> str:
    """Those that are farthest from the mean speed."""
    speed = soak.images_per_second.value
    by_distance = sorted(soak.deviations, key=lambda one: -abs(soak.rates[one.window - 1] - speed))
    found = [f"window {one.window}: {one.what}, {one.cause}" for one in by_distance[:NAMED]]
    return "; " + "; ".join(found) if found else ""
