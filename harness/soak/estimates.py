"""What a soak's figures prove of the detector, though the machine was not its alone.

What the machine explains is taken out. It can make a detector look worse, never better: a bound that is met in noise is
met; one that is missed is a FAIL only where no effect that makes sense explains the miss, else nothing is proven.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Callable

from harness.machine.explanation import NOTHING, SENSIBLE
from harness.soak.result import Soak, Window
from harness.stats.percentiles import Interval
from harness.stats.spread import spread
from harness.verdict.intervals import narrowing
from harness.verdict.verdict import NOISY, TOO_FEW, Estimate

SMALL = 0.1  # what the machine explains is the reason for a row that is undecided only if it is more than that share

Statistic = Callable[[Sequence[float]], "Interval | None"]


def spread_estimate(soak: Soak) -> Estimate | None:
    """Of `soak.fps_spread`: a detector that varies less than is allowed in spite of noise passes."""
    found = _without_noise(soak, spread)
    if found is None or found.high is None:
        return found
    return found._replace(high=min(found.high, max(soak.fps_spread.high, found.estimate)))


def drift_estimate(soak: Soak) -> Estimate | None:
    """Of `soak.drift`: a machine that is freed meanwhile could hide a loss, so that only what is left decides."""
    return _without_noise(soak, soak.loss)


def speed_estimate(soak: Soak) -> Estimate:
    """Images a second as they were; `high` is what they could have been on the undisturbed machine."""
    found = soak.images_per_second
    estimate = narrowing(found, soak.plan["seconds"], "seconds of soak")
    if found.high is None:
        return estimate
    most = fmean(soak.explanation.slowdowns(SENSIBLE[-1]).tolist())
    return estimate._replace(high=found.high * most, **_blame(soak, most - 1, estimate))


def gap_estimate(soak: Soak) -> Estimate | None:
    """The longest time without a response, in seconds; `low` is without what the machine could have taken of it."""
    if not soak.windows:
        return None
    return _worst(soak, lambda window: window.longest_gap, lambda window: window.longest_gap - _lost(window))


def ratio_estimate(soak: Soak) -> Estimate | None:
    """The P99 of the worst window by the P50 of all requests; `low` as of `gap_estimate`."""
    if not soak.percentiles:
        return None
    usual = soak.percentiles["P50"].estimate
    slowdowns = dict(zip((window.number for window in soak.windows), soak.explanation.slowdowns(SENSIBLE[-1]).tolist()))

    def least(window: Window) -> float:
        return min((window.P99 or 0.0) - _lost(window), (window.P99 or 0.0) / slowdowns[window.number]) / usual

    return _worst(soak, lambda window: (window.P99 or 0.0) / usual, least)


def memory_estimate(soak: Soak) -> Estimate | None:
    """Of `soak.memory_growth`, in megabytes."""
    found = soak.memory_growth
    return found and Estimate(*(bound / 1e6 for bound in found), lambda bound, sense: "a longer soak would decide")


def taken_out(soak: Soak) -> str:
    """How much of the difference between the windows the machine explains, in words; '' if nothing was fitted."""
    explanation = soak.explanation
    if explanation.exponents == NOTHING or soak.fps_spread is None:
        return ""
    left = spread(explanation.without_noise(soak.rates))
    return (f"; spread {soak.fps_spread.estimate:.1%} as measured, {left.estimate:.1%} without what the machine "
            f"explains ({_conditions(soak)}; exponents {explanation.exponents.left:.2f} and "
            f"{-explanation.exponents.reference:.2f})")


def _without_noise(soak: Soak, statistic: Statistic) -> Estimate | None:
    """The value without noise, bounded by its own error and by the exponents that the windows allow.

    `low` also is what it would be with whatever exponents make sense: that much noise could explain.
    """
    explanation, raw = soak.explanation, statistic(soak.rates)
    if raw is None or raw.low is None:
        return raw and Estimate(*raw, lambda bound, sense: "more windows are needed: make the soak longer")
    likely = [statistic(explanation.without_noise(soak.rates, one)) for one in explanation.likely]
    possible = [statistic(explanation.without_noise(soak.rates, one)) for one in SENSIBLE]
    if None in (*likely, *possible):
        return Estimate(None, raw.estimate, None)
    value, low = likely[0].estimate, min(one.low for one in (raw, *likely, *possible))
    # What the exponents and what the windows leave open are errors of their own.
    high = value + math.hypot(likely[0].high - value, max(one.estimate for one in likely) - value)
    estimate = narrowing(Interval(low, value, high), soak.plan["seconds"], "seconds of soak")
    explained = abs(raw.estimate - min(one.estimate for one in possible))
    return estimate._replace(**_blame(soak, explained / max(abs(raw.estimate), 1e-9), estimate))


def _worst(soak: Soak, value: Callable[[Window], float], least: Callable[[Window], float]) -> Estimate:
    high = max(map(value, soak.windows))
    low = max(0.0, *map(least, soak.windows))
    return Estimate(low, high, high, lambda bound, sense: _advice(soak), NOISY)


def _lost(window: Window) -> float:
    """Seconds that the machine took from the detector in a window, if all of them fell together."""
    return (1 - window.conditions.left) * max(window.seconds, window.longest_gap)


def _blame(soak: Soak, explained: float, estimate: Estimate) -> dict:
    if explained <= SMALL:
        return {"reason": TOO_FEW}
    return {"reason": NOISY, "more": lambda bound, sense: f"{_advice(soak)}, or {estimate.more(bound, sense)}"}


def _advice(soak: Soak) -> str:
    return f"the machine was noisy and could explain the miss ({_conditions(soak)}): free it and repeat"


def _conditions(soak: Soak) -> str:
    """What was seen of the machine, over all windows."""
    others = [window.conditions.others for window in soak.windows if window.conditions.others is not None]
    steal = [window.conditions.steal for window in soak.windows if window.conditions.steal is not None]
    took = [window.reference for window in soak.windows if window.reference is not None]
    parts = [f"other processes used {fmean(others):.0%} of the cores, from {min(others):.0%} to {max(others):.0%}"
             if others else "", f"the hypervisor took {fmean(steal):.1%}" if steal and fmean(steal) > 0.001 else "",
             f"the reference workload took {min(took) * 1e3:.2f} to {max(took) * 1e3:.2f} ms" if took else ""]
    return ", ".join(filter(None, parts)) or "nothing was seen of it"
