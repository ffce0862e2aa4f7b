"""Gate: is the detector as accurate as promised?"""
from __future__ import annotations

import pytest

from harness.bootstrap import ap_interval
from harness.confusion import confusion


@pytest.mark.accuracy
@pytest.mark.gate("accuracy")
def test_coco_map(evaluation, dataset, answers, options, judge, keep_accuracy):
    keep_accuracy(answers, evaluation)
    by_class = {f"AP/{name}": ap for name, ap in evaluation.per_class.items()}
    only = f", only the first {options.limit} of the data set" if options.limit else ""
    likely = ap_interval(dataset, answers)["AP"]
    hint = confusion(dataset, answers).hint() if judge.would_miss("accuracy", evaluation.figures) else ""
    judge(
        "accuracy", {**evaluation.figures, **by_class, "AP_low": likely.low, "AP_high": likely.high}, evaluation.images,
        f"{hint and hint + '; '}"
        f"{evaluation.images} images{only}, {evaluation.detections:,} detections, "
        f"{evaluation.evaluator}; on other pictures of the kind from "
        f"{likely.low:.3f} to {likely.high:.3f}, each bound at 95 %",
    )
