"""The metrics: how a person writes each, which values it can have, and which of them each check measures."""
from __future__ import annotations

import math
from typing import NamedTuple

FAR_OFF = 10  # times the bound, from which on a percentage is hard to read
MOST_DIGITS = 9  # after the point, where a value differs from its bound by very little
DAY = 86_400  # seconds: whoever waits longer for a response has lost it, whatever --deadline says


class Metric(NamedTuple):
    """The name of a metric in a table, and how its value becomes text: times `scale`, `digits` after the point.

    `sense` is that of its bounds: '<=' where less is better. No value is below `least` or above `most`.
    """

    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 0
    prefix: str = ""
    sense: str = "<="
    least: float = 0.0
    most: float = math.inf

    def text(self, value: float, more_digits: int = 0) -> str:
        """The value with its unit: 29.0 ms, 0.5 %, $1.362; large numbers without what nobody reads."""
        number = value * self.scale
        usual = self.digits if abs(number) < 100 else min(self.digits, 1 if abs(number) < 1000 else 0)
        return f"{'-' if number < 0 else ''}{self.prefix}{abs(number):,.{usual + more_digits}f}{self.unit}"


def _share(label: str, least: float = -math.inf, most: float = math.inf) -> Metric:
    return Metric(label, " %", 100, 1, least=least, most=most)


def _part(label: str) -> Metric:
    """A share of a whole, of which more is better."""
    return _share(label, 0, 1)._replace(sense=">=")


def _times(label: str, least: float = 0) -> Metric:
    return Metric(label, " ×", digits=2, least=least)


def _milliseconds(label: str) -> Metric:
    return Metric(label, " ms", 1000, 1, most=DAY)


# COCO's figures, in the order of `COCOeval.stats`.
PRECISIONS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
METRICS = {
    **{name: Metric(name, digits=3, sense=">=", most=1) for name in PRECISIONS},
    "AP_drop": Metric("AP drop", digits=4, least=-1, most=1),
    "matched_share": _part("matched detections"),
    "network_ratio": _part("operators on the device"),
    "convolutions_on_cpu": Metric("convolutions on the CPU"),
    "idle_cores": Metric("idle cores"),
    "device_errors": Metric("device errors"),
    "images_per_second": Metric("throughput", " images/s", digits=1, sense=">="),
    "efficiency": _share("efficiency", 0)._replace(sense=">="),
    "P50_seconds": _milliseconds("P50"),
    "P90_seconds": _milliseconds("P90"),
    "P99_seconds": _milliseconds("P99"),
    "P99_over_P50": _times("P99 / P50", 1),
    "changed_responses": Metric("changed responses"),
    "identical_responses": Metric("identical responses"),
    "repeat_speedup": _times("repeat speedup"),
    "fresh_slowdown": _times("fresh-image slowdown"),
    "fps_spread": _share("throughput spread", 0, 10),  # of ten windows: at most all of their images in one of them
    "worst_P99_over_P50": _times("worst P99 / P50", 1),
    "longest_gap_seconds": Metric("longest gap", " s", digits=2, most=DAY),
    "failed_requests": Metric("failed requests"),
    "incomplete_windows": Metric("incomplete windows"),
    "drift": _share("drift", most=1),
    "memory_growth_mb": Metric("memory growth", " MB", least=-math.inf),
    "dollars_per_million": Metric("per million images", digits=3, prefix="$"),
    "joules_per_image": Metric("energy of an image", " J", digits=2),
    "throughput_ratio": _times("throughput, Inf1 / G4")._replace(sense=">="),
    "P90_ratio": _times("P90, Inf1 / G4"),
    "spread_ratio": _times("spread, Inf1 / G4"),
    "cost_ratio": _times("cost, Inf1 / G4"),
    "valid": Metric("valid", sense=">=", most=1),
    "exceptions": Metric("exceptions"),
    # Of the check `history`: what was lost against earlier runs.
    "accuracy.AP": Metric("AP lost", digits=4, least=-1, most=1),
    "throughput.images_per_second": _share("throughput lost", most=1),
    "latency.P50_seconds": _share("P50 added"),
    "latency.P90_seconds": _share("P90 added"),
    "latency.P99_seconds": _share("P99 added"),
    "soak.images_per_second": _share("soak throughput lost", most=1),
    "soak.drift": _share("drift added"),
    "jitter.P50_seconds": _share("soak P50 added"),
    "jitter.P90_seconds": _share("soak P90 added"),
    "jitter.P99_seconds": _share("soak P99 added"),
    "jitter.fps_spread": _share("throughput spread added"),
    "vanished": Metric("vanished metrics"),
}
# What each check measures, so that a row can bound it.
MEASURED = {
    "accuracy": PRECISIONS,
    "parity": ("AP_drop", "matched_share"),
    "placement": ("network_ratio", "convolutions_on_cpu", "idle_cores", "device_errors"),
    "throughput": ("images_per_second", "efficiency"),
    "latency": ("P50_seconds", "P90_seconds", "P99_seconds", "P99_over_P50"),
    "integrity": ("changed_responses", "identical_responses", "repeat_speedup", "fresh_slowdown"),
    "jitter": ("fps_spread", "worst_P99_over_P50", "longest_gap_seconds", "P50_seconds", "P90_seconds", "P99_seconds"),
    "soak": ("failed_requests", "incomplete_windows", "images_per_second", "drift", "memory_growth_mb",
             "joules_per_image"),
    "cost": ("dollars_per_million",),
    "mlperf": ("valid",),
    "history": (*(name for name in METRICS if "." in name), "vanished"),
}
SIGNS = {">=": "≥", "<=": "≤"}


