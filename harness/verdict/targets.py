"""The table of targets that a release must reach; thresholds stand in no other place, docs are generated from it."""
from __future__ import annotations

import re
from dataclasses import dataclass

from harness.verdict.metrics import SIGNS

ANY, GPU = "any", "gpu"
# EC2's families with NVIDIA's GPUs: g4dn, g5, g6e, gr6, p3, p4d, p6-b200. The GPUs of g4ad are AMD's.
NVIDIA = re.compile(r"(g|gr|p)\d+(?!ad)[a-z]*(-\w+)?")


@dataclass(frozen=True)
class Target:
    """One bound, in the metric's unit, that holds on `platform`: an instance type, a family, 'gpu', 'cpu' or 'any'.

    `sense` is '>=' or '<='; `source` says where the bound comes from and `date` (ISO) when it was published. The bound
    of a cost is that of `images_per_second` at the price of that date; `cost.at_price` gives it at another price. A
    bound that was published for one way of compiling names its `backend`, or the `build` of the detector.
    """

    check: str
    metric: str
    bound: float
    sense: str
    platform: str
    source: str
    date: str
    images_per_second: float | None = None
    build: str = ""
    backend: str = ANY

    def holds_on(self, platform: str) -> bool:
        """Whether a machine of this platform can prove or refute the bound."""
        return self.platform in scopes(platform)

    def is_for(self, backend: str) -> bool:
        """Whether the bound is that of a detector which is compiled for this backend; any is for all of them."""
        return self.backend in (ANY, backend)


TUTORIAL = "AWS Neuron YOLOv4 tutorial"
BLOG = "AWS's published two-hour run, 8 callers, batch 4"
GPU_BLOG = "AWS's published two-hour run on g4dn.xlarge, 8 callers, batch 4, with XLA"
UNCOMPILED = "AWS's article on its Inferentia run: YOLOv4 uncompiled on this GPU instance"
TABLE = "AWS Neuron Inf1 performance table, SDK 2.20, YOLOv4 in PyTorch, batch 1, 8 callers"
MARGIN = "2 % margin as in MLPerf's audits"
RELEASE = "release"  # the check of a run as a whole
HISTORY = "history"  # the check of a run against earlier ones (--against)
REHEARSAL = "own bound for a rehearsal: a busy machine meets it, a broken measurement does not"
MATTERS = "own bound: the least loss that matters, against earlier runs (--against)"

