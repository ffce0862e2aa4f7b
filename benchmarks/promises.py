"""Error rates of verdicts beside the promised ones, on simulated data: `python -m benchmarks.promises`.

Each row is a detector exactly at its bound, where PASS and FAIL are both wrong, and the same detector at some distance,
where one of them is right. It is judged as in the gates: by rounds, looks and blocks.
"""
from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Callable, NamedTuple

import numpy as np

from harness.machine.facts import facts
from harness.stats.estimate import PROVEN, REFUTED, UNDECIDED, decide
from harness.stats.intervals import INTERVAL_CONFIDENCE, mean_interval
from harness.stats.percentile_bounds import BLOCKS, Blocks
from harness.stats.percentiles import CONFIDENCE, error_rate
from harness.verdict.loads import pace_for

PACE, INF1_LATENCY = pace_for("latency", "cpu"), pace_for("latency", "inf1")
LAPTOP_REQUESTS, INF1_REQUESTS = 270, 18_000  # in a round: 135 and 180 requests a second
MEAN = 100.0  # images a second
WINDOWS = 8  # simulated per round
SPREAD = 0.3  # standard deviation of the logarithm of a latency

Series = Callable[[np.random.Generator, int], np.ndarray]


class Errors(NamedTuple):
    """Shares of the runs with each verdict."""

    passed: float
    failed: float
    undecided: float

    def __str__(self) -> str:
        return f"{self.passed:.1%} / {self.failed:.1%}"


def independent(rng, count) -> np.ndarray:
    return rng.normal(size=count)


def autoregressive(correlation) -> Series:
    """Normally distributed values whose neighbours have this correlation."""

    def series(rng, count):
        values, rest = rng.normal(size=count).tolist(), (1 - correlation**2) ** 0.5
        for place in range(1, count):
            values[place] = correlation * values[place - 1] + rest * values[place]
        return np.array(values)

    return series


