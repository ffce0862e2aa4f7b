"""The runs of one key over time, with the steps of each metric: `python -m harness.history.timeline PLACE`.

It lists where a metric has changed for good, by how much, at which commit, and what else changed there. Exit code 0;
2: wrong usage, or the history cannot be read.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.compare.comparison import RATIO, SPECS
from harness.compare.record import Run
from harness.history import change_points
from harness.history.causes import changed
from harness.history.choice import dated
from harness.history.store import History
from harness.places import PlaceError
from harness.text import printable, shown
from harness.verdict.metrics import label, shown_change
from harness.verdict.metrics import shown as value_text
from harness.verdict.targets import HISTORY, TARGETS

FILE = "history.json"
MOST = 200  # runs of a key, the newest
JUDGED = {row.metric for row in TARGETS if row.check == HISTORY}
# What is looked at: a drift is about 0, where no step has a size worth a share of it.
METRICS = {(spec.check, spec.metric): spec.how for spec in SPECS
           if f"{spec.check}.{spec.metric}" in JUDGED and spec.metric != "drift"}


class Found(NamedTuple):
    """A step of a metric, the first run after it, and what else changed there, in words."""

    check: str
    metric: str
    step: change_points.Step
    run: Run
    changed: list[str]

    @property
    def change(self) -> str:
        """By how much, in words."""
        before, after = self.step.before, self.step.after
        is_ratio = METRICS[self.check, self.metric] == RATIO
        return shown_change(self.metric, after / before - 1 if is_ratio else after - before)


def in_order(runs: Sequence[Run]) -> list[Run]:
    """The runs in the order of their commits, those of a commit in the order in which they were measured.

    So a commit that was measured later than those after it is not taken for two steps.
    """
    return sorted(runs, key=lambda run: (str(run.commit.get("author_date") or run.date), run.date))


def found(runs: Sequence[Run]) -> list[Found]:
    """The steps of every metric over runs that are in order; of each metric in the order of the runs."""
    steps = []
    for (check, metric), how in METRICS.items():
        own = [(run, figure.estimate.value) for run in runs
               if (figure := run.figures.get((check, metric))) and figure.estimate]
        own = [(run, value) for run, value in own if value > 0 or how != RATIO]
        for step in change_points.steps([value for _, value in own], how):
            before, after = own[step.index - 1][0], own[step.index][0]
            steps.append(Found(check, metric, step, after, changed(before, after)))
    return steps


def record(runs: Sequence[Run]) -> dict[str, Any]:
    """The content of `history.json`: the newest runs and the steps of their metrics."""
    runs = in_order(runs)[-MOST:]
    return {"runs": [_run(run) for run in runs], "steps": [_step(one) for one in found(runs)]}


def _run(run: Run) -> dict[str, Any]:
    values = {f"{check} {metric}": [figure.estimate.value, figure.estimate.low, figure.estimate.high]
              for check, metric in METRICS if (figure := run.figures.get((check, metric))) and figure.estimate}
    return {"date": run.date, "commit": str(run.commit.get("hash") or ""), "title": str(run.commit.get("title") or ""),
            "is_baseline": run.is_baseline, "values": values, "environment": run.environment}


def _step(one: Found) -> dict[str, Any]:
    return {"check": one.check, "metric": one.metric, "date": one.run.date,
            "commit": str(one.run.commit.get("hash") or ""), "before": one.step.before, "after": one.step.after,
            "agreed": one.step.agreed, "changed": one.changed}


def lines(runs: Sequence[Run]) -> list[str]:
    """A line a step, in words."""
    return [f"{one.check} {label(one.metric)} {one.change} ({value_text(one.metric, one.step.before)} → "
            f"{value_text(one.metric, one.step.after)}) at {dated(one.run)} {shown(one.run.commit.get('title') or '')}"
            f"{', both methods' if one.step.agreed else ', one method'}; "
            f"{'also changed: ' + '; '.join(one.changed) if one.changed else 'nothing else is known to have changed'}"
            for one in found(in_order(runs))]


def of_key(history: History, digest: str) -> list[Run]:
    """The newest runs of a key. Raises PlaceError."""
    return history.runs(lambda one: one.key == digest, MOST).runs


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; the module's first lines say which."""
    parser = argparse.ArgumentParser(prog="python -m harness.history.timeline", description=__doc__.split(":")[0])
    parser.add_argument("place", metavar="PLACE", help="a folder, or a URL such as s3://bucket/prefix")
    given = parser.parse_args(arguments)
    try:
        history = History(given.place)
        for digest in dict.fromkeys(entry.key for entry in history.listing().entries):
            runs = of_key(history, digest)
            print(f"key {digest}, {len(runs)} runs", *(f"  {printable(line)}" for line in lines(runs)), sep="\n")
    except PlaceError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    if not change_points.otava():
        print(change_points.MISSING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
