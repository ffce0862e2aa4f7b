"""Gates: is the detector steady from window to window, and from the soak's begin to its end?"""
from __future__ import annotations

import pytest

from harness.verdict import Estimate

MEGABYTE = 1e6


@pytest.mark.jitter
@pytest.mark.gate("jitter")
def test_jitter(quiet_soak, judge):
    soak, worst = quiet_soak, quiet_soak.worst_window
    judge(
        "jitter",
        {
            "fps_spread": soak.fps_spread, "worst_P99_over_P50": soak.worst_P99_over_P50,
            "longest_gap_seconds": soak.longest_gap, "noise": soak.noise,
            **{f"{name}_seconds": bound.estimate for name, bound in soak.percentiles.items()},
        },
        soak.requests,
        f"{_windows(soak)}; P99 at worst {worst.P99 * 1e3:.1f} ms, in window {worst.number}; {soak.longest_gap:.2f} s "
        f"without any answer at longest{_deviations(soak)}",
    )


@pytest.mark.soak
@pytest.mark.gate("soak")
def test_soak(quiet_soak, judge):
    soak = quiet_soak
    speed, growth = soak.images_per_second, soak.memory_growth
    judge(
        "soak",
        {
            "failed_requests": soak.failed_requests + soak.lost_images, "incomplete_windows": soak.incomplete_windows,
            "images_per_second": Estimate(*speed), "drift": soak.drift and Estimate(*soak.drift),
            "memory_growth_mb": None if growth is None else growth / MEGABYTE,
        },
        soak.requests,
        f"{_windows(soak)}, {soak.images:,} images, {speed.estimate:.4g} images/s, {len(soak.sessions)} sessions; "
        f"memory {'unknown' if growth is None else f'{growth / MEGABYTE:+.0f} MB'}",
    )


def _windows(soak) -> str:
    return (f"{len(soak.windows)} windows of {soak.plan['window_seconds']:g} s, from {min(soak.rates):.4g} to "
            f"{max(soak.rates):.4g} images/s")


def _deviations(soak) -> str:
    found = [f"window {one.window}: {one.what}, {one.cause}" for one in soak.deviations[:2]]
    return "; " + "; ".join(found) if found else ""
