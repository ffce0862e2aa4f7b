"""Samples come each second and hold what the machine reports; no failure in them reaches the run."""
from __future__ import annotations

import json
import math
import threading
from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

from harness.machine.noise import ProcessTree
from harness.machine.sampler import Sampler, _differences

FIELDS = {"kind", "at", "seconds", "steal", "iowait", "others", "load", "mhz", "celsius", "available", "rss", "extra"}
BEFORE = {"at": 10.0, "cpu": {"total": 100.0, "busy": 50.0, "steal": 1.0, "iowait": 2.0}, "own": 35.0}
Times = namedtuple("Times", "user system idle iowait steal guest")


def sampled(count=1, **options) -> list[dict]:
    """The first samples, taken in quick succession."""
    samples, enough, times = [], threading.Event(), iter(range(1000))

    def record(sample):
        samples.append(sample)
        if len(samples) >= count:
            enough.set()

    with Sampler(record, lambda: float(next(times)), period=0.01, **options):
        assert enough.wait(60)
    return samples


def test_a_sample_is_strict_json_with_every_figure():
    sample = json.loads(json.dumps(sampled()[0], allow_nan=False))
    assert set(sample) == FIELDS and sample["rss"] > 1e6


def test_samples_go_on_and_the_last_is_taken_at_the_end():
    assert [sample["at"] for sample in sampled(3)][:3] == [1.0, 2.0, 3.0]
    assert len(sampled(1)) >= 2


def test_what_others_know_is_in_it():
    assert sampled(extra=lambda: {"neuron0/hw_error": 3, "odd": math.nan, "text": "x", "none": None})[0]["extra"] == {
        "neuron0/hw_error": 3
    }


@pytest.mark.parametrize("extra", [lambda: 1 / 0, lambda: None], ids=["raises", "knows nothing"])
def test_others_may_fail(extra):
    assert sampled(extra=extra)[0]["extra"] == {}


PROBES = ("getloadavg", "cpu_freq", "virtual_memory", "cpu_times", "sensors_temperatures")


def test_a_machine_that_tells_nothing_is_sampled_all_the_same(monkeypatch):
    def silent(*arguments, **options):
        raise NotImplementedError

    for probe in PROBES:
        monkeypatch.setattr(psutil, probe, silent, raising=False)
    sample = sampled()[0]
    assert [sample[name] for name in FIELDS - {"kind", "at", "seconds", "rss", "extra"}] == [None] * 7


def test_a_journal_that_cannot_be_written_ends_the_samples_and_nothing_else():
    def record(sample):
        raise ValueError("disk full")

    with Sampler(record, lambda: 0.0, period=0.001) as sampler:
        sampler._thread.join(60)
    assert not sampler._thread.is_alive()


def test_one_who_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("harness.machine.sampler.LONGEST_LAST_SAMPLE", 0.1)
    never = threading.Event()
    with Sampler(lambda sample: None, lambda: 0.0, extra=never.wait, period=0.001):
        pass
    never.set()


def test_shares_are_of_the_time_between_two_samples():
    now = {"at": 12.0, "cpu": {"total": 104.0, "busy": 53.0, "steal": 1.2, "iowait": 2.4}, "own": 36.5}
    assert _differences(BEFORE, now) == pytest.approx({"seconds": 2.0, "steal": 0.05, "iowait": 0.1, "others": 0.75})


LACKING = {
    "no times": ({"cpu": None}, {"steal", "iowait", "others"}),
    "no time": ({"at": 10.0}, {"steal", "iowait", "others"}),
    "no processes": ({"own": None}, {"others"}),
    "no steal": ({"cpu": {"total": 104.0, "busy": 50.0, "steal": None, "iowait": None}}, {"steal", "iowait"}),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_cannot_be_told_is_none(case):
    lacking, unknown = LACKING[case]
    before = {**BEFORE, **{name: {**BEFORE[name], **value, "total": 100.0} if name == "cpu" and value else value
                           for name, value in lacking.items()}}
    now = {**BEFORE, "at": 12.0, "cpu": {**BEFORE["cpu"], "total": 104.0}, **lacking}
    assert {name for name, value in _differences(before, now).items() if value is None} == unknown


def test_time_that_a_guest_took_is_not_counted_twice(monkeypatch):
    from harness.machine.sampler import _cpu_seconds

    monkeypatch.setattr(psutil, "cpu_times", lambda: Times(5.0, 1.0, 10.0, 2.0, 1.0, 4.0))
    assert _cpu_seconds() == {"total": 19.0, "busy": 6.0, "steal": 1.0, "iowait": 2.0}


def test_the_memory_of_children_counts(monkeypatch):
    gone = SimpleNamespace(memory_info=lambda: 1 / 0)
    processes = [SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=100)), gone]
    monkeypatch.setattr(ProcessTree, "all", lambda self: [*processes, processes[0]])
    assert sampled()[0]["rss"] == 200
