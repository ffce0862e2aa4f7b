"""The clock of a node against the driver's: how far its time.perf_counter is ahead, and how well that is known.

Each clock starts at a time of its own, so that times of two machines mean nothing beside each other until their offset
is known. A round trip bounds it: the node read its clock after the driver had asked and before the driver had the
response. The shortest round trip bounds it best, whatever the others waited for.
"""
from __future__ import annotations

from time import perf_counter
from typing import Callable, NamedTuple

ROUND_TRIPS = 32


class Offset(NamedTuple):
    """The seconds by which a node's clock is ahead of the driver's; the true ones are at most `bound` away."""

    seconds: float
    bound: float

    def on_node(self, at: float) -> float:
        """A time of the driver's clock, on the node's."""
        return at + self.seconds

    def on_driver(self, at: float) -> float:
        """A time of the node's clock, on the driver's."""
        return at - self.seconds

    def moved(self, later: Offset) -> float:
        """The seconds by which the clocks drifted apart until a later measurement, beyond what the bounds explain."""
        return max(abs(later.seconds - self.seconds) - self.bound - later.bound, 0.0)

    def __str__(self) -> str:
        return f"{self.seconds:+.6f} s ± {self.bound * 1e3:.3f} ms"


def offset(
    ask: Callable[[], float], round_trips: int = ROUND_TRIPS, clock: Callable[[], float] = perf_counter
) -> Offset:
    """The offset of the clock that `ask` reads on a node, from the shortest of so many round trips.

    `clock` is the driver's. Its bound is half that round trip, because nobody knows how the time was shared between
    the way there and the way back. Raises ValueError for no round trip, and what `ask` raises.
    """
    if round_trips < 1:
        raise ValueError(f"round_trips {round_trips}: must be at least 1")
    return min((_round_trip(ask, clock) for _ in range(round_trips)), key=lambda one: one.bound)


def _round_trip(ask: Callable[[], float], clock: Callable[[], float]) -> Offset:
    asked = clock()
    read = ask()
    got = clock()
    return Offset(read - (asked + got) / 2, (got - asked) / 2)
