"""Gate: are the answers given under load the right ones, each to its own picture, and computed anew each time?"""
from __future__ import annotations

import pytest

from harness.evaluation import require_scorable
from harness.integrity import changed, identical, repeat_speedup

PICTURES, ROUNDS = 12, 9  # of new pictures, each seen twice in a row


@pytest.mark.integrity
@pytest.mark.gate("integrity")
def test_answers_are_those_of_a_quiet_run(
    timed_load, throughput_load, quiet_answers, speed_samples, dataset, detector, judge, options
):
    load = timed_load(throughput_load.detect, throughput_load.shape)
    load()
    answers = load.loads[0].answers
    require_scorable(dataset.only(answers), answers)
    differing, pairs = changed(quiet_answers, answers), identical(answers, dict(speed_samples))
    speedup = repeat_speedup(detector.detect, speed_samples[:PICTURES], ROUNDS, options.patience)
    first = f", first image {differing[0]}" if differing else ""
    alike = f", first images {pairs[0][0]} and {pairs[0][1]}" if pairs else ""
    judge(
        "integrity",
        {"changed_answers": len(differing), "identical_answers": len(pairs), "repeat_speedup": speedup},
        len(answers),
        f"{len(differing)} of {len(answers)} answers under {load.shape} are not those of a quiet run{first}; "
        f"{len(pairs)} pairs of pictures with the same bytes{alike}; pictures were seen twice in a row {ROUNDS} times",
    )
