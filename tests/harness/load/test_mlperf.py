"""MLPerf's scenarios by LoadGen itself: valid ones, failures that it cannot see, and logs that prove nothing."""
from __future__ import annotations

import _thread
import json
import threading
from importlib.util import find_spec
from time import perf_counter, sleep
from types import SimpleNamespace

import pytest

from harness.load import mlperf, mlperf_plan
from harness.load.generator import LoadPattern
from harness.load.mlperf import INVALID, PACKAGE, SCENARIOS, VALID, run_scenario
from harness.load.mlperf_log import LOG, LogError, read_log

needs_loadgen = pytest.mark.skipif(
    not find_spec("mlperf_loadgen"), reason=f"MLPerf's LoadGen is not installed: pip install '{PACKAGE}'"
)
SAMPLES = [(i, b"image %d" % i) for i in range(20)]
SERVICE = 0.002  # seconds
SOON = 60  # seconds in which whatever ends at all has ended, on a busy machine too
# Bounds and slack that a busy machine keeps; Offline waits for whole batches, of which few are needed.
RUNS = {
    "SingleStream": dict(pattern=LoadPattern(1, 1)),
    "MultiStream": dict(pattern=LoadPattern(2, 8)),
    "Server": dict(pattern=LoadPattern(4, 4, rate=1000.0), latency_bound=10.0),
    "Offline": dict(pattern=LoadPattern(2, 4)),
}


def respond(images, error=""):
    return [SimpleNamespace(error=error, saw=image) for image in images]


def slow(images):
    sleep(SERVICE)
    return respond(images)


def run(detect, scenario="SingleStream", samples=SAMPLES, **options):
    return run_scenario(detect, samples, scenario, **{"seconds": 0.3, **RUNS[scenario], **options})


@pytest.fixture(autouse=True)
def short_trial(monkeypatch):
    monkeypatch.setattr(mlperf, "SHORTEST_TRIAL", 0.2)
    monkeypatch.setattr(mlperf, "LONGEST_TRIAL", 0.5)  # of runs that would be long if they did not end early


# What LoadGen finds valid.


@needs_loadgen
@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Server"])
def test_a_steady_detector_is_valid_and_no_latency_is_below_its_own(scenario):
    result = run(slow, scenario)
    percentiles = [result.figures[f"P{p}_seconds"] for p in (50, 90, 99, "99.9")]
    assert result.verdict == VALID, result.evidence
    assert percentiles[0] >= SERVICE and percentiles == sorted(percentiles)
    assert result.failed == [] and result.answered == result.requests


@needs_loadgen
def test_a_steady_detector_is_valid_offline_and_no_faster_than_it_can_be(monkeypatch):
    monkeypatch.setattr(mlperf, "SHORTEST_TRIAL", 0.5)
    result = run(lambda images: sleep(0.02) or respond(images), "Offline")
    assert result.verdict == VALID, result.evidence
    assert 0 < result.figures["images_per_second"] <= 8 / 0.02


@needs_loadgen
def test_each_image_keeps_the_first_detections_that_it_got_under_load():
    result = run(slow)
    assert {image_id: found.saw for image_id, found in result.detections.items()}.items() <= dict(SAMPLES).items()
    assert len(result.detections) > len(SAMPLES) / 2


@needs_loadgen
@pytest.mark.parametrize("scenario", ["MultiStream", "Server", "Offline"])
def test_no_batch_is_larger_than_asked_for(scenario):
    sizes, rate = set(), RUNS[scenario]["pattern"].rate
    run(lambda images: sizes.add(len(images)) or slow(images), scenario, pattern=LoadPattern(4, 3, rate))
    assert max(sizes) == 3


@needs_loadgen
def test_the_evidence_names_loadgen_and_says_that_a_short_run_is_not_comparable():
    evidence = run(slow).evidence
    assert evidence.startswith("MLPerf SingleStream by LoadGen 6.") and "1 caller × batch 1; P90 " in evidence
    assert evidence.endswith("shorter than MLPerf's 600 s: not comparable")


