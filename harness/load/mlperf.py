"""MLPerf's scenarios, driven and judged by MLPerf's own load generator: figures that can be held against others'.

Scenarios and their rules: MLPerf Inference Rules (mlcommons/inference_policies), "Scenarios" and "Early Stopping".
LoadGen (mlcommons/inference, `pip install mlcommons-loadgen`) says when which image is due, takes the time, and calls
the run VALID or INVALID. It never looks at an answer: that is done here, and a failure makes the result INVALID.

LoadGen is C++, once in a process, and unforgiving: after an exception in a callback, or a folder that it cannot write
to, its next run ends the process, and a sample completed twice or after the run is written into freed memory.
"""
from __future__ import annotations

import json
import math
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition, Event, Lock, Thread
from time import perf_counter
from typing import Any, Callable, NamedTuple

from harness.load.generator import DEADLINE, Detect, Load, Shape, breach, drive, images_per_second
from harness.stats.percentiles import requests_needed

VALID, INVALID = "VALID", "INVALID"
SECONDS = 600.0  # of every scenario in MLPerf
PACKAGE = "mlcommons-loadgen>=6,<7"
ROUND = "v6.1"  # whose seeds stand in loadgen/mlperf.conf since mlcommons/inference pull request 2611
SEEDS = {
    "qsl_rng_seed": 2085463073848966840,
    "sample_index_rng_seed": 2747215439041700203,
    "schedule_rng_seed": 16159082839903944936,
}
OFFLINE_SAMPLES = 24576  # MLPerf's least, where the data set has as many
LOADED_SAMPLES = 1024  # images held in memory; MLPerf asks for 64 of an object detector at least
MOST_QUERIES = 500_000  # LoadGen makes twice as many in advance, of half a kilobyte each
SHORTEST_TRIAL, LONGEST_TRIAL = 0.5, 10.0  # seconds
OFFLINE_SLACK = 1.5  # a run that is too long is valid, one that is too short is not
FEW_WAITING = 10  # images, however low the rate
WATCH_SECONDS = 0.05
GRACE_SECONDS = 10.0  # for LoadGen to end after an interrupt
LOG = "mlperf_log_detail.txt"
LOGS = (LOG, "mlperf_log_summary.txt", "mlperf_log_accuracy.json", "mlperf_log_trace.json")
LINE = ":::MLLOG "
CHECKS = {
    "result_perf_constraints_met": "the latency bound",
    "result_min_duration_met": "the least duration",
    "result_min_queries_met": "the least number of queries",
    "early_stopping_met": "early stopping",
}

_in_use = Lock()


class LoadGenMissing(ImportError):
    """mlcommons-loadgen is not installed; the message says how to."""


class LogError(ValueError):
    """What LoadGen left cannot be judged; the message names the file and what is wrong with it."""


class Scenario(NamedTuple):
    """A scenario by LoadGen's name, the percentile of latency that it judges, and what it stands for.

    `figures` maps our name to the key in LoadGen's detail log, whose times are nanoseconds.
    """

    name: str
    percentile: int | None
    figures: dict[str, str]
    stands_for: str


def _latencies(key: str) -> dict[str, str]:
    return {f"P{p:g}_seconds": key.format(f"{p:.2f}") for p in (50, 90, 99, 99.9)}


SCENARIOS = {scenario.name: scenario for scenario in (
    Scenario(
        "SingleStream", 90,
        {**_latencies("result_{}_percentile_latency_ns"), "early_stopping_P90_seconds": "early_stopping_latency_ss",
         "images_per_second": "result_qps_with_loadgen_overhead"},
        "an image when the last one was answered: one user who waits",
    ),
    Scenario(
        "MultiStream", 99,
        {**_latencies("result_{}_percentile_per_query_latency_ns"),
         "early_stopping_P99_seconds": "early_stopping_latency_ms"},
        "eight images when the last eight were answered: a set of cameras",
    ),
    Scenario(
        "Server", 99,
        {**_latencies("result_{}_percentile_latency_ns"), "images_per_second": "result_completed_samples_per_sec"},
        "images at random times, each to be answered within a bound: a service on the network",
    ),
    Scenario("Offline", None, {"images_per_second": "result_samples_per_second"}, "all images at once: a batch job"),
)}


