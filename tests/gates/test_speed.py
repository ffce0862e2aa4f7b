"""Gates: how many images a second, what do they cost, and how long does a request take? Stored by pytest-benchmark.

Each round sends the same images once, so a round's time is the same work in every stored run. A gate that is not yet
decided after these rounds measures on, until it is or has measured enough to say that it cannot be.
"""
from __future__ import annotations

import pytest

from harness.estimates import latency_estimates, throughput_estimate
from harness.evaluation import InvalidRun
from harness.machine import matrix_product_rate
from harness.verdict import Estimate

ROUNDS, MOST_ROUNDS = 3, 12
MOST_EFFICIENCY = 1.5  # matrix products may be measured too low on a machine that is busy at that moment


@pytest.mark.performance
@pytest.mark.cost
@pytest.mark.gate("throughput", "cost")
def test_throughput(timed_load, throughput_load, require_same, detector, benchmark, judge, price, options):
    load, peak = timed_load(throughput_load.detect, throughput_load.shape), matrix_product_rate()
    benchmark.pedantic(load, rounds=ROUNDS)
    figures = measured(load, "throughput", judge, lambda: _throughput(load, detector.metadata["flops"] / peak))
    for one in load.loads:
        require_same(one.answers)
    require_computed(figures["efficiency"].estimate, options)
    speed, images = figures["images_per_second"], sum(len(one.answers) for one in load.loads)
    driver = max(one.driver_share for one in load.loads)
    benchmark.extra_info.update(_estimates(figures), matrix_product_rate=peak, **detector.metadata)
    judge(
        "throughput", {**figures, "matrix_product_rate": peak, "driver_share": driver}, images,
        f"{speed.estimate:.4g} images/s, {load.shape}, {driver:.1%} of the callers' time not the detector's; "
        f"matrix products here: {peak / 1e9:.0f} GFLOP/s" + (f"; {throughput_load.reason}" if options.sweep else ""),
    )
    judge("cost", {"dollars_per_million": price.of(speed)}, images, price.evidence(speed.estimate))


@pytest.mark.latency
@pytest.mark.gate("latency")
def test_latency(timed_load, require_same, detector, benchmark, judge, options):
    load = timed_load(detector.detect, options.shape("latency"))
    benchmark.pedantic(load, rounds=ROUNDS)
    figures = measured(load, "latency", judge, lambda: latency_estimates(load.latencies, MOST_ROUNDS))
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


def measured(load, check, judge, figures) -> dict:
    """The figures of a load, of more and more rounds of it until every row of the check is decided."""
    while judge.would_be_undecided(check, figures()) and len(load.loads) < MOST_ROUNDS:
        load()
    return figures()


def _throughput(load, share) -> dict:
    """`share` is what one image a second is of the machine's arithmetic."""
    speed = throughput_estimate(load.loads, MOST_ROUNDS)
    bounds = (bound if bound is None else bound * share for bound in speed[:3])
    return {"images_per_second": speed,
            "efficiency": Estimate(*bounds, lambda bound, sense: speed.more(bound / share, sense))}


def _estimates(figures) -> dict:
    return {name: one.estimate for name, one in figures.items()}