def bursts(length) -> Series:
    """Bursts of so many equally slow requests."""

    def series(rng, count):
        first = rng.integers(length)
        return np.repeat(rng.normal(size=count // length + 2), length)[first:first + count]

    return series


def of_images(images) -> Series:
    """Latency that depends mostly on the image; each run draws a new dataset, whose images are sent in turn."""

    def series(rng, count):
        own = NormalDist().inv_cdf  # of a dataset with exactly the true distribution
        ranks = rng.permutation([own((place + 0.5) / images) for place in range(images)])
        return np.resize(ranks, count) * 0.98**0.5 + rng.normal(size=count) * 0.02**0.5

    return series


REQUESTS = {
    "independent": independent,
    "neighbours 0.6": autoregressive(0.6),
    "neighbours 0.9": autoregressive(0.9),
    "neighbours 0.98": autoregressive(0.98),
    "bursts of 200": bursts(200),
    "of 200 images": of_images(200),
    "of 5,000 images": of_images(5000),
}


def rates(spread, correlation=0.0, between=0.0) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Images per second in the windows of so many rounds; `between` is the spread between rounds."""
    series = autoregressive(correlation) if correlation else independent

    def simulated(rng, rounds):
        own = spread * series(rng, rounds * WINDOWS).reshape(rounds, WINDOWS)
        return MEAN * (1 + own + between * rng.normal(size=(rounds, 1)))

    return simulated


THROUGHPUT = {
    "independent, 2 %": rates(0.02),
    "independent, 5 %": rates(0.05),
    "neighbours 0.6, 2 %": rates(0.02, 0.6),
    "neighbours 0.9, 2 %": rates(0.02, 0.9),
    "2 %, 5 % between rounds": rates(0.02, between=0.05),
}


# Slowdowns that the machine could have caused, block by block; they changed no latency, so that they excuse nothing.
NOISE = {
    "no noise": lambda rng: None,
    "steady noise": lambda rng: np.full(BLOCKS, 5.0),
    "noise in stretches": lambda rng: np.exp(np.clip(0.6 + 0.6 * autoregressive(0.9)(rng, BLOCKS), 0, 2)),
}


def latency_verdicts(series: Series, p, limit, per_round, runs, pace=PACE, noise="no noise") -> Errors:
    """Errors of "percentile `p` <= limit" beside noise that slows nothing, judged as in the gate.

    Latencies are log-normal; `limit` is in standard deviations.
    """
    def run(rng):
        latencies = np.exp(SPREAD * series(rng, pace.looks[-1] * per_round))
        for rounds in pace.looks:
            blocks = Blocks(np.array_split(latencies[:rounds * per_round], BLOCKS), NOISE[noise](rng))
            confidence = 1 - error_rate(CONFIDENCE) * pace.error_share(rounds)
            yield decide(blocks.bound(p, confidence), math.exp(SPREAD * limit), "<=")

    return _errors(run, runs)


def throughput_verdicts(series, bound, runs) -> Errors:
    """Errors of "mean rate >= bound", judged as in the gate."""
    def run(rng):
        rounds = series(rng, PACE.looks[-1])
        for look in PACE.looks:
            parts = min(WINDOWS, -(-BLOCKS // look))
            windows = rounds[:look].reshape(look, parts, -1).mean(2).ravel()
            confidence = 1 - error_rate(INTERVAL_CONFIDENCE) * PACE.error_share(look)
            yield decide(mean_interval(windows, confidence), bound, ">=")

    return _errors(run, runs)


def _errors(run: Callable[[np.random.Generator], Iterator[str]], runs: int) -> Errors:
    rng = np.random.default_rng(0)
    found = Counter(next((one for one in run(rng) if one != UNDECIDED), UNDECIDED) for _ in range(runs))
    return Errors(*(found[outcome] / runs for outcome in (PROVEN, REFUTED, UNDECIDED)))


def limit_of(p: float, share: float = 1.0) -> float:
    """The latency (in standard deviations) that `share` of the requests allowed by percentile `p` exceed."""
    return NormalDist().inv_cdf(1 - (1 - p / 100) * share)


def latency_rows(runs: int) -> Iterator[Sequence]:
    """(machine, series, percentile, errors at the bound, with half as many slow requests, with twice as many)."""
    for machine, per_round, pace, factor in (
        ("laptop", LAPTOP_REQUESTS, PACE, 1), ("inf1", INF1_REQUESTS, INF1_LATENCY, 10),
    ):
        for name, series in REQUESTS.items():
            for p in (50, 90, 99):
                yield machine, name, f"P{p}", *(
                    latency_verdicts(series, p, limit_of(p, share), per_round, max(1, runs // factor), pace)
                    for share in (1.0, 0.5, 1.5)
                )


def noise_rows(runs: int) -> Iterator[Sequence]:
    """(series, noise, percentile, errors at the bound) on a laptop."""
    for name in ("independent", "neighbours 0.9", "neighbours 0.98", "bursts of 200"):
        for noise in NOISE:
            for p in (90, 99):
                errors = latency_verdicts(REQUESTS[name], p, limit_of(p), LAPTOP_REQUESTS, runs, noise=noise)
                yield name, noise, f"P{p}", errors


def throughput_rows(runs: int) -> Iterator[Sequence]:
    """(series, errors at the bound, 1 % above, 3 % above, 3 % below)."""
    for name, series in THROUGHPUT.items():
        yield name, *(throughput_verdicts(series, MEAN / (1 + off), runs) for off in (0, 0.01, 0.03, -0.03))


class Table(NamedTuple):
    """What a table promises at the bound, its columns, and its rows for a number of runs."""

    promise: str
    columns: Sequence[str]
    rows: Callable[[int], Iterator[Sequence]]


TABLES = {
    "throughput": Table("5 %", ("throughput, windows", "at the bound", "1 % above", "3 % above", "3 % below"),
                        throughput_rows),
    "noise": Table("1 %", ("requests", "beside", "percentile", "at the bound"), noise_rows),
    "latency": Table("1 %", ("latency", "requests", "percentile", "at the bound", "half as many slow",
                             "half as many more"), latency_rows),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="simulated runs per row (default 1000)")
    parser.add_argument("--table", choices=TABLES, action="append", help="only this table; may be repeated")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs {options.runs}: must be at least 1")
    print(f"{facts()['processor']}, NumPy {np.__version__}, {options.runs} runs, {time.strftime('%Y-%m-%d')}\n"
          "PASS / FAIL, the rest undecided.")
    for name in options.table or TABLES:
        table = TABLES[name]
        print(f"\nPromised: at the bound at most {table.promise} each.\n\n| {' | '.join(table.columns)} |\n"
              f"|{'---|' * len(table.columns)}")
        for row in table.rows(options.runs):
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
