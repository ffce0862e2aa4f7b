"""Judges the headline of AWS's article on a pair of runs: PASS, FAIL or INVALID for each of its claims."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness import text
from harness.compare.comparison import Compared, compare, distrusted
from harness.compare.record import Run
from harness.stats.comparison import difference
from harness.stats.estimate import Estimate
from harness.verdict import claims
from harness.verdict.claims import CLAIMS, Claim
from harness.verdict.cost import Price
from harness.verdict.loads import METHODS
from harness.verdict.metrics import shown
from harness.verdict.targets import family
from harness.verdict.verdict import BROKEN, NOT_COMPARABLE, NOT_JUDGED, Verdict, invalid, judge

ARTICLE_WINDOWS = METHODS["soak"].format(window_seconds=30)


def pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Every (Inf1, G4) pair of the runs that were soaked, which is what the article's claims are about."""
    soaked = [run for run in runs if ("soak", "images_per_second") in run.figures]
    subjects, rivals = ([run for run in soaked if family(run.platform) == one]
                        for one in (claims.SUBJECT, claims.RIVAL))
    return [(subject, rival) for subject in subjects for rival in rivals]


def judged(runs: Sequence[Run], prices: dict[str, Price] | None, command: str) -> list[Verdict]:
    """The verdict of each claim on each pair; where there are several pairs the variant names them."""
    found = pairs(runs)
    verdicts = [verdict for pair in found for verdict in _judged_pair(*pair, prices, command)]
    return verdicts if len(found) > 1 else [replace(verdict, variant="") for verdict in verdicts]


def _judged_pair(subject: Run, rival: Run, prices: dict[str, Price] | None, command: str) -> list[Verdict]:
    rows = {(row.spec.check, row.spec.metric): row for row in compare(rival, subject, prices)}
    return [_judged(claim, rows.get((claim.target.check, claim.metric)), subject, rival, command) for claim in CLAIMS]


def _judged(claim: Claim, row: Compared | None, subject: Run, rival: Run, command: str) -> Verdict:
    names = f"{subject.name} / {rival.name}"
    details = {"platform": names, "backend": f"{subject.backend} / {rival.backend}", "command": command,
               "variant": names}
    if row is None:
        why = f"neither {subject.name} nor {rival.name} has it"
        return invalid(claim.target, why, NOT_JUDGED, evidence=_claimed(claim), **details)
    details["evidence"] = f"{_values(row, subject, rival)}; {_claimed(claim)}"
    if claim.how == claims.ALONE:
        return _alone(claim, row, subject, details)
    if row.change is None:
        return invalid(claim.target, row.why, row.reason, **details)
    change = row.change if claim.how == claims.RATIO else difference(Estimate.exactly(0.0), row.change)
    return judge(claim.target, _explained(change, subject, rival), max(row.count, 1), **details)


def _alone(claim: Claim, row: Compared, subject: Run, details: dict) -> Verdict:
    """The claim on the subject's own figure, which needs nothing of the rival but the method of the article."""
    figure = subject.figures.get((row.spec.check, row.spec.metric))
    if why := distrusted(subject):
        return invalid(claim.target, f"{subject.name}: {why}", BROKEN, **details)
    if figure is None or figure.estimate is None:
        return invalid(claim.target, f"not measured in {subject.name}", NOT_JUDGED, **details)
    if figure.method != ARTICLE_WINDOWS:
        why = f"method: {text.shown(figure.method) or 'unknown'}, the claim is about {ARTICLE_WINDOWS}"
        return invalid(claim.target, why, NOT_COMPARABLE, **details)
    return judge(claim.target, _explained(figure.estimate, subject), max(figure.count, 1), **details)


def _explained(estimate: Estimate, *runs: Run) -> Estimate:
    """The estimate, which says that what was published without an interval cannot be decided by it."""
    silent = " and ".join(run.name for run in runs if run.is_published)
    if not silent or None not in (estimate.low, estimate.high):
        return estimate
    why = f"no interval was published for {silent}, and without one a difference may be chance: measure it to decide"
    return replace(estimate, more=lambda limit, sense: why)


def _claimed(claim: Claim) -> str:
    return f"claimed: {claim.target.source}"


def _values(row: Compared, subject: Run, rival: Run) -> str:
    """The figure of both runs in words."""
    both = ((subject, row.other), (rival, row.base))
    return ", ".join(f"{run.name} {shown(row.spec.metric, one and one.value)}" for run, one in both)
