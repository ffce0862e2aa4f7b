"""Loads the plugins of fixtures/ and nothing else."""
from importlib import import_module

pytest_plugins = ["fixtures.hooks"]
FIXTURES = [import_module(f"fixtures.{name}") for name in (
    "accuracy", "against", "cluster", "cluster_load", "cluster_soak", "integrity", "latency", "measurements", "mlperf",
    "options", "paid", "parity", "placement", "session", "soak", "sweep", "system_under_test", "throughput", "verdicts",
)]


def pytest_configure(config):
    """Registers the modules themselves: by name pytest would look each up among the plugins of all packages."""
    for module in FIXTURES:
        if not config.pluginmanager.is_registered(module):  # by a second checkout's conftest.py, where a path names it
            config.pluginmanager.register(module, module.__name__)
