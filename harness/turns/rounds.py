"""A round: both arms in fresh processes, measured in short bursts that alternate, while the other arm does nothing.

What the machine does in a second meets both arms alike, and what differs between one process and the next is in the
spread of the rounds. In each two pairs of bursts one starts with A and one with B, in an order that chance decides.
Before each burst the reference workload is timed, as a control that must not differ between the arms.

No burst is left out: the throughput of a round is that of all of them, because a detector that stalls now and then is
slower. What others do to single requests is in the throughput and in P90 too, and hardly in P50.
"""
from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from harness.stats.percentiles import percentile
from harness.turns.arms import NAMES

PAIRS = 100  # of bursts in a round
BURST_SECONDS = 0.05
LEAST_REQUESTS = 2  # of each caller in a burst
P90_REQUESTS = 50  # of an arm in a round, from which on its P90 says something
THROUGHPUT, P50, P90, CONTROL = "images_per_second", "P50_seconds", "P90_seconds", "reference_seconds"


class Round(NamedTuple):
    """Arm → metric → value of one round, the reference workload among them; `order` is that of the first pair."""

    order: str
    values: dict[str, dict[str, float]]


def measured(
    arms: Mapping[str, Callable[[int, int], Any]], images: int, control: Callable[[], float], rng: random.Random,
    pairs: int = PAIRS, first: int = 0,
) -> Round:
    """Measures a round of `pairs` pairs of bursts of `images` images; both arms of a pair get the same images.

    An arm is a function: (number of the first image, images) → `images`, `seconds`, `latencies` of a burst. `first` is
    the number of the first image of the round, so that rounds differ in theirs. `control` gives the seconds of the
    reference workload.
    """
    order = orders(pairs, rng)
    bursts: dict[str, list] = {name: [] for name in NAMES}
    controls: dict[str, list[float]] = {name: [] for name in NAMES}
    for place, pair in enumerate(order):
        for name in pair:
            controls[name].append(control())
            bursts[name].append(arms[name](first + place * images, images))
    return Round(order[0], {name: {**_figures(bursts[name]), CONTROL: median(controls[name])} for name in NAMES})


def orders(pairs: int, rng: random.Random) -> list[str]:
    """AB or BA for each pair, each equally often in every two pairs that follow one another."""
    found: list[str] = []
    while len(found) < pairs:
        found += rng.choice((["AB", "BA"], ["BA", "AB"]))
    return found[:pairs]


def burst_images(seconds_an_image: float, callers: int, batch_size: int) -> int:
    """The images of a burst that takes about 50 ms: whole batches, at least two for each caller."""
    batches = max(round(BURST_SECONDS / seconds_an_image / batch_size), LEAST_REQUESTS * callers)
    return batches * batch_size


def _figures(bursts: list) -> dict[str, float]:
    latencies = [seconds for burst in bursts for seconds in burst.latencies]
    figures = {
        THROUGHPUT: sum(burst.images for burst in bursts) / sum(burst.seconds for burst in bursts),
        P50: percentile(latencies, 50),
    }
    if len(latencies) >= P90_REQUESTS:
        figures[P90] = percentile(latencies, 90)
    return figures
