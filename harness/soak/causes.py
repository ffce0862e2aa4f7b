"""Finds the windows of a soak that are unlike the others, and the step in its course, and what explains them."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Callable, NamedTuple

from harness.machine.explanation import MAD_TO_SIGMA
from harness.machine.gpu import GONE, HARDWARE, POWER, THERMAL, gauge
from harness.machine.noise import MOST_LEFT_EXPONENT, MOST_REFERENCE_EXPONENT, Conditions
from harness.stats.trend import slope

LEAST_WINDOWS = 5  # fewer have no "usual"
SIGMAS = 3.0
MOST_WINDOWS, LEAST_AFTER = 300, 3  # that are looked at for a step, and that must follow it
BETTER = 2 / 3
STANDS_OUT = 1.5  # times as fast or as slow, from which on a step is worth a word
OF_PROCESSOR = {"steal", "others", "reference", "waited", "mhz"}  # conditions whose effect has a known size
OWN_STEP = {
    True: "the detector itself became slower: look for what fills up, leaks, is limited or throttles in its process",
    False: "the detector itself became faster: what it does first takes longer",
}
NOTHING = "nothing on the machine explains it"
UNSEEN = "the machine reported nothing at that time"


class Deviation(NamedTuple):
    """An unusual window: how it differs, and what on the machine was unusual at that time, in words."""

    window: int
    difference: str
    cause: str


class _Measure(NamedTuple):
    """A figure of a window, and the least share of its median by which it deviates."""

    name: str
    least: float
    harm: int  # 1: higher is worse, -1: lower is worse
    words: Callable[[float, float], str]


class _Condition(NamedTuple):
    """A figure of the machine, and the least change that explains anything, absolute or as a share of its median.

    The name is that of a field of the window, or of one of its `gauges`.
    """

    name: str
    label: str
    harm: int
    absolute: float
    relative: float
    shown: Callable[[float], str]


MEASURES = (
    _Measure("images_per_second", 0.02, -1, lambda value, usual: f"{abs(1 - value / usual):.1%} "
                                                                 f"{'fewer' if value < usual else 'more'} images/s"),
    _Measure("P99", 0.2, 1, lambda value, usual: f"P99 {value * 1e3:.1f} ms, usually {usual * 1e3:.1f} ms"),
    _Measure("longest_gap", 1.0, 1, lambda value, usual: f"no response for {value:.2f} s"),
)
CONDITIONS = (
    _Condition("steal", "steal", 1, 0.01, 0, "{:.1%}".format),
    _Condition("iowait", "waiting for disks", 1, 0.05, 0, "{:.1%}".format),
    _Condition("others", "the use by other processes", 1, 0.2, 0, "{:.1f} cores".format),
    _Condition("reference", "the reference workload's time", 1, 0, 0.1, lambda value: f"{value * 1e3:.2f} ms"),
    _Condition("waited", "the share of time for which its threads waited for a core", 1, 0.1, 0, "{:.0%}".format),
    _Condition("mhz", "the processor's frequency", -1, 0, 0.03, "{:.0f} MHz".format),
    _Condition("celsius", "temperature", 1, 5, 0, "{:.0f} °C".format),
    _Condition("available", "free memory", -1, 0, 0.5, lambda value: f"{value / 1e6:.0f} MB"),
)
SHARE = "{:.0%} of the time".format
# By the name of a GPU's figure. Power and use are left out: they fall because a detector is slow.
GPU_CONDITIONS = (
    _Condition(GONE, "the share of time for which GPU {} was lost", 1, 0.01, 0, "{:.0%}".format),
    _Condition(THERMAL, "thermal throttling of GPU {}", 1, 0.1, 0, SHARE),
    _Condition(POWER, "throttling of GPU {} at its power limit", 1, 0.1, 0, SHARE),
    _Condition(HARDWARE, "hardware slowdown of GPU {}", 1, 0.1, 0, SHARE),
    _Condition("mhz", "the clock of GPU {}", -1, 0, 0.03, "{:.0f} MHz".format),
    _Condition("memory_mhz", "the memory clock of GPU {}", -1, 0, 0.03, "{:.0f} MHz".format),
    _Condition("celsius", "the temperature of GPU {}", 1, 5, 0, "{:.0f} °C".format),
)


def deviations(windows: Sequence[Any]) -> list[Deviation]:
    """The windows (`harness.soak.result.Window`) that differ by more than three robust standard deviations.

    Images a second must differ by 2 % either way, P99 be 20 % higher, or the longest gap twice as long. Fewer than five
    windows have no deviations.
    """
    if len(windows) < LEAST_WINDOWS:
        return []
    conditions = _conditions(windows)
    usual = {one.name: _median(windows, one.name) for one in (*MEASURES, *conditions)}
    reach = {one.name: _reach(windows, one, usual[one.name]) for one in MEASURES}
    return list(filter(None, (_deviation(window, windows, conditions, usual, reach) for window in windows)))


def _conditions(windows: Sequence[Any]) -> list[_Condition]:
    """Those of the machine's GPUs, as far as they were sampled, and those that every machine has."""
    sampled = sorted({name for window in windows for name in window.gauges})
    of_gpus = [one._replace(name=name, label=one.label.format(gauge(name).gpu))
               for one in GPU_CONDITIONS for name in sampled if gauge(name).figure == one.name]
    return [*of_gpus, *CONDITIONS]


def _figure(window: Any, name: str) -> float | None:
    """A field of the window, or one of its gauges; None where it was not reported."""
    return window.gauges.get(name) if gauge(name) else getattr(window, name)


