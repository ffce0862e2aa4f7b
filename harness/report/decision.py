"""The first screen: may it be released, why not, and what changed, in words for whoever decides."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.accuracy.errors import FILE as ERRORS
from harness.accuracy.errors import KINDS, WORDS
from harness.report import sections
from harness.report.folder import AGAINST, OUTCOME, RUN, Folder, LeftOut
from harness.report.sections import text
from harness.verdict.metrics import SIGNS, value_and_bound
from harness.verdict.verdict import FAIL, INVALID, NOT_JUDGED, PASS, counted, rows_not_judged

YES, NO, OPEN = "yes", "no", "open"
MOST = 6  # reasons on the first screen
SHORT = 7  # characters of a commit's hash
LEAST_COST = 0.0005  # of AP50, in a sentence with three digits
NAMED = 3  # classes, kinds and images in a sentence
RED_OUTCOMES = {FAIL: 0, INVALID: 1}
# What a check stands for, to a reader who does not know its name.
ASKS = {
    "accuracy": "It detects as well as promised", "parity": "Compiling it costs no accuracy",
    "placement": "It runs on the device", "throughput": "It is fast enough",
    "latency": "Requests take no longer than promised", "cost": "It is cheap enough",
    "integrity": "Its responses under load are right", "jitter": "Its speed is steady",
    "soak": "It neither fails, slows nor grows under load",
    "mlperf": "MLPerf's scenarios are valid",
    "release": "The gate was run whole", "history": "Nothing got worse since the baseline",
}


def decision(folder: Folder) -> dict[str, Any]:
    """The decision as the run stored it. Raises LeftOut where it has no verdict.

    `state` is YES, NO or OPEN; `reasons`, `changed` and `where` (accuracy is lost) are sentences, `checks` lines.
    """
    rows = sections.rows(folder)
    if not rows:
        raise LeftOut("no row was judged.")
    outcome = _outcome(folder)
    state, headline, reasons = _decided(outcome, rows)
    reasons = [*reasons, *(f"Bounds: {one}." for one in sections.texts((outcome or {}).get("bounds") or []))]
    checks = [_line(check, rows) for check in dict.fromkeys(str(row["check"]) for row in rows)]
    return {"state": state, "headline": headline, "reasons": reasons, "changed": _changed(folder),
            "where": _where(folder), "checks": checks, "subject": _subject(folder)}


def _outcome(folder: Folder) -> dict[str, Any] | None:
    """How the run ended; None where that was not stored."""
    try:
        found = folder.json(OUTCOME)
    except LeftOut:
        return None
    return found if isinstance(found, dict) else None


def _decided(outcome: dict[str, Any] | None, rows: list[dict]) -> tuple[str, str, list[str]]:
    missed = [row for row in rows if row["verdict"] in RED_OUTCOMES]
    if outcome is None:
        why = ["How the run ended is not stored in this folder, so only its rows can be shown."]
        return (NO if any(row["verdict"] == FAIL for row in missed) else OPEN), "Not decided", why + _reasons(missed)
    red = {tuple(map(str, key)) for key in outcome["red"]}
    decisive = [row for row in missed if (row["check"], row["metric"], row["variant"]) in red]
    if outcome["exit_code"]:
        is_failed = any(row["verdict"] == FAIL for row in decisive)
        reasons = _reasons(decisive) or [text(outcome["words"], 400)]
        return (NO, "No", reasons) if is_failed else (OPEN, "Not proven", reasons)
    return _green(outcome, missed)


def _green(outcome: dict[str, Any], missed: list[dict]) -> tuple[str, str, list[str]]:
    """Nothing that decides was missed: whether that is a release depends on what was judged."""
    if outcome["is_rehearsal"]:
        return OPEN, "Not decided here", [
            "Nothing that this machine can decide speaks against it: this was a rehearsal on a CPU, in which accuracy, "
            "parity and integrity decide. Speed, steadiness and cost on the device are still to be measured.",
            *_reasons(missed)]
    left = [f"{rows_not_judged(outcome['lost'])}."] if outcome["lost"] else []
    left += [f"Easier than a release: {one}." for one in sections.texts(outcome["easier"])]
    if not outcome["release"]:
        return OPEN, "Not yet", ["Every row that was judged is met, and this was not a run for a release (--release).",
                                 *left]
    return YES, "Yes", ["Every row of the target table was judged and is met."]


def _reasons(missed: list[dict]) -> list[str]:
    """A sentence for each row that was missed, FAIL first."""
    judged = [row for row in missed if row["reason"] != NOT_JUDGED]
    judged.sort(key=lambda row: RED_OUTCOMES[row["verdict"]])
    found = [_sentence(row) for row in judged[:MOST]]
    lost = [row for row in missed if row["reason"] == NOT_JUDGED]
    found += [f"{len(judged) - MOST} more rows were missed: see the verdicts."] if len(judged) > MOST else []
    return found + ([f"{rows_not_judged(len(lost))}: {text(lost[0]['why'], 200)}."] if lost else [])


def _sentence(row: dict) -> str:
    value, bound = value_and_bound(row["metric"], row["value"], row["bound"])
    variant = f" ({text(row['variant'])})" if row["variant"] else ""
    name = f"{sections.named(row['check'], row['metric'])}{variant}"
    must = f"must be {SIGNS.get(row['sense'], text(row['sense']))} {bound}"
    if row["verdict"] == FAIL:
        return f"{name} is {value}, {must}."
    why = text(row["why"], 300).removeprefix("not decided: ").partition(";")[0]  # the verdicts have all of it
    return f"{name} is not decided ({text(row['reason'])}), {must}: {why}."


def _line(check: str, rows: list[dict]) -> dict[str, str]:
    """The worst verdict of a check, or that nobody judged it, and how many rows have which."""
    own = [sections.outcome(row) for row in rows if row["check"] == check]
    worst = next(name for name in (FAIL, INVALID, PASS, NOT_JUDGED, *own) if name in own)
    return {"check": text(check), "asks": ASKS.get(check, text(check)), "verdict": text(worst),
            "count": counted(own)}


def _changed(folder: Folder) -> list[str]:
    """What changed since the baseline, in sentences."""
    try:
        if not (folder.path / AGAINST).exists():
            return ["Nothing to compare with: this run was not measured against a baseline (--against)."]
        stored = folder.json(AGAINST)
        found = sections.against(folder)
    except Exception:  # the section says what is wrong with it
        return ["What changed cannot be shown: the section below says why."]
    worse = [row for row in found["rows"] if row["verdict"] == FAIL]
    open_rows = [row for row in found["rows"] if row["verdict"] == INVALID]
    sentences = [f"Worse than {found['against']}: {row['name']} from {row['before']} to "
                 f"{row['after']}, {row['change']}." for row in worse[:MOST]]
    sentences += [] if worse else [f"Nothing is known to be worse than {found['against']}."]
    if open_rows:
        names = ", ".join(row["name"] for row in open_rows[:MOST])
        sentences.append(f"Not known whether these changed: {names}.")
    return [*sentences, *_lost_most(stored), *(f"Also changed: {cause}." for cause in found["causes"])]


def _lost_most(stored: dict) -> list[str]:
    """Which class, kind of mistake and images lost most since the baseline."""
    classes = [one for one in stored.get("classes") or [] if (one["change"] or 0) < 0]
    images = [one for one in stored.get("images") or [] if one["lost"] > one["gained"]]
    worst = min(classes, key=lambda one: one["change"], default=None)
    kinds = [one for one in stored.get("kinds") or [] if one["change"] >= LEAST_COST]
    kind = max(kinds, key=lambda one: one["change"], default=None)
    names = ", ".join(f"{text(one['file_name'])} ({one['lost']})" for one in images[:NAMED])
    return [*([f"The class that lost most is {text(worst['name'])} ({worst['change']:+.3f} AP)."] if worst else []),
            *([f"The mistake that costs more than before is {text(kind['name'])} (AP50 lost: {kind['before']:.3f} to "
               f"{kind['after']:.3f})."] if kind else []),
            *([f"Most objects were lost in {names}."] if images else [])]


def _where(folder: Folder) -> list[str]:
    """Where accuracy is lost: kinds of mistakes, classes and images."""
    try:
        stored = folder.json(ERRORS)
        kinds = sorted(((stored["lost"][kind], WORDS[kind]) for kind in KINDS), reverse=True)
        classes = sorted((one for one in stored["classes"] if one["objects"]), key=sections.weakest_first)
        weakest = (f"{text(one['name'])} (AP50 {one['AP50']:.3f})" for one in classes[:NAMED])
        images = [one for one in stored["images"] if one["missed"] or one["wrong"]]
        return [
            f"AP50 is {stored['AP50']:.3f}. It loses most to "
            f"{', '.join(f'{words} ({cost:.3f})' for cost, words in kinds[:NAMED])}.",
            f"The weakest classes are {', '.join(weakest)}.",
            *([f"The images that cost most are {', '.join(text(one['file_name']) for one in images[:NAMED])}."]
              if images else [])]
    except Exception:  # the section says what is missing or damaged
        return []


def _commit(commit: Mapping) -> str:
    """Hash and title; '–' where git said nothing."""
    if not commit.get("hash"):
        return text(None)
    changed = "" if commit.get("clean") in (True, None) else ", with changes that are not committed"
    return f"{text(str(commit['hash'])[:SHORT])} {text(commit.get('title') or '')}{changed}"


def _subject(folder: Folder) -> list[tuple[str, str]]:
    """What was measured, in a few facts."""
    try:
        record = folder.json(RUN)
        detector, data, machine = (record.get(name) or {} for name in ("detector", "dataset", "machine"))
        # A factory's detector may take any size, and has no cast beside its backend.
        size = f", {text(detector['width'])} × {text(detector['height'])}" if detector.get("width") else ""
        engine = " ".join(dict.fromkeys((str(record["backend"]), str(record["cast"]))))
        return [
            ("Detector", f"{text(detector.get('name'))}{size}"),
            ("Commit", _commit(record.get("commit") or {})),
            ("Dataset", f"{text(data.get('name'))}, {text(data.get('images'))} images"),
            ("Runs on", f"{text(record['platform'])}, {text(engine)}"),
            ("Machine", f"{text(machine.get('processor'))}, {text(machine.get('cores'))} cores"),
            ("Measured", text(record["origin"]["date"]).replace("T", " ").replace("Z", " UTC")),
        ]
    except Exception:  # the section on the environment says what is wrong
        return []
