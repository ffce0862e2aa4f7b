"""The sections of the report: what the page shows of each, made of the files of the folder.

A function for each section returns what its template needs. It raises LeftOut, or any other error for a file that holds
what no run has written; the page then says so in its place.
"""
from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from harness.accuracy.errors import FILE as ERRORS
from harness.accuracy.errors import KINDS, WORDS
from harness.compare import table as comparison_table
from harness.compare.comparison import compare
from harness.compare.record import Run
from harness.load.sweep import Sweep
from harness.report import plots
from harness.report.folder import AGAINST, CURVES, HISTORY, JOURNAL, RESULTS, RUN, SWEEP, Folder, LeftOut
from harness.report.svg import Axis, Plot, axis, bar
from harness.soak.reader import summarise
from harness.text import printable, shown
from harness.verdict.metrics import METRICS, SIGNS, Metric, label, margin, shown_change, value_and_bound
from harness.verdict.metrics import shown as value_text
from harness.verdict.targets import CHECKS
from harness.verdict.verdict import INVALID, NOT_JUDGED, counted, without_repeats

NAME = 60  # characters of a name from a file
EVIDENCE = 4_000
MOST_CLASSES, MOST_DEVIATIONS, MOST_IMAGES = 400, 20, 50  # lines of a table
MOST_SHOWN = 40  # images of the gallery
MOST_LABELS = 6  # boxes with a label in an image that is not enlarged


def text(value: Any, most: int = NAME) -> str:
    """A name or a value from a file."""
    return shown("–" if value is None else value, most)


def named(check: Any, metric: Any) -> str:
    """A check and its metric, without saying the same word twice."""
    name = text(label(str(metric)))
    return name if name.startswith(str(check)) else f"{text(check)} {name}"


def texts(values: Any, most: int = 400) -> list[str]:
    """A list of sentences from a file."""
    return [text(one, most) for one in _list(values)]


def _list(value: Any) -> list:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is not a list")
    return value


def _number(value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"{shown(value)} is not a number")
    return value


def _share(value: Any, sign: str = "") -> str:
    """A share from 0 to 1 in three digits; '–' where there is none."""
    return "–" if _number(value) is None else f"{value:{sign}.3f}"


# ---- the verdicts


def rows(folder: Folder) -> list[dict[str, Any]]:
    """The rows with a verdict, in the order of the target table."""
    return sorted((row for row in _records(folder) if row["verdict"]), key=lambda row: _place(str(row["check"])))


def _place(check: str) -> int:
    """Where a check stands in the target table; what it does not know comes before the run as a whole."""
    return CHECKS.index(check) if check in CHECKS else len(CHECKS) - 1


def figures(folder: Folder) -> dict[tuple[str, str], float | None]:
    """Every value by check and metric."""
    return {(row["check"], row["metric"]): _number(row["value"]) for row in reversed(_records(folder))}


def _records(folder: Folder) -> list[dict[str, Any]]:
    """The rows of the run record, or the results of a run that did not reach its end or whose record is damaged."""
    try:
        return _list(folder.json(RUN)["rows"])
    except Exception:  # the section on the environment says what is wrong with it
        return _list(folder.json(RESULTS))


def verdicts(folder: Folder) -> dict[str, Any]:
    """The checks in order, each with its rows, evidence and the command that repeats it."""
    found = rows(folder)
    if not found:
        raise LeftOut("no row was judged.")
    judged = [row for row in found if row["reason"] != NOT_JUDGED]
    lost = [row for row in found if row["reason"] == NOT_JUDGED]
    checks = [_check(list(group)) for _, group in groupby(judged, lambda row: (row["check"], row["variant"]))]
    whys = groupby(lost, lambda row: (text(row["check"]), text(row["why"], 300)))
    left = [{"name": check, "why": why, "metrics": [text(label(row["metric"])) for row in own]}
            for (check, why), own in whys]
    _anchor([*checks, *left])
    return {"checks": checks, "count": counted([outcome(row) for row in found]), "lost": left}


def _anchor(checks: Sequence[dict]) -> None:
    """Gives the first part of each check its anchor, to which the first screen leads."""
    known = set()
    for check in checks:
        check["anchor"] = "" if check["name"] in known else f"check-{check['name']}"
        known.add(check["name"])


