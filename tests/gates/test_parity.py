"""Gate: does the auto-cast to a narrower format cost accuracy against FP32 on CPU?"""
from __future__ import annotations

import pytest

from harness.accuracy.bootstrap import drop_estimate
from harness.accuracy.evaluation import evaluate, matched


@pytest.mark.parity
@pytest.mark.gate("parity")
def test_cast_keeps_accuracy(dataset, fp32_answers, cast_answers, judge, where_they_part):
    fp32, cast = (evaluate(dataset, answers) for answers in (fp32_answers, cast_answers))
    again = matched(fp32_answers, cast_answers)
    found, total = map(sum, zip(*again.values()))
    worst = min(again, key=lambda image: again[image][0] - again[image][1])
    drop = drop_estimate(dataset, fp32_answers, cast_answers)
    figures = {"AP_drop": drop, "matched_share": found / total if total else None}
    layer = f"; {where_they_part(worst)}" if judge.would_miss("parity", figures) else ""
    judge(
        "parity", figures, len(dataset),
        f"AP {fp32.figures['AP']:.4f} in FP32 and {cast.figures['AP']:.4f} cast; {found} of {total} confident "
        f"detections matched, fewest in image {worst}: {again[worst][0]} of {again[worst][1]}"
        f"{_unscored(fp32, cast)}{layer}",
    )


def _unscored(fp32, cast) -> str:
    if not (fp32.unscored or cast.unscored):
        return ""
    return (f"; {fp32.unscored:,} detections in FP32 and {cast.unscored:,} cast are of classes without an object in "
            "these images and cost nothing")
