"""What else changed between two runs, as candidates for the cause of a difference; and whether it can be the code's."""
from __future__ import annotations

from collections.abc import Sequence

from harness.compare.record import Run
from harness.history import key
from harness.history.choice import words_of


def changed(before: Run, after: Run) -> list[str]:
    """Facts of key and environment that differ, in words; none where all that is known is equal."""
    return words_of({**key.differing(before.key, after.key), **key.differing(before.environment, after.environment)})


def same_code(now: Run, earlier: Sequence[Run]) -> str:
    """That all runs are of the same commit, in words; '' where the code may differ."""
    hashes = {run.commit.get("hash") if run.commit.get("clean") is True else None for run in (now, *earlier)}
    return "both are of the same commit" if len(hashes) == 1 and None not in hashes else ""