def _deviation(
    window: Any, windows: Sequence[Any], conditions: Sequence[_Condition], usual: dict, reach: dict
) -> Deviation | None:
    off = [one for one in MEASURES if _is_off(window, one, usual[one.name], reach[one.name])]
    if not off:
        return None
    difference = ", ".join(one.words(getattr(window, one.name), usual[one.name]) for one in off)
    worse = any(one.harm * (getattr(window, one.name) - usual[one.name]) > 0 for one in off)
    causes = [*_causes(lambda name: _figure(window, name), conditions, usual, 1 if worse else -1).values()]
    causes += [f"{name} rose by {change:g}" for name, change in window.rose.items()
               if change > 0 and not median(other.rose.get(name, 0) for other in windows)]
    was_seen = any(_figure(window, one.name) is not None for one in conditions)
    return Deviation(window.number, difference, "; ".join(causes) or (NOTHING if was_seen else UNSEEN))


def _is_off(window: Any, measure: _Measure, usual: float | None, reach: float) -> bool:
    value = getattr(window, measure.name)
    if value is None or not usual:
        return False
    return abs(value - usual) > reach and (value > usual or measure.harm < 0)


def _causes(
    value: Callable[[str], float | None], conditions: Sequence[_Condition], usual: dict, direction: int,
    when: str = "usually",
) -> dict[str, str]:
    """The changes of the machine, from `usual` to `value`, which make a detector worse (direction 1) or better (-1).

    By the condition's name, in words; `when` says what `usual` is.
    """
    found = {}
    for one in conditions:
        now, middle = value(one.name), usual[one.name]
        if now is None or middle is None:
            continue
        change = now - middle
        if one.harm * direction * change > max(one.absolute, one.relative * middle):
            verb = "rose" if change > 0 else "fell"
            found[one.name] = f"{one.label} {verb} to {one.shown(now)} ({when} {one.shown(middle)})"
    return found


def _reach(windows: Sequence[Any], measure: _Measure, usual: float | None) -> float:
    values = [getattr(window, measure.name) for window in windows]
    apart = [abs(value - usual) for value in values if value is not None] or [0.0]
    return max(SIGMAS * MAD_TO_SIGMA * median(apart), measure.least * (usual or 0.0))


def _median(windows: Sequence[Any], name: str) -> float | None:
    return _middle(_figure(window, name) for window in windows)


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


class Step(NamedTuple):
    """From window number `first` on a soak was slower, or faster; the median rates before and after, images/s.

    `images` is how many there were before it; `cause` says what else changed on the machine, in words.
    """

    first: int
    before: float
    after: float
    images: int
    cause: str


def step(windows: Sequence[Any]) -> Step | None:
    """The step in the rates of a soak's windows; None where there is none, or a steady loss describes them better.

    It is where two levels describe the logarithms best, by the sum of absolute deviations. They leave at most BETTER of
    what one level leaves, and less than a slope does. Windows without an image are left out, and of many windows some
    are looked at.
    """
    looked_at = [window for window in windows if window.images_per_second > 0]
    looked_at = looked_at[::math.ceil(len(looked_at) / MOST_WINDOWS) or 1]
    if len(looked_at) < LEAST_WINDOWS:
        return None
    rates = [math.log(window.images_per_second) for window in looked_at]
    left, end = min((_apart(rates[:end]) + _apart(rates[end:]), end) for end in range(1, len(rates) - LEAST_AFTER + 1))
    before, after = median(rates[:end]), median(rates[end:])
    if abs(before - after) < math.log(STANDS_OUT) or left > min(BETTER * _apart(rates), _apart(_without_slope(rates))):
        return None
    first = looked_at[end].number
    earlier = [window for window in windows if window.number < first]
    later = [window for window in windows if window.number >= first]
    return Step(first, math.exp(before), math.exp(after), sum(window.images for window in earlier),
                _cause_of_step(earlier, later, math.exp(before - after)))


def _apart(values: Sequence[float]) -> float:
    """The sum of the absolute deviations from the median."""
    middle = median(values)
    return sum(abs(value - middle) for value in values)


def _without_slope(values: Sequence[float]) -> list[float]:
    each = slope(range(len(values)), values).value
    return [value - each * number for number, value in enumerate(values)]


def _cause_of_step(before: Sequence[Any], after: Sequence[Any], slowdown: float) -> str:
    """What changed on the machine with the step; that it was the detector's own where nothing did, or too little."""
    conditions = _conditions([*before, *after])
    usual = {one.name: _median(before, one.name) for one in conditions}
    causes = _causes(lambda name: _median(after, name), conditions, usual, 1 if slowdown > 1 else -1, "before")
    words = "; ".join(causes.values())
    is_unsized = set(causes) - OF_PROCESSOR or ("mhz" in causes and _median(after, "reference") is None)
    if causes and (is_unsized or _explains(before, after, slowdown)):
        return words
    if all(value is None for value in usual.values()):
        return UNSEEN
    little = f"what changed on the machine explains little of it ({words})" if causes else "the machine was as before"
    return f"{little}, so that {OWN_STEP[slowdown > 1]}"


def _explains(before: Sequence[Any], after: Sequence[Any], slowdown: float) -> bool:
    """Whether the processor's time and speed that were left can have made half of the step."""
    was, became = (Conditions(*map(_middle, zip(*(window.conditions for window in windows))))
                   for windows in (before, after))
    most = (was.left / became.left) ** MOST_LEFT_EXPONENT
    if was.reference and became.reference:
        most *= (became.reference / was.reference) ** MOST_REFERENCE_EXPONENT
    return math.log(most) * math.copysign(1, math.log(slowdown)) >= abs(math.log(slowdown)) / 2
