"""What a soak's journal shows of detectors and machines that are steady, and of those that are not, each in its way."""
from __future__ import annotations

import json
import tracemalloc
from itertools import chain, repeat

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.load.generator import Request, rates
from harness.machine.noise import Conditions
from harness.soak.causes import NOTHING, UNSEEN, deviations
from harness.soak.journal import JournalError
from harness.soak.reader import JournalReader, summarise
from harness.soak.result import Session, SoakResult, Window
from harness.soak.schema import Entry
from harness.stats.spread import spread
from tests.harness.estimates import low_value_high
from tests.harness.soaks import CONDITIONS, LATENCY, PAUSE, finished, journal, requests, soak_of, started, window


@pytest.fixture
def made_up_soak(tmp_path):
    """A function: as `soak_of`."""
    return lambda *differing, **options: soak_of(tmp_path / "soak.journal", *differing, **options)


@pytest.fixture
def summary(tmp_path):
    """A function: records → what they show."""
    return lambda records: summarise(journal(tmp_path / "soak.journal", records))


def at(places, **differing):
    """What is different in these windows."""
    return lambda number: differing if number in places else {}


def test_a_steady_soak_is_steady(made_up_soak):
    steady = made_up_soak()
    assert (len(steady.windows), steady.incomplete_windows, steady.finished) == (40, 0, "complete")
    assert steady.images_per_second.value == pytest.approx(200, rel=0.01)
    assert [steady.percentiles[name].value for name in ("P50", "P99")] == pytest.approx([LATENCY] * 2, rel=0.001)
    assert (steady.requests, steady.images, steady.failed_requests, steady.interruptions) == (8048, 8048, 0, 0)
    assert steady.fps_spread.high < 0.001 and steady.worst_P99_over_P50 < 1.01
    assert steady.longest_gap == pytest.approx(LATENCY, rel=0.01)
    assert steady.drift.value == pytest.approx(0, abs=1e-6) and low_value_high(steady.memory_growth) == (0, 0, 0)
    assert steady.deviations == []


def test_everything_of_it_is_strict_json(made_up_soak):
    record = json.loads(json.dumps(made_up_soak(at([7], latency=0.02)).as_record(), allow_nan=False))
    assert len(record["windows"]) == 40 and record["windows"][6]["P50"] == pytest.approx(0.02, rel=0.001)
    assert {"planned", "drift", "explanation", "percentiles", "latencies", "sessions", "deviations"} <= set(record)


def test_a_slow_window_widens_the_spread_and_is_named(made_up_soak):
    found = made_up_soak(at([7], latency=0.0125))
    assert found.fps_spread.value == pytest.approx(10 / 40 * 40 / 199, rel=0.01)  # as a quarter of all choices
    assert (found.worst_window.number, found.worst_P99_over_P50) == (7, pytest.approx(1.25, rel=0.01))
    (only,) = found.deviations
    assert (only.window, only.difference) == (7, "20.0% fewer images/s, P99 12.5 ms, usually 10.0 ms")


def on_gpu(**figures):
    """The sample of a GPU at work, but for these figures of GPU 0; None leaves one out."""
    usual = {"celsius": 62.0, "mhz": 1500.0, "memory_mhz": 5000.0, "watts": 68.0, "busy": 0.97, "lost": 0.0,
             "thermal_throttling": 0.0, "power_throttling": 1.0, "hardware_slowdown": 0.0}
    return {"extra": {f"gpu0/{name}": value for name, value in {**usual, **figures}.items() if value is not None}}


THROTTLED = {
    "thermal": ({"thermal_throttling": 0.8, "mhz": 900.0, "celsius": 89.0},
                "thermal throttling of GPU 0 rose to 80% of the time (usually 0% of the time); the clock of GPU 0 fell "
                "to 900 MHz (usually 1500 MHz); the temperature of GPU 0 rose to 89 °C (usually 62 °C)"),
    "hardware": ({"hardware_slowdown": 1.0}, "hardware slowdown of GPU 0 rose to 100% of the time"),
    "lost": ({**dict.fromkeys(("celsius", "mhz", "memory_mhz", "watts", "busy"), None), "lost": 1.0},
             "the share of time for which GPU 0 was lost rose to 100% (usually 0%)"),
    "memory clock": ({"memory_mhz": 405.0}, "the memory clock of GPU 0 fell to 405 MHz (usually 5000 MHz)"),
    "idle, because the detector was": ({"mhz": None, "memory_mhz": None, "watts": 30.0, "busy": 0.2}, NOTHING),
    "at its power limit as always": ({}, NOTHING),
}


