"""Gate: is the detector as accurate as promised?"""
from __future__ import annotations

import pytest

from harness.accuracy.bootstrap import LEAST_IMAGES, ap_interval
from harness.accuracy.confusion import confusion


@pytest.mark.accuracy
@pytest.mark.gate("accuracy")
def test_coco_map(evaluation, dataset, answers, options, judge, keep_accuracy):
    by_class = {f"AP/{name}": ap for name, ap in evaluation.per_class.items()}
    only = f", only the first {options.limit} of the dataset" if options.limit else ""
    bounds, others = _others(dataset, answers)
    hint = confusion(dataset, answers).hint() if judge.would_miss("accuracy", evaluation.figures) else ""
    judge(
        "accuracy", {**evaluation.figures, **by_class, **bounds}, evaluation.images,
        f"{hint and f'{hint} by --names FILE; '}{evaluation.images} images{only}, {evaluation.detections:,} "
        f"detections, {evaluation.evaluator}{_unscored(evaluation)}; {others}",
    )
    keep_accuracy(answers, evaluation)


def _others(dataset, answers) -> tuple:
    """Bounds of AP on other images of the kind as figures, and in words."""
    if len(dataset) < LEAST_IMAGES:
        words = f"what other images of the kind give, {len(dataset)} are too few to say ({LEAST_IMAGES} are needed)"
        return {"AP_low": None, "AP_high": None}, words
    low, _, high = ap_interval(dataset, answers)["AP"]
    words = f"on other images of the kind from {low:.3f} to {high:.3f}, each bound at 95 %"
    return {"AP_low": low, "AP_high": high}, words


def _unscored(evaluation) -> str:
    return (f"; {evaluation.unscored:,} of them are of classes without an object in these images and cost nothing"
            if evaluation.unscored else "")
