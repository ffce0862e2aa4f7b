"""False alarms and found slow-downs of `--against`: `python -m benchmarks.between_runs [DIR …]`.

Each made-up run has the speeds that the check `history` judges. Its machine makes all of them a little faster or slower
together, and each differs a little by itself. With folders of real runs of one detector, each is also held against
those before it, as it is and with every time made longer.
"""
from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.promises import autoregressive, independent
from harness.compare.comparison import DIFFERENCE, SPECS, Spec
from harness.compare.record import Run, read
from harness.history.against import noise
from harness.history.between_runs import UNKNOWN, WORSE, Change, between_runs, outcomes
from harness.history.change_points import steps
from harness.verdict.targets import HISTORY, TARGETS

LEAST = {tuple(row.metric.split(".", 1)): row.bound for row in TARGETS if row.check == HISTORY and "." in row.metric}
SPEEDS = [spec for spec in SPECS if (spec.check, spec.metric) in LEAST and spec.how != DIFFERENCE]
COUNTS = (3, 5, 7, 10)
DEVIATIONS = (0.005, 0.01, 0.02, 0.04)
SLOWER = (0.05, 0.10)
THROUGHPUT = ("throughput", "images_per_second")
HEAD = f"| machine | runs differ by | {' | '.join(map(str, COUNTS))} |\n|---|---|{'---|' * len(COUNTS)}"
SERIES, AT, STEP = 60, 40, 0.05  # runs of a series, where its step is, and how large


def walking(rng: np.random.Generator, runs: int) -> np.ndarray:
    """A machine that drifts: half of the variance of a run is what it has moved away since the one before."""
    return rng.normal(size=runs) * math.sqrt(0.5) + np.cumsum(rng.normal(size=runs)) * math.sqrt(0.5)


def with_outliers(rng: np.random.Generator, runs: int) -> np.ndarray:
    """One run in ten is ten standard deviations slower."""
    return rng.normal(size=runs) - 10 * (rng.random(runs) < 0.1)


MACHINES: dict[str, Callable] = {
    "runs independent": independent, "neighbours alike, r = 0.6": autoregressive(0.6), "machine drifts": walking,
    "one run in ten an outlier": with_outliers,
}


def history(rng: np.random.Generator, machine: Callable, deviation: float, runs: int) -> np.ndarray:
    """Logarithms of speed [runs, metrics]: half of the variance is the machine's, which all metrics share."""
    shared = machine(rng, runs)[:, None]
    return deviation * (math.sqrt(0.5) * shared + math.sqrt(0.5) * rng.normal(size=(runs, len(SPEEDS))))


def judged(before: np.ndarray, after: np.ndarray, slower: float) -> dict[tuple[str, str], str]:
    """The outcome of each metric of a run that is slower by a share than its speeds say; both hold logarithms."""
    return _outcomes([_change(spec, before[:, place], after[place] + math.log1p(-slower))
                      for place, spec in enumerate(SPEEDS)])


def _outcomes(changes: Sequence[Change]) -> dict[tuple[str, str], str]:
    found = outcomes(changes, [LEAST[spec.check, spec.metric] for spec in SPEEDS])
    return {(spec.check, spec.metric): one.outcome for spec, one in zip(SPEEDS, found)}


def _change(spec, before: np.ndarray, after: float) -> Change:
    sign = 1 if spec.sense == ">=" else -1  # a speed, or a time
    return between_runs(np.exp(sign * before), math.exp(sign * after), spec.how, spec.sense)


class Shares(NamedTuple):
    """Of comparisons: with any metric worse, with throughput worse, and with throughput undecided."""

    alarmed: float
    worse: float
    undecided: float


def shares(found: Sequence[dict[tuple[str, str], str]]) -> Shares:
    """How often what was found is what, over comparisons."""
    return Shares(*(float(np.mean(own)) for own in (
        [WORSE in one.values() for one in found], [one[THROUGHPUT] == WORSE for one in found],
        [one[THROUGHPUT] == UNKNOWN for one in found])))


def simulated(machine: Callable, deviation: float, count: int, slower: float, comparisons: int) -> Shares:
    """Comparisons of a new run with `count` earlier ones, each with a history of its own."""
    found = []
    for seed in range(comparisons):
        runs = history(np.random.default_rng(seed), machine, deviation, count + 1)
        found.append(judged(runs[:-1], runs[-1], slower))
    return shares(found)


def whole_runs(folders: Sequence[Path]) -> list[Run]:
    """The real runs that have every speed, in the order of their dates."""
    runs = sorted((read(folder, folder.name) for folder in folders), key=lambda run: run.date)
    return [run for run in runs if all(_value(run, spec) for spec in SPEEDS)]


