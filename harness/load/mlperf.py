"""MLPerf's scenarios, driven and judged by MLPerf's own load generator, so that figures can be compared with others'.

Scenarios and their rules: MLPerf Inference Rules (mlcommons/inference_policies), "Scenarios" and "Early Stopping".
LoadGen (mlcommons/inference, `pip install mlcommons-loadgen`) says when which image is due, takes the time, and calls
the run VALID or INVALID. It never looks at detections: that is done here, and a failure makes the result INVALID.

LoadGen is C++, exists once in a process, and is unforgiving. After an exception in a callback, or a folder that it
cannot write to, its next run ends the process; a sample completed twice or after the run is written into freed memory.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any, Callable

from harness.load.generator import DEADLINE, WATCH_SECONDS, Detect, Load, LoadPattern, drive, error_of
from harness.load.mlperf_log import INVALID, LOGS, VALID, Log, read_log
from harness.load.mlperf_plan import ROUND, SCENARIOS, Plan, settings
from harness.load.mlperf_service import Service

SECONDS = 600.0  # of every scenario in MLPerf
PACKAGE = "mlcommons-loadgen>=6,<7"
LOADED_SAMPLES = 1024  # images held in memory; MLPerf asks for 64 of an object detector at least
SHORTEST_TRIAL, LONGEST_TRIAL = 0.5, 10.0  # seconds
GRACE_SECONDS = 10.0  # for LoadGen to end after an interrupt

_in_use = Lock()


@dataclass(frozen=True)
class ScenarioResult:
    """VALID only if LoadGen says so, reported no error, and every image got detections without an error.

    `figures` are in seconds and images a second, and empty where an image failed. `requests` counts the images that
    LoadGen issued, `answered` those with detections, `failed` says in words why the others have none. `detections` has
    the first of each image by its id, so that what the detector found under load can be scored.
    """

    scenario: str
    verdict: str
    figures: dict[str, float]
    requests: int
    answered: int
    failed: list[str]
    evidence: str
    detections: dict[int, Any]


def run_scenario(
    detect: Detect, samples: Sequence[tuple[int, bytes]], scenario: str, pattern: LoadPattern, *,
    seconds: float = SECONDS, latency_bound: float | None = None, deadline: float = DEADLINE,
    folder: str | Path | None = None,
) -> ScenarioResult:
    """Run a scenario of SCENARIOS for at least `seconds`, after a short trial that warms up and says what to expect.

    `samples` are (image id, bytes), `deadline` as in `drive`. `pattern.callers` threads send what was issued, in
    batches of up to `pattern.batch_size`. Server, and it alone, needs `pattern.rate`, images a second, and
    `latency_bound`, seconds that 99 % must keep. A call that misses the deadline ends the run, and so does a backlog of
    more than twice as many images as are due within the deadline. LoadGen's logs are kept in `folder` if there is one.
    Raises ImportError without LoadGen, LogError, ValueError for a folder that cannot be written, and RuntimeError while
    another scenario runs.
    """
    import mlperf_loadgen as loadgen

    plan = Plan(SCENARIOS[scenario], pattern, seconds, latency_bound, deadline)
    with _logs(folder) as logs:
        trial = _try(detect, samples, plan)
        if failed := _failures(trial):
            evidence = (f"MLPerf {scenario} was not started, because the detector failed in the warm-up: "
                        f"{_listed(failed)}")
            return ScenarioResult(scenario, INVALID, figures={}, requests=0, answered=0, failed=failed,
                                  evidence=evidence, detections=trial.detections)
        service = Service(loadgen, detect, *zip(*samples[:LOADED_SAMPLES]), plan)
        _run(loadgen, service, settings(loadgen, plan, trial, len(samples)), logs)
        return _result(plan, service, read_log(logs))


@contextmanager
def _logs(folder: str | Path | None) -> Iterator[Path]:
    """A folder with empty logs: LoadGen only complains where it cannot write, and its next run ends the process."""
    with TemporaryDirectory(prefix="mlperf-") as own:
        logs = Path(own if folder is None else folder)
        try:
            logs.mkdir(parents=True, exist_ok=True)
            for name in LOGS:
                (logs / name).write_text("")
        except OSError as error:
            raise ValueError(f"{logs}: LoadGen cannot write its logs there ({error.strerror}); name another") from error
        yield logs


def _try(detect: Detect, samples, plan: Plan) -> Load:
    pattern = LoadPattern(1, 1) if plan.scenario.name == "SingleStream" else replace(plan.pattern, rate=None)
    seconds = min(max(plan.seconds / 10, SHORTEST_TRIAL), LONGEST_TRIAL)
    return drive(detect, samples, pattern, seconds=seconds, deadline=plan.deadline)


def _failures(trial: Load) -> list[str]:
    reasons = Counter(request.error for request in trial.failed)
    reasons.update(filter(None, map(error_of, trial.detections.values())))
    lost = sum(len(request.image_ids) - request.answered for request in trial.requests)
    if not (reasons or trial.requests):
        return ["no request was sent in time, because the machine was busy with other work"]
    return _counted(reasons) or ([f"{lost} × detections with an error"] if lost else [])


def _run(loadgen, service: Service, settings, folder: Path) -> None:
    """Run one test of LoadGen, in a thread of its own, so that an interrupt reaches us and a hung call is given up."""
    if not _in_use.acquire(blocking=False):
        raise RuntimeError("LoadGen already runs another scenario in this process; wait until it has ended")
    ended = Event()  # not Thread.join: interrupted, it takes the thread for ended before Python 3.13
    Thread(target=_test, args=(loadgen, service, settings, folder, ended), daemon=True).start()
    try:
        service.run()
        while not ended.wait(WATCH_SECONDS):  # in steps, so that an interrupt is seen
            pass
    except BaseException:
        service.abandon("the run was interrupted")
        ended.wait(GRACE_SECONDS)
        raise
    if service.raised:
        raise service.raised[0]


def _test(loadgen, service: Service, settings, folder: Path, ended: Event) -> None:
    count = len(service.images)
    sut = loadgen.ConstructSUT(_guarded(service, service.issue), _guarded(service, service.flush))
    # There is nothing to load or unload: all images are in memory, read where a failure is still harmless.
    qsl = loadgen.ConstructQSL(count, count, lambda places: None, lambda places: None)
    log = loadgen.LogSettings()
    log.enable_trace, log.log_output.outdir = False, str(folder)
    try:
        # Without an audit file: one that happens to be in the working directory would change the settings.
        loadgen.StartTestWithLogSettings(sut, qsl, settings, log, "")
    except BaseException as error:
        service.raised.append(error)
    finally:
        service.close()
        loadgen.DestroyQSL(qsl)
        loadgen.DestroySUT(sut)
        _in_use.release()
        ended.set()


def _guarded(service: Service, callback: Callable) -> Callable:
    def guarded(*arguments) -> None:
        try:
            callback(*arguments)
        except BaseException as error:
            service.raised.append(error)
            service.give_up("the run broke off")

    return guarded


def _result(plan: Plan, service: Service, log: Log) -> ScenarioResult:
    failed = _counted(service.failed)
    figures = {} if failed else log.figures(plan.scenario.figures)
    evidence = [
        f"MLPerf {plan.scenario.name} by LoadGen {log.version}, seeds of {ROUND}",
        f"{service.issued} images in {service.seconds:.1f} s, {plan.pattern}",
    ]
    evidence += [f"failed: {_listed(failed)}"] if failed else [_headline(plan, figures), *log.objections()]
    if plan.seconds < SECONDS:
        evidence.append(f"shorter than MLPerf's {SECONDS:g} s: not comparable")
    return ScenarioResult(
        plan.scenario.name, VALID if log.is_valid and not failed else INVALID, figures=figures,
        requests=service.issued, answered=service.answered, failed=failed, evidence="; ".join(evidence),
        detections=dict(service.detections),
    )


def _headline(plan: Plan, figures: dict[str, float]) -> str:
    percentile = plan.scenario.percentile
    if percentile is None:
        return f"{figures['images_per_second']:.1f} images/s"
    bound = f" (bound {plan.latency_bound * 1e3:g} ms)" if plan.latency_bound else ""
    return f"P{percentile} {figures[f'P{percentile}_seconds'] * 1e3:.2f} ms a query{bound}"


def _counted(reasons: Counter) -> list[str]:
    return [f"{count} × {reason}" for reason, count in reasons.items()]


def _listed(failed: list[str], most: int = 3) -> str:
    more = f", and {len(failed) - most} other kinds" if len(failed) > most else ""
    return ", ".join(failed[:most]) + more
