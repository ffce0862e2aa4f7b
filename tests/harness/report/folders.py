"""Report folders as runs leave them, made up: every file that the page is made of, with names of the test's choice."""
from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from harness.accuracy.errors import CAVEATS, KINDS, MISSED
from harness.compare.record import FILE as RUN
from harness.compare.record import KIND, VERSION
from harness.load.points import Point
from harness.load.sweep import Sweep
from harness.report.folder import AGAINST, CURVES, GALLERY, HISTORY, JOURNAL, OUTCOME, RESULTS, SWEEP
from harness.verdict.verdict import FAIL, INVALID, NOT_JUDGED, PASS
from tests.harness.soaks import soak_of

CLASSES = ("cup", "can", "bottle")
POINTS = (
    Point(1, 1, 1, 100.0, 95.0, 105.0, 0.01, 0.011, 0.012, 0.001, 2, 50, 0),
    Point(2, 1, 1, 180.0, None, None, 0.011, 0.012, 0.014, 0.001, 1, 90, 0),
    Point(2, 2, 1, *[None] * 7, 1, 3, 1, "1 of 3 requests failed: no room"),
)


def row(check: str, metric: str, value: float | None, bound: float, sense: str, verdict: str = PASS, **other) -> dict:
    """A row of a run record."""
    return {"check": check, "metric": metric, "value": value, "bound": bound, "sense": sense, "verdict": verdict,
            "count": 100, "interval": None, "reason": "", "why": "", "variant": "", "evidence": "100 images",
            "command": f"pytest tests/gates -m {check}", "platform": "cpu", "backend": "cpu", "load": "", "method": "",
            **other}


def rows(name: Callable[[str], str] = str, ap: str = FAIL) -> list[dict]:
    """Rows of every verdict, and figures without a bound."""
    figures = [{**row("accuracy", f"AP/{name(one)}", 0.3, None, None), "verdict": None} for one in CLASSES]
    return [
        row("accuracy", "AP", 0.312, 0.48, ">=", ap, evidence=name("1 image, cup")),
        row("latency", "P99_seconds", 0.061, 0.0518, "<=", INVALID, reason="too few samples", interval=[0.05, None],
            why=name("not decided")),
        row("integrity", "changed_responses", 0, 0, "<=", variant=name("bf16")),
        row("cost", "dollars_per_million", None, 1.362, "<=", INVALID, reason=NOT_JUDGED, why=name("deselected")),
        *figures,
    ]


def run_record(found: list[dict], name: Callable[[str], str] = str) -> dict[str, Any]:
    return {
        "kind": KIND, "version": VERSION, "platform": "cpu", "cast": "fp32", "backend": "cpu", "instance": "c5.xlarge",
        "origin": {"kind": "measured", "date": "2026-11-26T01:27:44Z", "source": name("pytest tests/gates")},
        "price": None, "detector": {"name": name("my detector"), "width": 224, "height": 224},
        "dataset": {"name": name("my images"), "images": 100}, "build": {"engine": "native"},
        "machine": {"processor": name("AMD"), "cores": 2, "load_average": [1.5, 1.25, 1.0]}, "resampled_AP": None,
        "detections": None, "key": {}, "environment": {}, "commit": {}, "incomplete": [], "rates": {}, "rows": found,
    }


def outcome(**changes) -> dict[str, Any]:
    files = [CURVES, "errors.json", JOURNAL, SWEEP]
    return {"exit_code": 1, "words": "exit code 1: 1 FAIL", "red": [["accuracy", "AP", ""]], "lost": 0, "release": True,
            "is_rehearsal": False, "easier": [], "again": [], "findings": [], "files": files, **changes}


