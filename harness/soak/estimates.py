"""What a soak proves about the detector although the machine was shared.

What the machine explains is taken out. Noise can make a detector look worse, never better: a bound met in noise is met,
and one missed is a FAIL only where no plausible effect of the machine explains the miss.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Callable

from harness.machine.explanation import NOTHING, SENSIBLE, Exponents
from harness.machine.gpu import gauge
from harness.soak.result import SoakResult, Window
from harness.stats.estimate import NOISY, Estimate, narrowing
from harness.stats.intervals import LEAST_WINDOWS, mean_interval
from harness.stats.percentiles import CONFIDENCE
from harness.stats.spread import spread

SMALL = 0.1  # the share above which what the machine explains is the reason for an undecided row
UNDISTURBED = SENSIBLE[-1]  # the exponents by which the machine explains most

Statistic = Callable[[Sequence[float]], "Estimate | None"]


def spread_estimate(soak: SoakResult) -> Estimate | None:
    """`soak.fps_spread` without noise: a detector that varies less than allowed in spite of noise passes."""
    estimate = _without_noise(soak, spread)
    if estimate is None or estimate.high is None:
        return estimate
    return replace(estimate, high=min(estimate.high, max(soak.fps_spread.high, estimate.value)))


def drift_estimate(soak: SoakResult) -> Estimate | None:
    """`soak.drift` without noise alone, because a machine that becomes free meanwhile could hide a loss."""
    return _without_noise(soak, soak.loss)


def speed_estimate(soak: SoakResult) -> Estimate | None:
    """Images a second as measured; `high` is what they could have been on the undisturbed machine."""
    measured = soak.images_per_second
    if measured is None:
        return None
    estimate = narrowing(measured, soak.plan["seconds"], "seconds of soak")
    if estimate.high is None:
        return estimate
    slowdown = fmean(soak.explanation.slowdowns(UNDISTURBED).tolist())
    return _blamed(soak, replace(estimate, high=estimate.high * slowdown), slowdown - 1)


def energy_estimate(soak: SoakResult) -> Estimate | None:
    """Joules of the GPUs for an image, from the mean over windows; None where a window has no power or no image.

    The power is that of whole boards at the samples of each second; the rest of the machine's is not in it.
    """
    joules = [_watts(window) / rate for window, rate in zip(soak.windows, soak.rates) if rate and _watts(window)]
    if len(joules) < max(len(soak.windows), LEAST_WINDOWS):
        return None
    return mean_interval(joules)


def _watts(window: Window) -> float:
    """The power of all GPUs together; 0 where none reports it."""
    return sum(value for name, value in window.gauges.items() if gauge(name).figure == "watts")


def gap_estimate(soak: SoakResult) -> Estimate | None:
    """The longest time without a response, in seconds; `low` is without what the machine could have taken of it."""
    if not soak.windows:
        return None
    return _worst(soak, soak.longest_gap, (window.longest_gap - _lost(window) for window in soak.windows))


def ratio_estimate(soak: SoakResult) -> Estimate | None:
    """The P99 of the worst window by the P50 of all requests; `low` as of `gap_estimate`."""
    if not soak.percentiles:
        return None
    usual = soak.percentiles["P50"].value
    slowdowns = soak.explanation.slowdowns(UNDISTURBED).tolist()
    least = (min(window.P99 - _lost(window), window.P99 / slowdown) / usual
             for window, slowdown in zip(soak.windows, slowdowns) if window.P99)
    return _worst(soak, soak.worst_P99_over_P50, least)


def percentile_estimates(soak: SoakResult) -> dict[str, Estimate]:
    """P50, P90 and P99 of all requests in seconds, by name, bounded also by how much the windows differ in them.

    Requests of a window resemble each other, so that those of the soak as a whole say less than as many independent
    ones. Without bounds for fewer than ten windows with requests.
    """
    return {name: _by_windows(one, [value for window in soak.windows if (value := getattr(window, name)) is not None])
            for name, one in soak.percentiles.items()}


def _by_windows(estimate: Estimate, values: Sequence[float]) -> Estimate:
    if len(values) < LEAST_WINDOWS or estimate.low is None or estimate.high is None:
        return replace(estimate, low=None, high=None)
    mean = mean_interval(values, CONFIDENCE)
    low, high = (estimate.value + bound - mean.value for bound in (mean.low, mean.high))
    return replace(estimate, low=max(min(estimate.low, low), 0.0), high=max(estimate.high, high))


def memory_estimate(soak: SoakResult) -> Estimate | None:
    """`soak.memory_growth` in megabytes."""
    growth = soak.memory_growth
    return growth and replace(growth.times(1e-6), more=lambda limit, sense: "a longer soak would decide")


def taken_out(soak: SoakResult) -> str:
    """How much of the difference between windows the machine explains, as the start of the evidence; '' if nothing."""
    explanation = soak.explanation
    if explanation.exponents == NOTHING or soak.fps_spread is None:
        return ""
    left = spread(explanation.without_noise(soak.rates))
    return (f"spread {soak.fps_spread.value:.1%} as measured, {left.value:.1%} without what the machine explains; "
            f"meanwhile {_conditions(soak)}; ")


def _without_noise(soak: SoakResult, statistic: Statistic) -> Estimate | None:
    """The value without noise, bounded by its own error and by the exponents that the windows allow.

    `low` is also the value with whatever exponents are plausible: noise could explain that much.
    """
    raw = statistic(soak.rates)
    if raw is None:
        return None
    if raw.low is None:
        return replace(raw, more=lambda limit, sense: "more windows are needed: make the soak longer")
    likely = _with_exponents(soak, statistic, soak.explanation.likely)
    possible = _with_exponents(soak, statistic, SENSIBLE)
    if None in likely or None in possible:
        return Estimate(raw.value)
    best = likely[0]
    # What the exponents and what the windows leave open are errors of their own.
    high = best.value + math.hypot(best.high - best.value, max(one.value for one in likely) - best.value)
    low = min(one.low for one in (raw, *likely, *possible))
    estimate = narrowing(Estimate(best.value, low, high), soak.plan["seconds"], "seconds of soak")
    explained = abs(raw.value - min(one.value for one in possible))
    return _blamed(soak, estimate, explained / max(abs(raw.value), best.high - best.low, 1e-9))


def _with_exponents(soak: SoakResult, statistic: Statistic, exponents: Iterable[Exponents]) -> list[Estimate | None]:
    return [statistic(soak.explanation.without_noise(soak.rates, one)) for one in exponents]


def _worst(soak: SoakResult, highest: float, least: Iterable[float]) -> Estimate:
    """The value of the worst window; `low` is the highest of the least that all can have had on the free machine."""
    return Estimate(highest, max(0.0, *least), highest, more=lambda limit, sense: _advice(soak), reason=NOISY)


def _lost(window: Window) -> float:
    """Seconds that the machine can have taken from the detector in a window, if all of them fell together."""
    return (1 - window.conditions.left) * max(window.seconds, window.longest_gap)


def _blamed(soak: SoakResult, estimate: Estimate, explained: float) -> Estimate:
    """The estimate, undecided for a noisy machine where the share that the machine explains is not small."""
    if explained <= SMALL:
        return estimate
    return replace(
        estimate, reason=NOISY, more=lambda limit, sense: f"{_advice(soak)}, or {estimate.more(limit, sense)}"
    )


def _advice(soak: SoakResult) -> str:
    return f"the machine was noisy and could explain the miss ({_conditions(soak)}): stop other work and repeat"


def _conditions(soak: SoakResult) -> str:
    """The conditions of the machine over all windows, in words."""
    others = _known(window.conditions.others for window in soak.windows)
    steal = _known(window.conditions.steal for window in soak.windows)
    reference = _known(window.reference for window in soak.windows)
    parts = []
    if others:
        parts.append(f"other processes used {fmean(others):.0%} of the cores, from {min(others):.0%} to "
                     f"{max(others):.0%}")
    if steal and fmean(steal) > 0.001:
        parts.append(f"the hypervisor took {fmean(steal):.1%}")
    if reference:
        parts.append(f"the reference workload took {min(reference) * 1e3:.2f} to {max(reference) * 1e3:.2f} ms")
    return ", ".join(parts) or "no conditions were recorded"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