@pytest.mark.parametrize("case", THROTTLED)
def test_what_a_gpu_reported_explains_a_slow_window(made_up_soak, case):
    figures, words = THROTTLED[case]
    found = made_up_soak(lambda number: on_gpu(), at([7], latency=0.0125, **on_gpu(**figures)))
    (only,) = found.deviations
    assert only.window == 7 and only.cause.startswith(words)
    assert not any(name.startswith("gpu") for window in found.windows for name in window.rose)


def test_a_gpu_that_cools_down_does_not_explain_a_slow_window(made_up_soak):
    (only,) = made_up_soak(lambda number: on_gpu(thermal_throttling=1.0),
                   at([7], latency=0.0125, **on_gpu(celsius=40.0, mhz=1600.0))).deviations
    assert only.cause == NOTHING


def test_another_gpu_is_named_by_its_own_number(made_up_soak):
    (only,) = made_up_soak(lambda number: {"extra": {"gpu11/thermal_throttling": float(number == 7)}},
                   at([7], latency=0.0125)).deviations
    assert only.cause == "thermal throttling of GPU 11 rose to 100% of the time (usually 0% of the time)"


def test_figures_of_a_gpu_are_means_over_the_time_of_their_samples(summary):
    *before, sample, closing = window(1)
    samples = [{**sample, "at": at, "seconds": seconds, "extra": extra} for at, seconds, extra in (
        (0.4, 0.3, {"gpu0/celsius": 60.0, "gpu0/mhz": 1000.0}), (0.9, 0.1, {"gpu0/celsius": 80.0}))]
    [only] = summary([started(windows=1), *before, *samples, closing]).windows
    assert only.gauges == pytest.approx({"gpu0/celsius": 65.0, "gpu0/mhz": 1000.0}) and only.rose == {}


def test_a_stall_is_the_longest_gap(made_up_soak):
    found = made_up_soak(at([12], stall=0.4))
    assert found.longest_gap == pytest.approx(0.41, abs=0.001)
    (only,) = found.deviations
    assert only.window == 12 and "no response for 0.41 s" in only.difference and only.cause == NOTHING


def test_a_stall_of_one_caller_is_no_gap_while_others_are_answered(summary):
    records = window(1, at=1.0)
    records[1:-2] = [entry for entry in records[1:-2] if entry.caller == 0 or entry.end < 1.3]
    assert summary([started(windows=1), *records]).longest_gap == pytest.approx(LATENCY, rel=0.01)


def test_a_window_without_an_answer_at_its_end_is_a_gap(summary):
    records = window(1, at=1.0)
    records[1:-2] = [entry for entry in records[1:-2] if entry.end < 1.3]
    assert summary([started(windows=1), *records]).longest_gap == pytest.approx(0.71, abs=0.02)


def test_a_detector_that_throttles_by_degrees_drifts(made_up_soak):
    found = made_up_soak(lambda number: {"latency": LATENCY / (1 - 0.2 * (number - 1) / 39)})
    assert found.drift.value == pytest.approx(0.2, abs=0.01)
    assert 0.15 < found.drift.low <= found.drift.value <= found.drift.high < 0.25


def test_one_slow_window_is_no_drift(made_up_soak):
    assert made_up_soak(at([40], latency=0.05)).drift.value == pytest.approx(0, abs=0.001)


def test_a_leak_grows_with_the_hours(made_up_soak):
    found = made_up_soak(lambda number: {"rss": 1e8 + 1e6 * number})
    assert found.memory_growth_per_hour.value == pytest.approx(1e6 * 3600 / (1 + PAUSE), rel=0.01)
    assert found.memory_growth.value == pytest.approx(33e6, rel=0.02)