class Log(NamedTuple):
    """LoadGen's detail log: the last value of each key, and what it reported as errors."""

    values: dict[str, Any]
    errors: list[str]


@dataclass(frozen=True)
class ScenarioResult:
    """VALID only if LoadGen says so, reported no error, and every image was answered without one.

    `figures` are in seconds and images a second, none where an image failed; `requests` counts the images that LoadGen
    issued, `answered` those answered well, `failed` says in words what became of the others. `answers` holds the first
    answer to each image id, so that what was answered under load can be scored.
    """

    scenario: str
    verdict: str
    figures: dict[str, float]
    requests: int
    answered: int
    failed: list[str]
    evidence: str
    answers: dict[int, Any]


def run_scenario(
    detect: Detect, samples, scenario: str, shape: Shape, *, seconds: float = SECONDS,
    latency_bound: float | None = None, deadline: float = DEADLINE, folder: str | Path | None = None,
) -> ScenarioResult:
    """One run of a row of SCENARIOS for at least `seconds`, after a short one that warms up and says what to expect.

    Samples and `deadline` as in `drive`. `shape.callers` threads answer what was issued, in batches of up
    to `shape.batch_size`. Server, and it alone, needs `shape.rate`, images a second, and `latency_bound`, seconds that
    99 % must keep. A call that misses the deadline ends the run, and so does a backlog of more images than are due
    within the deadline twice. LoadGen's logs are kept in `folder` if there is one. Raises LoadGenMissing, LogError,
    ValueError for a bad argument, RuntimeError while another scenario runs, and what reading a sample raises.
    """
    plan = _Plan(_scenario(scenario), shape, seconds, latency_bound, deadline)
    _check(plan)
    loadgen = _loadgen()
    with _logs(folder) as logs:
        trial = _try(detect, samples, plan)
        failed = _failures(trial)
        if failed:
            return _not_begun(plan, trial, failed)
        service = _Service(loadgen, detect, *_loaded(samples), plan)
        _run(loadgen, service, _settings(loadgen, plan, trial, len(samples)), logs)
        return _result(plan, service, read_log(logs))


def read_log(folder: str | Path) -> Log:
    """The detail log that LoadGen left in a folder; LogError when it is missing, damaged or cut short."""
    path = Path(folder) / LOG
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror}); run the scenario again") from error
    entries = [_entry(path, number, line) for number, line in enumerate(lines, 1) if line.startswith(LINE)]
    values = {key: value for key, value, _ in entries}
    if values.get("result_validity") not in (VALID, INVALID) or "num_errors" not in values:
        raise LogError(f"{path}: ends after {len(lines)} lines without a result, LoadGen did not get to the end; "
                       "run the scenario again")
    return Log(values, [str(value) for _, value, is_error in entries if is_error])


def _entry(path: Path, number: int, line: str) -> tuple[str, Any, bool]:
    try:
        entry = json.loads(line[len(LINE):])
        return entry["key"], entry["value"], entry["metadata"]["is_error"]
    except (ValueError, TypeError, KeyError) as error:
        raise LogError(f"{path}: line {number} is damaged or cut short; run the scenario again") from error


class _Plan(NamedTuple):
    row: Scenario
    shape: Shape
    seconds: float
    latency_bound: float | None
    deadline: float

    @property
    def most_waiting(self) -> int:
        """Images that wait for a caller in the Server scenario when all is well."""
        return math.ceil((self.shape.rate or 0) * self.deadline) + FEW_WAITING


