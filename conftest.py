"""Loads the plugins of fixtures/ and nothing else."""
pytest_plugins = [
    "fixtures.options",
    "fixtures.interrupts",
    "fixtures.verdicts",
    "fixtures.subject",
    "fixtures.runs",
    "fixtures.placement",
    "fixtures.prices",
    "fixtures.mlperf",
    "fixtures.sweep",
    "fixtures.report",
    "fixtures.soak",
    "fixtures.records",
]