@needs_loadgen
def test_the_same_seeds_give_the_same_order_and_others_another(monkeypatch):
    def order():
        seen = []
        result = run(lambda images: seen.extend(images) or slow(images))
        return seen[-result.requests:][:64]  # what came before was the warm-up

    first, second = order(), order()
    monkeypatch.setattr(mlperf_plan, "SEEDS", {name: seed + 1 for name, seed in mlperf_plan.SEEDS.items()})
    assert first == second != order()


@needs_loadgen
def test_the_logs_stay_in_the_folder_that_was_named(tmp_path):
    run(slow, folder=tmp_path / "new" / "logs")
    log = read_log(tmp_path / "new" / "logs")
    assert log.values["effective_qsl_rng_seed"] == mlperf_plan.SEEDS["qsl_rng_seed"] and log.errors == []


@needs_loadgen
def test_an_audit_file_in_the_working_directory_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "audit.config").write_text("*.*.min_query_count = 100000\n*.*.mode = 1\n")
    monkeypatch.chdir(tmp_path)
    run(slow, folder=tmp_path)
    values = read_log(tmp_path).values
    assert (values["effective_min_query_count"], values["effective_test_mode"]) == (64, "PerformanceOnly")


# What it does not, and what it cannot see.


@needs_loadgen
def test_a_server_at_an_impossible_rate_is_invalid_with_what_loadgen_recommends():
    result = run(slow, "Server", pattern=LoadPattern(1, 1, rate=2000.0), latency_bound=0.005)
    assert result.verdict == INVALID and result.failed == []
    assert "LoadGen says INVALID for the latency bound, early stopping: Reduce target QPS" in result.evidence
    assert "more queries" in result.evidence and result.figures["P99_seconds"] > 0.005


@pytest.mark.slow
@needs_loadgen
def test_a_backlog_without_end_is_given_up():
    pattern = LoadPattern(1, 1, rate=5000.0)
    result = run(slow, "Server", pattern=pattern, latency_bound=0.005, seconds=100.0, deadline=3.0)
    assert result.verdict == INVALID and result.figures == {}
    assert "images waited: 5000 a second are too many" in result.evidence


@pytest.fixture
def under_load(monkeypatch):
    """Makes a detector of a healthy one and of one that takes over some calls after the warm-up."""
    warmed, calls, drive = threading.Event(), iter(range(10**9)), mlperf.drive

    def warm_up(*arguments, **options):
        load = drive(*arguments, **options)
        warmed.set()
        return load

    monkeypatch.setattr(mlperf, "drive", warm_up)
    return lambda broken: lambda images: broken(images) if warmed.is_set() and next(calls) >= 20 else slow(images)


def explode(images):
    raise RuntimeError("device lost")


BROKEN = [
    (explode, "RuntimeError: device lost"),
    (lambda images: respond(images)[1:], "detect returned 0 responses for 1 images; it must return a list, one for"),
    (lambda images: None, "detect returned a NoneType for 1 images"),
    (lambda images: respond(images, error="cut short"), "cut short"),
    (lambda images: [object()] * len(images), "no Detections"),
]


