"""Error counters: the driver's totals, neuron-monitor's reports, and what a watch makes of both."""
from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.neuron.machine import counters
from model.neuron.machine.counters import SYSFS, Watch, difference, ecc_events, totals
from model.neuron.machine.monitor import Monitor
from tests.model.neuron.planted import TOOLS, Planted, ended, monitor, report
from tests.waiting import PATIENCE, until


@pytest.fixture
def machine(tmp_path) -> Planted:
    return Planted(tmp_path).chip(0).chip(1)


def test_totals_name_device_core_and_error(machine):
    machine.count("hw_error", 3, index=1, core=2)
    found = totals(machine.host)
    assert len(found) == 2 * 4 * 4 and found["neuron1/neuron_core2/hw_error"] == 3
    assert not [name for name in found if "success" in name]


def test_memory_errors_of_later_chips_are_plain_files_or_counters(machine):
    machine.write(f"{SYSFS}/neuron0/stats/hardware/mem_ecc_uncorrected", "5\n")
    machine.write(f"{SYSFS}/neuron0/stats/hardware/sram_ecc_uncorrected/total", "6\n")
    machine.write(f"{SYSFS}/neuron0/stats/hardware/health", "7\n")
    found = {name: total for name, total in totals(machine.host).items() if "core" not in name}
    assert found == {"neuron0/mem_ecc_uncorrected": 5, "neuron0/sram_ecc_uncorrected": 6}


@pytest.mark.parametrize("text", ["", "-1", "many", "1.5"])
def test_a_counter_that_cannot_be_read_is_not_there(machine, text):
    machine.count("timeout", text, core=1)
    assert "neuron0/neuron_core1/timeout" not in totals(machine.host)


def test_no_device_no_totals(tmp_path):
    assert totals(Planted(tmp_path).host) == {}


CHANGES = {
    "nothing": ({"a": 1}, {"a": 1}, []),
    "a rise": ({"a": 1, "b": 0}, {"a": 3, "b": 0}, ["a rose by 2 to 3"]),
    "a counter that is new": ({}, {"a": 2, "b": 0}, ["a rose by 2 to 2"]),
    "a counter that is gone": ({"a": 0, "b": 0}, {"b": 0}, ["a is missing"]),
    "a reset": ({"a": 5}, {"a": 1}, ["a was reset from 5 to 1"]),
}


@pytest.mark.parametrize("before, after, clauses", CHANGES.values(), ids=CHANGES)
def test_each_counter_that_changed_is_named(before, after, clauses):
    assert difference(before, after) == clauses


def test_memory_errors_of_all_periods_add_up():
    events = ecc_events([report((0, 0), (0, 1)), report((2, 0), (0, 0)), report((1, 0), (0, 1))])
    assert {name: count for name, count in events.items() if count} == {
        "neuron0/mem_ecc_uncorrected": 3, "neuron1/sram_ecc_uncorrected": 2}


NO_DEVICES = [
    {}, {"system_data": None}, {"system_data": {}}, {"system_data": {"neuron_hw_counters": []}},
    {"system_data": {"neuron_hw_counters": {"neuron_devices": None}}},
    {"system_data": {"neuron_hw_counters": {"neuron_devices": ["x", 1]}}},
]


@pytest.mark.parametrize("shown", NO_DEVICES, ids=json.dumps)
def test_reports_without_a_device_prove_nothing(shown):
    assert ecc_events([shown]) is None and ecc_events([]) is None


def test_a_count_that_is_none_counts_nothing():
    shown = report((0, 0))
    shown["system_data"]["neuron_hw_counters"]["neuron_devices"][0].update(mem_ecc_uncorrected="many")
    assert sum(ecc_events([shown]).values()) == 0


def test_the_monitor_is_asked_for_the_hardware_counters_every_second(machine):
    monitor(machine, report((0, 0)))
    with Monitor(machine.host) as running:
        assert running.wait_for_next(3)[0] == report((0, 0))
    assert json.loads((machine.root / "settings").read_text()) == {
        "period": "1s", "neuron_runtimes": [], "system_metrics": [{"type": "neuron_hw_counters"}]}


def test_the_monitor_ends_with_the_block(machine):
    monitor(machine, report((0, 0)))
    with pytest.raises(KeyboardInterrupt), Monitor(machine.host) as running:
        running.wait_for_next(3)
        raise KeyboardInterrupt
    assert ended(machine.root / "pid") and running.reports()


def test_the_monitor_ends_when_the_process_that_watches_is_killed(machine):
    monitor(machine, report((0, 0)))
    code = ("import sys, time; from pathlib import Path; from model.neuron.machine.host import Host; "
            "from model.neuron.machine.monitor import Monitor; m = Monitor(Host(Path(sys.argv[1]), {})).__enter__(); "
            "print(bool(m.wait_for_next(5)), flush=True); time.sleep(60)")
    watcher = subprocess.Popen([sys.executable, "-c", code, str(machine.root)], stdout=subprocess.PIPE, text=True,
                               cwd=Path(__file__).parents[4])
    with watcher:
        watched = watcher.stdout.readline()
        watcher.send_signal(signal.SIGKILL)
    assert watched == "True\n" and ended(machine.root / "pid")


