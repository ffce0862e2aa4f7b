"""Whether the detections of two arms differ on the same images, and if so what that did to AP, and where.

A detector gives the same detections each time, so equal ones are equal without a test. Otherwise AP is compared by a
paired bootstrap over the images.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.accuracy.bootstrap import drop_estimate
from harness.accuracy.dataset import Dataset
from harness.accuracy.evaluation import Evaluation, InvalidRun, agreement, evaluate, require_scorable
from harness.text import shown
from harness.turns.outcome import DIFFERENT, SAME, UNKNOWN, Row
from harness.verdict.metrics import percent
from harness.verdict.targets import TARGETS

# The AP drop and the share of matched detections that parity allows.
WITHIN, LEAST_MATCHED = (next(row.bound for row in TARGETS if row.metric == metric)
                         for metric in ("AP_drop", "matched_share"))
EXAMPLES = 3  # classes and images that are named


def compared(dataset: Dataset, a: Mapping[int, Any], b: Mapping[int, Any], within: float = WITHIN) -> list[Row]:
    """A row for AP and one for matched detections; both map image id → detections. `within` is the least AP change."""
    if _are_equal(a, b):
        same = f"equal detections in all {len(a):,} images"
        return [Row("accuracy", "AP", SAME, 0.0, 0.0, 0.0, len(a), same),
                Row("accuracy", "matched_share", SAME, 0.0, 0.0, 0.0, len(a), same, 1.0, 1.0)]
    for name, own in (("A", a), ("B", b)):
        try:
            require_scorable(dataset, own)
        except InvalidRun as error:
            is_worse = name == "B"
            return [Row("accuracy", "AP", DIFFERENT if is_worse else UNKNOWN, None, None, None, len(dataset),
                        f"{name} gives detections that cannot be scored: {shown(error, 300)}", is_worse=is_worse)]
    ap = _ap(dataset, a, b, within)
    return [ap, _matched(a, b, ap)]


def _are_equal(a: Mapping[int, Any], b: Mapping[int, Any]) -> bool:
    fields = ("boxes", "scores", "classes")
    return a.keys() == b.keys() and all(np.array_equal(getattr(a[image], field), getattr(b[image], field))
                                        for image in a for field in fields)


def _ap(dataset: Dataset, a: Mapping[int, Any], b: Mapping[int, Any], within: float) -> Row:
    before, after = evaluate(dataset, a), evaluate(dataset, b)
    drop = drop_estimate(dataset, a, b)
    low, high = (None if bound is None else -bound for bound in (drop.high, drop.low))
    outcome = _outcome(low, high, within)
    is_worse = outcome == DIFFERENT and drop.value > 0
    why = {
        DIFFERENT: f"B is {'worse' if is_worse else 'better'} by {abs(drop.value):.4f}",
        SAME: f"less than the {within:g} that matter",
        UNKNOWN: drop.more(0.0, "<="),
    }[outcome]
    lost = _lost_classes(before, after) if drop.value > 0 and outcome != SAME else ""
    return Row("accuracy", "AP", outcome, -drop.value, low, high, len(dataset), why + lost, before.figures["AP"],
               after.figures["AP"], is_worse)


def _outcome(low: float | None, high: float | None, within: float) -> str:
    if low is None or high is None:
        return UNKNOWN
    if -within <= low and high <= within:
        return SAME
    return UNKNOWN if low <= 0 <= high else DIFFERENT


def _lost_classes(before: Evaluation, after: Evaluation) -> str:
    lost = {name: ap - (after.per_class[name] or 0.0) for name, ap in before.per_class.items() if ap}
    worst = sorted(lost, key=lambda name: -lost[name])[:EXAMPLES]
    words = ", ".join(f"{shown(name, 40)} {lost[name]:.3f}" for name in worst if lost[name] > 0)
    return f"; classes that lost most AP: {words}" if words else ""


def _matched(a: Mapping[int, Any], b: Mapping[int, Any], ap: Row) -> Row:
    """The share of confident detections that both have; a low share costs nothing where AP is higher."""
    agreed = agreement(a, b)
    share, pairs = agreed.share, agreed.by_image
    if share is None:
        return Row("accuracy", "matched_share", UNKNOWN, None, None, None, len(a), "neither has a confident detection")
    where = ", ".join(f"{image} ({pairs[image][0]} of {pairs[image][1]})" for image in agreed.worst_first[:EXAMPLES]
                      if pairs[image][0] < pairs[image][1])
    why = f"{agreed.words('B')}, {percent(LEAST_MATCHED)} are asked for"
    outcome = SAME if share >= LEAST_MATCHED else DIFFERENT
    is_worse = outcome == DIFFERENT and not (ap.outcome == DIFFERENT and not ap.is_worse)
    return Row("accuracy", "matched_share", outcome, share - 1, share - 1, share - 1, len(a),
               f"{why}; images with most unmatched: {where}" if where else why, 1.0, share, is_worse)
