"""Run records that nobody measured: those of two runs of one detector, and what is changed in them."""
from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from harness.accuracy.stored import FILE as DETECTIONS
from harness.accuracy.stored import digest, packed
from harness.compare.record import FILE, KIND, VERSION
from harness.verdict.loads import METHODS

SOAK = METHODS["soak"].format(window_seconds=30)
COMMIT = {"hash": "67709ce" + 33 * "0", "clean": True, "branch": "main", "title": "A change",
          "author_date": "2026-11-25T09:00:00+00:00"}


def row(check: str, metric: str, value, interval=None, load="2 callers × batch 1", method="", **fields) -> dict:
    """A row of a record."""
    return {"check": check, "metric": metric, "value": value, "interval": interval, "count": 1000, "load": load,
            "method": method, "verdict": "PASS", "reason": "", "why": "", "variant": "", "decisive": True, **fields}


def rows(speed: float = 100.0, seconds: float = 0.02, spread: float = 0.02) -> list[dict]:
    """The rows of a run at this speed, with intervals of 2 %."""

    def around(value):
        return [0.98 * value, 1.02 * value]

    found = [row("throughput", "images_per_second", speed, around(speed), method=METHODS["throughput"]),
             row("soak", "images_per_second", speed, around(speed), method=SOAK),
             row("soak", "drift", 0.001, [-0.002, 0.004], method=SOAK),
             row("jitter", "fps_spread", spread, around(spread), method=SOAK),
             row("accuracy", "AP", 0.5, None, load="", method=METHODS["accuracy"]),
             row("integrity", "changed_responses", 0.0, None, load="")]
    for check, method in (("latency", METHODS["latency"]), ("jitter", SOAK)):
        found += [row(check, f"P{p}_seconds", scale * seconds, around(scale * seconds), method=method)
                  for p, scale in ((50, 1.0), (90, 1.2), (99, 1.5))]
    return found


def record(platform: str = "cpu", backend: str = "cpu", found: list[dict] | None = None, **fields: Any) -> dict:
    """A record; `fields` replace its own."""
    return copy.deepcopy({
        "kind": KIND, "version": VERSION, "platform": platform, "backend": backend, "cast": "fp32",
        "origin": {"kind": "measured", "date": "2026-11-25T10:00:00Z", "source": "pytest tests/gates"},
        "instance": platform if "." in platform else "c5.xlarge", "price": None,
        "detector": {"name": "yolov4", "architecture": "a", "weights": "w", "width": 608, "height": 608, "classes": 80,
                     "profile": "aws"},
        "dataset": {"name": "val2017", "sha256": "d", "images": 5000},
        "build": {"engine": "native"}, "machine": {"processor": "made up", "cores": 4},
        "key": {"weights": "w", "cast": "fp32", "cores": 4, "tensorflow": "2.21.0"},
        "environment": {"kernel": "6.1"}, "commit": COMMIT, "incomplete": [], "rates": {"throughput": [100.0, 101.0]},
        "resampled_AP": [0.5, 0.49, 0.51, 0.5], "detections": None,
        "rows": rows() if found is None else found, **fields,
    })


def store(folder: Path, content: dict, detections: dict | None = None) -> Path:
    """A report folder with this record, and with detections by image id."""
    folder.mkdir(parents=True, exist_ok=True)
    if detections is not None:
        (folder / DETECTIONS).write_bytes(packed(detections))
        content = {**content, "detections": digest(packed(detections))}
    (folder / FILE).write_text(json.dumps(content))
    return folder
