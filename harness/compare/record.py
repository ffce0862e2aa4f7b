"""Reads the run record of a report folder, `run.json`: whatever it has, a run or one sentence that says why not.

The gate writes it (fixtures/run_record.py), and the folders of published runs have one each.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple

from harness.files import Unreadable, from_json, read_file
from harness.stats.estimate import Estimate
from harness.text import shown
from harness.verdict.verdict import PASS

FILE, KIND, VERSION = "run.json", "detector gate run", 2
MEASURED, PUBLISHED = "measured", "published"
UNCLEAN, UNKNOWN = "uncommitted changes", "its commit is unknown"
LARGEST = 64 * 2**20  # bytes: a run with AP of 1,000 resamples and 80 classes has 0.1 MB
MOST_ROWS = 20_000
MOST_RATES = 1_000_000  # of a check: a soak of 30 days has 86,400 windows
MOST = 1e21  # of any figure
ROUNDING = 1e-9  # by which a value may be beyond its own bound
COMMIT = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")  # SHA-1 or SHA-256


class RunError(ValueError):
    """The folder has no run that can be compared; the message names the file, what is wrong and what to do.

    `why` is what is wrong, alone.
    """

    def __init__(self, message: str, why: str = ""):
        super().__init__(message)
        self.why = why or message


class Figure(NamedTuple):
    """One figure of a run: what was measured, under which load and by which method.

    `estimate` is None where nothing was measured; then `reason` (of `harness.verdict.verdict.REASONS`) and `why` say
    it. `verdict` is that of the run's own gate, '' for a figure without a bound.
    """

    check: str
    metric: str
    estimate: Estimate | None
    count: int
    load: str
    method: str
    verdict: str
    reason: str
    why: str


@dataclass(frozen=True)
class Run:
    """One run, measured or published. `figures` by (check, metric); of a check's several casts the first.

    `name` is the short one that a comparison gives it. `detector`, `dataset`, `build` and `machine` are facts by name,
    empty where nothing is known. Of two runs the `key` must be equal to compare their speed, and what differs of their
    `environment` may explain a difference; both are facts by name. `commit` has hash, clean, branch, title and
    author_date, or is empty. `resampled_AP` is that of all images and of each bootstrap resample, None where it was
    not stored; `rates` are images a second of each round or window, by check. `detections` is the SHA-256 of the file
    beside the record that has them, '' without one. `incomplete` says why the run is not a whole gate, and `missed`
    which rows that decide are not PASS, both in words and empty where all is well.
    """

    name: str
    folder: Path
    kind: str
    date: str
    source: str
    platform: str
    backend: str
    cast: str
    instance: str
    detector: dict[str, Any]
    dataset: dict[str, Any]
    build: dict[str, Any]
    machine: dict[str, Any]
    key: dict[str, Any]
    environment: dict[str, Any]
    commit: dict[str, Any]
    resampled_AP: tuple[float, ...] | None
    rates: dict[str, tuple[float, ...]]
    detections: str
    incomplete: tuple[str, ...]
    missed: tuple[str, ...]
    figures: Mapping[tuple[str, str], Figure]
    content: bytes

    @property
    def is_published(self) -> bool:
        """Whether the figures were published without the samples behind them."""
        return self.kind == PUBLISHED

    @property
    def is_baseline(self) -> bool:
        """Whether later runs may be compared with it without being asked to."""
        return not self.objections

    @property
    def objections(self) -> tuple[str, ...]:
        """Why it is not a baseline, in words; empty for one that is."""
        if self.is_published:
            return ("its samples were not published",)
        unclean = () if self.commit.get("clean") is True else (UNCLEAN if self.commit else UNKNOWN,)
        return (*unclean, *self.incomplete, *self.missed)


def read(folder: str | Path, name: str) -> Run:
    """The run of a report folder, by this name from now on. Raises RunError."""
    folder = Path(folder)
    return parsed(_content(folder, folder / FILE), folder, name)


def parsed(content: bytes, folder: Path, name: str) -> Run:
    """The run of a record with this content, which is or will be in the folder. Raises RunError."""
    path = folder / FILE
    try:
        record = from_json(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"is not strict JSON ({str(error)[:120]})") from error
    try:
        return _run(name, folder, record, content)
    except _Fault as error:
        raise _unreadable(path, str(error)) from error


class _Fault(ValueError):
    """What is wrong with a record, in words."""


def _unreadable(path: Path, why: str) -> RunError:
    why = shown(why, 300)
    return RunError(f"{shown(path, 300)}: {why}; name a folder that --report of this release has written", why)


def _content(folder: Path, path: Path) -> bytes:
    """The bytes of the record: of a regular file of a sensible size, never of a pipe or a device that would block."""
    if not os.path.isdir(folder):
        raise RunError(f"{shown(folder, 300)}: is not a folder; name the folder that --report has written")
    try:
        return read_file(path, LARGEST)
    except FileNotFoundError as error:
        raise RunError(f"{shown(folder, 300)}: has no {FILE}, the record that the gate writes at the end of a run; run "
                       "the gate with --report, to its end") from error
    except Unreadable as error:
        raise _unreadable(path, str(error)) from error


# ---- the fields of a record


def _run(name: str, folder: Path, record: Any, content: bytes) -> Run:
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise _Fault("is not the record of a gate's run")
    version = record.get("version")
    if version != VERSION or isinstance(version, bool):
        raise _Fault(f"has version {shown(version)} of the run record, and this release reads version {VERSION}: "
                     "compare with the release that wrote it")
    origin = _field(record, "origin", _object)
    kind = _field(origin, "kind", _text)
    if kind not in (MEASURED, PUBLISHED):
        raise _Fault(f"origin: kind is {shown(kind)}, must be {MEASURED} or {PUBLISHED}")
    rows = _field(record, "rows", _list)
    return Run(
        name, folder, kind, _field(origin, "date", _text), _field(origin, "source", _text),
        **{field: _field(record, field, _text) for field in ("platform", "backend", "cast", "instance")},
        **{field: _field(record, field, _facts) for field in ("detector", "dataset", "build", "machine")},
        **{field: _field(record, field, _plain_facts) for field in ("key", "environment")},
        commit=_field(record, "commit", _commit), resampled_AP=_field(record, "resampled_AP", _resamples),
        rates=_field(record, "rates", _rates), detections=_text(record.get("detections") or ""),
        incomplete=_field(record, "incomplete", _texts), missed=_missed(rows),
        figures=_figures(rows, kind == PUBLISHED), content=content,
    )


def _field(record: dict, name: str, reader: Callable) -> Any:
    if name not in record:
        raise _Fault(f"{name} is missing")
    try:
        return reader(record[name])
    except _Fault as error:
        raise _Fault(f"{name}{error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Fault(f" is {shown(value)}, must be a text")
    return value


def _object(value: Any) -> dict:
    if not isinstance(value, dict):
        raise _Fault(f" is {shown(value)}, must be an object")
    return value


def _list(value: Any, most: int = MOST_ROWS) -> list:
    if not isinstance(value, list) or len(value) > most:
        raise _Fault(f" must be a list of at most {most:,}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _facts(value: Any) -> dict[str, Any]:
    """Facts by name; {} where nothing is known."""
    return _object({} if value is None else value)


def _plain_facts(value: Any) -> dict[str, Any]:
    """Facts that are texts, numbers, true, false or null."""
    facts = _facts(value)
    for name, fact in facts.items():
        if isinstance(fact, (dict, list)):
            raise _Fault(f": {shown(name)} is {shown(fact)}, must be a text or a number")
    return facts


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -MOST <= value <= MOST:
        raise _Fault(f" is {shown(value)}, must be null or a number from -{MOST:g} to {MOST:g}")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Fault(f" is {shown(value)}, must be an integer from 0")
    return value


def _resamples(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = [_number(one) for one in _list(value)]
    if len(numbers) < 2 or None in numbers or not all(0 <= one <= 1 for one in numbers):
        raise _Fault(" must have the AP of all images and of each resample, from 0 to 1")
    return tuple(numbers)


def _commit(value: Any) -> dict[str, Any]:
    """What git says of the project, {} where it says nothing."""
    facts = _facts(value)
    if facts and not COMMIT.fullmatch(str(facts.get("hash"))):
        raise _Fault(f": hash is {shown(facts.get('hash'))}, must be that of a commit")
    return facts


def _rates(value: Any) -> dict[str, tuple[float, ...]]:
    rates = {check: tuple(map(_number, _list(own, MOST_RATES))) for check, own in _facts(value).items()}
    if any(None in own for own in rates.values()):
        raise _Fault(" must have a list of numbers for each check")
    return rates


def _missed(rows: list) -> tuple[str, ...]:
    """The rows that decide and are not PASS, in words."""
    decisive = [row for row in rows if isinstance(row, dict) and row.get("decisive") is True]
    missed = [_named(row) for row in decisive if row.get("verdict") != PASS]
    return tuple(missed if decisive else ["no row that decides was judged"])


def _named(row: dict) -> str:
    parts = (row.get(name) for name in ("check", "metric", "variant", "verdict"))
    return " ".join(shown(part) for part in parts if part)


def _figures(rows: list, is_published: bool) -> dict[tuple[str, str], Figure]:
    found: dict[tuple[str, str], Figure] = {}
    seen: set[tuple[str, str, str]] = set()
    for place, row in enumerate(rows, 1):
        try:
            figure, variant = _figure(_object(row), is_published)
        except _Fault as error:
            raise _Fault(f"row {place}: {str(error).strip()}") from error
        key = figure.check, figure.metric
        if (*key, variant) in seen:
            raise _Fault(f"row {place}: {shown(' '.join(key))} is there twice")
        seen.add((*key, variant))
        found.setdefault(key, figure)
    return found


def _figure(row: dict, is_published: bool) -> tuple[Figure, str]:
    value, bounds = _field(row, "value", _number), _field(row, "interval", _bounds)
    texts = {name: _text(row.get(name) or "") for name in ("load", "method", "verdict", "reason", "why")}
    figure = Figure(_field(row, "check", _text), _field(row, "metric", _text), _estimate(value, bounds, is_published),
                    _field(row, "count", _count), **texts)
    return figure, _text(row.get("variant") or "")


def _bounds(value: Any) -> tuple[float | None, float | None] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise _Fault(f" is {shown(value)}, must be null or two bounds")
    return _number(value[0]), _number(value[1])


def _estimate(value: float | None, bounds: tuple | None, is_published: bool) -> Estimate | None:
    """A measured value without an interval is exact, a published one is known as far as it was published."""
    if value is None:
        return None
    if bounds is None:
        return Estimate(value) if is_published else Estimate.exactly(value)
    low, high = bounds
    slack = ROUNDING * abs(value)
    if (low is not None and low > value + slack) or (high is not None and high < value - slack):
        raise _Fault(f"interval is {shown(list(bounds))}, must contain the value {value:g}")
    return Estimate(value, low, high)
