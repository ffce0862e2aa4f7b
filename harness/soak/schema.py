"""The records of a soak's journal: the fields of each kind, their values, and the order of records.

To add a kind of record, add a row to KINDS, and to `Order` a rule if its place matters. To add a field, add it to the
row of its kind. The journal's own writer is checked against the same rows, so that nothing is written that could not be
read again. Once a release has written journals, a change of the rows needs a new VERSION.
"""
from __future__ import annotations

import reprlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Callable, NamedTuple

VERSION = 2
LONGEST_ERROR = 2000  # characters
LONGEST = 1e8  # seconds, three years
MOST = 10**9  # of any count
LARGEST_FIGURE = 1e21  # above every counter of 64 bits
DEEPEST = 8  # levels of lists and objects in the identity of a soak
UTC = "%Y-%m-%dT%H:%M:%SZ"
COMPLETE, FAILED = "complete", "failed"


class Entry(NamedTuple):
    """One journaled request; times are seconds since its session started, error is '' when it succeeded."""

    caller: int
    start: float
    end: float
    images: int
    answered: int
    error: str
    late: float

    @property
    def latency(self) -> float:
        """Seconds of the whole request from when it was due."""
        return self.end - self.start + self.late


class Field(NamedTuple):
    """The rule for a value, in words and as a check."""

    words: str
    holds: Callable[[Any], bool]


def _number(least: float, most: float) -> Field:
    return Field(f"a number from {least:g} to {most:g}", lambda one: type(one) in (int, float) and least <= one <= most)


def _integer(least: int) -> Field:
    return Field(f"an integer from {least:,} to {MOST:,}", lambda one: type(one) is int and least <= one <= MOST)


def _positive(most: float) -> Field:
    return Field(f"a number above 0, at most {most:g}", lambda one: type(one) in (int, float) and 0 < one <= most)


def _one_of(*values: Any) -> Field:
    return Field(f"one of {', '.join(map(str, values))}", lambda one: one in values)


def _or_none(field: Field) -> Field:
    return Field(f"{field.words}, or null", lambda one: one is None or field.holds(one))


def _is_time(one: Any) -> bool:
    try:
        return datetime.strptime(one, UTC) is not None
    except (TypeError, ValueError):
        return False


def _is_plain(one: Any, levels: int = DEEPEST) -> bool:
    """Whether strict JSON can hold it and comparing it cannot end in a RecursionError."""
    if isinstance(one, (list, dict)):
        parts = one.values() if isinstance(one, dict) else one
        return levels > 0 and all(_is_plain(part, levels - 1) for part in parts)
    if type(one) in (int, float):
        return abs(one) <= LARGEST_FIGURE
    return one is None or type(one) in (bool, str)


SECONDS, POSITIVE = _number(0, LONGEST), _positive(LONGEST)
FIGURE = _or_none(_number(-LARGEST_FIGURE, LARGEST_FIGURE))
TEXT = Field(f"a text of at most {LONGEST_ERROR} characters",
             lambda one: type(one) is str and len(one) <= LONGEST_ERROR)
IDENTITY = Field(f"an object at most {DEEPEST} levels deep", lambda one: type(one) is dict and _is_plain(one))
FIGURES = Field("an object of numbers", lambda one: type(one) is dict and all(
    value is not None and FIGURE.holds(value) for value in one.values()))

SAMPLED = ("steal", "iowait", "others", "load", "mhz", "celsius", "available", "rss")
PLAN = {
    "seconds": POSITIVE, "window_seconds": POSITIVE, "windows": _integer(1), "callers": _integer(1),
    "batch_size": _integer(1), "rate": _or_none(_positive(MOST)),
}
CONDITIONS = {"reference": FIGURE, "others": FIGURE, "steal": FIGURE, "waited": FIGURE}
KINDS = {
    "session": {
        "number": _integer(1), "version": _one_of(VERSION), "utc": Field("a time like 2026-11-24T10:00:00Z", _is_time),
        "identity": IDENTITY, "plan": PLAN, "reference": _integer(1),
    },
    "opening": {"at": SECONDS},
    "sample": {"at": SECONDS, "seconds": SECONDS, **dict.fromkeys(SAMPLED, FIGURE), "extra": FIGURES},
    "window": {"number": _integer(1), "start": SECONDS, "end": SECONDS, "conditions": CONDITIONS},
    "finish": {"outcome": _one_of(COMPLETE, FAILED), "why": TEXT},
}
REQUEST = {
    "caller": _integer(0), "start": SECONDS, "end": SECONDS, "images": _integer(0), "answered": _integer(0),
    "error": TEXT, "late": SECONDS,
}


