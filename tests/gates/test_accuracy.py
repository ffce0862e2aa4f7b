"""Gate: is the detector as accurate as promised?"""
from __future__ import annotations

import pytest

from fixtures.pictures import draw_answers


@pytest.mark.accuracy
@pytest.mark.gate("accuracy")
def test_coco_map(evaluation, dataset, answers, options, judge):
    if options.pictures:
        draw_answers(options.pictures, dataset, answers)
    by_class = {f"AP/{name}": ap for name, ap in evaluation.per_class.items()}
    only = f", only the first {options.limit} of the data set" if options.limit else ""
    judge(
        "accuracy", {**evaluation.figures, **by_class}, evaluation.images,
        f"{evaluation.images} images{only}, {evaluation.detections:,} detections, {evaluation.evaluator}",
    )
