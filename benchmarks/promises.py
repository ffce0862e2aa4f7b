"""Error rates of verdicts beside the promised ones, on simulated data: `python -m benchmarks.promises`.

Each row is a detector exactly at its bound, where PASS and FAIL are both wrong, and the same detector at some distance,
where one of them is right. It is judged as in the gates: by rounds, looks and blocks.
"""
from __future__ import annotations

import argparse
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
from harness.verdict.loads import Pace

PACE = Pace(5, 40)
INF1_LATENCY = Pace(300, 600)
LAPTOP_REQUESTS, INF1_REQUESTS = 225, 18_000  # in a round: 135 and 180 requests a second
MEAN = 100.0  # images a second
WINDOWS = 8  # simulated per round

Series = Callable[[np.random.Generator, int], np.ndarray]


class Errors(NamedTuple):
    """Shares of the runs with each verdict."""

    passed: float
    failed: float
    undecided: float


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


def latency_verdicts(series: Series, p, limit, per_round, runs, pace=PACE) -> Errors:
    """Errors of "percentile `p` <= limit", judged as in the gate."""
    confidence = 1 - error_rate(CONFIDENCE) / len(pace.looks)

    def run(rng):
        latencies = series(rng, pace.looks[-1] * per_round)
        for rounds in pace.looks:
            blocks = Blocks(np.array_split(latencies[:rounds * per_round], BLOCKS))
            yield decide(blocks.bound(p, confidence), limit, "<=")

    return _errors(run, runs)


def throughput_verdicts(series, bound, runs) -> Errors:
    """Errors of "mean rate >= bound", judged as in the gate."""
    confidence = 1 - error_rate(INTERVAL_CONFIDENCE) / len(PACE.looks)

    def run(rng):
        rounds = series(rng, PACE.looks[-1])
        for look in PACE.looks:
            parts = min(WINDOWS, -(-BLOCKS // look))
            windows = rounds[:look].reshape(look, parts, -1).mean(2).ravel()
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


def throughput_rows(runs: int) -> Iterator[Sequence]:
    """(series, errors at the bound, 1 % above, 3 % above, 3 % below)."""
    for name, series in THROUGHPUT.items():
        yield name, *(throughput_verdicts(series, MEAN / (1 + off), runs) for off in (0, 0.01, 0.03, -0.03))


def _percent(errors: Errors) -> str:
    return f"{errors.passed:.1%} / {errors.failed:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="simulated runs per row (default 1000)")
    runs = parser.parse_args().runs
    if runs < 1:
        parser.error(f"--runs {runs}: must be at least 1")
    print(f"{facts()['processor']}, NumPy {np.__version__}, {runs} runs, {time.strftime('%Y-%m-%d')}\n")
    print("PASS / FAIL, the rest undecided. Promised: at the bound at most 5 % each.\n\n"
          "| throughput, windows | at the bound | 1 % above | 3 % above | 3 % below |\n|---|---|---|---|---|")
    for name, *errors in throughput_rows(runs):
        print(f"| {name} | {' | '.join(map(_percent, errors))} |", flush=True)
    print("\nPromised: at the bound at most 1 % each.\n\n"
          "| latency | requests | percentile | at the bound | half as many slow | half as many more |\n"
          "|---|---|---|---|---|---|")
    for *names, at, half, more in latency_rows(runs):
        print(f"| {' | '.join(names)} | {' | '.join(map(_percent, (at, half, more)))} |", flush=True)


if __name__ == "__main__":
    main()
