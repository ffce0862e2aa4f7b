"""An evaluation without Ray: each of many processes publishes a part of the shards, and one merges them.

A Kubernetes Indexed Job runs the parts (examples/cluster/indexed-job.yaml); any other scheduler can.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.accuracy.evaluation import InvalidRun
from harness.cluster import control
from harness.cluster.evaluation import Outcome, Task
from harness.cluster.images import Images
from harness.cluster.node import respond
from harness.cluster.shards import Ledger, ShardError, control_name, merged, pack, part_of
from harness.load.generator import LoadPattern
from harness.verdict.verdict import BROKEN, NOT_JUDGED

NAMED = 10  # missing shards


def publish_part(detector: Any, ledger: Ledger, task: Task, part: int, parts: int, worker: str, kind: str,
                 observe: Callable[[int], object] = lambda images: None, say: Callable[[str], object] = print,
                 resume: bool = True) -> int:
    """Publishes the shards of part `part` (from 1) of `parts`, and the control images; how many it has detected.

    `worker` names this process, `kind` its machine. With `resume` shards that are there are not made again. Raises
    InvalidRun where a request fails or detections are none to keep, and PlaceError.
    """
    own = part_of(task.shards, part, parts)
    there, lines = ledger.done(own) if resume else ({}, [])
    for line in lines:
        say(line)
    ledger.prepare()
    about = {"kind": kind}
    content = _content(detector, task, task.control, "the control images")
    ledger.publish(control_name(f"part {part} of {parts}"), content, worker, about)
    for shard in own:
        if shard.number not in there:
            ledger.publish(shard.name, _content(detector, task, shard.image_ids, str(shard)), worker, about)
        observe(len(shard.image_ids))
    return len(own) - len(there)


def _content(detector: Any, task: Task, image_ids: Any, what: str) -> bytes:
    samples = Images(image_ids, task.images(image_ids))
    response = respond(detector, samples, LoadPattern(task.callers, task.batch_size), task.deadline)
    try:
        return response.content or pack(image_ids, response.detections)
    except ShardError as error:  # it says why they are none to keep
        raise InvalidRun(f"{what}: {error}", BROKEN) from None


def merge(ledger: Ledger, task: Task) -> Outcome:
    """The detections of all parts. Raises InvalidRun where shards are missing or parts disagree, and PlaceError."""
    found, lines = ledger.done(task.shards)
    if missing := [shard.number for shard in task.shards if shard.number not in found]:
        more = ", …" if len(missing) > NAMED else ""
        damaged = f"; {'; '.join(lines)}" if lines else ""
        raise InvalidRun(f"{ledger}: {len(missing)} of {len(task.shards)} shards are missing (numbers "
                         f"{', '.join(map(str, missing[:NAMED]))}{more}){damaged}; run the parts again with --resume, "
                         "which does only what is missing", NOT_JUDGED)
    controls, notes = ledger.controls(task.control)
    responses = [control.Control(name, one.about.get("kind", "unknown"), one.detections)
                 for name, one in controls.items()]
    if len(responses) > 1 and (why := control.disagreement(responses, task.exact)):
        raise InvalidRun(why)
    kinds = dict.fromkeys(one.about.get("kind", "unknown") for one in found.values())
    return Outcome(merged(found), 0, Counter(one.by for one in found.values()), [], 0, tuple(kinds), notes)