def test_memory_that_is_taken_at_the_start_is_not_growth(made_up_soak):
    assert made_up_soak(lambda number: {"rss": 1e8 + 1e8 * min(number, 4)}).memory_growth.high == 0


def test_a_step_in_the_middle_is_growth_though_it_has_no_slope(made_up_soak):
    found = made_up_soak(lambda number: {"rss": 1e8 + 5e8 * (number > 36)})
    assert (found.memory_growth.low, found.memory_growth_per_hour.value) == (5e8, 0)


def test_memory_is_not_compared_between_processes(summary):
    first = chain.from_iterable(window(number, rss=1e8 + 1e6 * number) for number in range(1, 21))
    second = chain.from_iterable(
        window(number, rss=5e7 + 1e6 * number, at=1.05 * (number - 20)) for number in range(21, 41)
    )
    found = summary([started(), *first, started(session=2), *second])
    assert found.memory_growth.value == pytest.approx(2 * 17e6, rel=0.1)
    assert found.memory_growth_per_hour.value == pytest.approx(1e6 * 3600 / 1.05, rel=0.05)


def test_memory_that_nobody_told_of_is_unknown(made_up_soak):
    found = made_up_soak(lambda number: {"rss": None})
    assert (found.memory_growth, found.memory_growth_per_hour) == (None, None)


CAUSES = {
    "steal": (dict(steal=0.12), "steal rose to 12.0% (usually 0.1%)"),
    "disk": (dict(iowait=0.3), "waiting for disks rose to 30.0% (usually 0.0%)"),
    "neighbour": (dict(others=1.2), "the use by other processes rose to 1.2 cores (usually 0.1 cores)"),
    "frequency": (dict(mhz=2100.0), "the processor's frequency fell to 2100 MHz (usually 3000 MHz)"),
    "heat": (dict(celsius=91.0), "temperature rose to 91 °C (usually 50 °C)"),
    "memory": (dict(available=1e8), "free memory fell to 100 MB (usually 8000 MB)"),
    "device": (dict(extra={"neuron0/hw_error": 3}), "neuron0/hw_error rose by 3"),
    "nothing": ({}, NOTHING),
    "better": (dict(steal=0.0, mhz=3300.0), NOTHING),
}


@pytest.mark.parametrize("case", CAUSES)
def test_what_the_machine_did_meanwhile_explains_a_slow_window(made_up_soak, case):
    sample, words = CAUSES[case]
    (only,) = made_up_soak(at([20], latency=0.0125, **sample)).deviations
    assert (only.window, only.cause) == (20, words)


@pytest.mark.parametrize(("conditions", "words"), [
    ({"reference": 0.0015}, "the reference workload's time rose to 1.50 ms (usually 1.00 ms)"),
    ({"waited": 0.4}, "the share of time for which its threads waited for a core rose to 40% (usually 2%)"),
])
def test_what_was_seen_beside_the_load_explains_a_slow_window(made_up_soak, conditions, words):
    (only,) = made_up_soak(at([20], latency=0.0125, conditions=conditions)).deviations
    assert (only.window, only.cause) == (20, words)


def test_a_fast_window_is_explained_by_what_made_it_fast(made_up_soak):
    found = made_up_soak(lambda number: dict(latency=0.0125, others=1.0), at([20], latency=0.01, others=0.0, steal=0.5))
    (only,) = found.deviations
    assert only.difference == "25.0% more images/s"
    assert only.cause == "the use by other processes fell to 0.0 cores (usually 1.0 cores)"


def test_a_noisy_machine_is_told_from_a_noisy_detector(made_up_soak):
    conditions = {"others": 0.24, "waited": 0.25}
    machine = made_up_soak(at(range(15, 19), latency=0.0125, conditions=conditions, others=1.1))
    detector = made_up_soak(at(range(15, 19), latency=0.0125))
    assert machine.fps_spread == detector.fps_spread
    machines, detectors = ([spread(one.explanation.without_noise(one.rates)).value, one.fps_spread.value]
                           for one in (machine, detector))
    assert machines[0] < 0.1 * machines[1] and detectors[0] == pytest.approx(detectors[1], rel=0.05)
    assert {one.cause for one in detector.deviations} == {NOTHING}
    assert NOTHING not in {one.cause for one in machine.deviations}