def outcome(row: dict) -> str:
    """The verdict of a row, or that nobody judged it."""
    return NOT_JUDGED if row["reason"] == NOT_JUDGED else str(row["verdict"])


def _check(found: list[dict]) -> dict[str, Any]:
    evidence = (printable(row["evidence"].removeprefix(f"{row['why']}; "), EVIDENCE) for row in found
                if row["evidence"] not in ("", row["why"]))
    commands = dict.fromkeys(text(row["command"], 500) for row in found)
    return {"name": text(found[0]["check"]), "variant": text(found[0]["variant"]), "rows": [_row(row) for row in found],
            "evidence": without_repeats(evidence), "commands": list(commands)}


def _row(row: dict) -> dict[str, Any]:
    value, bound = value_and_bound(row["metric"], _number(row["value"]), _number(row["bound"]))
    low, high = row["interval"] or (None, None)
    between = "" if low is None and high is None else " to ".join(
        "?" if one is None else value_text(row["metric"], _number(one)) for one in (low, high))
    return {
        "verdict": text(row["verdict"]), "metric": text(label(row["metric"])), "value": value, "interval": between,
        "bound": f"{SIGNS.get(row['sense'], text(row['sense']))} {bound}",
        "margin": "–" if row["verdict"] == INVALID else margin(row["value"], row["bound"], row["sense"]),
        "count": f"{row['count']:,}", "reason": text(row["reason"]), "why": text(row["why"], EVIDENCE),
    }


# ---- against the baseline


def against(folder: Folder) -> dict[str, Any]:
    """What changed since the baseline: rows, then the classes, sizes and images that lost most."""
    stored = folder.json(AGAINST)
    unmeasured = [row for row in _list(stored["rows"]) if row["before"] is None and row["after"] is None]
    return {
        "against": text(stored["against"], 300), "runs": [_run_words(one) for one in _list(stored.get("runs") or [])],
        "causes": texts(stored.get("causes") or []),
        "rows": [_changed(row) for row in stored["rows"] if row not in unmeasured],
        "unmeasured": [named(row["check"], row["metric"]) for row in unmeasured],
        **{name: _before_and_after(stored.get(name) or []) for name in ("classes", "sizes", "kinds")},
        "images": _linked(folder, [(one["image_id"], one["file_name"], text(one["lost"]), text(one["gained"]))
                                   for one in _list(stored.get("images") or [])[:MOST_IMAGES]]),
    }


def _linked(folder: Folder, images: Sequence[tuple]) -> list[dict[str, Any]]:
    """Lines of a table of images, each (id, file name, texts of cells), with the anchor of those in the gallery."""
    try:
        shown_here = {one["image_id"] for one in _list(folder.json(ERRORS).get("gallery") or [])[:MOST_SHOWN]}
    except Exception:  # the section on the images says what is wrong with it
        shown_here = set()
    return [{"file": text(file), "anchor": _image_anchor(image) if image in shown_here else "", "cells": cells}
            for image, file, *cells in images]


def _image_anchor(image_id: Any) -> str:
    return f"image-{int(image_id)}"


def _run_words(one: Any) -> str:
    """A run of the baseline: its date, commit and title, or what was stored of it in words."""
    if not isinstance(one, dict):
        return text(one, 300)
    return " ".join([_day(one), _short(one), text(one.get("title") or "", 200)])


def _changed(row: dict) -> dict[str, Any]:
    metric = str(row["metric"])
    before, after = (value_text(metric, _number(row[name])) for name in ("before", "after"))
    return {"verdict": text(row["verdict"]), "name": named(row["check"], metric),
            "before": before, "after": after, "change": _change(metric, row), "outcome": text(row["outcome"], 200),
            "why": text(row["why"], 500)}


def _change(metric: str, row: dict) -> str:
    """The change with its interval, as a share of what was before; of AP and counts the difference."""
    change, low, high = (_number(row.get(name)) for name in ("change", "low", "high"))
    between = f" ({shown_change(metric, low)} to {shown_change(metric, high)})"
    return shown_change(metric, change) + ("" if None in (change, low, high) or low == high else between)


def _before_and_after(found: Any) -> list[tuple[str, str, str, str]]:
    return [(text(one["name"]), _share(one["before"]), _share(one["after"]), _share(one["change"], "+"))
            for one in _list(found)[:MOST_CLASSES]]


