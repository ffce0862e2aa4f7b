"""LoadGen's detail log: its figures, its verdict and its objections."""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

VALID, INVALID = "VALID", "INVALID"
LOG = "mlperf_log_detail.txt"
LOGS = (LOG, "mlperf_log_summary.txt", "mlperf_log_accuracy.json", "mlperf_log_trace.json")
LINE = ":::MLLOG "
CHECKS = {
    "result_perf_constraints_met": "the latency bound",
    "result_min_duration_met": "the least duration",
    "result_min_queries_met": "the least number of queries",
    "early_stopping_met": "early stopping",
}


class LogError(ValueError):
    """LoadGen's log cannot be judged; the message names the file and what is wrong with it."""


class Log(NamedTuple):
    """The last value of each key in the detail log, and the errors that LoadGen reported."""

    values: dict[str, Any]
    errors: list[str]

    @property
    def is_valid(self) -> bool:
        """Whether LoadGen says VALID and reported no error."""
        return self.values["result_validity"] == VALID and not self.errors

    @property
    def version(self) -> str:
        return str(self.values.get("loadgen_version")).split()[0]

    def figures(self, keys: dict[str, str]) -> dict[str, float]:
        """The figures that the log has, by our names: `keys` maps them to LoadGen's, whose times are nanoseconds.

        A figure of early stopping is 0 in the log where there were too few queries for it, and left out.
        """
        found = {name: float(self.values[key]) for name, key in keys.items() if self.values.get(key)}
        return {name: value * 1e-9 if name.endswith("_seconds") else value for name, value in found.items()}

    def objections(self) -> list[str]:
        """Why LoadGen says INVALID, with its advice, and the errors that it reported, in its words."""
        unmet = [name for key, name in CHECKS.items() if self.values.get(key) is False]
        advice = [self.values.get("result_invalid_reason")]
        if self.values.get("early_stopping_met") is False:
            advice.append(self.values.get("early_stopping_result"))
        objections = [f"LoadGen reported an error: {_prose(error)}" for error in self.errors]
        if unmet:
            reasons = _prose(" ".join(filter(None, advice)))
            objections.insert(0, f"LoadGen says INVALID for {', '.join(unmet)}: {reasons}")
        return objections


def read_log(folder: str | Path) -> Log:
    """The detail log that LoadGen left in a folder; LogError when it is missing, damaged or cut short."""
    path = Path(folder) / LOG
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror}); run the scenario again") from error
    values, errors = {}, []
    for number, line in enumerate(lines, 1):
        if line.startswith(LINE):
            entry = _entry(path, number, line)
            values[entry["key"]] = entry["value"]
            if entry["metadata"]["is_error"]:
                errors.append(str(entry["value"]))
    if values.get("result_validity") not in (VALID, INVALID) or "num_errors" not in values:
        raise LogError(f"{path}: ends after {len(lines)} lines without a result, because LoadGen did not finish; run "
                       "the scenario again")
    return Log(values, errors)


def _entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line[len(LINE):])
        entry["key"], entry["value"], entry["metadata"]["is_error"]
    except (ValueError, TypeError, KeyError) as error:
        raise LogError(f"{path}: line {number} is damaged or cut short; run the scenario again") from error
    return entry


def _prose(bullets: str) -> str:
    return " ".join(re.sub(r"(^|\s)\* ", " ", bullets).split()).rstrip(".")
