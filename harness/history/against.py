"""A run held against earlier ones: a row a metric, what vanished, where accuracy was lost, and what else changed.

`harness.history.choice` says what counts as earlier runs, `harness.history.between_runs` how a difference is judged.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Any, NamedTuple

from harness.compare.comparison import BETTER, DIFFERENCE, RATIO, SPECS, WORSE, distrusted
from harness.compare.record import Figure, Run
from harness.history.between_runs import LEAST_RUNS, SAME, UNKNOWN, Change, Outcome, between_runs, outcomes, paired
from harness.history.causes import changed, same_code
from harness.history.choice import Chosen, described
from harness.stats.estimate import NOISY, TOO_FEW, Estimate
from harness.text import shown as shown_name
from harness.verdict.metrics import label, percent, shown, shown_change
from harness.verdict.targets import HISTORY, RELEASE, Target
from harness.verdict.verdict import BROKEN, FAIL, INVALID, NOT_COMPARABLE, NOT_JUDGED, PASS, Verdict

FILE = "against.json"
VANISHED, AP = "vanished", ("accuracy", "AP")
NAMED = 5  # metrics in a sentence
# The figure of each measurement whose bounds say how much the machine may have slowed it.
SPEED_OF = {"throughput": ("throughput", "images_per_second"), "latency": ("latency", "P50_seconds"),
            "soak": ("soak", "images_per_second"), "jitter": ("soak", "images_per_second")}
LEAST_NOISE = 0.05  # that explains a difference
SPEC_OF = {(spec.check, spec.metric): spec for spec in SPECS}


@dataclass(frozen=True)
class Row:
    """One metric of this run against the earlier ones. `change` is that of `Change.estimate`, None without one.

    `outcome` is one of BETTER, WORSE, SAME and UNKNOWN, '' where nothing could be compared; then `reason` says why for
    programs and `why` in words. `loss` is what a verdict holds against its bound.
    """

    check: str
    metric: str
    before: float | None = None
    after: float | None = None
    change: Estimate | None = None
    loss: Estimate | None = None
    outcome: str = ""
    verdict: str = INVALID
    reason: str = NOT_JUDGED
    why: str = ""

    @property
    def name(self) -> str:
        """The metric of its target."""
        return VANISHED if self.metric == VANISHED else f"{self.check}.{self.metric}"

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON; fields as the report reads them."""
        change = self.change or Estimate(None)
        return {"check": self.check, "metric": self.metric, "before": self.before, "after": self.after,
                "change": change.value, "low": change.low, "high": change.high, "outcome": self.outcome,
                "verdict": self.verdict, "why": self.why}


class Compared(NamedTuple):
    """A metric with something to compare, before the whole family is judged."""

    target: Target
    key: tuple[str, str]
    change: Change


def judged(now: Run, chosen: Chosen, targets: Sequence[Target]) -> list[Row]:
    """A row for each of the targets of the check `history`, in their order."""
    found = {target.metric: _found(now, chosen, target) for target in targets}
    compared = {name: one for name, one in found.items() if isinstance(one, Compared)}
    judged = outcomes([one.change for one in compared.values()], [one.target.bound for one in compared.values()])
    same = same_code(now, chosen.runs)
    rows = {name: _row(one, outcome, len(compared), same)
            for (name, one), outcome in zip(compared.items(), judged)}
    return list({**found, **rows}.values())


def _found(now: Run, chosen: Chosen, target: Target) -> Compared | Row:
    """What is compared for a target, or the row of one for which nothing is."""
    if target.metric == VANISHED:
        return _vanished(now, chosen)
    key = tuple(target.metric.split(".", 1))
    row = Row(*key)
    if chosen.problem:
        return replace(row, reason=chosen.reason, why=chosen.problem)
    if why := distrusted(now):
        return replace(row, reason=BROKEN, why=why)
    figure = now.figures.get(key)
    earlier = _measured(chosen.runs, key)
    if figure is None or figure.estimate is None:
        return _missing(row, now, figure, earlier)
    row = replace(row, after=figure.estimate.value)
    if not earlier:
        return replace(row, why=f"nothing to compare with: {chosen.words} did not measure it")
    alike = [one for one in earlier if (one.load, one.method) == (figure.load, figure.method)]
    if not alike:
        ways = f"{earlier[-1].load} {earlier[-1].method}, now {figure.load} {figure.method}"
        return replace(row, reason=NOT_COMPARABLE, why=f"measured otherwise: {ways}")
    try:
        return Compared(target, key, _change(key, now, figure, alike, chosen))
    except ValueError as error:
        return replace(row, reason=NOT_COMPARABLE, why=str(error))


def _measured(runs: Sequence[Run], key: tuple[str, str]) -> list[Figure]:
    """The figures of the runs that have a value."""
    return [figure for run in runs if (figure := run.figures.get(key)) and figure.estimate]


