"""Facts of the machine are there, and matrix products run at a plausible FLOP/s on the cores that a detector has."""
from __future__ import annotations

import json
import os

import pytest

from harness.machine import facts as machine
from harness.machine import products


def test_facts_are_plain_json():
    assert set(json.loads(json.dumps(machine.facts()))) == {
        "processor", "cores", "memory", "python", "platform", "load_average"
    }


def test_cores_never_exceed_the_machine():
    assert 1 <= machine.cores() <= os.cpu_count()


QUOTAS = [("50000 100000", 1), ("150000 100000", 2), ("max 100000", 4), ("", 4)]


@pytest.mark.parametrize(("quota", "cores"), QUOTAS)
def test_cores_keep_to_the_quota_of_the_container(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert machine.cores() == cores


def test_memory_keeps_to_the_limit_of_the_container(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.facts()["memory"] == 1_000_000


def test_each_product_is_timed(monkeypatch):
    took = (1.0, 0.5, 2.0, 4.0)
    looks = iter([0.0, *(at for seconds in took for at in (0.0, seconds)), 0.0])  # no time passes between the products
    monkeypatch.setattr(products, "SIDE", 64)
    monkeypatch.setattr(products, "perf_counter", lambda: next(looks))
    assert products.rates(0.0) == pytest.approx([2 * 64**3 / seconds for seconds in took])


def test_the_real_rates_are_plausible():
    assert all(1e8 < rate < 1e15 for rate in machine.matrix_product_rates(0.0))


ECHO = """import json, os, sys
names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND")
print(json.dumps([os.environ.get(name) for name in names] + [len(os.sched_getaffinity(0))]))
"""


def test_products_use_the_cores_of_the_detector_whatever_the_shell_says(monkeypatch, tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.setattr(machine, "PRODUCTS", tmp_path / "echo.py")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_PROC_BIND"):
        monkeypatch.setenv(name, "1")
    count = str(machine.cores())
    assert machine.matrix_product_rates() == [count, count, count, None, len(os.sched_getaffinity(0))]


def test_products_that_fail_say_why(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit('no BLAS here')")
    monkeypatch.setattr(machine, "PRODUCTS", tmp_path / "broken.py")
    with pytest.raises(RuntimeError, match=r"no BLAS here; the Python that runs the gate, .*, must be able to import"):
        machine.matrix_product_rates()