def test_lines_that_are_no_reports_are_left_out(machine):
    machine.tool("neuron-monitor", 'no JSON\n[1]\n\n{"a": 1}\n{"half": ')
    with Monitor(machine.host) as running:
        running.wait_for_next(3)
        time.sleep(0.2)
    assert running.reports() == [{"a": 1}]


def test_a_silent_monitor_is_not_waited_for_longer_than_told(machine):
    machine.script(f"{TOOLS}/neuron-monitor", "#!/bin/sh\nexec /bin/sleep 100\n")
    begin = time.monotonic()
    with Monitor(machine.host) as running:
        assert running.wait_for_next(0.2) == []
    assert time.monotonic() - begin < PATIENCE


@pytest.mark.parametrize("script, problem", [
    (None, "neuron-monitor is not installed"), ("no program", "neuron-monitor cannot be run: Exec format error"),
])
def test_a_monitor_that_is_not_there_says_so(machine, script, problem):
    if script:
        machine.script(f"{TOOLS}/neuron-monitor", script)
    begin = time.monotonic()
    with Monitor(machine.host) as running:
        assert running.wait_for_next(2 * PATIENCE) == [] and running.problem == problem
    assert time.monotonic() - begin < PATIENCE


def test_a_watch_over_which_nothing_happened_has_nothing_to_tell(machine):
    monitor(machine, report((0, 0), (0, 0)))
    machine.count("hw_error", 4)  # long ago
    with Watch(machine.host) as watch:
        machine.count("success", 1000)
    assert (watch.errors, watch.unwatched) == ([], [])


def test_a_watch_names_errors_of_cores_and_of_memory(machine):
    monitor(machine, report((0, 0), (2, 0)), report((0, 0), (0, 0)))
    with Watch(machine.host) as watch:
        machine.count("execute_completed_with_num_error", 7, index=1, core=3)
    assert watch.unwatched == []
    assert watch.errors == ["neuron1/mem_ecc_uncorrected rose by 2",
                            "neuron1/neuron_core3/execute_completed_with_num_error rose by 7 to 7"]


def test_a_watch_sees_what_the_last_period_reports(machine):
    """The tool reports a period when it is over, which may be after the block."""
    first, second = (machine.write(name, json.dumps(shown) + "\n") for name, shown in
                     {"first": report((0, 0)), "second": report((1, 0))}.items())
    machine.script(f"{TOOLS}/neuron-monitor",
                   f"#!/bin/sh\n/bin/cat {first}\n/bin/touch {machine.root}/shown\n/bin/sleep 0.6\n/bin/cat {second}\n")
    with Watch(machine.host) as watch:
        until((machine.root / "shown").exists)
        time.sleep(0.1)
    assert watch.errors == ["neuron0/mem_ecc_uncorrected rose by 1"]


def test_a_device_that_vanishes_is_an_error(machine):
    monitor(machine, report((0, 0)))
    with Watch(machine.host) as watch:
        for path in (machine.root / SYSFS / "neuron1").rglob("total"):
            path.unlink()
    assert len(watch.errors) == 16 and watch.errors[0].startswith("neuron1/neuron_core0/")


UNWATCHED = {
    "no tool": (None, "memory errors (ECC): neuron-monitor is not installed"),
    "no report": ("#!/bin/sh\nexit 1\n", "memory errors (ECC): neuron-monitor reported no device"),
    "no device": ("#!/bin/sh\necho '{\"system_data\": {\"neuron_hw_counters\": {\"neuron_devices\": null}}}'\n",
                  "memory errors (ECC): neuron-monitor reported no device"),
}


@pytest.mark.parametrize("script, clause", UNWATCHED.values(), ids=UNWATCHED)
def test_a_watch_says_what_nothing_told_of(machine, script, clause):
    if script:
        machine.script(f"{TOOLS}/neuron-monitor", script)
    with Watch(machine.host) as watch:
        pass
    assert (watch.errors, watch.unwatched) == ([], [clause])


def test_device_nodes_without_counters_leave_all_unwatched(tmp_path):
    machine = Planted(tmp_path)
    machine.write("dev/neuron0")
    with Watch(machine.host) as watch:
        pass
    assert watch.unwatched == ["errors of the cores: the driver has no counters under /sys",
                               "memory errors (ECC): neuron-monitor is not installed"]


def test_no_monitor_runs_where_the_driver_counts_memory_errors(machine):
    monitor(machine, report((9, 9)))
    machine.write(f"{SYSFS}/neuron0/stats/hardware/mem_ecc_uncorrected", "1\n")
    with Watch(machine.host) as watch:
        machine.write(f"{SYSFS}/neuron0/stats/hardware/mem_ecc_uncorrected", "2\n")
    assert watch.errors == ["neuron0/mem_ecc_uncorrected rose by 1 to 2"] and not (machine.root / "pid").exists()


def test_a_watch_on_a_machine_without_devices_costs_nothing(tmp_path):
    machine = Planted(tmp_path)
    monitor(machine, report((9, 9)))
    with Watch(machine.host) as watch:
        pass
    assert (watch.errors, watch.unwatched) == ([], []) and not (machine.root / "pid").exists()


def test_this_machine_can_be_watched():
    assert isinstance(counters.totals(), dict)
