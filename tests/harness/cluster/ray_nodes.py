"""Ray clusters of several nodes on this machine, and what tests of them need."""
from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

MISSING = not find_spec("ray")
needs_ray = pytest.mark.skipif(MISSING and os.environ.get("REQUIRE_RAY") != "1",
                               reason="Ray is not installed: pip install -r requirements-ray.txt")
# A node that was killed is noticed after a few of these.
NOTICING = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_timeout_ms": 2000,
            "health_check_failure_threshold": 4}
STORE = 100_000_000  # bytes of a node's object store


@contextmanager
def ray_nodes(*nodes: dict):
    """A context: Ray's own cluster of a head without cores and these nodes, each with what it is given."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 0, "object_store_memory": STORE, "_system_config": NOTICING, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for one in nodes:
            cluster.add_node(object_store_memory=STORE, **one)
        yield cluster
    finally:
        cluster.shutdown()
