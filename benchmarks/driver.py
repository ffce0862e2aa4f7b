"""Requests per second of the load generator, beside a pool of threads: `python -m benchmarks.driver`.

The detector does nothing, so only the overhead is measured. Both ways time every request and keep the responses, and
they take turns, so that a busy machine affects them equally. Then the load generator's overhead beside detectors that
take 1, 5 and 20 ms.
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from types import SimpleNamespace
from typing import NamedTuple

from harness.load.generator import LoadPattern, drive
from harness.machine.facts import facts

CALLERS = (1, 2, 4, 8)
REQUESTS, SECONDS, ROUNDS = 100_000, 0.5, 5
MILLISECONDS, SLOW_CALLERS, SLOW_SECONDS = (1, 5, 20), 8, 5.0
NOTHING = SimpleNamespace(error="")
SAMPLES = [(number, b"") for number in range(REQUESTS)]


class Rates(NamedTuple):
    """Requests per second of each way: every image once, for some time, and the pool's."""

    once: float
    seconds: float
    pool: float


def idle(images) -> list:
    return [NOTHING] * len(images)


def rate(load) -> float:
    return len(load.requests) / load.seconds


def pool_rate(callers: int) -> float:
    """Requests per second of a thread pool with one task per request, which notes its start and end."""

    def request(sample):
        image_id, image = sample
        start = time.perf_counter()
        found = idle((image,))
        return image_id, start, time.perf_counter(), found

    with ThreadPoolExecutor(callers) as pool:
        start = time.perf_counter()
        done = list(pool.map(request, SAMPLES))
        return len(done) / (time.perf_counter() - start)


def rounds(callers: int) -> Iterator[Rates]:
    """The rates of each round, in which the ways take turns."""
    pattern = LoadPattern(callers, 1)
    for _ in range(ROUNDS):
        yield Rates(
            rate(drive(idle, SAMPLES, pattern)), rate(drive(idle, SAMPLES[:1000], pattern, seconds=SECONDS)),
            pool_rate(callers),
        )


def driver_share(milliseconds: int) -> float:
    def slow(images):
        time.sleep(milliseconds / 1e3)
        return idle(images)

    return drive(slow, SAMPLES[:1000], LoadPattern(SLOW_CALLERS, 1), seconds=SLOW_SECONDS).driver_share


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.driver", description=__doc__.split("\n")[0]).parse_args()
    machine = facts()
    print(f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
          f"load average {machine['load_average'][0]:.2f}, {time.strftime('%Y-%m-%d')}\n")
    print("| callers | requests/s, each image once | requests/s, for a time | requests/s, pool of threads | "
          "load generator ÷ pool |\n|---|---|---|---|---|")
    for callers in CALLERS:
        measured = list(rounds(callers))
        once, seconds, pool = map(median, zip(*measured))
        ratio = median(one.once / one.pool for one in measured)
        print(f"| {callers} | {once:,.0f} | {seconds:,.0f} | {pool:,.0f} | {ratio:.1f} |", flush=True)
    print("\n| time of the detector, ms | load generator overhead |\n|---|---|")
    for milliseconds in MILLISECONDS:
        print(f"| {milliseconds} | {driver_share(milliseconds):.2%} |", flush=True)


if __name__ == "__main__":
    main()