def _scenario(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise ValueError(f"scenario {name!r} is unknown; MLPerf has {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _check(plan: _Plan) -> None:
    is_server = plan.row.name == "Server"
    if not 0 < plan.seconds < math.inf:
        raise ValueError(f"seconds must be above 0, not {plan.seconds:g}")
    for name, value in (("rate", plan.shape.rate), ("latency_bound", plan.latency_bound)):
        if value is not None and not is_server:
            raise ValueError(f"{name} is for the Server scenario alone; leave it out for {plan.row.name}")
        if is_server and not 0 < (value or 0) < math.inf:
            raise ValueError(f"the Server scenario needs a {name} above 0, not {value}")


def _loadgen():
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise LoadGenMissing(f"MLPerf's scenarios need its load generator: pip install '{PACKAGE}'") from error
    return mlperf_loadgen


@contextmanager
def _logs(folder: str | Path | None) -> Iterator[Path]:
    """A folder with empty logs: where LoadGen cannot write it only complains, and ends the process at its next run."""
    with TemporaryDirectory(prefix="mlperf-") as own:
        logs = Path(own if folder is None else folder)
        try:
            logs.mkdir(parents=True, exist_ok=True)
            for name in LOGS:
                (logs / name).write_text("")
        except OSError as error:
            raise ValueError(f"{logs}: LoadGen cannot write its logs there ({error.strerror}); name another") from error
        yield logs


def _try(detect: Detect, samples, plan: _Plan) -> Load:
    shape = Shape(1, 1) if plan.row.name == "SingleStream" else replace(plan.shape, rate=None)
    seconds = min(max(plan.seconds / 10, SHORTEST_TRIAL), LONGEST_TRIAL)
    return drive(detect, samples, shape, seconds=seconds, deadline=plan.deadline)


def _failures(trial: Load) -> list[str]:
    reasons = Counter(request.error for request in trial.failed)
    reasons.update(filter(None, map(_error, trial.answers.values())))
    lost = sum(len(request.image_ids) - request.answered for request in trial.requests)
    if not (reasons or trial.requests):
        return ["no request was sent in time, the machine was busy elsewhere"]
    return _counted(reasons) or ([f"{lost} × an answer with an error"] if lost else [])


def _not_begun(plan: _Plan, trial: Load, failed: list[str]) -> ScenarioResult:
    evidence = f"MLPerf {plan.row.name} was not begun, the detector failed in the warm-up: {_listed(failed)}"
    return ScenarioResult(plan.row.name, INVALID, {}, 0, 0, failed, evidence, trial.answers)


def _settings(loadgen, plan: _Plan, trial: Load, count: int):
    """LoadGen's TestSettings: MLPerf's rules, and what to expect of the detector, by which queries are made ahead."""
    latency = max(min(trial.latencies), plan.seconds / MOST_QUERIES)
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, plan.row.name)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = math.ceil(plan.seconds * 1000)
    settings.min_query_count = _least_queries(plan.row, count)
    settings.single_stream_expected_latency_ns = settings.multi_stream_expected_latency_ns = math.ceil(latency * 1e9)
    settings.offline_expected_qps = OFFLINE_SLACK * images_per_second([trial])
    settings.server_target_qps = plan.shape.rate or 0
    settings.server_target_latency_ns = math.ceil((plan.latency_bound or 0) * 1e9)
    settings.server_max_async_queries = 2 * plan.most_waiting
    for name in ("single_stream", "multi_stream", "server"):
        setattr(settings, f"{name}_target_latency_percentile", (plan.row.percentile or 99) / 100)
    for name, seed in SEEDS.items():
        setattr(settings, name, seed)
    return settings


def _least_queries(row: Scenario, count: int) -> int:
    """As many as early stopping asks for when one of them is slow; in Offline images."""
    return requests_needed(row.percentile, 1) if row.percentile else min(OFFLINE_SAMPLES, count)


def _run(loadgen, service: _Service, settings, folder: Path) -> None:
    """One test of LoadGen, in a thread of its own so that an interrupt reaches us and a hung call can be given up."""
    if not _in_use.acquire(blocking=False):
        service.give_up("another scenario runs")
        raise RuntimeError("LoadGen runs another scenario in this process; run one after the other")
    ended = Event()  # not Thread.join: interrupted, it takes the thread for ended before Python 3.13
    Thread(target=_test, args=(loadgen, service, settings, folder, ended), daemon=True).start()
    try:
        while not ended.wait(WATCH_SECONDS):
            service.watch()
    except BaseException:
        service.give_up("interrupted")
        ended.wait(GRACE_SECONDS)
        raise
    service.give_up("the run is over")
    if service.raised:
        raise service.raised[0]


def _test(loadgen, service: _Service, settings, folder: Path, ended: Event) -> None:
    count = len(service.images)
    sut = loadgen.ConstructSUT(_guarded(service, service.issue), _guarded(service, service.flush))
    qsl = loadgen.ConstructQSL(count, count, _nothing, _nothing)
    log = loadgen.LogSettings()
    log.enable_trace, log.log_output.outdir = False, str(folder)
    try:
        # No name of an audit file: one that lies about in the working directory would change the settings.
        loadgen.StartTestWithLogSettings(sut, qsl, settings, log, "")
    except BaseException as error:
        service.raised.append(error)
    finally:
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)
        _in_use.release()
        ended.set()


