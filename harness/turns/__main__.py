"""Compares two commits in turns: `python -m harness.turns A=REV B=REV [--json FILE]`. A is the baseline.

For differences that are smaller than what a machine drifts from day to day. Both commits are built first, each in a
checkout and an environment of its own. Then they are measured alternately, in fresh processes, until each metric is
DIFFERENT, SAME or UNKNOWN. REV is a commit, branch or tag, or . for the working tree with its uncommitted changes;
options of the gate after it are those of this arm alone: A="HEAD --cast fp32" B="HEAD --cast bf16".

Exit code 0: nothing is worse in B, every metric is SAME or better; 1: a metric is worse; 2: wrong usage, an arm that
could not be built or measured, or an interrupt; 3: nothing is known to be worse, and a metric is UNKNOWN.
"""
from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.accuracy.dataset import DatasetError
from harness.accuracy.evaluation import InvalidRun
from harness.files import Unwritable, write_json
from harness.text import printable, shown
from harness.turns import report
from harness.turns.arms import SNAPSHOT, Arm, UsageError, read_arms
from harness.turns.checkout import CheckoutError, Commit, Repository
from harness.turns.comparison import ACCURACY, BOTH, SPEED, Comparison, NotComparable, Plan
from harness.turns.environments import EnvironmentFailed, python_of
from harness.turns.outcome import LEAST_ROUNDS, UNKNOWN
from harness.turns.process import ArmError, Place

ROOT = Path(__file__).resolve().parents[2]  # of the project
CACHE = ROOT / ".cache"  # the gate's, of compiled models
WORSE, FAILED, UNDECIDED = 1, 2, 3
FAILURES = (UsageError, CheckoutError, EnvironmentFailed, ArmError, NotComparable, DatasetError, InvalidRun, Unwritable)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; the module's first lines say which."""
    given = _parser().parse_args(arguments)
    ended = ""
    found = None
    try:
        with _signals_interrupt(), ExitStack() as stack:
            found = _prepared(given, stack)
            try:
                found.run()
            finally:
                if given.json:
                    write_json(given.json, report.record(found))
    except FAILURES as error:
        ended = printable(error)
    except KeyboardInterrupt:
        ended = "interrupted"
    if found and (found.rounds or found.accuracy):
        print("\n".join(report.table(found)))
    if ended:
        print(f"error: {ended}" if ended != "interrupted" else ended, file=sys.stderr)
    code = FAILED if ended or not found else exit_code(found)
    print(f"exit code {code}: {MEANINGS[code]}")
    return code


MEANINGS = {0: "nothing is worse", WORSE: "B is worse", FAILED: "the comparison did not reach its end",
            UNDECIDED: "nothing is known to be worse, and not everything is known"}


def exit_code(found: Comparison) -> int:
    """0 where every row is known and none is worse."""
    rows = found.accuracy + found.speed
    if any(row.is_worse for row in rows):
        return WORSE
    return UNDECIDED if any(row.outcome == UNKNOWN for row in rows) else 0


def _prepared(given: argparse.Namespace, stack: ExitStack) -> Comparison:
    """The comparison, its arms checked out and with a Python each until the stack ends."""
    arms = read_arms(given.arms, given.both, Path.cwd())
    repository, own = Repository(ROOT), CACHE / "turns"
    for folder in ("checkouts", "logs"):
        (own / folder).mkdir(parents=True, exist_ok=True)
    repository.clear(own / "checkouts")
    commits = {arm.name: _commit(repository, arm) for arm in arms}
    for line in report.remarks(arms, commits, repository.is_dirty()):
        print(line)
    places = {arm.name: _place(repository, arm, commits[arm.name], given, stack) for arm in arms}
    plan = Plan(given.callers, given.batch_size, given.within / 100, given.within_ap, given.rounds, given.time,
                given.only, given.pairs, given.startup)
    return Comparison(places, plan, say=lambda line: print(line, flush=True))


def _commit(repository: Repository, arm: Arm) -> Commit:
    try:
        return repository.commit(arm.revision)
    except CheckoutError as error:
        raise CheckoutError(f"{arm.name}={error}") from error


def _place(repository: Repository, arm: Arm, commit: Commit, given: argparse.Namespace, stack: ExitStack) -> Place:
    own = CACHE / "turns"
    try:
        checkout = stack.enter_context(repository.checkout(arm.name, commit, own / "checkouts"))
        python = python_of(checkout, given.requirements, ROOT, own / "environments")
    except (CheckoutError, EnvironmentFailed) as error:
        raise type(error)(f"{arm.name} ({commit}): {error}") from error
    return Place(arm, commit, checkout, python, CACHE, own / "logs" / f"{arm.name}-{commit.hash[:12]}.log")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """A request to end is an interrupt, and once ending, nothing interrupts it: what was made is removed."""
    def interrupt(*_):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.turns", description=__doc__.split(":")[0])
    parser.add_argument("arms", metavar="A=REV", nargs="*", help="and B=REV: the two commits, each with options of the "
                        f"gate of its own; {SNAPSHOT} is the working tree")
    parser.add_argument("--both", metavar="OPTIONS", default="", help="options of the gate for both arms, in quotes")
    parser.add_argument("--within", metavar="PERCENT", type=_above_zero, default=2.0,
                        help="the least change of speed that matters (default: %(default)g %%)")
    parser.add_argument("--within-ap", metavar="AP", type=_above_zero, default=Plan().within_ap,
                        help="the least change of AP that matters (default: %(default)g)")
    parser.add_argument("--rounds", metavar="N", type=_rounds, default=Plan().most,
                        help=f"the most rounds, at least {LEAST_ROUNDS} (default: %(default)s)")
    parser.add_argument("--pairs", metavar="N", type=_whole, default=Plan().pairs,
                        help="pairs of bursts in a round (default: %(default)s)")
    parser.add_argument("--time", metavar="TIME", type=_seconds, default=Plan().seconds,
                        help="the most time for all rounds, such as 90s, 10m or 2h (default: 10m)")
    parser.add_argument("--only", choices=(SPEED, ACCURACY), default=BOTH, help="compare nothing else")
    parser.add_argument("--callers", metavar="N", type=_whole, default=0,
                        help="callers of the load (default: the load table's)")
    parser.add_argument("--batch-size", metavar="N", type=_whole, default=0,
                        help="images of a request (default: the load table's)")
    parser.add_argument("--requirements", metavar="FILE", default="requirements.txt",
                        help="the file of each commit that its environment is made of (default: %(default)s)")
    parser.add_argument("--startup", metavar="TIME", type=_seconds, default=Plan().startup,
                        help="the most time to compile or load a detector (default: 1h)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything that was measured to FILE")
    return parser


def _above_zero(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) or not 0 < float(text) <= 100:
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be a number above 0, at most 100")
    return float(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not int(text):
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be a whole number from 1 to 9999")
    return int(text)


def _rounds(text: str) -> int:
    if (rounds := _whole(text)) < LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"{rounds}: must be at least {LEAST_ROUNDS}")
    return rounds


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh])", text, re.ASCII)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{shown(text)}: must be a time such as 90s, 10m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


if __name__ == "__main__":
    sys.exit(main())