TARGETS = (
    Target("accuracy", "AP", 0.48, ">=", ANY, f"98.6 % of the 0.487 of the {TUTORIAL}", "2020-10-07"),
    Target("parity", "AP_drop", 0.005, "<=", ANY,
           "own bound, BF16 against FP32 on CPU; AWS reported no measurable degradation", "2026-11-23"),
    Target("parity", "matched_share", 0.95, ">=", ANY,
           "own bound, detections of score >= 0.25 that one of the same class matches at IoU >= 0.9", "2026-11-23"),
    Target("placement", "network_ratio", 0.95, ">=", "inf1",
           "own bound: share of the operators between image and head maps that run on the device", "2026-11-24"),
    Target("placement", "convolutions_on_cpu", 0, "<=", "inf1", "own bound: none may run there",
           "2026-11-24"),
    Target("placement", "idle_cores", 0, "<=", "inf1", "own bound: cores that served no request under load",
           "2026-11-24"),
    Target("placement", "device_errors", 0, "<=", "inf1", "own bound: driver and memory error counters that rose",
           "2026-11-24"),
    Target("throughput", "images_per_second", 105.0, ">=", "inf1.2xlarge",
           f"{TUTORIAL}: 5,000 images in 47.5 s, 4 callers, batch 8", "2020-10-07", build="tutorial"),
    Target("throughput", "images_per_second", 39.0, ">=", "g4dn.xlarge", UNCOMPILED, "2020-10-07"),
    Target("throughput", "images_per_second", 111.0, ">=", "p3.2xlarge", UNCOMPILED, "2020-10-07"),
    Target("throughput", "efficiency", 0.01, ">=", GPU,
           "own bound: a small detector keeps no GPU busy, and a broken measurement does less", "2026-11-25"),
    Target("throughput", "efficiency", 0.01, ">=", "cpu", REHEARSAL, "2026-11-23"),
    Target("latency", "P50_seconds", 0.0408, "<=", "inf1.2xlarge", f"{TABLE}: 40.0 ms; {MARGIN}", "2024-09-16"),
    Target("latency", "P99_seconds", 0.0518, "<=", "inf1.2xlarge", f"{TABLE}: 50.8 ms; {MARGIN}", "2024-09-16"),
    Target("latency", "P99_over_P50", 1.5, "<=", GPU,
           "own bound: AWS published no percentiles of the GPU; as that of the worst window", "2026-11-25"),
    Target("latency", "P99_over_P50", 10.0, "<=", "cpu", REHEARSAL, "2026-11-23"),
    Target("integrity", "changed_responses", 0, "<=", ANY,
           "own bound: responses under load that are not those of a sequential run", "2026-11-24"),
    Target("integrity", "identical_responses", 0, "<=", ANY,
           "own bound: different images with detections of the very same bytes", "2026-11-24"),
    Target("integrity", "repeat_speedup", 1.1, "<=", "inf1",
           "MLPerf's TEST04: a repeated image is not 10 % faster", "2026-11-24"),
    Target("integrity", "repeat_speedup", 1.1, "<=", GPU,
           "MLPerf's TEST04: a repeated image is not 10 % faster", "2026-11-25"),
    Target("integrity", "repeat_speedup", 2.0, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("integrity", "fresh_slowdown", 1.1, "<=", "inf1",
           "own bound, as MLPerf's TEST04: new bytes do not take 10 % longer than those of the load", "2026-11-25"),
    Target("integrity", "fresh_slowdown", 1.1, "<=", GPU,
           "own bound, as MLPerf's TEST04: new bytes do not take 10 % longer than those of the load", "2026-11-25"),
    Target("integrity", "fresh_slowdown", 1.5, "<=", "cpu", REHEARSAL, "2026-11-25"),
    Target("jitter", "fps_spread", 0.03, "<=", "inf1",
           f"{BLOG}: average FPS of 30-s windows varies by less; here of ten windows", "2020-10-07"),
    Target("jitter", "fps_spread", 0.12, "<=", GPU,
           f"{GPU_BLOG}: average FPS of 30-s windows varies by up to that; here of ten windows", "2020-10-07"),
    Target("jitter", "fps_spread", 0.5, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("jitter", "worst_P99_over_P50", 1.5, "<=", "inf1", f"own bound, of the worst window; {TABLE}: 1.27",
           "2026-11-24"),
    Target("jitter", "worst_P99_over_P50", 1.5, "<=", GPU, "own bound, of the worst window; that of Inf1",
           "2026-11-25"),
    Target("jitter", "worst_P99_over_P50", 20.0, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("jitter", "longest_gap_seconds", 1.0, "<=", "inf1", "own bound: time without a response", "2026-11-24"),
    Target("jitter", "longest_gap_seconds", 1.0, "<=", GPU, "own bound: time without a response", "2026-11-25"),
    Target("jitter", "longest_gap_seconds", 5.0, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("soak", "failed_requests", 0, "<=", ANY, "own bound: none may fail", "2026-11-24"),
    Target("soak", "incomplete_windows", 0, "<=", ANY, "own bound: the soak reached its end", "2026-11-24"),
    Target("soak", "images_per_second", 116.5, ">=", "inf1.2xlarge", f"{BLOG}: 118.9; {MARGIN}", "2020-10-07",
           build="tutorial"),
    Target("soak", "images_per_second", 66.1, ">=", "g4dn.xlarge", f"{GPU_BLOG}: 67.5; {MARGIN}", "2020-10-07",
           backend="xla"),
    Target("soak", "images_per_second", 38.2, ">=", "g4dn.xlarge",
           f"own bound: the soak keeps 39; {MARGIN}; {UNCOMPILED}", "2026-11-25", backend="gpu"),
    Target("soak", "images_per_second", 108.8, ">=", "p3.2xlarge",
           f"own bound: the soak keeps 111; {MARGIN}; {UNCOMPILED}", "2026-11-25"),
    Target("soak", "drift", 0.01, "<=", "inf1", "own bound: share of the FPS lost in an hour", "2026-11-25"),
    Target("soak", "drift", 0.01, "<=", GPU, "own bound: share of the FPS lost in an hour", "2026-11-25"),
    Target("soak", "drift", 0.5, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("soak", "memory_growth_mb", 32.0, "<=", "inf1", "own bound: of all its processes in an hour", "2026-11-25"),
    Target("soak", "memory_growth_mb", 32.0, "<=", GPU, "own bound: of all its processes in an hour", "2026-11-25"),
    Target("soak", "memory_growth_mb", 512.0, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("cost", "dollars_per_million", 1.362, "<=", "inf1.2xlarge",
           "AWS's published run: $1.362 at 118.9 images/s and $0.583/h; at another price, that of "
           "118.9 images/s", "2020-10-07", images_per_second=118.9, build="tutorial"),
    Target("cost", "dollars_per_million", 2.165, "<=", "g4dn.xlarge",
           "AWS's published run with XLA: 67.5 images/s at $0.526/h, which it prints as $2.163; at another price, that "
           "of 67.5 images/s", "2020-10-07", images_per_second=67.5, backend="xla"),
    Target("cost", "dollars_per_million", 3.746, "<=", "g4dn.xlarge",
           "own bound: the published 39 images/s, uncompiled, at $0.526/h; at another price, that of 39 images/s",
           "2020-10-07", images_per_second=39.0, backend="gpu"),
    Target("cost", "dollars_per_million", 7.658, "<=", "p3.2xlarge",
           "own bound: the published 111 images/s, uncompiled, at $3.06/h; at another price, that of 111 images/s",
           "2026-01-19", images_per_second=111.0),
    Target("cost", "dollars_per_million", 1000.0, "<=", "cpu", REHEARSAL, "2026-11-24"),
    Target("mlperf", "valid", 1, ">=", ANY, "LoadGen's own verdict on the scenario, and no request failed",
           "2026-11-24"),
    Target(HISTORY, "accuracy.AP", 0.005, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "throughput.images_per_second", 0.05, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "latency.P50_seconds", 0.05, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "latency.P90_seconds", 0.05, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "latency.P99_seconds", 0.1, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "soak.images_per_second", 0.05, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "soak.drift", 0.01, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "jitter.P50_seconds", 0.05, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "jitter.P90_seconds", 0.05, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "jitter.P99_seconds", 0.1, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "jitter.fps_spread", 0.5, "<=", ANY, MATTERS, "2026-11-26"),
    Target(HISTORY, "vanished", 0, "<=", ANY, "own bound: what earlier runs have measured and this one lacks",
           "2026-11-26"),
    Target(RELEASE, "exceptions", 0, "<=", ANY, "own rule, with --release alone: options that make the run easier than "
           "this table, and rows that were not judged", "2026-11-25"),
)


def rows(check: str, platform: str, backend: str = ANY) -> list[Target]:
    """One row for each metric of the check: that of the first of the platform's `scopes` that has one.

    Where there is none, it is the row of another type of its kind, which does not hold here: inf1.24xlarge cannot
    prove what is asked of inf1.2xlarge, nor may that be left out there. LookupError when the check has no row.
    """
    by_metric: dict[str, dict[str, Target]] = {}
    for target in TARGETS:
        if target.check == check and target.is_for(backend) and kind(target.platform) in (ANY, kind(platform)):
            by_metric.setdefault(target.metric, {})[target.platform] = target
    if not by_metric:
        raise LookupError(f"no target for {check} on {platform}; add a row to harness/verdict/targets.py")
    return [_nearest(by_platform, platform) for by_platform in by_metric.values()]


def _nearest(by_platform: dict[str, Target], platform: str) -> Target:
    for wanted in scopes(platform):
        if wanted in by_platform:
            return by_platform[wanted]
    return next(iter(by_platform.values()))


def concerns(check: str, platform: str) -> bool:
    """Whether the check has a bound for any platform or for one of this platform's kind."""
    return any(t.check == check and kind(t.platform) in (ANY, kind(platform)) for t in TARGETS)


def scopes(platform: str) -> tuple[str, ...]:
    """The platforms of rows that hold on this one, the nearest first: g4dn.xlarge, g4dn, gpu, any."""
    return tuple(dict.fromkeys((platform, family(platform), kind(platform), ANY)))


def kind(platform: str) -> str:
    """'gpu' for instances with NVIDIA's GPUs, whichever; else the instance family, because that is the device."""
    return GPU if NVIDIA.fullmatch(family(platform)) else family(platform)


def family(platform: str) -> str:
    """The instance family: inf1 of inf1.2xlarge."""
    return platform.split(".")[0]


def markdown_table() -> str:
    """The rows as a Markdown table for the docs."""
    head = ["| check | metric | bound | platform | source | date |", "|---|---|---|---|---|---|"]
    return "\n".join(head + [_row(target) for target in TARGETS])


def _row(t: Target) -> str:
    where = t.platform if t.backend == ANY else f"{t.platform}, `--backend {t.backend}`"
    build = f"; build `{t.build}`" if t.build else ""
    return f"| {t.check} | {t.metric} | {SIGNS[t.sense]} {t.bound:g} | {where} | {t.source}{build} | {t.date} |"
