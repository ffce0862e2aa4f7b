"""What the journal of a soak shows: every window of it, how they differ, and what on the machine explains that.

From the journal alone, one record at a time: apart from a row for each window the memory it takes is constant.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import fmean, median
from typing import Any, NamedTuple

from harness.load.generator import SHORTEST
from harness.machine.explanation import Explanation, explain
from harness.machine.noise import Conditions
from harness.soak.anomalies import Deviation, deviations
from harness.soak.histogram import Histogram
from harness.soak.schema import Entry
from harness.stats.percentiles import QUOTED, Interval, PercentileBound, mean_interval
from harness.stats.spread import spread
from harness.stats.trend import relative_loss, slope

MACHINE = ("steal", "iowait", "others", "load", "mhz", "celsius", "available", "rss")
HOUR = 3600.0  # seconds
WARM_UP = 10  # the first tenth of a session's windows is left out of what its memory did


@dataclass(frozen=True)
class Window:
    """One complete window; times in seconds, memory in bytes, None where nothing told.

    `begin` counts from the session's; `images` were answered by its requests, of which those still under way at its end
    count in `images_per_second` by their share. `longest_gap` is the longest time between two responses, its start and
    end included; `conditions` are what the machine was like. What follows are means of the samples; `rose` says by how
    much other rooms' counters changed.
    """

    number: int
    session: int
    begin: float
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

    @property
    def reference(self) -> float | None:
        """CPU seconds of the reference workload."""
        return self.conditions.reference

    @property
    def waited(self) -> float | None:
        """The share of their time that our threads waited for a core."""
        return self.conditions.waited

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "conditions": self.conditions._asdict()}


class Session(NamedTuple):
    """One process that carried the soak: when it began (UTC), how long it lasted, how many windows it completed."""

    number: int
    utc: str
    seconds: float
    windows: int


@dataclass(frozen=True)
class Soak:
    """A soak as far as it got: `planned` windows, of which `windows` are complete.

    `finished` is "complete" or "failed", for `first_error`, or "" when it was cut short or goes on. `histogram` has the
    latencies of all complete windows; `reference` are the iterations of the reference workload.
    `discarded_requests` are those of windows that were cut short, `lost_images` those without an answer of their own in
    requests that did not fail. Figures are None where what is there is too little for them.
    """

    identity: dict[str, Any]
    plan: dict[str, Any]
    sessions: list[Session]
    windows: list[Window]
    histogram: Histogram
    reference: int
    failed_requests: int
    first_error: str
    discarded_requests: int
    lost_images: int
    finished: str

    @property
    def planned(self) -> int:
        return self.plan["windows"]

    @property
    def incomplete_windows(self) -> int:
        return self.planned - len(self.windows)

    @property
    def interruptions(self) -> int:
        """How often a new process had to carry on."""
        return len(self.sessions) - 1

    @property
    def requests(self) -> int:
        """Of the complete windows."""
        return sum(window.requests for window in self.windows)

    @property
    def images(self) -> int:
        """Answered, in the complete windows."""
        return sum(window.images for window in self.windows)

    @property
    def rates(self) -> list[float]:
        """Images a second of each window."""
        return [window.images_per_second for window in self.windows]

    @cached_property
    def images_per_second(self) -> Interval | None:
        """The mean of the windows, which are of equal length; its bounds are None for fewer than ten of them."""
        if not self.windows:
            return None
        try:
            return mean_interval(self.rates)
        except ValueError:
            return Interval(None, fmean(self.rates), None)

    @cached_property
    def percentiles(self) -> dict[str, PercentileBound]:
        """P50, P90 and P99 of all requests in seconds, with their bounds."""
        return self.histogram.percentiles()

    @cached_property
    def fps_spread(self) -> Interval | None:
        """(highest - lowest) / mean of ten windows' images a second; see `harness.stats.spread`."""
        return spread(self.rates)

    @cached_property
    def explanation(self) -> Explanation:
        """What the machine explains of the differences between the windows."""
        return explain(self.rates, [window.conditions for window in self.windows])

    @property
    def P99_over_P50(self) -> float | None:
        return self._over_P50(self.percentiles["P99"].estimate) if self.percentiles else None

    @property
    def worst_window(self) -> Window | None:
        """The window with the highest P99."""
        return max((window for window in self.windows if window.P99), key=lambda window: window.P99, default=None)

    @property
    def worst_P99_over_P50(self) -> float | None:
        """The worst window's P99 by the P50 of all requests."""
        return self._over_P50(self.worst_window.P99) if self.worst_window else None

    def _over_P50(self, seconds: float) -> float:
        return seconds / self.percentiles["P50"].estimate

    @property
    def longest_gap(self) -> float | None:
        """Seconds without any answer under load, the longest of all windows."""
        return max((window.longest_gap for window in self.windows), default=None)

    @property
    def hours(self) -> float:
        """Of load in complete windows."""
        return sum(window.seconds for window in self.windows) / HOUR

    @cached_property
    def drift(self) -> Interval | None:
        """As `loss`, of the images a second that were measured."""
        return self.loss(self.rates)

    def loss(self, rates: Sequence[float]) -> Interval | None:
        """The share of the images a second that a session loses by its slope; negative for a gain.

        In an hour, or over the whole of a shorter soak. A process that begins anew has lost nothing yet.
        """
        found = relative_loss(rates, [window.session for window in self.windows])
        return found and Interval(*(bound / max(self.hours, 1.0) for bound in found))

    @cached_property
    def memory_growth(self) -> Interval | None:
        """Bytes that the processes grew by in an hour, or over the whole of a shorter soak.

        From the second to the last tenth of each session, all sessions together: the difference of two medians also
        sees a single step, which a slope does not. In a longer soak the bounds are the wider ones of this and of the
        slope, whose own bounds say how sure it is.
        """
        sessions = self._remembered()
        if not sessions:
            return None
        grown = sum(_growth([window.rss for window in windows]) for windows in sessions)
        rate = self.memory_growth_per_hour
        if self.hours < 1 or rate is None:
            return Interval(grown, grown, grown)
        hourly = grown / (sum(_hours_apart(windows) for windows in sessions) or self.hours)
        return Interval(min(hourly, rate.low), hourly, max(hourly, rate.high))

    @cached_property
    def memory_growth_per_hour(self) -> Interval | None:
        """Bytes an hour, the median slope within sessions after the first tenth of each."""
        windows = [window for windows in self._remembered() for window in windows]
        hours = [window.begin / HOUR for window in windows]
        return slope(hours, [window.rss for window in windows], [window.session for window in windows])

    def _remembered(self) -> list[list[Window]]:
        """The windows of each session whose memory is known, without its first tenth."""
        of_sessions = ([w for w in self.windows if w.session == one.number and w.rss is not None]
                       for one in self.sessions)
        later = (windows[-(-len(windows) // WARM_UP):] for windows in of_sessions)
        return [windows for windows in later if len(windows) > 1]

    @property
    def others(self) -> float | None:
        """Cores that processes other than ours used, on average."""
        known = [window.others for window in self.windows if window.others is not None]
        return fmean(known) if known else None

    @cached_property
    def deviations(self) -> list[Deviation]:
        """Each window that is not as the others, and what on the machine explains it."""
        return deviations(self.windows)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON."""
        intervals = ("images_per_second", "fps_spread", "drift", "memory_growth", "memory_growth_per_hour")
        figures = (
            "planned", "incomplete_windows", "interruptions", "requests", "images", "P99_over_P50",
            "worst_P99_over_P50", "longest_gap", "others",
        )
        return {
            "identity": self.identity, "plan": self.plan, "finished": self.finished,
            "sessions": [one._asdict() for one in self.sessions], "windows": [one.as_record() for one in self.windows],
            "latencies": self.histogram.as_record(), "reference": self.reference,
            "explanation": self.explanation.as_record(),
            "failed_requests": self.failed_requests, "first_error": self.first_error,
            "discarded_requests": self.discarded_requests, "lost_images": self.lost_images,
            **{name: getattr(self, name) for name in figures},
            **{name: one and one._asdict() for name, one in ((name, getattr(self, name)) for name in intervals)},
            "percentiles": {name: one._asdict() for name, one in self.percentiles.items()},
            "deviations": [one._asdict() for one in self.deviations],
        }


def _growth(values: list[float]) -> float:
    tenth = max(1, len(values) // 10)
    return median(values[-tenth:]) - median(values[:tenth])


def _hours_apart(windows: list[Window]) -> float:
    """Between the middles of the tenths that `_growth` compares."""
    tenth = max(1, len(windows) // 10)
    return median(one.begin for one in windows[-tenth:]) / HOUR - median(one.begin for one in windows[:tenth]) / HOUR


class Fold:
    """Takes the records of a journal one by one; `soak()` is what they show so far."""

    def __init__(self):
        self._identity, self._plan, self._reference, self._sessions, self._extra = {}, {}, 0, [], {}
        self._windows, self._histogram = [], Histogram()
        self._failed, self._first_error, self._discarded, self._lost, self._finished = 0, "", 0, 0, ""
        self._open: _Open | None = None  # the window that its requests belong to
        self._last: _Open | None = None  # the one before, of which later samples may still tell

    def add(self, record: dict | Entry) -> None:
        """Takes a record that may follow those before it, as `harness.soak.journal.read` gives them."""
        if isinstance(record, Entry):
            self._request(record)
            return
        if record["kind"] != "session":
            self._seen(record)
        getattr(self, f"_{record['kind']}")(record)

    def _seen(self, record: dict) -> None:
        """Notes how long the session has lasted."""
        at = record.get("end", record.get("at"))
        if at is not None:
            self._sessions[-1] = self._sessions[-1]._replace(seconds=at)

    def _session(self, record: dict) -> None:
        self._settle()
        if not self._sessions:
            self._identity, self._plan, self._reference = record["identity"], record["plan"], record["reference"]
        self._sessions.append(Session(record["number"], record["utc"], 0.0, 0))
        self._extra = {}

    def _opening(self, record: dict) -> None:
        self._discarded += self._open.requests if self._open else 0
        self._open = _Open(record["at"], record["at"] + self._plan["window_seconds"], self._extra)

    def _request(self, entry: Entry) -> None:
        if entry.error:
            self._failed += 1
            self._first_error = self._first_error or entry.error
        elif self._open:
            self._open.add(entry)

    def _sample(self, record: dict) -> None:
        middle = record["at"] - record["seconds"] / 2
        window = self._open if self._open and middle >= self._open.opened else self._last
        if window:
            window.samples.append(record)
        self._extra = record["extra"]

    def _window(self, record: dict) -> None:
        self._settle_last()
        self._last, self._open = self._open, None
        self._last.number, self._last.begin = record["number"], record["start"]
        self._last.conditions = Conditions(**record["conditions"])
        self._histogram.merge(self._last.histogram)
        self._sessions[-1] = self._sessions[-1]._replace(windows=self._sessions[-1].windows + 1)

    def _finish(self, record: dict) -> None:
        self._finished, self._first_error = record["outcome"], self._first_error or record["why"]

    def _settle_last(self) -> None:
        if self._last:
            self._windows.append(self._last.row(self._sessions[-1].number))
            self._lost += self._last.lost
        self._last = None

    def _settle(self) -> None:
        """At the end of a session: what is not complete by now never will be."""
        if self._sessions:
            self._settle_last()
        self._discarded += self._open.requests if self._open else 0
        self._open = None

    def soak(self) -> Soak:
        """All that was added; nothing may be added afterwards."""
        self._settle()
        return Soak(
            self._identity, self._plan, self._sessions, self._windows, self._histogram, self._reference,
            self._failed, self._first_error, self._discarded, self._lost, self._finished,
        )


class _Open:
    """A window as its requests come in: from `opened` until `end`."""

    def __init__(self, opened: float, end: float, extra: dict):
        self.opened, self.end, self._extra, self.conditions = opened, end, extra, Conditions()
        self.number, self.begin, self.requests, self._images, self.lost = 0, opened, 0, 0, 0
        self.histogram, self._done, self.samples = Histogram(), 0.0, []
        self._latest, self._longest_gap, self._longest_latency = opened, 0.0, 0.0

    def add(self, entry: Entry) -> None:
        self.requests += 1
        self._images += entry.answered
        self.lost += entry.images - entry.answered
        # As harness.load.generator.rates counts: what is under way at the end belongs to the window by its share.
        inside = max(self.end - entry.start, 0.0) / max(entry.end - entry.start, SHORTEST)
        self._done += entry.answered * min(inside, 1.0)
        latency = entry.latency
        self.histogram.add(latency)
        if latency > self._longest_latency:
            self._longest_latency = latency
        if entry.end > self._latest:
            self._gap(entry.end)

    def _gap(self, end: float) -> None:
        self._longest_gap = max(self._longest_gap, end - self._latest)
        self._latest = end

    def row(self, session: int) -> Window:
        self._gap(max(self.end, self._latest))
        seconds = self.end - self.begin
        return Window(
            self.number, session, self.begin, seconds, self.requests, self._images, self._done / seconds,
            *map(self.histogram.percentile, QUOTED), self._longest_latency, self._longest_gap, self.conditions,
            **{name: _mean(self.samples, name) for name in MACHINE}, rose=self._rose(),
        )

    def _rose(self) -> dict[str, float]:
        if not self.samples:
            return {}
        before, after = self._extra or self.samples[0]["extra"], self.samples[-1]["extra"]
        changes = {name: value - before[name] for name, value in after.items() if name in before}
        return {name: change for name, change in changes.items() if change}


def _mean(samples: Sequence[dict], name: str) -> float | None:
    """Over time."""
    known = [(sample["seconds"], sample[name]) for sample in samples if sample[name] is not None]
    total = sum(seconds for seconds, _ in known)
    return sum(seconds * value for seconds, value in known) / total if total else None