def _missing(row: Row, now: Run, figure: Figure | None, earlier: list[Figure]) -> Row:
    """The row of a metric that this run lacks: a FAIL where earlier ones have it and this run was to measure it."""
    if not earlier:
        return replace(row, why="neither this run nor the baseline measured it")
    before = earlier[-1].estimate.value
    if figure is not None:
        return replace(row, before=before, reason=figure.reason or NOT_JUDGED, why=figure.why or "no value in this run")
    if unmeasured := _unmeasured(now, row.check):
        return replace(row, before=before, reason=unmeasured.reason, why=unmeasured.why)
    return replace(row, before=before, verdict=FAIL, reason="", why="vanished: the baseline measured it, and this run "
                   "does not have it; measure it again, or compare with runs that lack it too")


def _unmeasured(now: Run, check: str) -> Figure | None:
    """A row that says why the whole check has no value in this run: deselected, broken off; None where it has any."""
    own = [figure for figure in now.figures.values() if figure.check == check]
    return own[0] if own and not any(figure.estimate for figure in own) else None


def _change(key, now: Run, figure: Figure, earlier: list[Figure], chosen: Chosen) -> Change:
    spec = SPEC_OF[key]
    if key == AP:
        return _ap_change(now, figure, chosen)
    change = between_runs([one.estimate.value for one in earlier], figure.estimate.value, spec.how, spec.sense,
                          [one.estimate.value for one in _measured(chosen.others, key)])
    return replace(change, noise=noise(key, now, chosen.runs))


def noise(key: tuple[str, str], now: Run, earlier: Sequence[Run]) -> float:
    """By how much the machine may have made a metric worse beyond what it did in any of the earlier runs.

    It is the logarithm of a factor, from what each run's own bounds excuse of the speed of the same measurement. Of a
    difference, which has no factor, noise explains all from 5 % on.
    """
    speed = SPEED_OF[key[0]]
    own = [_excused(run.figures.get(speed), SPEC_OF[speed].sense) for run in (now, *earlier)]
    most = max(own[1:])
    more = 0.0 if math.isinf(most) else max(own[0] - most, 0.0)
    return more if SPEC_OF[key].how == RATIO else (math.inf if more > LEAST_NOISE else 0.0)


def _excused(figure: Figure | None, sense: str) -> float:
    """The logarithm of the factor by which a speed may be better than it was measured; 0 where it is not known."""
    if figure is None or figure.estimate is None or figure.estimate.is_exact:
        return 0.0
    worse, better = figure.estimate.value, figure.estimate.high
    if sense == "<=":
        worse, better = figure.estimate.low, figure.estimate.value
    if not worse or worse < 0 or not better or better < 0:
        return math.inf
    return math.log(better / worse)


def _ap_change(now: Run, figure: Figure, chosen: Chosen) -> Change:
    """The paired change from the run whose AP is the median: equal detections are equal without a test."""
    base = ap_baseline(chosen)
    before, after = base.figures[AP].estimate.value, figure.estimate.value
    if now.detections and now.detections == base.detections:
        return Change(before, after, DIFFERENCE, ">=", 0.0, 0.0, 1.0, 1, is_paired=True)
    if not (now.resampled_AP and base.resampled_AP):
        return Change(before, after, DIFFERENCE, ">=", after - before, None, None, 1)
    return paired(base.resampled_AP, now.resampled_AP, figure.count)


def ap_baseline(chosen: Chosen) -> Run | None:
    """Of the runs that are compared with, the one whose AP is the (lower) median; the latest of equal ones."""
    found = [(run, one.estimate.value) for run in chosen.runs if (one := run.figures.get(AP)) and one.estimate]
    middle = median_low(value for _, value in found) if found else None
    return next((run for run, value in reversed(found) if value == middle), None)


def _row(one: Compared, found: Outcome, family: int, same: str) -> Row:
    """The row of a metric once its family is judged."""
    change, verdict, reason = one.change, PASS, ""
    why = f"{_values(one)}: {_words(one, found, family)}"
    if found.outcome == UNKNOWN:
        verdict, reason = INVALID, TOO_FEW if change.is_few else NOISY
    elif found.outcome == WORSE and same and one.key != AP:
        verdict, reason, why = INVALID, NOISY, f"{why}; {same}, so the difference is the machine's"
    elif found.outcome == WORSE:
        verdict = FAIL
    return Row(*one.key, change.before, change.after, change.estimate, change.loss, found.outcome, verdict, reason, why)


def _values(one: Compared) -> str:
    metric = one.key[1]
    before, after = shown(metric, one.change.before), shown(metric, one.change.after)
    return f"{label(metric)} {before} → {after}, {change_text(one.key, one.change.estimate)}"


def change_text(key: tuple[str, str], change: Estimate) -> str:
    """A change with its interval as a person writes it: -7.7 % (-10.2 % to -5.1 %)."""
    value, low, high = (shown_change(key[1], one) for one in (change.value, change.low, change.high))
    return value if change.low is None or change.is_exact else f"{value} ({low} to {high})"