def _value(run: Run, spec: Spec) -> float | None:
    figure = run.figures.get((spec.check, spec.metric))
    return figure.estimate.value if figure and figure.estimate else None


def real(runs: Sequence[Run], count: int, slower: float) -> Shares:
    """Each real run against the `count` before it."""
    found = []
    for place in range(count, len(runs)):
        now, earlier = runs[place], runs[place - count:place]
        changes = []
        for spec in SPEEDS:
            factor = 1 - slower if spec.sense == ">=" else 1 / (1 - slower)
            before = [_value(run, spec) for run in earlier]
            change = between_runs(before, factor * _value(now, spec), spec.how, spec.sense)
            changes.append(replace(change, noise=noise((spec.check, spec.metric), now, earlier)))
        found.append(_outcomes(changes))
    return shares(found)


def series(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A noisy series of 60 throughputs: flat, with a step of 5 %, or with two single spikes of 20 %."""
    values = 100 * np.exp(0.02 * rng.normal(size=SERIES))
    if kind == "step":
        values[AT:] *= 1 - STEP
    if kind == "spikes":
        values[rng.choice(np.arange(5, SERIES - 5), 2, replace=False)] *= 0.8
    return values


def step_counts(kind: str, how_many: int) -> Counter:
    """Of series of a kind: how many have any step, one at its place within two runs, and one that both methods see."""
    counts = Counter()
    for seed in range(how_many):
        found = steps(series(np.random.default_rng(seed), kind), "ratio")
        counts["any"] += bool(found)
        counts["agreed"] += any(one.agreed for one in found)
        counts["at its place"] += any(abs(one.index - AT) <= 2 for one in found)
        counts["exactly"] += any(one.index == AT for one in found)
    return counts


def rows(cell: Callable[[Callable, float, int], str]) -> Iterator[str]:
    """Rows of a table of made-up histories; `cell` is given machine, deviation and the number of earlier runs."""
    for name, machine in MACHINES.items():
        for deviation in DEVIATIONS:
            cells = (cell(machine, deviation, count) for count in COUNTS)
            yield f"| {name} | {deviation:.1%} | {' | '.join(cells)} |"


def report_simulated(comparisons: int) -> Iterator[str]:
    """Rows of the table of made-up histories."""
    return rows(lambda machine, deviation, count: _cell(
        simulated(machine, deviation, count, slower, comparisons) for slower in (0.0, *SLOWER)))


def report_real(folders: Sequence[Path]) -> Iterator[str]:
    """Rows of the table of real runs."""
    runs = whole_runs(folders)
    deviation = np.log([_value(run, SPEEDS[0]) for run in runs]).std(ddof=1)
    counts = [count for count in COUNTS if count < len(runs)]
    cells = [_cell(real(runs, count, slower) for slower in (0.0, *SLOWER)) for count in counts]
    yield f"| {len(runs)} real runs | {deviation:.1%} | {' | '.join(cells)} |"


def _cell(found: Iterable[Shares]) -> str:
    same, *slower = found
    return " / ".join([f"{same.alarmed:.1%}", f"{same.undecided:.0%}", *(f"{one.alarmed:.0%}" for one in slower)])


def report_steps(how_many: int) -> Iterator[str]:
    """Rows of the table of change points."""
    for kind in ("flat", "spikes", "step"):
        found = step_counts(kind, how_many)
        place = f"{found['at its place']} ({found['exactly']} exactly)" if kind == "step" else "–"
        yield f"| {kind} | {found['any']} | {found['agreed']} | {place} |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.between_runs", description=__doc__.split(":")[0])
    parser.add_argument("--comparisons", type=int, default=400, metavar="N", help="of each row (default 400)")
    parser.add_argument("--series", type=int, default=100, metavar="N", help="of each kind (default 100)")
    parser.add_argument("runs", nargs="*", type=Path, metavar="DIR", help="report folders of runs of one detector")
    given = parser.parse_args()
    for name in ("comparisons", "series"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} {getattr(given, name)}: must be at least 1")
    print("alarms / throughput undecided / 5 % slower found / 10 % slower found, by how many earlier runs there are\n")
    print(HEAD, flush=True)
    for line in report_real(given.runs) if given.runs else report_simulated(given.comparisons):
        print(line, flush=True)
    if not given.runs:
        print(f"\n| {given.series} series | with a step | both methods | at its place |\n|---|---|---|---|")
        for line in report_steps(given.series):
            print(line, flush=True)


if __name__ == "__main__":
    main()
