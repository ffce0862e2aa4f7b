"""The table of targets that a release must reach; docs are generated from it.

Thresholds stand in no other place but a user's own file (`harness.verdict.own`), whose rows join or replace these.
"""
from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from harness.text import shown
from harness.verdict.metrics import METRICS, SIGNS

ANY, GPU = "any", "gpu"
# EC2's families with NVIDIA's GPUs: g4dn, g5, g6e, gr6, p3, p4d, p6-b200. The GPUs of g4ad are AMD's.
NVIDIA = re.compile(r"(g|gr|p)\d+(?!ad)[a-z]*(-\w+)?")


@dataclass(frozen=True)
class Target:
    """One bound, in the metric's unit, that holds on `platform`: an instance type, a family, 'gpu', 'cpu' or 'any'.

    `sense` is '>=' or '<='; `source` says where the bound comes from and `date` (ISO) when it was published. The bound
    of a cost is that of `images_per_second` at the price of that date; `cost.at_price` gives it at another price. A
    bound that was published for one way of compiling names its `backend`, or the `build` of the detector. `reason` says
    why a user's own row is looser than the published one.
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
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What no two rows of a table share."""
        return self.check, self.metric, self.platform, self.backend

    def holds_on(self, platform: str) -> bool:
        """Whether a machine of this platform can prove or refute the bound."""
        return self.platform in scopes(platform)

    def is_for(self, backend: str) -> bool:
        """Whether the bound is that of a detector which is compiled for this backend; any is for all of them."""
        return self.backend in (ANY, backend)

    def __str__(self) -> str:
        return f"{self.check} {self.metric} {SIGNS.get(self.sense, self.sense)} {self.bound:g}"


TUTORIAL = "AWS Neuron YOLOv4 tutorial"
BLOG = "AWS's published two-hour run, 8 callers, batch 4"
GPU_BLOG = "AWS's published two-hour run on g4dn.xlarge, 8 callers, batch 4, with XLA"
UNCOMPILED = "AWS's article on its Inferentia run: YOLOv4 uncompiled on this GPU instance"
TABLE = "AWS Neuron Inf1 performance table, SDK 2.20, YOLOv4 in PyTorch, batch 1, 8 callers"
MARGIN = "2 % margin as in MLPerf's audits"
RELEASE = "release"  # the check of a run as a whole
HISTORY = "history"  # the check of a run against earlier ones (--against)
REHEARSAL = "own bound for a rehearsal: a busy machine meets it, a broken measurement does not"
REPEATED = "MLPerf's TEST04: a repeated image is not 10 % faster"
FRESH = "own bound, as MLPerf's TEST04: new bytes do not take 10 % longer than those of the load"
CACHE = "own bound: a busy machine meets it, a cache does not"
MATTERS = "own bound: the least loss that matters, against earlier runs (--against)"