@needs_loadgen
@pytest.mark.parametrize(("broken", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_broken_response_makes_the_result_invalid_and_has_no_figures(under_load, broken, words):
    result = run(under_load(broken))
    assert result.verdict == INVALID and result.figures == {} and 0 < result.answered < result.requests
    assert words in result.failed[0] and f"failed: {result.failed[0]}" in result.evidence


@needs_loadgen
@pytest.mark.parametrize("scenario", ["MultiStream", "Server", "Offline"])
def test_a_detector_that_raises_is_invalid_in_every_scenario(under_load, scenario):
    result = run(under_load(explode), scenario)
    assert result.verdict == INVALID and "× RuntimeError: device lost" in result.evidence


@needs_loadgen
def test_one_failed_image_makes_invalid_what_loadgen_calls_valid(under_load, tmp_path):
    faults = iter([explode])
    detect = under_load(lambda images: next(faults, slow)(images))
    result = run(detect, "Server", folder=tmp_path)
    assert read_log(tmp_path).values["result_validity"] == VALID
    assert result.verdict == INVALID and "× RuntimeError: device lost" in result.evidence


@pytest.fixture
def hang():
    """A detector that hangs, until the test is over: what it detections then must not reach LoadGen any more."""
    release = threading.Event()
    yield lambda images: release.wait(SOON) and respond(images)
    release.set()
    sleep(0.05)


@needs_loadgen
@pytest.mark.parametrize("scenario", [
    pytest.param(name, marks=[pytest.mark.slow] * (name in ("MultiStream", "Offline"))) for name in SCENARIOS])
def test_a_hung_call_ends_the_run_soon_after_its_deadline(under_load, hang, scenario):
    start = perf_counter()
    result = run(under_load(hang), scenario, seconds=100.0 if scenario == "Server" else 5.0, deadline=0.5)
    assert perf_counter() - start < SOON
    assert result.verdict == INVALID and "× no response within 0.5 s" in result.failed[0]
    assert run(slow).verdict == VALID


@needs_loadgen
@pytest.mark.parametrize("broken", [explode, lambda images: respond(images, error="device lost")])
def test_a_detector_that_fails_in_the_warm_up_is_not_given_to_loadgen(broken):
    result = run(broken)
    assert (result.verdict, result.requests) == (INVALID, 0)
    assert "was not started, because the detector failed in the warm-up: " in result.evidence
    assert "device lost" in result.evidence


@needs_loadgen
def test_what_a_caller_cannot_survive_ends_the_run(under_load):
    def interrupted(images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(under_load(interrupted))
    assert run(slow).verdict == VALID


@needs_loadgen
def test_an_interrupt_ends_the_run_and_leaves_loadgen_fit_for_the_next(under_load):
    interrupts = iter([_thread.interrupt_main])
    with pytest.raises(KeyboardInterrupt):
        run(under_load(lambda images: next(interrupts, bool)() or slow(images)), seconds=10.0)
    assert run(slow).verdict == VALID


@needs_loadgen
def test_an_unreadable_image_is_the_error_of_the_run(made_up_dataset):
    (made_up_dataset.images / "8.jpg").unlink()
    with pytest.raises(ValueError, match=r"8\.jpg: cannot be read"):
        run(slow, samples=made_up_dataset)


@needs_loadgen
def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_sent(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/logs: LoadGen cannot write its logs there"):
        run(lambda images: pytest.fail("was sent"), folder=tmp_path / "file" / "logs")


@needs_loadgen
def test_two_scenarios_at_once_are_an_error():
    with mlperf._in_use, pytest.raises(RuntimeError, match="already runs another scenario in this process"):
        run(slow)


# Logs.


def line(key, value, is_error=False):
    entry = {"key": key, "value": value, "metadata": {"is_error": is_error, "is_warning": False}}
    return f":::MLLOG {json.dumps(entry)}\n"


WHOLE = line("loadgen_version", "6.0.17 @ d6147c7eb7") + line("result_validity", VALID) + line("num_errors", 0)


def test_a_log_that_was_cut_short_anywhere_is_an_error_that_names_it(tmp_path):
    for length in range(len(WHOLE) - 1):
        (tmp_path / LOG).write_text(WHOLE[:length])
        with pytest.raises(LogError, match=rf"{LOG}: (ends after|line \d is damaged)"):
            read_log(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b":::MLLOG []\n", b":::MLLOG {\"key\": 1}\n", b"no log at all\n"])
def test_a_damaged_log_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / LOG).write_bytes(content)
    with pytest.raises(LogError, match=LOG):
        read_log(tmp_path)


def test_a_missing_log_is_an_error_that_names_it(tmp_path):
    with pytest.raises(LogError, match=rf"{LOG}: cannot be read \(No such file"):
        read_log(tmp_path)


def test_what_loadgen_reports_as_errors_is_kept(tmp_path):
    (tmp_path / LOG).write_text(line("error_runtime", "Ending early", is_error=True) + WHOLE)
    assert read_log(tmp_path).errors == ["Ending early"]
