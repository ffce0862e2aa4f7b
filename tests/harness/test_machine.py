"""Facts of the machine are there, and the matrix-product rate is a plausible FLOP/s."""
from __future__ import annotations

import json
import os

import pytest

from harness import machine


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


def test_the_rate_is_that_of_the_fastest_product(monkeypatch):
    monkeypatch.setattr(machine, "SIDE", 64)
    clock = iter([0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 9.0])
    monkeypatch.setattr(machine, "perf_counter", lambda: next(clock))
    assert machine.matrix_product_rate(5.0) == pytest.approx(2 * 64**3 / 0.5)


def test_the_real_rate_is_plausible():
    assert 1e8 < machine.matrix_product_rate(0.0) < 1e15