TARGETS = (
    Target("accuracy", "AP", 0.48, ">=", ANY, f"98.6 % of the 0.487 of the {TUTORIAL}", "2020-10-07"),
    Target("parity", "AP_drop", 0.005, "<=", ANY,
           "own bound, BF16 against FP32 on CPU; AWS reported no measurable degradation", "2026-11-23"),
    Target("parity", "matched_share", 0.95, ">=", ANY,
           "own bound, detections of score >= 0.25 that match in both directions: same class, IoU >= 0.9, scores "
           "within 0.25", "2026-11-23"),
    Target("placement", "network_ratio", 0.95, ">=", "inf1",
           "own bound: share of the operators between image and head maps that run on the device", "2026-11-24"),
    Target("placement", "convolutions_on_cpu", 0, "<=", "inf1", "own bound: none may run there", "2026-11-24"),
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
    Target("integrity", "repeat_speedup", 1.1, "<=", "inf1", REPEATED, "2026-11-24"),
    Target("integrity", "repeat_speedup", 1.1, "<=", GPU, REPEATED, "2026-11-25"),
    Target("integrity", "repeat_speedup", 2.0, "<=", ANY, CACHE, "2026-11-24"),
    Target("integrity", "fresh_slowdown", 1.1, "<=", "inf1", FRESH, "2026-11-25"),
    Target("integrity", "fresh_slowdown", 1.1, "<=", GPU, FRESH, "2026-11-25"),
    Target("integrity", "fresh_slowdown", 1.5, "<=", ANY, CACHE, "2026-11-25"),
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


CHECKS = tuple(dict.fromkeys(target.check for target in TARGETS))  # in the order in which they are shown


@dataclass(frozen=True)
class Table:
    """The rows that a run is judged by: the published ones, and those of a user's own file, which go before them.

    `source` names the file, and `sha256` is that of its content.
    """

    own: tuple[Target, ...] = ()
    source: str = ""
    sha256: str = ""

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """All rows: the published ones that no own row replaces, then those. ANY backend replaces each of them."""
        replaced = {one.key for one in self.own}
        kept = (one for one in TARGETS if not replaced & {one.key, (*one.key[:3], ANY)})
        return (*kept, *self.own)

    def rows(self, check: str, platform: str, backend: str = ANY) -> list[Target]:
        """One row for each metric of the check: the first that fits of the platform's `scopes`; none without a bound.

        In one scope the row of the backend goes before that of any. Where no scope has a row, it is that of another
        type of its kind, which does not hold here: inf1.24xlarge cannot prove what is asked of inf1.2xlarge, nor may
        that be left out there.
        """
        order = {scope: place for place, scope in enumerate(scopes(platform))}
        by_metric: dict[str, list[Target]] = {}
        for target in self.targets:
            if target.check == check and target.is_for(backend) and kind(target.platform) in (ANY, kind(platform)):
                by_metric.setdefault(target.metric, []).append(target)
        return [min(found, key=lambda one: (order.get(one.platform, len(order)), one.backend == ANY))
                for found in by_metric.values()]

    def without_bound(self, platform: str, backend: str = ANY) -> list[str]:
        """The checks that even a rehearsal on a CPU judges, and that have no row on this platform."""
        return [check for check in CHECKS if PUBLISHED.rows(check, "cpu") and not self.rows(check, platform, backend)]

    def loosened(self, rows: Iterable[Target]) -> Iterator[tuple[Target, Target]]:
        """Those of the rows that are own ones and looser than a published one, each with that."""
        for own in filter(self.is_own, rows):
            if published := published_beside(own):
                yield own, published

    def is_own(self, target: Target) -> bool:
        """Whether the row comes from the user's file; its bound may have been changed by a price since."""
        return any(own.key == target.key for own in self.own)


PUBLISHED = Table()


def published_beside(own: Target) -> Target | None:
    """The published row in whose place the own one is judged, if that is looser; else None."""
    backends = {one.backend for one in TARGETS} if own.backend == ANY else {own.backend}
    for backend in sorted(backends):
        for one in PUBLISHED.rows(own.check, own.platform, backend):
            if one.metric == own.metric and one.holds_on(own.platform) and is_looser(own, one):
                return one
    return None


def is_looser(one: Target, other: Target) -> bool:
    """Whether something may meet the one row that misses the other.

    A cost may where only one of them follows the price; where both do, their throughputs say it.
    """
    if one.images_per_second and other.images_per_second:
        return one.images_per_second < other.images_per_second
    if one.images_per_second or other.images_per_second:
        return True
    return one.bound < other.bound if one.sense == ">=" else one.bound > other.bound


def proves_soundness(target: Target) -> bool:
    """Whether the row says that figures are a detector's at all: integrity, and whatever must be 0.

    Speed, accuracy and cost belong to a detector, and another one has other bounds. These hold for every detector.
    """
    return target.check == "integrity" or target.bound == 0


def fault(target: Target) -> str:
    """Why a row of a known metric proves nothing, in words with what to do; '' where it is sound."""
    metric = METRICS[target.metric]
    limits = f"its values are from {metric.least:g} to {metric.most:g}"
    if not math.isfinite(target.bound):
        return f"bound is {target.bound:g}, must be a finite number"
    if target.sense != metric.sense:
        return f"sense is {shown(target.sense)}, must be '{metric.sense}' for {target.metric}"
    if target.bound <= metric.least if target.sense == ">=" else target.bound >= metric.most:
        return f"nothing can miss {target.sense} {target.bound:g}: {limits}; give a bound between them"
    if target.bound > metric.most if target.sense == ">=" else target.bound < metric.least:
        return f"nothing can meet {target.sense} {target.bound:g}: {limits}; give a bound between them"
    return ""


def scopes(platform: str) -> tuple[str, ...]:
    """The platforms of rows that hold on this one, the nearest first: g4dn.xlarge, g4dn, gpu, any."""
    return tuple(dict.fromkeys((platform, family(platform), kind(platform), ANY)))


def kind(platform: str) -> str:
    """'gpu' for instances with NVIDIA's GPUs, whichever; else the instance family, because that is the device."""
    return GPU if NVIDIA.fullmatch(family(platform)) else family(platform)


def family(platform: str) -> str:
    """The instance family: inf1 of inf1.2xlarge."""
    return platform.split(".")[0]


def markdown_table(rows: Iterable[Target] = TARGETS) -> str:
    """The rows as a Markdown table."""
    head = ["| check | metric | bound | platform | source | date |", "|---|---|---|---|---|---|"]
    return "\n".join(head + [f"| {' | '.join(cells(target))} |" for target in rows])


def cells(target: Target) -> tuple[str, ...]:
    """Check, metric, bound, platform with its backend, source with build and reason, and date, as a table shows them.
    """
    where = target.platform if target.backend == ANY else f"{target.platform}, `--backend {target.backend}`"
    build = f"; build `{target.build}`" if target.build else ""
    reason = f"; reason: {target.reason}" if target.reason else ""
    return (target.check, target.metric, f"{SIGNS[target.sense]} {target.bound:g}", where,
            f"{target.source}{build}{reason}", target.date)
