"""Journals of soaks that never ran: windows of one second whose requests, conditions and samples are made up."""
from __future__ import annotations

from pathlib import Path

from harness.load.generator import LoadPattern
from harness.soak.journal import _body, _Chain
from harness.soak.result import SoakResult
from harness.soak.run import Plan, summarise
from harness.soak.schema import VERSION, Entry

CALLERS, LATENCY, PAUSE = 2, 0.01, 0.05
CONDITIONS = {"reference": 0.001, "others": 0.05, "steal": 0.0, "waited": 0.02}
SAMPLE = {"steal": 0.001, "iowait": 0.0, "others": 0.1, "load": 1.0, "mhz": 3000.0, "celsius": 50.0, "available": 8e9,
          "rss": 1e8, "extra": {"neuron0/hw_error": 0, "neuron0/inferences": 0}}


def started(session=1, windows=40, **identity) -> dict:
    """The record that starts a session."""
    return {"kind": "session", "number": session, "version": VERSION, "utc": "2026-11-24T10:00:00Z",
            "identity": identity, "plan": Plan(windows, 1.0, LoadPattern(CALLERS, 1)).as_record(),
            "reference": 1}


def requests(opened, latency=LATENCY, stall=0.0) -> list:
    """Of one window: each caller sends the next when the last came back, `stall` seconds late in the middle of it."""
    found = []
    for caller in range(CALLERS):
        start = opened
        while start < opened + 1:
            is_stalled = stall and start <= opened + 0.5 < start + latency
            end = start + latency + (stall if is_stalled else 0)
            found.append(Entry(caller, round(start, 6), round(end, 6), 1, 1, "", 0))
            start = end
    return sorted(found, key=lambda entry: entry.end)


def window(number, latency=LATENCY, stall=0.0, session=1, at=None, conditions=(), **sample) -> list[dict]:
    """The records of one complete window; without `at` each starts where the one before ended."""
    opened = (number - 1) * (1 + PAUSE) + PAUSE if at is None else at
    counted = {"neuron0/hw_error": 0, "neuron0/inferences": 1000 * number, **sample.pop("extra", {})}
    return [
        {"kind": "opening", "at": opened},
        *requests(opened, latency, stall),
        {"kind": "sample", "at": opened + 0.9, "seconds": 0.8, **SAMPLE, **sample, "extra": counted},
        {"kind": "window", "number": number, "start": opened, "end": opened + 1,
         "conditions": {**CONDITIONS, **dict(conditions)}},
    ]


def encode(records) -> str:
    """The text of a journal of these records, ASCII. JournalError for a record that could not be read again."""
    chain = _Chain()
    return "".join([chain.line(_body(record)) for record in records])


def journal(path: Path, records) -> Path:
    """A journal of these records."""
    path.write_text(encode(records))
    return path


def soak_of(path: Path, *differing, count=40, finish="complete") -> SoakResult:
    """A steady soak but for what a function of `differing` gives for a window's number, as arguments of `window`."""
    records = [started(windows=count)]
    for number in range(1, count + 1):
        records += window(number, **{name: value for one in differing for name, value in one(number).items()})
    return summarise(journal(path, [*records, *([finished(finish)] if finish else [])]))


def finished(outcome="complete", why="") -> dict:
    """The record that ends a soak."""
    return {"kind": "finish", "outcome": outcome, "why": why}
