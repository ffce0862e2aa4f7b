"""Two runs beside each other, figure by figure: ratio or difference with its interval, or why there is none.

What must be equal is the detector, the dataset and, for each figure, load and method. What may differ is what a
comparison is for: platform, backend, cast, build, machine.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from harness.accuracy.evaluation import InvalidRun, agreement
from harness.accuracy.stored import FILE as DETECTIONS
from harness.accuracy.stored import DetectionsError, unpacked
from harness.compare.record import Figure, Run
from harness.stats.comparison import difference, ratio
from harness.stats.estimate import PROVEN, REFUTED, Estimate, decide
from harness.stats.resamples import basic_interval
from harness.text import shown
from harness.verdict.cost import Price, cost_estimate
from harness.verdict.verdict import BROKEN, ERROR, FAIL, NOT_COMPARABLE, NOT_JUDGED

RATIO, DIFFERENCE, SHARE = "ratio", "difference", "share"
BETTER, WORSE, OPEN = "better", "worse", "not decided"
SAME_DETECTOR = ("architecture", "weights", "width", "height", "classes", "profile")
SAME_DATASET = ("sha256", "images")
TRUSTED = "integrity"  # a miss there says that speeds are those of wrong or cached responses
LONGEST_FACT = 40  # characters


class Spec(NamedTuple):
    """A figure that is compared: its check and metric, how, and on which side the better one is."""

    check: str
    metric: str
    how: str
    sense: str


SPECS = (
    Spec("throughput", "images_per_second", RATIO, ">="),
    Spec("throughput", "dollars_per_million", RATIO, "<="),
    Spec("latency", "P50_seconds", RATIO, "<="),
    Spec("latency", "P90_seconds", RATIO, "<="),
    Spec("latency", "P99_seconds", RATIO, "<="),
    Spec("soak", "images_per_second", RATIO, ">="),
    Spec("soak", "dollars_per_million", RATIO, "<="),
    Spec("jitter", "P50_seconds", RATIO, "<="),
    Spec("jitter", "P90_seconds", RATIO, "<="),
    Spec("jitter", "P99_seconds", RATIO, "<="),
    Spec("jitter", "fps_spread", RATIO, "<="),
    Spec("soak", "drift", DIFFERENCE, "<="),
    Spec("soak", "joules_per_image", RATIO, "<="),
    Spec("accuracy", "AP", DIFFERENCE, ">="),
    Spec("accuracy", "matched_share", SHARE, ">="),
)


class Compared(NamedTuple):
    """One figure of two runs. `base` and `other` are None where a run lacks it.

    `change` is other / base, other - base, or the share of confident detections that both have. It is None where
    `reason` (of `harness.verdict.verdict.REASONS`) and `why` say why there is none.
    """

    spec: Spec
    base: Estimate | None
    other: Estimate | None
    change: Estimate | None
    count: int = 0
    reason: str = ""
    why: str = ""

    @property
    def outcome(self) -> str:
        """Whether the other run is better or worse, by the whole interval; '' without a change."""
        if self.change is None:
            return ""
        if self.spec.how == SHARE or (self.change.is_exact and self.change.value == self.even):
            return "equal" if self.change.value == self.even else ""
        return {PROVEN: BETTER, REFUTED: WORSE}.get(decide(self.change, self.even, self.spec.sense), OPEN)

    @property
    def even(self) -> float:
        """The change of two runs that are alike."""
        return 0.0 if self.spec.how == DIFFERENCE else 1.0


def compare(base: Run, other: Run, prices: dict[str, Price] | None) -> list[Compared]:
    """Every figure that one of the runs has, in the order of SPECS.

    `prices` are those of one date by instance type, None where there are none for these.
    """
    return [row for spec in SPECS if (row := _compared(spec, base, other, prices))]


def known_by_one(base: Run, other: Run) -> list[str]:
    """What cannot be checked because a publication does not say it, in words."""
    if not (base.is_published or other.is_published):
        return []
    unknown = [f"{group} {name}" for group, name, *facts in _facts(base, other) if None in facts]
    ways = [f"{name} of {key[0]}" for key in base.figures if key in other.figures
            for name, *texts in _ways(base.figures[key], other.figures[key]) if "" in texts and any(texts)]
    return [*unknown, *dict.fromkeys(ways)]


def differing(base: Run, other: Run) -> list[str]:
    """What differs between the runs as a comparison may: what explains a difference, in words."""
    words = [_differs(name, getattr(base, name), getattr(other, name))
             for name in ("platform", "backend", "cast") if getattr(base, name) != getattr(other, name)]
    for group in ("build", "machine", "environment"):
        left, right = getattr(base, group), getattr(other, group)
        words += [_differs(f"{group} {name}", left[name], right[name]) for name in left
                  if name in right and left[name] != right[name] and name not in ("load_average", "backend", "cast")]
    return words


def _differs(name: str, left: Any, right: Any) -> str:
    left, right = shown(left, LONGEST_FACT), shown(right, LONGEST_FACT)
    return f"{shown(name, LONGEST_FACT)} {left or '–'} → {right or '–'}"


def _facts(base: Run, other: Run) -> Iterator[tuple[str, str, Any, Any]]:
    for group, names in (("detector", SAME_DETECTOR), ("dataset", SAME_DATASET)):
        for name in names:
            yield group, name, getattr(base, group).get(name), getattr(other, group).get(name)


def _compared(spec: Spec, base: Run, other: Run, prices) -> Compared | None:
    if spec.metric == "matched_share":
        return _matched(spec, base, other)
    figures = [_priced(spec, run, prices) for run in (base, other)]
    if not any(figures):
        return None
    estimates = [figure and figure.estimate for figure in figures]
    why, reason = _objection(base, other, *figures)
    if why:
        return Compared(spec, *estimates, None, reason=reason, why=why)
    change = _paired(base, other) if spec.metric == "AP" else _change(spec, *estimates)
    if change is None:
        return Compared(spec, *estimates, None, reason=NOT_COMPARABLE, why="a value that is not above 0 has no ratio")
    return Compared(spec, *estimates, change, min(figure.count for figure in figures))


def _change(spec: Spec, base: Estimate, other: Estimate) -> Estimate | None:
    if spec.how == DIFFERENCE:
        return difference(other, base)
    return ratio(other, base) if base.value > 0 and other.value > 0 else None


def _paired(base: Run, other: Run) -> Estimate:
    """The difference of AP, with bounds by the same resamples of the same images where both runs have them."""
    before, after = base.figures["accuracy", "AP"].estimate, other.figures["accuracy", "AP"].estimate
    resampled = base.resampled_AP, other.resampled_AP
    if None in resampled or len(resampled[0]) != len(resampled[1]):
        return Estimate(after.value - before.value)
    return replace(basic_interval(np.subtract(*resampled[::-1])), value=after.value - before.value)


def _priced(spec: Spec, run: Run, prices) -> Figure | None:
    """The figure of a run; a cost is that of its throughput at the common price."""
    if spec.metric != "dollars_per_million":
        return run.figures.get((spec.check, spec.metric))
    speed = run.figures.get((spec.check, "images_per_second"))
    if speed is None or not prices or run.instance not in prices:
        return None
    has_cost = speed.estimate is not None and speed.estimate.value > 0
    cost = cost_estimate(speed.estimate, prices[run.instance]) if has_cost else None
    return speed._replace(metric=spec.metric, estimate=cost)


# ---- why two figures are not compared


def _objection(base: Run, other: Run, before: Figure | None, after: Figure | None) -> tuple[str, str]:
    """(why, reason) that two figures say nothing of each other; ('', '') if they do."""
    if why := "; ".join(unlike(base, other)):
        return why, NOT_COMPARABLE
    for run, figure in ((base, before), (other, after)):
        if why := distrusted(run):
            return f"{run.name}: {why}", BROKEN
        if figure is None:
            return f"not measured in {run.name}", NOT_JUDGED
        if figure.estimate is None:
            why = f"{run.name}: {figure.reason or 'no value'}{figure.why and f', {figure.why}'}"
            return why, figure.reason or NOT_JUDGED
    words = [f"{name}: {shown(left) or 'unknown'} against {shown(right) or 'unknown'}"
             for name, left, right in _ways(before, after)
             if left != right and not any(run.is_published and not way for run, way in ((base, left), (other, right)))]
    return "; ".join(words), NOT_COMPARABLE if words else ""


def _ways(before: Figure, after: Figure) -> tuple[tuple[str, str, str], ...]:
    return ("load", before.load, after.load), ("method", before.method, after.method)


def unlike(base: Run, other: Run) -> list[str]:
    """What of detector and dataset differs, in words; nothing else can be compared then.

    What a publication does not say cannot differ; what a measured run does not say is not known to be equal.
    """
    words = []
    for group, name, left, right in _facts(base, other):
        silent = [run for run, fact in ((base, left), (other, right)) if fact is None and not run.is_published]
        if silent:
            words.append(f"{silent[0].name} does not say {group} {name}")
        elif None not in (left, right) and left != right:
            words.append(f"{group} {name}: {shown(left, LONGEST_FACT)} against {shown(right, LONGEST_FACT)}")
    return words


def distrusted(run: Run) -> str:
    """Why the figures of a run are not to be trusted, in words: its gate saw broken responses; '' if they are."""
    for figure in run.figures.values():
        if figure.reason == BROKEN or (figure.check == TRUSTED and figure.verdict == FAIL):
            return shown(f"{figure.check} {figure.metric} is {figure.verdict}"
                         f"{figure.reason and f' ({figure.reason})'}{figure.why and f', {figure.why}'}", 300)
    return ""


def _matched(spec: Spec, base: Run, other: Run) -> Compared | None:
    """The share of confident detections that both runs have."""
    if base.is_published or other.is_published or unlike(base, other):
        return None
    if why := next((f"{run.name}: {why}" for run in (base, other) if (why := distrusted(run))), ""):
        return Compared(spec, None, None, None, reason=BROKEN, why=why)
    if missing := [run for run in (base, other) if not run.detections]:
        return Compared(spec, None, None, None, reason=NOT_JUDGED, why=f"{missing[0].name} stored no detections")
    try:
        agreed = agreement(*(unpacked(run.folder / DETECTIONS, run.detections) for run in (base, other)))
    except (DetectionsError, InvalidRun) as error:
        return Compared(spec, None, None, None, reason=ERROR, why=str(error))
    if agreed.share is None:
        return Compared(spec, None, None, None, reason=NOT_JUDGED, why="neither run has a confident detection")
    return Compared(spec, None, None, Estimate.exactly(agreed.share), agreed.total)
