"""What else changed between two runs, as candidates for the cause of a difference; and whether it can be the code's."""
from __future__ import annotations

from collections.abc import Sequence

from harness.compare.record import Run
from harness.history import key
from harness.history.choice import CODE_OF, words_of


def changed(before: Run, after: Run) -> list[str]:
    """Facts of key and environment that differ, in words; none where all that is known is equal."""
    return words_of({**key.differing(before.key, after.key), **key.differing(before.environment, after.environment)})


def same_code(now: Run, earlier: Sequence[Run]) -> str:
    """That this run and all earlier ones measured the same code, in words; '' where the code may differ."""
    commits = {_commit(run) for run in (now, *earlier)}
    if len(commits) == 1 and None not in commits:
        return "all are runs of one commit"
    sources = {tuple(run.environment.get(name) for name in CODE_OF) for run in (now, *earlier)}
    if len(sources) == 1 and None not in next(iter(sources)):
        return "compiled model, model/ and harness/ are the same in all of them"
    return ""


def _commit(run: Run) -> str | None:
    """The commit of a run that measured it without changes."""
    return run.commit.get("hash") if run.commit.get("clean") is True else None