def _words(one: Compared, found: Outcome, family: int) -> str:
    """What the change says, in words."""
    change, most = one.change, one.target.bound
    visible = change.visible(family)
    if found.outcome == SAME and change.error == 0 and not change.shift:
        return "equal detections" if change.is_paired else "equal"
    if found.outcome == SAME:
        within = _amount(one.key, max(change.loss.high, 0))
        return f"not worse by more than {within}, where {_amount(one.key, most)} matters"
    if found.outcome in (BETTER, WORSE):
        chance = f"in {percent(found.chance, 2)}" if found.chance >= 1e-4 else "in less than 0.01 %"
        return f"{found.outcome}, which chance alone makes {chance} of comparisons"
    if change.noise and change.loss.value > 0:
        more = "" if math.isinf(change.noise) else (
            f", which explains up to {percent(math.expm1(change.noise))} more time")
        return f"cannot tell: the machine was noisier than in the earlier runs{more}; stop other work and repeat"
    if visible is None:
        few = "too few images for bounds" if one.key == AP else f"{LEAST_RUNS} runs show how much they differ anyway"
        return f"cannot tell: {few}"
    if change.is_paired:
        return f"cannot tell changes below {_amount(one.key, visible)}; more images would"
    more = f"{LEAST_RUNS} runs are needed to judge" if change.runs < LEAST_RUNS else "more or quieter runs would"
    return f"cannot tell changes below {_amount(one.key, visible)}, by how much runs differ anyway; {more}"


def _amount(key: tuple[str, str], value: float) -> str:
    return f"{value:.4f}" if key == AP else percent(value)


def _vanished(now: Run, chosen: Chosen) -> Row:
    """The row of what the newest of the earlier runs judged, or is compared by, and this run lacks."""
    row = Row(HISTORY, VANISHED)
    if chosen.problem:
        return replace(row, reason=chosen.reason, why=chosen.problem)
    last = chosen.runs[-1]
    lost = [f"{check} {label(metric)}" for (check, metric), figure in last.figures.items()
            if figure.estimate and (figure.verdict or (check, metric) in SPEC_OF) and check not in (HISTORY, RELEASE)
            and (check, metric) not in now.figures and not _unmeasured(now, check)]
    names = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED} more" if len(lost) > NAMED else "")
    value = Estimate.exactly(float(len(lost)))
    return replace(row, before=0.0, after=float(len(lost)), loss=value, verdict=FAIL if lost else PASS, reason="",
                   why=f"measured by the run of {last.date[:10]} and not by this one: {names}" if lost else
                   "this run has every metric that the baseline has")


@dataclass(frozen=True)
class Against:
    """A run against earlier ones: what the report folder keeps of it."""

    chosen: Chosen
    rows: list[Row]
    causes: list[str]
    classes: list = field(default_factory=list)
    sizes: list = field(default_factory=list)
    images: list = field(default_factory=list)
    kinds: list = field(default_factory=list)

    def verdict(self, target: Target, **details) -> Verdict:
        """The verdict on a target of the check `history`; `details` as for `harness.verdict.verdict.judge`."""
        row = next(one for one in self.rows if one.name == target.metric)
        loss = row.loss or Estimate(None)
        interval = None if loss.is_exact or row.loss is None else (loss.low, loss.high)
        return Verdict(target.check, target.metric, loss.value, target.bound, target.sense, row.verdict,
                       len(self.chosen.runs), evidence=evidence(self.chosen), interval=interval, reason=row.reason,
                       why=row.why, **details)

    def as_record(self) -> dict[str, Any]:
        """The content of `against.json`."""
        parts = {name: [{"name": one.name, "before": one.before, "after": one.after, "change": one.change}
                        for one in getattr(self, name)] for name in ("classes", "sizes", "kinds")}
        return {"against": self.chosen.words, "runs": [described(run) for run in self.chosen.runs],
                "rows": [row.as_record() for row in self.rows], **parts,
                "images": [one._asdict() for one in self.images], "causes": self.causes}


def lost_most(found: Against) -> list[str]:
    """Which classes, sizes and images lost most, in words; a line for each of the three that has any."""
    lines = []
    for name in ("classes", "sizes"):
        parts = [f"{shown_name(part.name)} {part.change:+.3f}" for part in getattr(found, name) if part.change < 0]
        lines += [f"{name}: {', '.join(parts[:NAMED])}"] if parts else []
    images = [f"{shown_name(one.file_name)} ({one.lost} lost)" for one in found.images if one.lost > one.gained]
    return lines + ([f"images: {', '.join(images[:NAMED])}"] if images else [])


def evidence(chosen: Chosen) -> str:
    """Which earlier runs a verdict stands on, in words."""
    return "; ".join([f"against {chosen.words}", *chosen.remarks])


def lines(found: Against) -> list[str]:
    """What the verdicts are against and, of a loss, where it is and what else changed: lines below the verdicts."""
    if not found.chosen.runs:
        return []
    lines = [evidence(found.chosen)]
    if any(row.verdict == FAIL for row in found.rows):
        lines += [f"lost most, {line}" for line in lost_most(found)]
        lines += [f"also changed since then: {'; '.join(found.causes) or 'nothing that is known'}"]
    return lines


def causes(now: Run, chosen: Chosen) -> list[str]:
    """What else differs from the newest of the earlier runs, in words: candidates for the cause of a difference."""
    return changed(chosen.runs[-1], now) if chosen.runs else []
