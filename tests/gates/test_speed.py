"""Gates: how many images a second, and how long does a request take? Stored by pytest-benchmark."""
from __future__ import annotations

import pytest

from harness.load import images_per_second
from harness.machine import matrix_product_rate
from harness.statistics import percentiles

ROUNDS = 3


@pytest.mark.performance
@pytest.mark.latency
@pytest.mark.gate("throughput", "latency")
def test_speed(timed_load, detector, options, benchmark, judge):
    """Each round sends the same images once, so a round's time is the same work in every stored run."""
    peak = matrix_product_rate()
    benchmark.pedantic(timed_load, rounds=ROUNDS)
    loads = timed_load.loads
    speed = images_per_second(loads)
    latency = {
        f"{name}_seconds": seconds
        for name, seconds in percentiles([seconds for load in loads for seconds in load.latencies]).items()
    }
    figures = {"images_per_second": speed, "efficiency": speed * detector.metadata["flops"] / peak, **latency}
    benchmark.extra_info.update(figures, matrix_product_rate=peak, **detector.metadata)
    images, requests = sum(len(load.answers) for load in loads), sum(len(load.requests) for load in loads)
    judge(
        "throughput", {**figures, "matrix_product_rate": peak}, images,
        f"{speed:.4g} images/s, {options.callers} callers, batch {options.batch_size}; "
        f"matrix products here: {peak / 1e9:.0f} GFLOP/s",
    )
    judge(
        "latency", {**latency, "P99_over_P50": latency["P99_seconds"] / latency["P50_seconds"]}, requests,
        ", ".join(f"{name[:3]} {seconds * 1e3:.1f} ms" for name, seconds in latency.items()) + " a request",
    )
