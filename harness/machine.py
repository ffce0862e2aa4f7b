"""What this machine is and how fast it multiplies matrices: the yardstick for throughput on a CPU."""
from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil

CGROUP = Path("/sys/fs/cgroup")  # version 2
SIDE = 2048  # rows and columns: large enough that memory does not decide, 17 GFLOP a product


def facts() -> dict[str, Any]:
    """Processor, usable cores, memory in bytes, Python, platform and the 1, 5, 15-minute load average."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory": _memory(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "load_average": list(psutil.getloadavg()),
    }


def cores() -> int:
    """Logical cores this process may use: by affinity and by the container's CPU quota, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else psutil.cpu_count()
    quota, _, period = _cgroup("cpu.max").partition(" ")
    return min(allowed, max(1, math.ceil(int(quota) / int(period)))) if quota.isdigit() else allowed


def matrix_product_rate(seconds: float = 1.0) -> float:
    """FP32 matrix-product rate in FLOP/s, all threads: the best of the products done in about `seconds`.

    A product of two n x n matrices counts 2 n^3 operations (LINPACK's convention), n = 2048, by numpy's BLAS.
    """
    generator = np.random.default_rng(0)
    a, b = (generator.random((SIDE, SIDE), np.float32) for _ in range(2))
    best, end = math.inf, perf_counter() + seconds
    while best == math.inf or perf_counter() < end:
        start = perf_counter()
        a @ b
        best = min(best, perf_counter() - start)
    return 2 * SIDE**3 / best


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _memory() -> int:
    total, limit = psutil.virtual_memory().total, _cgroup("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _cgroup(name: str) -> str:
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""
