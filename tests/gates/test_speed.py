"""Gates: how many images a second, what do they cost, and how long does a request take? Stored by pytest-benchmark.

A load is measured in rounds of equal time, for as long as the load table says: until every row is decided, or until
more time is not worth it. What is stored of throughput are its rounds, as the seconds that an image took, and of
latency all its requests.
"""
from __future__ import annotations

from itertools import starmap

import pytest

from fixtures.benchmark_info import LOAD_TIME
from harness.accuracy.evaluation import InvalidRun
from harness.load.estimates import efficiency_estimate, latency_estimates, throughput_estimate
from harness.load.generator import images_per_second
from harness.machine import facts as machine
from harness.stats.intervals import STABLE_SPREAD, STABLE_WINDOWS, is_stable

MOST_EFFICIENCY = 1.5  # matrix products may be measured too low on a machine that is busy at that moment


@pytest.mark.performance
@pytest.mark.cost
@pytest.mark.gate("throughput", "cost")
@pytest.mark.benchmark(timer=LOAD_TIME)
def test_throughput(timed_load, throughput_load, detector, benchmark, judge, price, options, noise):
    products: list[float] = []
    load = timed_load("throughput", throughput_load.detect, throughput_load.shape,
                      lambda: products.extend(machine.matrix_product_rates()))
    figures = measured(load, judge, lambda: noise.excuse(load, _throughput(load, detector, products, price)))
    LOAD_TIME.store(benchmark, [1 / images_per_second([one]) for one in load.loads])
    require_computed(figures["throughput"]["efficiency"], options)
    speed, peak = figures["throughput"]["images_per_second"], sum(products) / len(products)
    driver, reason = max(one.driver_share for one in load.loads), f"; {throughput_load.reason}" if options.sweep else ""
    benchmark.extra_info.update(_estimates(figures["throughput"]), matrix_product_rate=peak, **detector.metadata)
    judge(
        "throughput", {**figures["throughput"], "matrix_product_rate": peak, "driver_share": driver}, load.images,
        f"{speed.value:.4g} images/s, {load}, {_stability(load)}; {noise.evidence(load)}; load generator overhead "
        f"{driver:.1%}; matrix products here: {peak / 1e9:.0f} GFLOP/s, from {min(products) / 1e9:.0f} to "
        f"{max(products) / 1e9:.0f}{reason}",
    )
    judge("cost", figures["cost"], load.images, price.evidence(speed.value))


@pytest.mark.latency
@pytest.mark.gate("latency")
@pytest.mark.benchmark(timer=LOAD_TIME)
def test_latency(timed_load, detector, benchmark, judge, options, noise):
    load = timed_load("latency", detector.detect, options.shape("latency"))
    found = measured(load, judge, lambda: noise.excuse(load, {"latency": latency_estimates(load.loads, load.looks)}))
    figures = found["latency"]
    LOAD_TIME.store(benchmark, [seconds for one in load.loads for seconds in one.latencies])
    benchmark.extra_info.update(_estimates(figures), **detector.metadata)
    percentiles = (f"{name[:3]} {one.value * 1e3:.1f} ms" for name, one in figures.items() if "_seconds" in name)
    judge("latency", figures, load.requests, f"{', '.join(percentiles)} a request, {load}; {noise.evidence(load)}")


def require_computed(efficiency, options) -> None:
    """Raises InvalidRun where a processor would have done more arithmetic than it can."""
    if (options.backend, options.cast) == ("cpu", "fp32") and (efficiency.low or 0) > MOST_EFFICIENCY:
        raise InvalidRun(f"that speed would be {efficiency.value:.1f} times the arithmetic this machine can do: the "
                         "network was not computed for every image")


def measured(load, judge, figures) -> dict:
    """The figures of each check, of more and more rounds of a load until every row of the checks is decided."""
    load.until(lambda: not any(starmap(judge.would_be_undecided, figures().items())))
    return figures()


def _throughput(load, detector, products, price) -> dict:
    speed = throughput_estimate(load.loads, load.looks)
    efficiency = efficiency_estimate(load.loads, detector.metadata["flops"], products, load.looks)
    return {"throughput": {"images_per_second": speed, "efficiency": efficiency},
            "cost": {"dollars_per_million": price.of(speed)}}


def _stability(load) -> str:
    rates = [images_per_second([one]) for one in load.loads]
    how = "agree to" if is_stable(rates) else "differ by more than"
    return f"the last {STABLE_WINDOWS} rounds {how} {STABLE_SPREAD:.0%}"


def _estimates(figures) -> dict:
    return {name: one.value for name, one in figures.items()}
