"""The one table of what a release must reach: thresholds stand nowhere else, the README shows these rows."""
from __future__ import annotations

from dataclasses import dataclass

ANY = "any"


@dataclass(frozen=True)
class Target:
    """One bound, in the metric's unit, that holds on `platform` (an instance type, 'cpu' or 'any').

    `sense` is '>=' or '<='; `source` says where the bound comes from and `date` (ISO) when it was published.
    """

    check: str
    metric: str
    bound: float
    sense: str
    platform: str
    source: str
    date: str


TUTORIAL = "AWS Neuron YOLOv4 tutorial"
TABLE = "AWS Neuron Inf1 performance table, SDK 2.20, YOLOv4 in PyTorch, batch 1, 8 callers"
MARGIN = "2 % margin as in MLPerf's audits"
REHEARSAL = "own bound, a rehearsal that a busy machine passes and a broken measurement does not"

TARGETS = (
    Target("accuracy", "AP", 0.48, ">=", ANY, f"98.6 % of the 0.487 of the {TUTORIAL}", "2020-10-07"),
    Target("parity", "AP_drop", 0.005, "<=", ANY,
           "own bound, BF16 against FP32 on CPU; AWS reported no measurable degradation", "2026-11-23"),
    Target("parity", "matched_share", 0.95, ">=", ANY,
           "own bound, scores from 0.25 found again with the same class and IoU from 0.9", "2026-11-23"),
    Target("throughput", "images_per_second", 105.0, ">=", "inf1.2xlarge",
           f"{TUTORIAL}: 5,000 images in 47.5 s, 4 callers, batch 8", "2020-10-07"),
    Target("throughput", "efficiency", 0.01, ">=", "cpu", REHEARSAL, "2026-11-23"),
    Target("latency", "P50_seconds", 0.0408, "<=", "inf1.2xlarge", f"{TABLE}: 40.0 ms; {MARGIN}", "2024-09-16"),
    Target("latency", "P99_seconds", 0.0518, "<=", "inf1.2xlarge", f"{TABLE}: 50.8 ms; {MARGIN}", "2024-09-16"),
    Target("latency", "P99_over_P50", 10.0, "<=", "cpu", REHEARSAL, "2026-11-23"),
)


def rows(check: str, platform: str) -> list[Target]:
    """One row for each metric of the check: this platform's, else the one for any. LookupError when there is none."""
    found = {t.metric: t for wanted in (ANY, platform) for t in TARGETS if (t.check, t.platform) == (check, wanted)}
    if not found:
        raise LookupError(f"no target for {check} on {platform}; add a row to harness/targets.py")
    return list(found.values())


def markdown_table() -> str:
    """The rows as a Markdown table for the README."""
    head = ["| check | metric | bound | platform | source | date |", "|---|---|---|---|---|---|"]
    return "\n".join(head + [_row(target) for target in TARGETS])


def _row(t: Target) -> str:
    return f"| {t.check} | {t.metric} | {t.sense.replace('>=', '≥').replace('<=', '≤')} {t.bound:g} | " \
           f"{t.platform} | {t.source} | {t.date} |"
