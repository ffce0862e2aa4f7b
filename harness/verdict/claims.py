"""The headline of AWS's article as rows that two runs can prove or refute: Inf1 beside the best G4.

They are claims about a pair of runs, where `harness.verdict.targets` has the bounds of one. The published runs in
`harness/compare/published/` name the article's address.
"""
from __future__ import annotations

from typing import NamedTuple

from harness.verdict.metrics import SIGNS, label, shown
from harness.verdict.targets import Target

DATE = "2020-10-07"
SUBJECT, RIVAL = "inf1", "g4dn"  # the families of the two runs

RATIO, DROP, ALONE = "ratio", "drop", "alone"


class Claim(NamedTuple):
    """A bound on what the figure of a check is in the subject's run beside the rival's.

    `how` is "ratio" (subject / rival), "drop" (rival - subject) or "alone" (the subject's own).
    """

    target: Target
    metric: str
    how: str


def _claim(check: str, metric: str, how: str, named: str, bound: float, sense: str, words: str) -> Claim:
    return Claim(Target(check, named, bound, sense, SUBJECT, words, DATE), metric, how)


CLAIMS = (
    _claim("soak", "images_per_second", RATIO, "throughput_ratio", 1.85, ">=",
           "up to 1.85 times the throughput of the best G4"),
    _claim("jitter", "P90_seconds", RATIO, "P90_ratio", 0.40, "<=", "P90 latency is 60 % lower"),
    _claim("jitter", "fps_spread", ALONE, "fps_spread", 0.03, "<=",
           "average FPS over 30-s windows varies by less than 3 %"),
    _claim("jitter", "fps_spread", RATIO, "spread_ratio", 0.25, "<=", "3 % where the GPU varies by up to 12 %"),
    _claim("soak", "dollars_per_million", RATIO, "cost_ratio", 0.63, "<=", "37 % lower cost for an image"),
    _claim("accuracy", "AP", DROP, "AP_drop", 0.005, "<=",
           "no measurable degradation of accuracy; the bound is that of parity"),
)


def markdown_table() -> str:
    """The claims as a Markdown table for the docs."""
    head = ["| check | claim | bound | what the article says |", "|---|---|---|---|"]
    return "\n".join(head + [_row(claim.target) for claim in CLAIMS])


def _row(target: Target) -> str:
    bound = f"{SIGNS[target.sense]} {shown(target.metric, target.bound)}"
    return f"| {target.check} | {label(target.metric)} | {bound} | {target.source} |"