def mistakes(name: Callable[[str], str] = str, images: int = 3, stored: int = 2) -> dict[str, Any]:
    """The content of errors.json, with so many images, and so many of them in the gallery."""
    lost = {kind: 0.01 * place for place, kind in enumerate(KINDS, 1)}
    classes = [{"name": name(one), "AP50": 0.5, "objects": 10, "lost": lost} for one in CLASSES]
    boxes = [{"kind": kind, "name": name(CLASSES[place % 3]), "score": None if kind == MISSED else 0.5,
              "of": name("can") if kind == "class" else "", "box": [0.1, 0.1, 0.5, 0.1 * place + 0.2]}
             for place, kind in enumerate(("right", *KINDS))]
    wrong = {"wrong": {"background": 2}, "missed": 1, "cost": 0.001}
    found = [{"image_id": number, "file_name": name(f"{number}.jpg"), **wrong} for number in range(images)]
    gallery = [{**one, "image": f"{one['image_id']}.jpg", "width": 64, "height": 48, "boxes": boxes,
                "since": {"lost": 3, "gained": 0} if one["image_id"] else None}
               for one in found[:stored]]
    return {
        "iou": 0.5, "background_iou": 0.1, "confident": 0.25, "AP50": 0.55, "lost": lost, "by": "hotcoco",
        "difference": 0.0, "counts": dict.fromkeys(KINDS, 5), "caveats": list(CAVEATS), "classes": [
            *classes, {"name": name("unused"), "AP50": None, "objects": 0, "lost": None}],
        "sizes": [{**classes[0], "name": size} for size in ("small", "medium", "large")], "images": found,
        "gallery": gallery,
    }


def against(name: Callable[[str], str] = str) -> dict[str, Any]:
    parts = [{"name": name(one), "before": 0.5, "after": 0.4, "change": -0.1} for one in CLASSES]
    worse = {"check": "throughput", "metric": "images_per_second", "before": 100.0, "after": 80.0, "change": -0.2,
             "low": -0.25, "high": -0.15, "outcome": "worse", "verdict": FAIL, "why": name("slower")}
    same = {**worse, "check": "accuracy", "metric": "AP", "change": 0.001, "verdict": PASS, "outcome": "same"}
    lost = {**worse, "metric": "vanished", "before": None, "after": None, "change": None, "verdict": INVALID}
    run = {"date": "2026-11-26T01:00:00Z", "commit": "abcdef0123456", "title": name("a commit")}
    return {"against": name("the last 3 runs"), "runs": [name("abc of yesterday"), run], "rows": [worse, same, lost],
            "classes": parts, "sizes": parts, "causes": [name("kernel 5 → 6")],
            "kinds": [{"name": "missed objects", "before": 0.01, "after": 0.06, "change": 0.05}],
            "images": [{"image_id": number, "file_name": name(f"{number}.jpg"), "lost": 3, "gained": 0}
                       for number in (1, 2)]}


def history(name: Callable[[str], str] = str, count: int = 12) -> dict[str, Any]:
    runs = [{"date": f"2026-11-{number + 1:02}T00:00:00Z", "commit": f"{number:07}ab", "title": name("a commit"),
             "is_baseline": number % 2 == 0, "environment": {},
             "values": {"throughput images_per_second": [100.0 - 10 * (number > 6), 85.0, None],
                        "accuracy AP": [0.5, None, None]}} for number in range(count)]
    step = {"check": "throughput", "metric": "images_per_second", "date": runs[-1]["date"],
            "commit": runs[-1]["commit"], "before": 100.0, "after": 90.0, "agreed": True, "changed": [name("kernel")]}
    return {"runs": runs, "steps": [step]}


def curves(name: Callable[[str], str] = str, classes=CLASSES) -> dict[str, Any]:
    return {"iou": 0.5, "classes": {name(one): [1 - place / 200] * 101 for place, one in enumerate(classes)}}


def jpeg(size=(64, 48), noise: bool = False) -> bytes:
    image = Image.effect_noise(size, 99) if noise else Image.new("L", size, 99)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=95)
    return content.getvalue()


def write(folder: Path, name: Callable[[str], str] = str, **changes: Any) -> Path:
    """A whole report folder; `changes` replaces the content of a file, by its name without the ending."""
    found = rows(name)
    contents = {
        RUN: run_record(found, name), RESULTS: found, OUTCOME: outcome(), CURVES: curves(name),
        "errors.json": mistakes(name), AGAINST: against(name), HISTORY: history(name),
        SWEEP: Sweep(POINTS, 0.01, 1.0).as_record(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GALLERY).mkdir(exist_ok=True)
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(changes.get(file.partition(".")[0], content)))
    for image in contents["errors.json"]["gallery"]:
        (folder / GALLERY / image["image"]).write_bytes(jpeg())
    (folder / JOURNAL).write_bytes(_journal())
    return folder


@cache
def _journal() -> bytes:
    """The journal of a short soak, which takes a while to make up."""
    with TemporaryDirectory() as place:
        soak_of(Path(place) / JOURNAL, count=6)
        return (Path(place) / JOURNAL).read_bytes()