def percent(share: float, digits: int = 1) -> str:
    """A share as a person writes it: 0.5 %."""
    return f"{100 * share:.{digits}f} %"


def label(metric: str) -> str:
    """The metric's name in words; its own name where the table has none."""
    return METRICS[metric].label if metric in METRICS else metric


# Metrics whose change is a difference in their own unit; that of others is a share of what was before.
DIFFERENCES = ("AP", "AP50", "matched_share")


def shown_change(metric: str, change: float | None) -> str:
    """A change as a person writes it: -7.7 %, of an AP or a share of detections +0.0012; '–' where there is none."""
    if change is None:
        return "–"
    return f"{change:+.4f}" if metric in DIFFERENCES else f"{100 * change:+.1f} %"


def shown(metric: str, value: float | None) -> str:
    """The value with its unit; '–' where nothing was measured."""
    return "–" if value is None else _text(metric, value, 0)


def value_and_bound(metric: str, value: float | None, bound: float) -> tuple[str, str]:
    """Both with their unit, and with so many digits that two numbers that differ look different."""
    if value is None:
        return "–", _text(metric, bound, 0)
    for more_digits in range(MOST_DIGITS):
        texts = _text(metric, value, more_digits), _text(metric, bound, more_digits)
        if texts[0] != texts[1] or value == bound:
            break
    return texts


def margin(value: float | None, bound: float, sense: str) -> str:
    """How far the value is from its bound, as a share of it: +12 % is met, -3.1 % is missed, -14 × is 14 times as much.

    '–' where there is no value, or no share: of a bound of 0. A value that is met from the other side of 0, as a loss
    that is a gain, is '> +100 %' away.
    """
    if value is None or not bound:
        return "–"
    share = 100 * (value - bound if sense == ">=" else bound - value) / abs(bound)
    if value / bound < 0 < share:
        return "> +100 %"
    if value / bound >= FAR_OFF:
        return f"{'+' if share > 0 else '-'}{value / bound:,.0f} ×"
    return f"{share:+.1f} %" if abs(share) < 9.95 else f"{share:+,.0f} %"


def _text(metric: str, value: float, more_digits: int) -> str:
    if metric in METRICS:
        return METRICS[metric].text(value, more_digits)
    return f"{value:.{4 + more_digits}g}"
