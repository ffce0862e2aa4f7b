"""Which earlier runs a new one is held against (`--against`): baselines, a number of runs back, a commit, a folder.

Only runs of the same key are compared without being asked to. What a user names may differ in the versions of
TensorFlow and Neuron, because an upgrade is a release too; the comparison then says so.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.compare.comparison import LONGEST_FACT
from harness.compare.record import FILE, Run, RunError, read
from harness.history import key
from harness.history.between_runs import MOST_RUNS
from harness.history.store import SHORT, Entry, History
from harness.text import shown
from harness.verdict.verdict import NOT_COMPARABLE, NOT_JUDGED

BASELINE = "baseline"
DIGITS = 7  # of a commit that a person reads
# Facts of the environment that say which code was measured: hashes, which a reader could take for the weights.
CODE_OF = {"model": "code in model/", "harness": "code in harness/", "compiled_model": "compiled model"}
SHA256 = re.compile(r"[0-9a-f]{64}")
NAMED = 3  # commits in a sentence


class ChoiceError(ValueError):
    """The value names no run; the message says which there are and what to do."""


@dataclass(frozen=True)
class Chosen:
    """The runs that a new one is held against, oldest first, and in `words` which. `others` show how much runs differ.

    Where `problem` says why there is nothing to compare with, `reason` is that for programs. `remarks` are what a
    reader of the verdicts must know: a comparison across versions, runs that could not be read.
    """

    words: str
    runs: list[Run] = field(default_factory=list)
    others: list[Run] = field(default_factory=list)
    problem: str = ""
    reason: str = NOT_JUDGED
    remarks: list[str] = field(default_factory=list)


def folder_of(text: str) -> Path | None:
    """The report folder that the text names, itself or by its run record; None where it names none."""
    path = Path(text).expanduser()
    return path.parent if path.name == FILE and path.is_file() else path if path.is_dir() else None


def entries_of(text: str, entries: Sequence[Entry], commit: str = "") -> list[Entry]:
    """The entries of a history that the text names: a number back, a name, or the `commit` it stands for.

    Raises ChoiceError where there is none.
    """
    if text.isdigit():
        if not 1 <= int(text) <= len(entries):
            raise ChoiceError(f"{shown(text)}: must be a number of runs back, from 1, the newest, to the "
                              f"{len(entries):,} that the history has")
        return [entries[-int(text)]]
    found = [one for one in entries if one.name == text or (commit and one.commit == commit[:SHORT])]
    if not found:
        known = "has no run in the history" if commit else f"is neither {BASELINE}, a number of runs back, a report " \
                                                           "folder, a run of the history, nor a commit"
        raise ChoiceError(f"{shown(text)}: {known}; the history has {len(entries):,} runs: python -m harness.history "
                          "lists them")
    return found


def choose(text: str, now: Run, history: History, commit: str = "") -> Chosen:
    """The runs that `now` is held against; `commit` is the hash of a text that is a revision.

    Raises ChoiceError for a text that names none, PlaceError for a history that cannot be read.
    """
    own = key.digest(now.key)
    alike, left_out = history.runs(lambda one: one.is_baseline and one.key == own, MOST_RUNS)
    if text == BASELINE:
        if not alike:
            return Chosen(BASELINE, problem=_no_baseline(now, history))
        return Chosen(in_words(alike), alike, alike, remarks=_unread(left_out))
    runs, left_out = _named(text, history, commit)
    fitting = [run for run in runs if not _strange(run, now)][-MOST_RUNS:]
    if not fitting:
        why = "; ".join(_strange(runs[-1], now)) if runs else "; ".join(left_out)
        return Chosen(shown(text), problem=f"not comparable with {shown(text)}: {why}", reason=NOT_COMPARABLE)
    across = words_of(key.differing(fitting[-1].key, now.key))
    remarks = [f"across versions, as asked for: {'; '.join(across)}"] if across else []
    return Chosen(in_words(fitting), fitting, alike, remarks=remarks + _unread(left_out))


def _named(text: str, history: History, commit: str) -> tuple[list[Run], list[str]]:
    if folder := folder_of(text):
        try:
            return [read(folder, folder.name)], []
        except RunError as error:
            raise ChoiceError(str(error)) from error
    names = {one.name for one in entries_of(text, history.listing().entries, commit)}
    return history.runs(lambda one: one.name in names)


def _unread(left_out: Sequence[str]) -> list[str]:
    return [f"{len(left_out)} entries of the history were left out, the first: {left_out[0]}"] if left_out else []


def _no_baseline(now: Run, history: History) -> str:
    """Why there is no baseline, and what will make one."""
    newest = history.runs(lambda one: one.is_baseline, 1).runs
    if not newest:
        return "nothing to compare with yet: a whole run of a clean commit whose deciding rows pass becomes a baseline"
    other = "; ".join(words_of(key.differing(newest[-1].key, now.key)))
    return (f"nothing to compare with yet: the newest baseline, {dated(newest[-1])}, has another key ({other}); name "
            "it by --against to compare all the same")


def _strange(run: Run, now: Run) -> list[str]:
    """What differs of two keys beyond the versions of the SDK, in words; a run without a key is not known to fit."""
    if not (run.key and now.key):
        return ["a run does not say what it must have in common with the other"]
    return words_of(key.differing(key.without_sdk(run.key), key.without_sdk(now.key)))


def words_of(facts: dict[str, tuple]) -> list[str]:
    """Facts that differ, by name as before and after, in words: kernel 6.1 → 6.12."""
    return [f"{shown(CODE_OF.get(name, name), LONGEST_FACT)} {_fact(before)} → {_fact(after)}"
            for name, (before, after) in facts.items()]


def _fact(value) -> str:
    if isinstance(value, str) and SHA256.fullmatch(value):
        return value[:SHORT]
    return "–" if value in (None, "") else shown(value, LONGEST_FACT)


def in_words(runs: Sequence[Run]) -> str:
    """The runs as a comparison names them: the median of 5 runs from 2026-11-20 to 2026-11-26, commit 67709ce."""
    if len(runs) == 1:
        return f"the run of {dated(runs[0])}"
    commits = list(dict.fromkeys(short(run) for run in reversed(runs)))
    more = f" and {len(commits) - NAMED} more" if len(commits) > NAMED else ""
    return (f"the median of {len(runs)} runs from {runs[0].date[:10]} to {runs[-1].date[:10]}, commit"
            f"{'s' if len(commits) > 1 else ''} {', '.join(commits[:NAMED])}{more}")


def dated(run: Run) -> str:
    """Date and commit of a run, in words."""
    return f"{run.date[:10]}, commit {short(run)}"


def short(run: Run) -> str:
    """The commit of a run as a person reads it."""
    return shown(str(run.commit.get("hash") or "unknown")[:DIGITS])


def described(run: Run) -> dict[str, str]:
    """A run as the files of a report name it."""
    return {"id": run.name, "commit": str(run.commit.get("hash") or ""), "date": run.date,
            "title": str(run.commit.get("title") or "")}
