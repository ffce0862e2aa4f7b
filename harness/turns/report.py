"""What a comparison in turns says: lines for a terminal, and a record for programs."""
from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.machine.facts import facts
from harness.text import as_line, columns, shown
from harness.turns.arms import NAMES, SNAPSHOT, Arm
from harness.turns.checkout import Commit
from harness.turns.comparison import Comparison
from harness.turns.outcome import ERROR, LEAST_ROUNDS, Row, control_test
from harness.verdict import metrics

WIDTH = 120
COLUMNS = ("outcome", "check", "metric", "A", "B", "change", "interval", "values")
RIGHT = [COLUMNS.index(name) for name in ("A", "B", "change", "interval", "values")]
EQUAL = ("equal detectors: model, harness, gate, requirements and options of A and B are the same; a difference is the "
         "machine's")


def remarks(arms: Sequence[Arm], commits: Mapping[str, Commit], is_dirty: bool) -> Iterator[str]:
    """Lines before anything is measured: which commits they are, and what a reader may have overlooked."""
    for arm in arms:
        options = " ".join([*(f"{name}={value}" for name, value in arm.variables), *arm.options])
        yield shown(f"{arm.name}  {commits[arm.name]}  {options}".rstrip(), 300)
    if is_equal(arms, commits):
        yield EQUAL
    if is_dirty and not any(arm.revision == SNAPSHOT for arm in arms):
        yield f"the working tree has uncommitted changes, which neither arm has: to compare them give B={SNAPSHOT}"


def is_equal(arms: Sequence[Arm], commits: Mapping[str, Commit]) -> bool:
    """Whether both arms have the same detector and are measured by the same code."""
    a, b = arms
    return commits["A"].sources == commits["B"].sources and a[2:] == b[2:]


def table(found: Comparison) -> list[str]:
    """Lines of at most 120 characters: a line a row, why, what differs between the arms, and the control."""
    rows = found.accuracy + found.speed
    lines = [as_line(line[:WIDTH]) for line in columns([COLUMNS, *map(_cells, rows)], RIGHT)]
    texts = [*(f"{row.check} {metrics.label(row.metric)}: {row.why}" for row in rows), *_about(found)]
    wrapped = (line for text in texts for line in textwrap.wrap(shown(text, 1000), WIDTH, subsequent_indent="  "))
    return ["", *lines, "", *map(as_line, wrapped)]


def _cells(row: Row) -> tuple[str, ...]:
    a, b = (metrics.shown(row.metric, value) for value in (row.a, row.b))
    is_bounded = None not in (row.low, row.high)
    change, low, high = (metrics.shown_change(row.metric, one) for one in (row.change, row.low, row.high))
    interval = f"{low} to {high}" if is_bounded else "–"
    return (row.outcome, row.check, metrics.label(row.metric), a, b, change, interval, f"{row.rounds:,}")


def _about(found: Comparison) -> Iterator[str]:
    """What explains the rows: the arms by name, how they differ, whether they do, the control."""
    places = found.places.values()
    for place in places:
        yield str(place)
    if is_equal([place.arm for place in places], {name: place.commit for name, place in found.places.items()}):
        yield EQUAL
    if words := differing(found.facts):
        yield f"what differs between A and B: {', '.join(words)}"
    if len(found.rounds) >= LEAST_ROUNDS:
        control = control_record(found)
        change, low, high = (f"{100 * control[name]:+.1f}" for name in ("change", "low", "high"))
        yield f"control: the reference workload differed by {change} % between the arms, interval {low} to {high} %"


def differing(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the arms themselves say of their detectors and versions, where it is not the same."""
    if set(found) != set(NAMES):
        return []
    a, b = ({**found[name]["metadata"], **found[name].get("versions", {})} for name in NAMES)
    return [f"{shown(name, 40)} {shown(a.get(name, '–'), 20)} → {shown(b.get(name, '–'), 20)}"
            for name in {**a, **b} if a.get(name) != b.get(name)]


def control_record(found: Comparison) -> dict[str, Any]:
    """The reference workload beside B's bursts against that beside A's; no figures with too few rounds."""
    if len(found.rounds) < LEAST_ROUNDS:
        return {"rounds": len(found.rounds), "change": None, "low": None, "high": None}
    test = control_test(found.rounds, found.plan.most)
    return {"rounds": test.rounds, **dict(zip(("change", "low", "high"), test.interval(ERROR)))}


def record(found: Comparison) -> dict[str, Any]:
    """Everything that was measured, for strict JSON."""
    return {
        **{name.lower(): _arm(found, name) for name in NAMES},
        "rows": [row._asdict() for row in found.accuracy + found.speed],
        "control": control_record(found),
        "machine": facts(),
        "plan": found.plan._asdict(),
        "images_a_burst": found.images,
        "rounds": [one._asdict() for one in found.rounds],
        "round_seconds": found.round_seconds,
    }


def _arm(found: Comparison, name: str) -> dict[str, Any]:
    place = found.places[name]
    facts_ = found.facts.get(name, {})
    return {
        "revision": place.arm.revision, **place.commit._asdict(), "options": list(place.arm.options),
        "variables": dict(place.arm.variables),
        "metadata": facts_.get("metadata"), "versions": facts_.get("versions"),
    }
