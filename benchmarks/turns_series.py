"""Many comparisons in turns on this machine, for counts: `python -m benchmarks.turns_series DIR A/A=REV,REV …`.

Each NAME=REV,REV is a kind of comparison with a known truth, such as A/A=HEAD,HEAD or slower=HEAD,scratch. They take
turns until each has been made so often as --each says. Every record is kept in DIR, and a series that is started again
goes on where it ended. `--count` measures nothing and prints what the rounds in DIR say, judged by the code at hand;
also what stored runs would have said: each B against the A of the comparisons before it, minutes to hours earlier.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from time import monotonic

from benchmarks.between_runs import COUNTS, LEAST, SPEEDS
from harness.history.between_runs import UNKNOWN as CANNOT_TELL
from harness.history.between_runs import WORSE, between_runs
from harness.history.between_runs import outcomes as judged
from harness.text import shown
from harness.turns.outcome import DIFFERENT, SAME, UNKNOWN, Row, looks, outcomes
from harness.turns.rounds import Round

FAILED = 2  # exit code of harness.turns
OUTCOMES = (DIFFERENT, SAME, UNKNOWN)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns_series", description=__doc__.split(":")[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the records are kept")
    parser.add_argument("kinds", metavar="NAME=REV,REV", nargs="*", help="a kind of comparison: its name, A and B")
    parser.add_argument("--each", metavar="N", type=int, default=20, help="of each kind (default: %(default)s)")
    parser.add_argument("--options", metavar="OPTIONS", default="", help="options of harness.turns, in quotes")
    parser.add_argument("--count", action="store_true", help="print what was found so far")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.count:
        for name, record, command in _left(given):
            _draft(record).unlink(missing_ok=True)
            start = monotonic()
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            record.with_suffix(".log").write_text(ended.stdout + ended.stderr)
            if _reached_its_end(ended):  # else it is made again next time
                _draft(record).replace(record)
            print(f"{name}: exit code {ended.returncode}, {monotonic() - start:.0f} s, {record}", flush=True)
    print("\n".join(counts(given.folder)))


def _left(given: argparse.Namespace) -> Iterator[tuple[str, Path, list[str]]]:
    """(name, record, command) of each comparison that is still to be made, the kinds in turn."""
    for number in range(given.each):
        for kind in given.kinds:
            name, _, revisions = kind.partition("=")
            a, b = revisions.split(",")
            record = given.folder / f"{name.replace('/', '-')}-{number:03}.json"
            if not record.exists():
                yield name, record, [sys.executable, "-m", "harness.turns", f"A={a}", f"B={b}",
                                     "--json", str(_draft(record)), *given.options.split()]


def _reached_its_end(ended: subprocess.CompletedProcess) -> bool:
    """Whether harness.turns has said so: Python's own exit code for any error is that of "B is worse"."""
    return ended.returncode != FAILED and f"\nexit code {ended.returncode}: " in f"\n{ended.stdout}"


def _draft(record: Path) -> Path:
    return record.with_suffix(".draft")


def counts(folder: Path) -> list[str]:
    """Lines: of each kind, how many comparisons found B worse or better in any metric, and the outcomes by metric."""
    kinds: dict[str, list[dict]] = {}
    for path in sorted(folder.glob("*.json")):
        kinds.setdefault(path.stem.rpartition("-")[0], []).append(json.loads(path.read_text()))
    return [line for name, found in kinds.items() for line in (*_counted(name, found), *_stored(found))]


def _counted(name: str, records: list[dict]) -> Iterator[str]:
    found = [_judged(record) for record in records]
    worse = sum(any(row.is_worse for row in rows) for rows in found)
    better = sum(any(row.outcome == DIFFERENT and not row.is_worse for row in rows) for rows in found)
    yield f"{shown(name)}: {len(found)} comparisons, B worse in {worse}, better in {better}"
    by_metric: dict[str, Counter] = {}
    for row in (row for rows in found for row in rows):
        by_metric.setdefault(row.metric, Counter())[row.outcome] += 1
    for metric, counted in by_metric.items():
        change = median(row.change for rows in found for row in rows if row.metric == metric)
        yield f"  {metric}: {', '.join(f'{counted[one]} {one}' for one in OUTCOMES)}; {change:+.1%} in the median"


def _judged(record: dict) -> list[Row]:
    """The rows of the first look that decides every metric, else of the last one that was reached."""
    rounds, plan, rows = [Round(**one) for one in record["rounds"]], record["plan"], []
    for look in looks(plan["most"]):
        if look <= len(rounds):
            rows = outcomes(rounds[:look], plan["within"], plan["most"], median(record["round_seconds"]))
            if all(row.outcome != UNKNOWN for row in rows):
                break
    return rows


def _stored(records: list[dict]) -> Iterator[str]:
    """Lines: how often B is worse than so many earlier runs of A in any metric, and undecided in the first one."""
    runs = [{arm: _medians(record["rounds"], arm) for arm in "AB"} for record in records if record["rounds"]]
    specs = [spec for spec in SPEEDS if spec.check in ("throughput", "latency")
             and all(spec.metric in run[arm] for run in runs for arm in "AB")]
    for count in (count for count in COUNTS if specs and count < len(runs)):
        found = []
        for place in range(count, len(runs)):
            changes = [between_runs([run["A"][spec.metric] for run in runs[place - count:place]],
                                    runs[place]["B"][spec.metric], spec.how, spec.sense) for spec in specs]
            least = [LEAST[spec.check, spec.metric] for spec in specs]
            found.append([one.outcome for one in judged(changes, least)])
        worse, undecided = sum(WORSE in one for one in found), sum(one[0] == CANNOT_TELL for one in found)
        own = [run["A"][specs[0].metric] for run in runs]
        yield (f"  against {count} stored runs, which differ by {stdev(own) / fmean(own):.0%}: {len(found)} "
               f"comparisons, B worse in {worse}, {specs[0].metric} undecided in {undecided}")


def _medians(rounds: list[dict], arm: str) -> dict[str, float]:
    """Each metric of an arm, as the median of its rounds."""
    return {name: median(one["values"][arm][name] for one in rounds) for name in rounds[0]["values"][arm]
            if all(name in one["values"][arm] for one in rounds)}


if __name__ == "__main__":
    main()
