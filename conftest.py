"""Loads the plugins of fixtures/ and nothing else."""
pytest_plugins = [
    "fixtures.options",
    "fixtures.interrupts",
    "fixtures.verdicts",
    "fixtures.system_under_test",
    "fixtures.measurements",
    "fixtures.placement",
    "fixtures.cost",
    "fixtures.mlperf",
    "fixtures.sweep",
    "fixtures.report",
    "fixtures.soak",
    "fixtures.benchmark_info",
]
