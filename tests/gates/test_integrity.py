"""Gate: are the responses under load the right ones, each for its own image, and computed anew each time?"""
from __future__ import annotations

from time import perf_counter

import pytest

from harness.accuracy.compliance import LEAST_TURNS, MOST_TURNS, Freshness, changed, identical, require_answered
from harness.accuracy.evaluation import require_scorable
from harness.load.generator import drive

MOST_SECONDS = 120  # after which no more turns are taken, decided or not
# Backends that give the same bytes for the same image and batch size, whatever else is under way: 300 of 300 images.
REPEATABLE = ("cpu", "xla", "emulated")


@pytest.mark.integrity
@pytest.mark.gate("integrity")
def test_responses_are_those_of_a_sequential_run(
    throughput_load, quiet_answers, speed_samples, dataset, judge, options
):
    detect, shape = throughput_load.detect, throughput_load.shape
    sent = [(image_id, image) for image_id, image in speed_samples if image_id in quiet_answers]
    load = drive(detect, sent, shape, deadline=options.patience)
    require_answered(load)
    require_scorable(dataset.only(load.detections), load.detections)
    exact = shape.batch_size == 1 and options.backend in REPEATABLE
    differing, pairs = changed(quiet_answers, load.detections, exact), identical(load.detections, dict(sent))
    fresh = measured(Freshness(detect, speed_samples, shape, options.patience), judge)
    judge(
        "integrity",
        {"changed_responses": len(differing), "identical_responses": len(pairs) + len(fresh.overlooked),
         **figures(fresh)},
        len(load.detections),
        f"{len(differing)} of {len(load.detections)} responses under {shape} are not those of a sequential run"
        f"{', to the byte' if exact else ''}{_first(differing)}; {len(pairs)} pairs of images with the same bytes"
        f"{_first(f'{a} and {b}' for a, b in pairs)}; {len(fresh.overlooked)} images whose changed copy got the same "
        f"bytes{_first(fresh.overlooked)}; changed copies took {fresh.fresh_slowdown.value:.2f} times as long as "
        f"the images themselves, in {len(fresh.turns)} turns",
    )


def measured(fresh: Freshness, judge) -> Freshness:
    """Takes twice as many turns again and again until what they are there for is decided."""
    start = perf_counter()
    while len(fresh.turns) < MOST_TURNS and perf_counter() - start < MOST_SECONDS:
        fresh.measure(len(fresh.turns) or LEAST_TURNS)
        if not judge.would_be_undecided("integrity", figures(fresh)):
            break
    return fresh


def figures(fresh: Freshness) -> dict:
    return {"repeat_speedup": fresh.repeat_speedup, "fresh_slowdown": fresh.fresh_slowdown}


def _first(images) -> str:
    return next((f", first {image}" for image in images), "")
