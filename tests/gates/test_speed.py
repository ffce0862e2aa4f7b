"""Gates: how many images a second, what do they cost, and how long does a request take? Stored by pytest-benchmark.

Each round sends the same images once, so a round's time is the same work in every stored run. A gate that is not yet
decided after these rounds measures on, until it is or has measured enough to say that it cannot be.
"""
from __future__ import annotations

from itertools import starmap

import pytest

from harness.estimates import latency_estimates, throughput_estimate
from harness.evaluation import InvalidRun
from harness.load import images_per_second
from harness.machine import matrix_product_rate
from harness.statistics import STABLE_SPREAD, STABLE_WINDOWS, is_stable
from harness.verdict import Estimate

ROUNDS, MOST_ROUNDS = 3, 12
MOST_EFFICIENCY = 1.5  # matrix products may be measured too low on a machine that is busy at that moment


@pytest.mark.performance
@pytest.mark.cost
@pytest.mark.gate("throughput", "cost")
def test_throughput(timed_load, throughput_load, require_same, detector, benchmark, judge, price, options):
    load, peak = timed_load(throughput_load.detect, throughput_load.shape), matrix_product_rate()
    benchmark.pedantic(load, rounds=ROUNDS)
    figures, paid = measured(load, judge, lambda: _throughput(load, detector.metadata["flops"] / peak, price)).values()
    for one in load.loads:
        require_same(one.answers)
    require_computed(figures["efficiency"].estimate, options)
    speed, images = figures["images_per_second"], sum(len(one.answers) for one in load.loads)
    driver, reason = max(one.driver_share for one in load.loads), f"; {throughput_load.reason}" if options.sweep else ""
    benchmark.extra_info.update(_estimates(figures), matrix_product_rate=peak, **detector.metadata)
    judge(
        "throughput", {**figures, "matrix_product_rate": peak, "driver_share": driver}, images,
        f"{speed.estimate:.4g} images/s, {load.shape}, {_stability(load)}; {driver:.1%} of the callers' time not the "
        f"detector's; matrix products here: {peak / 1e9:.0f} GFLOP/s{reason}",
    )
    judge("cost", paid, images, price.evidence(speed.estimate))


@pytest.mark.latency
@pytest.mark.gate("latency")
def test_latency(timed_load, require_same, detector, benchmark, judge, options):
    load = timed_load(detector.detect, options.shape("latency"))
    benchmark.pedantic(load, rounds=ROUNDS)
    figures, = measured(load, judge, lambda: {"latency": latency_estimates(load.latencies, MOST_ROUNDS)}).values()
    for one in load.loads:
        require_same(one.answers)
    benchmark.extra_info.update(_estimates(figures), **detector.metadata)
    percentiles = (f"{name[:3]} {one.estimate * 1e3:.1f} ms" for name, one in figures.items() if "_seconds" in name)
    judge("latency", figures, len(load.latencies), f"{', '.join(percentiles)} a request, {load.shape}")


def require_computed(efficiency, options) -> None:
    """Raises InvalidRun where a processor would have done more arithmetic than it can."""
    if (options.backend, options.cast) == ("cpu", "fp32") and efficiency > MOST_EFFICIENCY:
        raise InvalidRun(f"that speed would be {efficiency:.1f} times the arithmetic this machine can do: the network "
                         "was not computed for every image")


def measured(load, judge, figures) -> dict:
    """The figures of each check, of more and more rounds of a load until every row of the checks is decided."""
    while len(load.loads) < MOST_ROUNDS and any(starmap(judge.would_be_undecided, figures().items())):
        load()
    return figures()


def _throughput(load, share, price) -> dict:
    """`share` is what one image a second is of the machine's arithmetic."""
    speed = throughput_estimate(load.loads, MOST_ROUNDS)
    bounds = (bound if bound is None else bound * share for bound in speed[:3])
    efficiency = Estimate(*bounds, lambda bound, sense: speed.more(bound / share, sense))
    return {"throughput": {"images_per_second": speed, "efficiency": efficiency},
            "cost": {"dollars_per_million": price.of(speed)}}


def _stability(load) -> str:
    rates = [images_per_second([one]) for one in load.loads]
    how = "agree to" if is_stable(rates) else "differ by more than"
    return f"the last {STABLE_WINDOWS} rounds {how} {STABLE_SPREAD:.0%}"


def _estimates(figures) -> dict:
    return {name: one.estimate for name, one in figures.items()}