def test_fewer_than_five_windows_have_nothing_usual(made_up_soak):
    assert made_up_soak(at([2], latency=0.05), count=4).deviations == []


def test_windows_that_know_nothing_of_the_machine_deviate_all_the_same(made_up_soak):
    unknown = dict(steal=None, iowait=None, others=None, mhz=None, celsius=None, available=None)
    seen = dict.fromkeys(("reference", "others", "steal", "waited"))
    (only,) = made_up_soak(lambda number: dict(unknown, conditions=seen), at([9], latency=0.02)).deviations
    assert (only.window, only.cause) == (9, UNSEEN)
    assert deviations([]) == []


times = st.floats(0, 3).map(lambda seconds: round(seconds, 6))


@given(st.lists(st.tuples(st.integers(0, 3), times, times, st.integers(0, 8)), min_size=1, max_size=30), times)
def test_images_a_second_are_those_of_the_load_generator(found, opened):
    entries = [Entry(caller, opened + start, opened + start + length, 8, answered, "", 0)
               for caller, start, length, answered in found]
    begun = min(entry.start for entry in entries)
    reader = JournalReader()
    for record in [started(), {"kind": "opening", "at": opened}, *entries]:
        reader.add(record)
    reader.add({"kind": "window", "number": 1, "start": begun, "end": opened + 1, "conditions": CONDITIONS})
    assume(begun < opened + 1)
    sent = [Request(e.caller, (0,) * 8, e.start, e.start, e.end, e.answered, "") for e in entries]
    assert reader.result().rates == pytest.approx(rates(sent, [begun, opened + 1]), rel=1e-6, abs=1e-6)


def test_a_sample_belongs_to_the_window_that_holds_its_middle(summary):
    unknown = dict.fromkeys(("steal", "iowait", "load", "mhz", "celsius", "available", "rss"))
    late = {"kind": "sample", "at": 3.2, "seconds": 1.0, **unknown, "others": 0.7, "extra": {}}
    first, second = window(1, at=2.0), window(2, at=3.05)
    found = summary([started(windows=2), *first[:-2], first[-1], second[0], late, *second[1:]])
    assert [one.others for one in found.windows] == pytest.approx([0.7, 0.1])


def test_requests_in_an_open_loop_count_from_when_they_were_due(summary):
    records = [{"kind": "opening", "at": 1}, Entry(0, 1.5, 1.6, 1, 1, "", 0.2),
               {"kind": "window", "number": 1, "start": 1.5, "end": 2.0, "conditions": CONDITIONS}]
    assert summary([started(windows=1), *records]).windows[0].longest_latency == pytest.approx(0.3)


def test_a_window_without_a_request_has_no_latency(summary):
    found = summary([started(windows=1), window(1)[0], window(1)[-1]])
    assert (found.rates, found.windows[0].P99, found.percentiles, found.worst_P99_over_P50) == ([0.0], None, {}, None)
    assert json.dumps(found.as_record(), allow_nan=False)


def test_images_without_an_answer_of_their_own_are_lost(summary):
    records = window(1)
    records[3] = records[3]._replace(images=4)
    found = summary([started(windows=1), *records])
    assert (found.lost_images, found.images) == (3, 200)


FAILED = Entry(1, 2.0, 2.5, 1, 0, "WorkerError: it has died", 0)


def test_a_failed_request_is_counted_with_the_first_error(summary):
    errors = [FAILED, FAILED._replace(error="another")]
    found = summary([started(), *window(1), *window(2)[:20], *errors, finished("failed")])
    assert (found.failed_requests, found.first_error, found.finished) == (2, "WorkerError: it has died", "failed")
    assert (len(found.windows), found.incomplete_windows, found.discarded_requests) == (1, 39, 19)


def test_a_failed_warm_up_is_not_forgotten(summary):
    found = summary([started(), FAILED, finished("failed")])
    assert (found.failed_requests, found.requests, found.images_per_second) == (1, 0, None)