def fault(record: Any) -> str:
    """What is wrong with a record as JSON gave it, in words; '' if nothing is."""
    if isinstance(record, list):
        return _request_fault(record)
    version = record.get("version", VERSION) if isinstance(record, dict) else None
    if type(version) is int and version != VERSION:
        return (f"has version {shown(version)} of the journal, and this release reads version {VERSION}: read it with "
                "the release that wrote it")
    kind = record.get("kind") if isinstance(record, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        return f"is not a record of a soak's journal: {shown(record)}"
    found = _fields_fault({name: value for name, value in record.items() if name != "kind"}, KINDS[kind])
    if not found and kind == "window" and record["end"] < record["start"]:
        found = f"end {record['end']} is before start {record['start']}"
    return f"in {_a(kind)} record {found}" if found else ""


def _request_fault(values: Sequence) -> str:
    if len(values) != len(REQUEST):
        return f"is not a request, which has {len(REQUEST)} values: {shown(values)}"
    for value, (name, field) in zip(values, REQUEST.items()):
        if not field.holds(value):
            return f"in a request {_value_fault(name, value, field)}"
    entry = Entry(*values)
    if entry.end < entry.start:
        return f"in a request end {entry.end} is before start {entry.start}"
    if entry.answered > entry.images:
        return f"in a request answered {entry.answered} is more than its {entry.images} images"
    return ""


def _fields_fault(values: Any, fields: dict[str, Any]) -> str:
    if not isinstance(values, dict):
        return f"is {shown(values)}, must be an object"
    for name in [*fields, *values]:
        if name not in values:
            return f"{name} is missing"
        if name not in fields:
            return f"{shown(name)} is not a field"
    for name, field in fields.items():
        if isinstance(field, dict) and (nested := _fields_fault(values[name], field)):
            return f"{name}: {nested}"
        if isinstance(field, Field) and not field.holds(values[name]):
            return _value_fault(name, values[name], field)
    return ""


def _value_fault(name: str, value: Any, field: Field) -> str:
    return f"{name} is {shown(value)}, must be {field.words}"


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def shown(value: Any) -> str:
    """A value from a file in a few characters that any terminal can print."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()[:80]


class Order:
    """Checks that a record may follow those before it; records must be without a `fault`."""

    def __init__(self):
        self._first: dict = {}
        self._sessions = 0
        self._windows = 0
        self._is_finished = False
        self._rules = {
            "session": self._session, "opening": self._opening, "sample": self._sample, "window": self._window,
            "finish": self._finish,
        }
        self._start_session()

    def _start_session(self) -> None:
        self._is_open = False
        self._opened = 0.0
        self._sampled = 0.0

    def fault(self, record: dict | Entry) -> str:
        """What is wrong with a record at this place, in words; '' if nothing is."""
        if isinstance(record, Entry):
            return "a request follows the finish of the soak" if self._is_finished else ""
        kind = record["kind"]
        if not self._sessions and kind != "session":
            return f"{_a(kind)} record is before the first session"
        if self._is_finished and kind != "sample":  # the last sample may come late
            return f"{_a(kind)} record follows the finish of the soak"
        return self._rules[kind](record)

    def _session(self, record: dict) -> str:
        if record["number"] != self._sessions + 1:
            return f"session {record['number']} is journaled where session {self._sessions + 1} is due"
        self._first = self._first or record
        for name in ("identity", "plan"):
            if record[name] != self._first[name]:
                return f"session {record['number']} has another {name} than the first: these are two soaks"
        self._sessions += 1
        self._start_session()
        return ""

    def _opening(self, record: dict) -> str:
        if record["at"] < self._opened:
            return f"a window opens at {record['at']}, before the one that opened at {self._opened}"
        self._is_open, self._opened = True, record["at"]
        return ""

    def _sample(self, record: dict) -> str:
        if record["at"] < self._sampled:
            return f"a sample is from {record['at']}, before the one from {self._sampled}"
        self._sampled = record["at"]
        return ""

    def _window(self, record: dict) -> str:
        due, planned = self._windows + 1, self._first["plan"]["windows"]
        if record["number"] != due or due > planned or not self._is_open:
            return (f"window {record['number']} is journaled where window {due} of {planned} is due, after its "
                    "opening: these are two soaks")
        opened_until = self._opened + self._first["plan"]["window_seconds"]
        if not record["start"] < opened_until:
            return f"window {due} starts at {record['start']}, after its end at {opened_until:g}"
        self._windows, self._is_open = due, False
        return ""

    def _finish(self, record: dict) -> str:
        planned = self._first["plan"]["windows"]
        if record["outcome"] == COMPLETE and self._windows != planned:
            return f"the soak is called complete after {self._windows} of {planned} windows"
        self._is_finished = True
        return ""
