"""Facts of this machine and its rate of matrix products, the yardstick for throughput on a CPU."""
from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")  # version 2
PRODUCTS = Path(__file__).with_name("products.py")
LONGEST_PRODUCTS = 60.0  # seconds beyond those asked for
THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


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
    """The number of logical cores this process may use, by affinity and the container's CPU quota, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else psutil.cpu_count()
    quota, _, period = _cgroup("cpu.max").partition(" ")
    return min(allowed, max(1, math.ceil(int(quota) / int(period)))) if quota.isdigit() else allowed


def matrix_product_rates(seconds: float = 0.3) -> list[float]:
    """FP32 rate in FLOP/s of each matrix product done in about `seconds`, four at least, by NumPy's BLAS.

    They run on the cores that a detector has here, with as many threads as there are usable cores, whatever
    OMP_NUM_THREADS and the like say in this process. They have a process of their own, so that the two do not share
    threads. Raises OSError where it cannot be started, and RuntimeError with its last output where it fails.
    """
    bound = ("_AFFINITY", "_PROC_BIND", "_PLACES", "_THREAD_LIMIT")  # variables that limit threads to fewer cores
    others = {name: value for name, value in os.environ.items() if not name.endswith(bound)}
    ended = subprocess.run(
        [sys.executable, str(PRODUCTS), str(seconds)], capture_output=True, text=True,
        env={**others, **dict.fromkeys(THREADED, str(cores()))}, timeout=LONGEST_PRODUCTS + seconds, check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"matrix products ended with {ended.returncode}: {ended.stderr.strip()[-300:]}; the Python "
                           f"that runs the gate, {sys.executable}, must be able to import NumPy")
    return json.loads(ended.stdout)


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
