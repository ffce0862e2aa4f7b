"""MLPerf's scenarios, the plan of one run, and LoadGen's settings for it."""
from __future__ import annotations

import math
from typing import NamedTuple

from harness.load.generator import Load, LoadPattern, images_per_second
from harness.stats.percentiles import requests_needed

ROUND = "v6.1"  # whose seeds stand in loadgen/mlperf.conf since mlcommons/inference pull request 2611
SEEDS = {
    "qsl_rng_seed": 2085463073848966840,
    "sample_index_rng_seed": 2747215439041700203,
    "schedule_rng_seed": 16159082839903944936,
}
OFFLINE_SAMPLES = 24576  # MLPerf's least, where the dataset has as many
MOST_QUERIES = 500_000  # LoadGen makes twice as many in advance, of half a kilobyte each
OFFLINE_SLACK = 1.5  # a run that is too long is valid, one that is too short is not
FEW_WAITING = 10  # images, however low the rate


class Scenario(NamedTuple):
    """A scenario by name, the percentile of latency that it judges, and the keys of our figures in LoadGen's log."""

    name: str
    percentile: int | None
    figures: dict[str, str]


def _latencies(key: str) -> dict[str, str]:
    return {f"P{p:g}_seconds": key.format(f"{p:.2f}") for p in (50, 90, 99, 99.9)}


SCENARIOS = {scenario.name: scenario for scenario in (
    # An image when the response to the last one came: one user who waits.
    Scenario("SingleStream", 90, {
        **_latencies("result_{}_percentile_latency_ns"), "early_stopping_P90_seconds": "early_stopping_latency_ss",
        "images_per_second": "result_qps_with_loadgen_overhead"}),
    # Eight images when the responses to the last eight came: a set of cameras.
    Scenario("MultiStream", 99, {
        **_latencies("result_{}_percentile_per_query_latency_ns"),
        "early_stopping_P99_seconds": "early_stopping_latency_ms"}),
    # Images at random times, each with a latency bound: a service on the network.
    Scenario("Server", 99, {
        **_latencies("result_{}_percentile_latency_ns"), "images_per_second": "result_completed_samples_per_sec"}),
    # All images at once: a batch job.
    Scenario("Offline", None, {"images_per_second": "result_samples_per_second"}),
)}


class Plan(NamedTuple):
    """One run of a scenario; times in seconds, rates in images a second."""

    scenario: Scenario
    pattern: LoadPattern
    seconds: float
    latency_bound: float | None
    deadline: float

    @property
    def most_waiting(self) -> int:
        """Images that wait for a caller in the Server scenario when all is well."""
        return math.ceil((self.pattern.rate or 0) * self.deadline) + FEW_WAITING


def settings(loadgen, plan: Plan, trial: Load, count: int):
    """LoadGen's TestSettings: MLPerf's rules for a dataset of `count` images, and what the trial lets us expect."""
    percentile = plan.scenario.percentile
    latency = max(min(trial.latencies), plan.seconds / MOST_QUERIES)
    made = loadgen.TestSettings()
    made.scenario = getattr(loadgen.TestScenario, plan.scenario.name)
    made.mode = loadgen.TestMode.PerformanceOnly
    made.min_duration_ms = math.ceil(plan.seconds * 1000)
    # As many as early stopping asks for when one of them is slow; in Offline, images.
    made.min_query_count = requests_needed(percentile, 1) if percentile else min(OFFLINE_SAMPLES, count)
    made.single_stream_expected_latency_ns = made.multi_stream_expected_latency_ns = math.ceil(latency * 1e9)
    made.offline_expected_qps = OFFLINE_SLACK * images_per_second([trial])
    made.server_target_qps = plan.pattern.rate or 0
    made.server_target_latency_ns = math.ceil((plan.latency_bound or 0) * 1e9)
    made.server_max_async_queries = 2 * plan.most_waiting
    for name in ("single_stream", "multi_stream", "server"):
        setattr(made, f"{name}_target_latency_percentile", (percentile or 99) / 100)
    for name, seed in SEEDS.items():
        setattr(made, name, seed)
    return made