# ---- history


def history(folder: Folder) -> dict[str, Any]:
    """A plot for each metric over the stored runs, with the change points, and what else changed there."""
    stored = folder.json(HISTORY)
    runs, steps = _list(stored["runs"]), _list(stored.get("steps") or [])
    if not runs:
        raise LeftOut("no earlier run is stored that may be compared with this one.")
    metrics = list(dict.fromkeys(name for run in runs for name in run["values"]))
    return {"runs": len(runs), "steps": [_step(step) for step in steps],
            "plots": [_history_plot(name, runs, steps) for name in metrics]}


def _step(step: dict) -> dict[str, Any]:
    metric = str(step["metric"])
    before, after = (value_text(metric, _number(step[name])) for name in ("before", "after"))
    return {"metric": named(step["check"], metric), "commit": _short(step), "date": _day(step), "before": before,
            "after": after, "agreed": bool(step["agreed"]), "changed": texts(step.get("changed") or [])}


def _history_plot(name: str, runs: list[dict], steps: list[dict]) -> plots.Drawing:
    check, _, metric = name.partition(" ")
    about = METRICS.get(metric, Metric(metric))
    scale, unit = about.scale, about.unit.strip()
    points = [[_number(one) and one * scale for one in run["values"].get(name) or (None, None, None)] for run in runs]
    values = [value for value, _, _ in points]
    known = [value for value in values if value is not None]
    own = [step for step in steps if (step["check"], step["metric"]) == (check, metric)]
    words = f"{len(known)} runs, from {min(known):,.4g} to {max(known):,.4g} {unit}".strip() if known else "no value"
    title = named(check, metric)
    plot = Plot(f"{title} over the stored runs", Axis("runs, the newest to the right", -0.5, len(runs) - 0.5),
                axis(text(unit or about.label), [one for point in points for one in point], zero=False), words=words)
    changes = {(step["commit"], step["date"]) for step in own}
    for place, run in enumerate(runs):
        if (run["commit"], run["date"]) in changes:
            plot.upright(place - 0.5, "step", f"change at {_short(run)}")
    plot.line(range(len(runs)), values, "s1")
    for place, (run, (value, low, high)) in enumerate(zip(runs, points)):
        if value is not None:
            plot.bounds(place, low, high, "s1")
            name = f"{_day(run)} {_short(run)} {text(run.get('title') or '')}"
            plot.dot(place, value, "baseline" if run.get("is_baseline") else "s1", f"{name}: {value:,.4g} {unit}")
    return plots.Drawing(title, f"{words}{_jumps(own, metric)}.", plot.svg(_commits(runs)),
                         _history_legend(runs, own))


def _history_legend(runs: list[dict], steps: list[dict]) -> list[tuple[str, str]]:
    kinds = {bool(run.get("is_baseline")) for run in runs}
    dots = [("baseline", "baseline")] * (True in kinds) + [("s1", "other run")] * (False in kinds)
    return [*dots, *([("step", "change point")] if steps else [])]


def _jumps(own: list[dict], metric: str) -> str:
    return "".join(f"; from {value_text(metric, one['before'])} to {value_text(metric, one['after'])} "
                   f"at {_short(one)}" for one in own)


def _day(one: dict) -> str:
    return text(one["date"])[:10]


def _short(one: dict) -> str:
    """A commit as git abbreviates it."""
    return text(one["commit"])[:9]