def _guarded(service: _Service, callback: Callable) -> Callable:
    @wraps(callback)
    def guarded(*arguments) -> None:
        try:
            callback(*arguments)
        except BaseException as error:
            service.raised.append(error)
            service.give_up("the run broke off")

    return guarded


def _nothing(places: Sequence[int]) -> None:
    """LoadGen says which images to load, and to unload: all are in memory, where reading one may still fail safely."""


def _loaded(samples) -> tuple[list[int], list[bytes]]:
    """Ids and bytes of the images that are sent: all of a small data set."""
    read = getattr(samples, "image_bytes", None)
    if read is None:
        return tuple(map(list, zip(*samples[:LOADED_SAMPLES])))
    image_ids = list(samples.image_ids[:LOADED_SAMPLES])
    return image_ids, list(map(read, image_ids))


class _Service:
    """MLPerf's system under test: callers, each a thread, that answer what LoadGen issues.

    Each sample is completed exactly once, by whoever took it out of `_waiting` or `_in_flight`. After `give_up` nothing
    is sent to the detector and the rest is completed as failed: at once, but in the Server scenario when LoadGen has
    issued its last. There it would keep to its schedule to the end, if those waiting did not become too many for it.
    """

    def __init__(self, loadgen, detect: Detect, image_ids: list[int], images: list[bytes], plan: _Plan):
        self._loadgen, self._detect, self._image_ids, self.images, self._plan = loadgen, detect, image_ids, images, plan
        self._holds, self._stopped = plan.row.name == "Server", ""
        self._waiting: deque = deque()
        self._in_flight: list = [None] * plan.shape.callers
        self._changed = Condition()
        self.raised: list[BaseException] = []
        self.answers: dict[int, Any] = {}
        self.failed: Counter = Counter()
        self.issued = self.answered = 0
        self.began = self.ended = 0.0
        for number in range(plan.shape.callers):
            Thread(target=self._call, args=(number,), daemon=True).start()

    def issue(self, query: Sequence) -> None:
        samples = [(sample.id, sample.index) for sample in query]
        with self._changed:
            self.began = self.began or perf_counter()
            self.issued += len(samples)
            self._waiting.extend(samples)
            self._changed.notify(-(-len(samples) // self._plan.shape.batch_size))
        if self._stopped:
            self._drop()

    def flush(self) -> None:
        """LoadGen has issued its last query."""
        is_late, self._holds = self._holds and len(self._waiting) > self._plan.most_waiting, False
        if is_late:
            self.give_up(f"{len(self._waiting)} images waited: {self._plan.shape.rate:g} a second are too many")
        elif self._stopped:
            self._drop()

    def watch(self) -> None:
        """Gives up when a call is not back by its deadline."""
        for number in range(len(self._in_flight)):
            samples = self._claim(number, perf_counter() - self._plan.deadline)
            if samples:
                self._complete(samples, [f"gave no answer within {self._plan.deadline:g} s"] * len(samples))
                self.give_up("another image had no answer")

    def give_up(self, reason: str) -> None:
        with self._changed:
            self._stopped = self._stopped or reason
            self._changed.notify_all()
        self._drop()

    def _drop(self) -> None:
        with self._changed:
            dropped = [] if self._holds else list(self._waiting)
            if dropped:
                self._waiting.clear()
        self._complete(dropped, [f"never sent, as {self._stopped}"] * len(dropped))

    def _call(self, number: int) -> None:
        for samples in iter(partial(self._take, number), []):
            reasons = self._ask(samples)
            if not self._claim(number):
                return
            self._complete(samples, reasons)
            if self.raised:
                self.give_up("the run broke off")

    def _take(self, number: int) -> list:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return []
            samples = [self._waiting.popleft() for _ in range(min(self._plan.shape.batch_size, len(self._waiting)))]
            self._in_flight[number] = samples, perf_counter()
            return samples

    def _claim(self, number: int, before: float = math.inf) -> list:
        """The samples that a caller has in flight since `before`, for whom it asks to complete them."""
        with self._changed:
            samples, start = self._in_flight[number] or ([], 0.0)
            if start >= before:
                return []
            self._in_flight[number] = None
            return samples

    def _ask(self, samples: list) -> list[str]:
        """Why each of the samples failed, '' for those that were answered."""
        places = [place for _, place in samples]
        try:
            found = self._detect(tuple(self.images[place] for place in places))
            return self._keep(places, found)
        except Exception as error:
            return [f"{type(error).__name__}: {error}"] * len(samples)
        except BaseException as error:
            self.raised.append(error)
            return ["interrupted"] * len(samples)

    def _keep(self, places: list[int], found: Any) -> list[str]:
        if broken := breach(found, len(places)):
            return [broken] * len(places)
        for place, answer in zip(places, found):
            self.answers.setdefault(self._image_ids[place], answer)
        return [_error(answer) for answer in found]

    def _complete(self, samples: list, reasons: list[str]) -> None:
        failed = [reason for reason in reasons if reason]
        with self._changed:
            self.failed.update(failed)
            self.answered += len(samples) - len(failed)
            self.ended = perf_counter()
        self._loadgen.QuerySamplesComplete([self._loadgen.QuerySampleResponse(sample, 0, 0) for sample, _ in samples])


def _error(answer: Any) -> str:
    return str(getattr(answer, "error", "no Detections"))


def _result(plan: _Plan, service: _Service, log: Log) -> ScenarioResult:
    failed = _counted(service.failed)
    is_valid = log.values["result_validity"] == VALID and not log.errors and not failed
    figures = {} if failed else _figures(plan.row, log)
    parts = [
        f"MLPerf {plan.row.name} by LoadGen {str(log.values.get('loadgen_version')).split()[0]}, seeds of {ROUND}",
        f"{service.issued} images in {service.ended - service.began:.1f} s, {plan.shape}",
        *([f"failed: {_listed(failed)}"] if failed else [_headline(plan, figures), *_objections(log)]),
        *([f"shorter than MLPerf's {SECONDS:g} s: not comparable"] if plan.seconds < SECONDS else []),
    ]
    return ScenarioResult(plan.row.name, VALID if is_valid else INVALID, figures, service.issued, service.answered,
                          failed, "; ".join(parts), dict(service.answers))


def _figures(row: Scenario, log: Log) -> dict[str, float]:
    """Those that the log has; early stopping's is 0 when there were too few queries for it."""
    return {name: _figure(name, log.values[key]) for name, key in row.figures.items() if log.values.get(key)}


def _figure(name: str, value: Any) -> float:
    return float(value) * 1e-9 if name.endswith("_seconds") else float(value)


def _headline(plan: _Plan, figures: dict[str, float]) -> str:
    if plan.row.percentile is None:
        return f"{figures['images_per_second']:.1f} images/s"
    bound = f" (bound {plan.latency_bound * 1e3:g} ms)" if plan.latency_bound else ""
    return f"P{plan.row.percentile} {figures[f'P{plan.row.percentile}_seconds'] * 1e3:.2f} ms a query{bound}"


def _objections(log: Log) -> list[str]:
    """Why LoadGen says INVALID, with what it recommends, and the errors that it reported, in its words."""
    unmet = [name for key, name in CHECKS.items() if log.values.get(key) is False]
    advice = [log.values.get("result_invalid_reason")]
    if log.values.get("early_stopping_met") is False:
        advice.append(log.values.get("early_stopping_result"))
    said = [f"LoadGen says INVALID for {', '.join(unmet)}: {_prose(' '.join(filter(None, advice)))}"] if unmet else []
    return said + [f"LoadGen reported an error: {_prose(error)}" for error in log.errors]


def _prose(bullets: str) -> str:
    return " ".join(re.sub(r"(^|\s)\* ", " ", bullets).split()).rstrip(".")


def _counted(reasons: Counter) -> list[str]:
    return [f"{count} × {reason}" for reason, count in reasons.items()]


def _listed(failed: list[str], most: int = 3) -> str:
    more = f", and {len(failed) - most} other kinds" if len(failed) > most else ""
    return ", ".join(failed[:most]) + more
