"""Reads the journal of a soak, one record at a time: apart from a row for each window its memory is constant."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.load.generator import SHORTEST
from harness.machine.gpu import gauge
from harness.machine.noise import Conditions
from harness.soak.histogram import Histogram
from harness.soak.journal import read
from harness.soak.result import Session, SoakResult, Window
from harness.soak.schema import SAMPLED, Entry


def summarise(journal_path: str | Path) -> SoakResult:
    """The result of a soak that is over, was cut short or goes on. JournalError if the journal cannot be read."""
    reader = JournalReader()
    for record in read(journal_path):
        reader.add(record)
    return reader.result()


class JournalReader:
    """Takes the records of a journal one by one; `result` is what they show so far."""

    def __init__(self):
        self._soak = SoakResult()
        self._counters: dict[str, float] = {}
        self._open: _OpenWindow | None = None  # the window that requests belong to
        self._last: _OpenWindow | None = None  # the one before, to which later samples may still belong
        self._handlers = {
            "session": self._session, "opening": self._opening, "sample": self._sample, "window": self._window,
            "finish": self._finish,
        }

    def add(self, record: dict | Entry) -> None:
        """Takes a record that may follow those before it, as `harness.soak.journal.read` gives them."""
        if isinstance(record, Entry):
            self._request(record)
            return
        if (at := record.get("end", record.get("at"))) is not None:
            self._change_session(seconds=at)
        self._handlers[record["kind"]](record)

    def result(self) -> SoakResult:
        """The result of all records that were added; none may be added afterwards."""
        self._settle()
        return self._soak

    def _change_session(self, **fields) -> None:
        self._soak.sessions[-1] = self._soak.sessions[-1]._replace(**fields)

    def _session(self, record: dict) -> None:
        self._settle()
        if not self._soak.sessions:
            self._soak.identity = record["identity"]
            self._soak.plan = record["plan"]
            self._soak.reference = record["reference"]
        self._soak.sessions.append(Session(record["number"], record["utc"], seconds=0.0, windows=0))
        self._counters = {}

    def _opening(self, record: dict) -> None:
        self._discard()
        self._open = _OpenWindow(record["at"], record["at"] + self._soak.plan["window_seconds"], self._counters)

    def _request(self, entry: Entry) -> None:
        if entry.error:
            self._soak.failed_requests += 1
            self._soak.first_error = self._soak.first_error or entry.error
        elif self._open:
            self._open.add(entry)

    def _sample(self, record: dict) -> None:
        middle = record["at"] - record["seconds"] / 2
        window = self._open if self._open and middle >= self._open.opened else self._last
        if window:
            window.samples.append(record)
        self._counters = record["extra"]

    def _window(self, record: dict) -> None:
        self._settle_last()
        self._last, self._open = self._open, None
        self._last.record = record
        self._soak.histogram.merge(self._last.histogram)
        self._change_session(windows=self._soak.sessions[-1].windows + 1)

    def _finish(self, record: dict) -> None:
        self._soak.finished = record["outcome"]
        self._soak.first_error = self._soak.first_error or record["why"]

    def _settle(self) -> None:
        """Ends a session: a window that is not complete by now never will be."""
        self._settle_last()
        self._discard()

    def _settle_last(self) -> None:
        if self._last:
            self._soak.windows.append(self._last.row(self._soak.sessions[-1].number))
            self._soak.lost_images += self._last.lost_images
        self._last = None

    def _discard(self) -> None:
        if self._open:
            self._soak.discarded_requests += self._open.requests
        self._open = None


class _OpenWindow:
    """A window from `opened` until `end`, as its requests come in."""

    def __init__(self, opened: float, end: float, counters: dict[str, float]):
        self.opened = opened
        self.end = end
        self.record: dict[str, Any] = {}  # of the window, once it is complete
        self.histogram = Histogram()
        self.samples: list[dict] = []
        self.requests = 0
        self.lost_images = 0
        self._images = 0
        self._images_within = 0.0  # as harness.load.generator.rates counts
        self._counters = counters
        self._latest_end = opened
        self._longest_gap = 0.0
        self._longest_latency = 0.0

    def add(self, entry: Entry) -> None:
        """Counts a request that did not fail."""
        self.requests += 1
        self._images += entry.answered
        self.lost_images += entry.images - entry.answered
        within = max(self.end - entry.start, 0.0) / max(entry.end - entry.start, SHORTEST)
        self._images_within += entry.answered * min(within, 1.0)
        self.histogram.add(entry.latency)
        self._longest_latency = max(self._longest_latency, entry.latency)
        self._response_at(entry.end)

    def _response_at(self, end: float) -> None:
        if end > self._latest_end:
            self._longest_gap = max(self._longest_gap, end - self._latest_end)
            self._latest_end = end

    def row(self, session: int) -> Window:
        """The complete window."""
        self._response_at(self.end)
        seconds = self.end - self.record["start"]
        return Window(
            number=self.record["number"], session=session, start=self.record["start"], seconds=seconds,
            requests=self.requests, images=self._images, images_per_second=self._images_within / seconds,
            P50=self.histogram.percentile(50), P90=self.histogram.percentile(90), P99=self.histogram.percentile(99),
            longest_latency=self._longest_latency, longest_gap=self._longest_gap,
            conditions=Conditions(**self.record["conditions"]),
            **{name: _mean(self.samples, name) for name in SAMPLED}, rose=self._rose(), gauges=self._gauges(),
        )

    def _gauges(self) -> dict[str, float]:
        """The mean of each figure of a GPU over the samples that have it."""
        found = [{**sample["extra"], "seconds": sample["seconds"]} for sample in self.samples]
        means = {name: _mean(found, name) for sample in found for name in sample if gauge(name)}
        return {name: mean for name, mean in means.items() if mean is not None}

    def _rose(self) -> dict[str, float]:
        """By how much each counter changed since the sample before the window."""
        if not self.samples:
            return {}
        before, after = self._counters or self.samples[0]["extra"], self.samples[-1]["extra"]
        changes = {name: value - before[name] for name, value in after.items() if name in before and not gauge(name)}
        return {name: change for name, change in changes.items() if change}


def _mean(samples: Sequence[dict], name: str) -> float | None:
    """The mean over time of the samples that have the figure."""
    known = [sample for sample in samples if sample.get(name) is not None]
    total = sum(sample["seconds"] for sample in known)
    return sum(sample["seconds"] * sample[name] for sample in known) / total if total else None
