"""Parts of an evaluation without Ray: published by many processes, merged by one."""
from __future__ import annotations

import pytest

from harness.accuracy.evaluation import InvalidRun
from harness.cluster.parts import merge, publish_part
from harness.cluster.shards import Ledger
from harness.verdict.verdict import NOT_JUDGED
from tests.harness.cluster.doubles import Double
from tests.harness.cluster.work import EXPECTED, contents, task


@pytest.fixture
def ledger(tmp_path):
    return Ledger(str(tmp_path / "shards"), {"detector": "double"})


def publish(ledger, part, parts=3, fault="", after=0, **settings) -> int:
    return publish_part(Double(0.0, fault, after), ledger, task(), part, parts, f"part {part}", "cpu", **settings)


def test_the_merged_detections_are_those_of_one_machine(ledger):
    assert [publish(ledger, part) for part in (1, 2, 3)] == [4, 3, 3]
    outcome = merge(ledger, task())
    assert contents(outcome) == EXPECTED and str(outcome) == "10 shards by 3 workers"


def test_missing_shards_are_named_and_what_to_do(ledger):
    publish(ledger, 1)
    publish(ledger, 3)
    with pytest.raises(InvalidRun, match=r"3 of 10 shards are missing \(numbers 2, 5, 8\).* with --resume") as raised:
        merge(ledger, task())
    assert raised.value.reason == NOT_JUDGED


def test_a_part_that_was_lost_does_only_what_is_missing(ledger):
    with pytest.raises(InvalidRun, match="it is broken"):
        publish(ledger, 1, fault="raises", after=9)
    kept = len(ledger.done(task().shards)[0])
    assert publish(ledger, 1) == 4 - kept and kept > 0


def test_a_part_that_detects_something_else_is_named(ledger):
    for part in (1, 2, 3):
        publish(ledger, part, fault="wrong" if part == 2 else "")
    with pytest.raises(InvalidRun, match=r"^part 2 \[cpu\]: other detections than the other 2 workers in 4 of 4"):
        merge(ledger, task())


def test_detections_that_are_no_numbers_are_the_parts_error(ledger):
    with pytest.raises(InvalidRun, match=r"the control images: .*not finite"):
        publish(ledger, 1, fault="nan")


def test_without_resume_a_part_is_detected_anew(ledger):
    publish(ledger, 1)
    assert publish(ledger, 1, resume=False) == 4
