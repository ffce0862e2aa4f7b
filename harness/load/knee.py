"""Which load to run at and which build to ship, and whether a sweep has decided that.

The knee is the load with the fewest images in flight that still gives 95 % of the highest throughput: more images in
flight would add more to every request's latency than to the throughput. In the same way the best build is the one with
the smallest compiled batch whose highest throughput is 95 % of the highest of all.

Promise: a knee or a build that is called decided is the right one in at least 95 % of sweeps, whatever the throughputs
really are, where blocks of time differ by chance, independently and everywhere alike. Two things work against it. The
highest of several throughputs had luck. So the error of calling a load too slow is shared by as many comparisons as
there are other loads (Bonferroni), and that of calling one good enough by those of which it may be the luckiest. And
whoever looks after each pass finds something more often than at one look, so that every proof gets a fifth of the
error: nine looks resemble each other and are worth no more than five. tests/harness/load/test_knee.py simulates the
worst curves.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import copysign, exp, hypot, inf, log
from typing import Any

from harness.load.points import Build, Point
from harness.stats.estimate import Estimate
from harness.stats.intervals import INTERVAL_CONFIDENCE, student_t

KNEE_SHARE = 0.95  # of the highest throughput
ERROR = (1 - INTERVAL_CONFIDENCE) / 5  # of each proof: the looks after up to ten passes are worth five at most


def find_knee(points: Sequence[Point]) -> Point:
    """The point to run at: the fewest images in flight that still give 95 % of the highest throughput.

    Of points with equally many it is the one with the lowest P99, then with the fewest workers and callers. Only valid
    points count; ValueError if there is none.
    """
    return min(_enough(valid(points)),
               key=lambda point: (point.in_flight, point.p99_seconds, point.workers, point.callers))


def find_best_build(points: Sequence[Point]) -> Build:
    """The build to ship: the smallest compiled batch whose highest throughput is 95 % of the highest of all.

    ValueError if no point is valid.
    """
    return min(_enough(valid(points)), key=_size).build


def highest(points: Sequence[Point]) -> Point:
    """The valid point of the highest throughput. ValueError if there is none."""
    return max(valid(points), key=lambda point: point.images_per_second)


def of_build(points: Sequence[Point], build: Build) -> list[Point]:
    return [point for point in points if point.build == build]


def valid(points: Sequence[Point]) -> list[Point]:
    """The points that have figures."""
    return [point for point in points if not point.invalid]


def undecided(points: Sequence[Point]) -> list[Point]:
    """The points of one build that may be its knee; none if the knee is decided.

    It is decided when the knee is proven to give 95 % of the highest throughput of points with more images in flight,
    and points with fewer are proven not to. Points with as many in flight are as good.
    """
    own = valid(points)
    return _undecided(own, find_knee(own), lambda point: point.in_flight) if own else []


def undecided_builds(points: Sequence[Point]) -> list[Point]:
    """The points that may make their build the best, or the best another; none if the best build is decided."""
    own = valid(points)
    return _undecided(own, highest(of_build(own, find_best_build(own))), _size) if own else []


def worth_more(points: Sequence[Point]) -> list[Point]:
    """The points to measure again until the best build and its knee are decided; none when they are."""
    if not valid(points):
        return []
    rivals = undecided_builds(points)
    found = [*rivals, highest(points)] if rivals else []
    for build in dict.fromkeys(point.build for point in rivals) or [find_best_build(points)]:
        own = of_build(points, build)
        knees = undecided(own)
        found += [*knees, highest(own)] if knees else []
    return found


def ratio(point: Point, other: Point) -> Estimate:
    """The throughput of a point as a share of another's, with its bounds at 95 % each where both have them."""
    share, reach = point.images_per_second / other.images_per_second, _reach(point, other)
    return Estimate(share) if reach is None else Estimate(share, share * exp(-reach), share * exp(reach))


def _size(point: Point) -> tuple[int, bool]:
    return point.build.size


def _enough(points: Sequence[Point]) -> list[Point]:
    if not points:
        raise ValueError("no point of the sweep is valid, so it has no knee; `invalid` of each says why")
    least = KNEE_SHARE * highest(points).images_per_second
    return [point for point in points if point.images_per_second >= least]


def _undecided(points: Sequence[Point], chosen: Point, cost: Callable[[Point], Any]) -> list[Point]:
    """The points that may be the cheapest of those that give enough; none if the chosen one is proven to be it."""
    best = highest(points)
    too_slow, enough = ERROR / max(len(points) - 1, 1), ERROR / sum(cost(one) == cost(chosen) for one in points)
    cheaper = [one for one in points if cost(one) < cost(chosen) and _beyond(one, best, points, too_slow) > -1]
    dearer = [one for one in points if cost(one) > cost(chosen)]
    better = [highest(dearer)] if dearer and _beyond(chosen, highest(dearer), points, enough) < 1 else []
    return [*cheaper, chosen, *better] if cheaper or better else []


def _beyond(point: Point, best: Point, points: Sequence[Point], error: float) -> float:
    """How far a point is above the knee's share of the best, in units of what proves it at this error."""
    gap = log(point.images_per_second / best.images_per_second / KNEE_SHARE)
    reach, freedom = _reach(point, best), sum(one.blocks - 1 for one in points)
    if reach is None or freedom < 1:
        return 0.0
    reach *= student_t(1 - error, freedom) / student_t(INTERVAL_CONFIDENCE, freedom)
    return gap / reach if reach else copysign(inf, gap)


def _reach(point: Point, other: Point) -> float | None:
    """How far the logarithm of a ratio of throughputs may be off at 95 %."""
    if None in (point.low, other.low):
        return None
    return hypot(log(point.high / point.low), log(other.high / other.low)) / 2