def test_a_session_that_was_cut_short_leaves_its_complete_windows(summary):
    before, after = [*window(1), *window(2), *window(3)[:30]], [*window(3, at=0.05), *window(4, at=1.1)]
    found = summary([started(), *before, started(session=2), *after])
    assert [(one.number, one.windows, round(one.seconds, 2)) for one in found.sessions] == [(1, 2, 2.15), (2, 2, 2.1)]
    assert ([one.session for one in found.windows], found.interruptions) == ([1, 1, 2, 2], 1)
    assert (found.discarded_requests, found.finished, found.incomplete_windows) == (29, "", 36)


def test_only_a_start_is_a_soak_without_windows(summary):
    found = summary([started()])
    assert (found.windows, found.incomplete_windows, found.sessions[0].windows) == ([], 40, 0)
    assert (found.drift, found.longest_gap, found.fps_spread, found.memory_growth) == (None,) * 4
    assert json.dumps(found.as_record(), allow_nan=False)


@pytest.mark.parametrize("records", [[*window(1), *window(1)], [*window(2)], [*window(1)[1:]]],
                         ids=["twice", "out of turn", "without an opening"])
def test_windows_that_are_not_those_of_one_soak_are_refused(summary, records):
    with pytest.raises(JournalError, match=r"line \d+: (window . is journaled where window|a window opens at 0)"):
        summary([started(), *records])


@pytest.mark.parametrize("minutes", [120, 30, 15])
def test_a_loss_each_hour_is_read_however_often_the_soak_was_resumed(minutes):
    each = round(minutes * 60 / 30)
    found = rows(240, lambda number: 100 * (1 - 0.2 * (number % each) * 30 / 3600), lambda number: number // each)
    assert found.drift.value == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("minutes", [120, 30, 15])
def test_a_leak_each_hour_is_read_however_often_the_soak_was_resumed(minutes):
    each = round(minutes * 60 / 30)
    found = rows(240, lambda number: 100 + number % 2, lambda number: number // each,
                 lambda number: 1e8 + 40e6 * (number % each) * 30 / 3600)
    low, value, high = low_value_high(found.memory_growth)
    assert low <= value <= high and (low, high) == pytest.approx((40e6, 40e6), rel=0.01)


def test_memory_that_rises_and_falls_in_a_long_soak_has_bounds():
    sizes = 1e8 + np.random.default_rng(1).normal(0, 5e6, 240)
    found = rows(240, lambda number: 100.0, rss=lambda number: float(sizes[number]))
    low, _, high = low_value_high(found.memory_growth)
    assert low <= 0 <= high and -5e6 < low < high < 5e6


def rows(count, rate, session=lambda number: 0, rss=lambda number: 1e8) -> SoakResult:
    """A soak of so many windows of 30 s, from functions of their numbers; each session's time counts from 0."""
    windows, seconds = [], {}
    for number in range(count):
        own = session(number)
        start = seconds[own] = seconds.get(own, -30.0) + 30
        windows.append(Window(number + 1, own, start, 30.0, 1, 1, rate(number), 0.01, 0.01, 0.01, 0.01, 0.01,
                              Conditions(**CONDITIONS), rss=rss(number)))
    sessions = [Session(number, "", 0.0, 0) for number in seconds]
    plan = {"windows": count, "seconds": 30.0 * count}
    return SoakResult(plan=plan, sessions=sessions, windows=windows)


def test_few_windows_have_no_bounds(made_up_soak):
    found = made_up_soak(count=3)
    assert (found.images_per_second.low, found.drift) == (None, None)


@pytest.mark.slow
def test_memory_stays_constant_over_a_million_requests():
    reader = JournalReader()
    reader.add(started(windows=1))
    reader.add({"kind": "opening", "at": 1})
    ends = 1 + np.random.default_rng(0).lognormal(-4, 0.3, 10_000)
    entries = [Entry(0, 1.0, end, 1, 1, "", 0) for end in ends.tolist()]
    tracemalloc.start()
    try:
        for entry in chain.from_iterable(repeat(entries, 100)):
            reader.add(entry)
        reader.add({"kind": "window", "number": 1, "start": 1, "end": 2, "conditions": CONDITIONS})
        assert reader.result().requests == 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_the_made_up_windows_are_what_they_say():
    assert len(requests(1.0)) == 200 and len(requests(1.0, stall=0.5)) == 100
