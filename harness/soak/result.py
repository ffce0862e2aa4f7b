"""The result of a soak: its windows, how they differ, and what on the machine explains the differences."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import fmean, median
from typing import Any, NamedTuple

from harness.machine.explanation import Explanation, explain
from harness.machine.noise import Conditions
from harness.soak.causes import Deviation, Step, deviations, step
from harness.soak.histogram import Histogram
from harness.stats.estimate import Estimate
from harness.stats.intervals import mean_of_windows
from harness.stats.spread import spread
from harness.stats.trend import relative_loss, slope

HOUR = 3600.0  # seconds
TENTHS = 10  # memory growth leaves out the first tenth of a session's windows


@dataclass(frozen=True)
class Window:
    """One complete window; times in seconds, memory in bytes, None where nothing was reported.

    `start` counts from the start of the session. `images` got a response; requests still under way at the window's end
    count in `images_per_second` by their share. `longest_gap` is the longest time between two responses, or one and the
    window's start or end; `conditions` are those of the machine. The fields from `steal` to `rss` are means of the
    samples; `rose` says by how much further counters rose, and `gauges` has the means of what GPUs reported.
    """

    number: int
    session: int
    start: float
    seconds: float
    requests: int
    images: int
    images_per_second: float
    P50: float | None
    P90: float | None
    P99: float | None
    longest_latency: float
    longest_gap: float
    conditions: Conditions
    steal: float | None = None
    iowait: float | None = None
    others: float | None = None
    load: float | None = None
    mhz: float | None = None
    celsius: float | None = None
    available: float | None = None
    rss: float | None = None
    rose: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)

    @property
    def reference(self) -> float | None:
        """CPU seconds of the reference workload."""
        return self.conditions.reference

    @property
    def waited(self) -> float | None:
        """The share of their time for which the threads of this process tree waited for a core."""
        return self.conditions.waited

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "conditions": self.conditions._asdict()}


class Session(NamedTuple):
    """One process of the soak: when it started (UTC), the seconds that it lasted, the windows that it completed."""

    number: int
    utc: str
    seconds: float
    windows: int


@dataclass
class SoakResult:
    """A soak as far as it got: `planned` windows, of which `windows` are complete.

    `finished` is "complete", or "failed" because of `first_error`, or "" when it was cut short or goes on. `histogram`
    has the latencies of all complete windows; `reference` are the iterations of the reference workload.
    `discarded_requests` are those of windows that were cut short, `lost_images` those without detections in requests
    that did not fail. Figures are None where there is too little for them.
    """

    identity: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    histogram: Histogram = field(default_factory=Histogram)
    reference: int = 0
    failed_requests: int = 0
    first_error: str = ""
    discarded_requests: int = 0
    lost_images: int = 0
    finished: str = ""

    @property
    def planned(self) -> int:
        return self.plan["windows"]

    @property
    def incomplete_windows(self) -> int:
        return self.planned - len(self.windows)

    @property
    def interruptions(self) -> int:
        """How often a new process continued the soak."""
        return len(self.sessions) - 1

    @property
    def requests(self) -> int:
        """Requests of the complete windows."""
        return sum(window.requests for window in self.windows)

    @property
    def images(self) -> int:
        """Images with detections in the complete windows."""
        return sum(window.images for window in self.windows)

    @property
    def rates(self) -> list[float]:
        """Images a second of each window."""
        return [window.images_per_second for window in self.windows]

    @cached_property
    def images_per_second(self) -> Estimate | None:
        """The mean of the windows, which are equally long; without bounds for fewer than ten of them."""
        return mean_of_windows(self.rates)

    @cached_property
    def percentiles(self) -> dict[str, Estimate]:
        """P50, P90 and P99 of all requests in seconds, with their bounds."""
        return self.histogram.percentiles()

    @cached_property
    def fps_spread(self) -> Estimate | None:
        """(highest - lowest) / mean of ten windows' images a second; see `harness.stats.spread`."""
        return spread(self.rates)

    @cached_property
    def explanation(self) -> Explanation:
        """How much of the differences between windows the machine explains."""
        return explain(self.rates, [window.conditions for window in self.windows])

    @property
    def P99_over_P50(self) -> float | None:
        """P99 by P50 of all requests."""
        return self.percentiles["P99"].value / self.percentiles["P50"].value if self.percentiles else None

    @property
    def worst_window(self) -> Window | None:
        """The window with the highest P99."""
        return max((window for window in self.windows if window.P99), key=lambda window: window.P99, default=None)

    @property
    def worst_P99_over_P50(self) -> float | None:
        """The worst window's P99 by the P50 of all requests."""
        return self.worst_window.P99 / self.percentiles["P50"].value if self.worst_window else None

    @property
    def longest_gap(self) -> float | None:
        """The longest time without a response under load, in seconds."""
        return max((window.longest_gap for window in self.windows), default=None)

    @property
    def hours(self) -> float:
        """Hours of load in complete windows."""
        return sum(window.seconds for window in self.windows) / HOUR

    @cached_property
    def drift(self) -> Estimate | None:
        """`loss` of the images a second as measured."""
        return self.loss(self.rates)

    def loss(self, rates: Sequence[float]) -> Estimate | None:
        """The share of the images a second that a session loses by its slope; negative for a gain.

        It is that of an hour, or of the whole of a shorter soak. A process that starts anew has lost nothing yet.
        """
        lost = relative_loss(rates, [window.session for window in self.windows])
        return lost and lost.times(1 / max(self.hours, 1.0))

    @cached_property
    def memory_growth(self) -> Estimate | None:
        """Bytes by which the processes grew in an hour, or over the whole of a shorter soak.

        It is counted from the second to the last tenth of each session, and summed: a difference of medians also sees a
        single step, which a slope does not. In a longer soak the bounds are the wider ones of this and of the slope.
        """
        sessions = self._remembered()
        if not sessions:
            return None
        grown = sum(_growth([window.rss for window in windows]) for windows in sessions)
        rate = self.memory_growth_per_hour
        if self.hours < 1 or rate is None:
            return Estimate.exactly(grown)
        hours = sum(_growth([one.start for one in windows]) / HOUR for windows in sessions)  # between those tenths
        hourly = grown / (hours or self.hours)
        return Estimate(hourly, min(hourly, rate.low), max(hourly, rate.high))

    @cached_property
    def memory_growth_per_hour(self) -> Estimate | None:
        """Bytes an hour: the median slope within sessions, after the first tenth of each."""
        windows = [window for windows in self._remembered() for window in windows]
        hours = [window.start / HOUR for window in windows]
        return slope(hours, [window.rss for window in windows], [window.session for window in windows])

    def _remembered(self) -> list[list[Window]]:
        """The windows of each session whose memory is known, without its first tenth."""
        known = [[one for one in self.windows if one.session == session.number and one.rss is not None]
                 for session in self.sessions]
        later = [windows[math.ceil(len(windows) / TENTHS):] for windows in known]
        return [windows for windows in later if len(windows) > 1]

    @property
    def others(self) -> float | None:
        """Cores that processes outside this tree used, on average."""
        known = [window.others for window in self.windows if window.others is not None]
        return fmean(known) if known else None

    @cached_property
    def deviations(self) -> list[Deviation]:
        """Each window that is unlike the others, and what on the machine explains it."""
        return deviations(self.windows)

    @cached_property
    def step(self) -> Step | None:
        """The time from which on it was slower or faster."""
        return step(self.windows)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON."""
        estimates = ("images_per_second", "fps_spread", "drift", "memory_growth", "memory_growth_per_hour")
        figures = (
            "identity", "plan", "finished", "reference", "failed_requests", "first_error", "discarded_requests",
            "lost_images", "planned", "incomplete_windows", "interruptions", "requests", "images", "P99_over_P50",
            "worst_P99_over_P50", "longest_gap", "others",
        )
        return {
            **{name: getattr(self, name) for name in figures},
            **{name: one and one.as_record() for name, one in ((name, getattr(self, name)) for name in estimates)},
            "sessions": [one._asdict() for one in self.sessions], "windows": [one.as_record() for one in self.windows],
            "latencies": self.histogram.as_record(), "explanation": self.explanation.as_record(),
            "percentiles": {name: one.as_record() for name, one in self.percentiles.items()},
            "deviations": [one._asdict() for one in self.deviations],
        }


def _growth(values: list[float]) -> float:
    tenth = max(1, len(values) // TENTHS)
    return median(values[-tenth:]) - median(values[:tenth])
