"""Points and detectors of a sweep as tests make them up."""
from __future__ import annotations

from dataclasses import dataclass
from math import exp
from random import Random
from typing import Callable

from hypothesis import strategies as st

from harness.load.generator import Load, Request
from harness.load.points import Point


def point(callers=1, batch_size=1, workers=1, rate=100.0, p99=0.02, off=1.0):
    """`off` is the factor by which its throughput may be off."""
    return Point(callers, batch_size, workers, rate, rate / off, rate * off, p99 / 2, p99 / 2, p99, 0.0, 2, 50, 0)


def invalid(callers=1, batch_size=1, workers=1):
    why = "1 of 2 requests failed: device lost"
    return Point(callers, batch_size, workers, *[None] * 7, 1, 2, 1, why)


PLACES = st.tuples(st.integers(1, 16), st.integers(1, 16), st.integers(1, 4))
POINTS = st.lists(PLACES, min_size=1, max_size=20, unique=True).flatmap(lambda places: st.tuples(*[
    st.builds(point, *map(st.just, place), st.floats(0.1, 1e4), st.floats(1e-4, 10)) for place in places
]))


@dataclass
class Noisy:
    """A detector whose throughput at each number of images in flight is known, and each block off by chance."""

    rate: Callable[[int], float]
    noise: float
    random: Random

    def drive(self, samples, pattern, *, seconds, deadline):
        """As harness.load.generator.drive, of one request a caller: its rate is all that counts here."""
        flight = pattern.callers * pattern.batch_size
        took = flight / self.rate(flight) / exp(self.noise * self.random.gauss(0, 1))
        ids = tuple(range(pattern.batch_size))
        return Load([Request(caller, ids, 0.0, 0.0, took, pattern.batch_size, "")
                     for caller in range(pattern.callers)], [], {})