def _commits(runs: list[dict]) -> dict[float, str]:
    """A few commits below the axis."""
    every = max(1, len(runs) // 4)
    return {place: _short(runs[place])[:7] for place in range(len(runs) - 1, -1, -every)}


# ---- speed


def soak(folder: Folder) -> dict[str, Any]:
    """Throughput, latency and temperature over time, and the windows unlike the others."""
    found = summarise(folder.file(JOURNAL))
    if not found.images:
        raise LeftOut("no window of the soak has detections.")
    drawings = plots.over_time(found)
    deviations = [(str(one.window), text(one.difference, 200), text(one.cause, 300))
                  for one in found.deviations[:MOST_DEVIATIONS]]
    return {"drawings": drawings, "deviations": deviations, "more": max(len(found.deviations) - MOST_DEVIATIONS, 0)}


def sweep(folder: Folder) -> dict[str, Any]:
    """Throughput and latency of each load."""
    return {"drawings": plots.sweep(Sweep.from_record(folder.json(SWEEP)))}


# ---- accuracy


def curves(folder: Folder) -> dict[str, Any]:
    """Precision over recall."""
    return plots.precision_recall(folder.json(CURVES))._asdict()


def mistakes(folder: Folder) -> dict[str, Any]:
    """AP50 lost to each kind of mistake, by size and class, and the images with the most of them."""
    stored = folder.json(ERRORS)
    most = max(*(stored["lost"][kind] for kind in KINDS), 1e-9)
    kinds = [{"kind": kind, "words": WORDS[kind], "lost": f"{stored['lost'][kind]:.3f}",
              "bar": bar(stored["lost"][kind] / most, kind), "count": f"{stored['counts'][kind]:,}"} for kind in KINDS]
    kinds.sort(key=lambda one: one["lost"], reverse=True)
    return {"AP50": f"{stored['AP50']:.3f}", "kinds": kinds, "caveats": texts(stored["caveats"]),
            "by": _by(stored), "sizes": [_lost(one) for one in stored["sizes"]],
            "heads": [WORDS[kind] for kind in KINDS],
            "classes": _classes(folder, stored), "confident": f"{stored['confident']:g}",
            "images": _linked(folder, [_image(one) for one in _list(stored["images"])[:MOST_IMAGES]]),
            "faulty": sum(1 for one in stored["images"] if one["missed"] or one["wrong"]), "all": len(stored["images"])}


def _by(stored: dict) -> str:
    if stored["by"] != "hotcoco":
        return "hotcoco was not installed, so these figures are the gate's own."
    apart = _number(stored["difference"])
    return ("The totals are those of hotcoco's TIDE. Those of classes and sizes are the gate's own, by the same rules; "
            f"their totals differ from hotcoco's by {apart:.4f} at most.")


def _lost(one: dict) -> dict[str, Any]:
    costs = [None if one["lost"] is None else one["lost"][kind] for kind in KINDS]
    worst = max((cost for cost in costs if cost is not None), default=0)
    return {"name": text(one["name"]), "AP50": _share(one["AP50"]), "bar": bar(one["AP50"] or 0, "right"),
            "objects": f"{one['objects']:,}", "lost": [(_share(cost), cost == worst and worst > 0) for cost in costs]}


def _classes(folder: Folder, stored: dict) -> list[dict[str, Any]]:
    """The classes that have an object, the worst first, with AP beside AP50."""
    values = figures(folder)
    known = sorted((one for one in _list(stored["classes"]) if one["objects"]), key=weakest_first)
    return [{**_lost(one), "AP": value_text("AP", values.get(("accuracy", f"AP/{one['name']}")))}
            for one in known[:MOST_CLASSES]]


def weakest_first(one: dict) -> tuple[float, int]:
    """The order of classes: by AP50, of equal ones those with more objects first."""
    return one["AP50"], -one["objects"]


def _image(one: dict) -> tuple[int, str, str, str, str]:
    """Id and file of an image, its wrong detections, missed objects, and AP50 without it."""
    wrong = ", ".join(f"{count} {WORDS[kind]}" for kind, count in one["wrong"].items() if kind in WORDS) or "–"
    cost = _number(one["cost"])
    return (one["image_id"], one["file_name"], wrong, f"{one['missed']:,}",
            "–" if cost is None else _without(cost))


def _without(cost: float) -> str:
    return f"{abs(cost):.4f} {'higher' if cost > 0 else 'lower'}"


# ---- the images


def gallery(folder: Folder) -> dict[str, Any]:
    """The images that lost most since the baseline and those that cost most, with what is missed and wrong in them."""
    stored = folder.json(ERRORS)
    images = _list(stored.get("gallery") or [])
    names = list(dict.fromkeys(box["name"] for image in images for box in image["boxes"]))
    cards, left_out = [], []
    for image in images[:MOST_SHOWN]:
        try:
            cards.append(_card(folder, image, names))
        except (LeftOut, OSError) as error:
            left_out.append(error)
    if not cards:
        raise left_out[0] if left_out else LeftOut("this run stored no images: they are kept with --report.")
    drawn = {box["kind"] for card in cards for box in card["boxes"]}
    kinds = [(kind, WORDS[kind]) for kind in KINDS if kind in drawn]
    return {"cards": cards, "kinds": kinds, "left_out": [text(error, 200) for error in left_out],
            "is_compared": any(card["since"] for card in cards),
            "classes": sorted(((number, text(name)) for number, name in enumerate(names)), key=lambda one: one[1])}


def _card(folder: Folder, image: dict, names: list[str]) -> dict[str, Any]:
    width, height = float(image["width"]), float(image["height"])
    found = [_box(box, width, height) for box in _list(image["boxes"])]
    found.sort(key=lambda box: box["kind"] in KINDS)  # what is wrong lies above what is right
    pairs = " ".join(dict.fromkeys(f"{names.index(box['name'])}:{box['kind']}" for box in image["boxes"]
                                   if box["kind"] in KINDS))
    of_kind = {kind: _grouped([box["words"] for box in found if box["kind"] == kind]) for kind in KINDS}
    cost, since = _number(image.get("cost")), image.get("since")
    wrong = sum(box["kind"] in KINDS for box in found)
    return {
        "anchor": _image_anchor(image["image_id"]), "crowded": wrong > MOST_LABELS,
        "since": f"Since the baseline: {since['lost']:,} objects lost, {since['gained']:,} gained." if since else "",
        "file": text(image["file_name"]), "data": base64.b64encode(folder.jpeg(image["image"])).decode(),
        "width": f"{width:g}", "height": f"{height:g}", "font": f"{width / 27:.1f}", "boxes": found, "pairs": pairs,
        "cost": "" if cost is None else f"Without it AP50 would be {_without(cost)}.",
        "mistakes": [(kind, WORDS[kind], own) for kind, own in of_kind.items() if own],
        "right": len(found) - wrong,
    }


def _grouped(words: list[str]) -> list[str]:
    """Each wording once, with how often it is there."""
    return [one if count == 1 else f"{count} × {one}" for one, count in Counter(words).items()]


def _box(box: dict, width: float, height: float) -> dict[str, Any]:
    """A box over an image, in pixels of the stored image, with its label and all that is to be said of it.

    The label starts or ends (`anchor`) at `at`, so that it lies in the image.
    """
    x1, y1, x2, y2 = (float(side) for side in box["box"])
    kind = box["kind"] if box["kind"] in KINDS else "hit"
    name = text(box["name"], 30) + ("" if _number(box["score"]) is None else f" {box['score']:.2f}")
    meant = f" instead of {text(box['of'], 30)}" if box["of"] else ""
    at, anchor = (x1 * width + 3, "start") if x1 < 0.5 else (x2 * width - 3, "end")
    return {"kind": kind, "label": name, "words": f"{name}{meant}", "at": at, "anchor": anchor, "x": x1 * width,
            "y": y1 * height, "width": (x2 - x1) * width, "height": (y2 - y1) * height}


# ---- platforms, environment


def platforms(runs: Sequence[Run]) -> dict[str, Any]:
    """This run beside others: a table for each."""
    others = [{"name": text(comparison_table.title(other), 200),
               "rows": [[cell or "–" for cell in comparison_table.cells(row)] for row in compare(runs[0], other, None)]}
              for other in runs[1:]]
    return {"base": text(comparison_table.title(runs[0]), 200), "others": others, "caveat": comparison_table.CAVEAT}


def environment(folder: Folder) -> dict[str, Any]:
    """What was measured, on what, and how to repeat it."""
    record = folder.json(RUN)
    known = {name: record.get(name) for name in ("detector", "dataset", "build", "machine", "price")}
    groups = [(name, [(text(fact).replace("_", " "), _fact(value)) for fact, value in facts.items()])
              for name, facts in known.items() if isinstance(facts, dict)]
    commands = dict.fromkeys((text(row["check"]), text(row["command"], 500)) for row in rows(folder))
    return {"source": text(record["origin"]["source"], 1000), "date": text(record["origin"]["date"]),
            "groups": groups, "commands": list(commands)}


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_fact, value[:20]))
    if isinstance(value, float):
        return f"{value:.4g}"
    return text(value, 200)
