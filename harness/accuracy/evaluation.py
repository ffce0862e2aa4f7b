"""COCO average precision that cannot fail open: only complete, sane answers; two evaluators must agree."""
from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from pycocotools import coco as pycoco
from pycocotools import cocoeval as pycocoeval

from harness.accuracy import sanity
from harness.accuracy.dataset import Dataset
from harness.verdict.verdict import BROKEN, ERROR

try:
    import hotcoco
except ImportError:
    hotcoco = None

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
AGREEMENT = 1e-6


class InvalidRun(ValueError):
    """The answers cannot be scored; the message says which images or figures and why.

    `reason` is one of `harness.verdict.verdict.REASONS`.
    """

    def __init__(self, message: str, reason: str = BROKEN):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Evaluation:
    """COCO's twelve figures and the AP of each class by name, in [0, 1]; None without ground truth.

    `curves` has each class's precision at COCO's 101 recalls (0, 0.01, ... 1) at IoU 0.5; classes without ground truth
    are left out. `unscored` counts the detections of those, which are wrong and cost nothing.
    """

    figures: dict[str, float | None]
    per_class: dict[str, float | None]
    curves: dict[str, list[float]]
    images: int
    detections: int
    unscored: int
    evaluator: str


class Scores(NamedTuple):
    figures: dict[str, float | None]
    per_class: dict[str, float | None]
    curves: dict[str, list[float]]


def evaluate(dataset: Dataset, answers: Mapping[int, Any]) -> Evaluation:
    """Score `answers` (image id -> detections) against the data set, changing neither.

    Raises InvalidRun when an image is unanswered or unknown, an answer is not sane, or pycocotools and
    hotcoco (where it is installed) differ by more than 1e-6. Figures: https://cocodataset.org/#detection-eval.
    """
    require_scorable(dataset, answers)
    scores = _pycocotools(dataset, answers)
    evaluator = f"pycocotools {version('pycocotools')}"
    if hotcoco:
        _require_agreement(scores, _hotcoco(dataset, answers))
        evaluator += f" and hotcoco {version('hotcoco')}"
    else:
        evaluator += " alone"
    detections = sum(len(answer.scores) for answer in answers.values())
    unscored = _unscored(scores, dataset, answers)
    return Evaluation(*scores, images=len(answers), detections=detections, unscored=unscored, evaluator=evaluator)


def _unscored(scores: Scores, dataset: Dataset, answers: Mapping[int, Any]) -> int:
    without = [k for k, name in enumerate(dataset.category_names) if scores.per_class[name] is None]
    return sum(int(np.isin(answer.classes, without).sum()) for answer in answers.values())


def require_scorable(dataset: Dataset, answers: Mapping[int, Any]) -> None:
    """Raises InvalidRun when an image is unanswered or unknown, or an answer is not sane."""
    require_complete(dataset.image_ids, answers)
    _require_sane(dataset, answers)


def matched(
    reference: Mapping[int, Any], candidate: Mapping[int, Any], min_score: float = 0.25, iou: float = 0.9,
    score_gap: float = math.inf,
) -> dict[int, tuple[int, int]]:
    """Image id -> (matched, total): how many reference detections of at least `min_score` the candidate has too.

    Matched means the same class with at least this IoU and scores at most `score_gap` apart, one to one, the best free
    box for each reference detection by falling score; a box without area is never matched. Both map image id ->
    detections. Raises InvalidRun unless both answered the same images.
    """
    require_complete(reference, candidate)
    require_complete(candidate, reference)
    return {i: _matched(reference[i], candidate[i], min_score, iou, score_gap) for i in reference}


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each box of `a` [n, 4] with each of `b` [m, 4], as float64 [n, m]; boxes as x1, y1, x2, y2."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    union = _area(a) + _area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _matched(reference: Any, candidate: Any, min_score: float, iou: float, score_gap: float) -> tuple[int, int]:
    sought = reference.scores >= min_score
    overlaps = box_iou(reference.boxes[sought], candidate.boxes)
    same = reference.classes[sought][:, None] == candidate.classes
    near = np.abs(reference.scores[sought][:, None] - candidate.scores) <= score_gap
    rows, columns = np.nonzero(same & near & (overlaps >= iou))
    best_first = np.lexsort((columns, -overlaps[rows, columns], rows))
    found, taken = set(), set()
    for row, column in zip(rows[best_first].tolist(), columns[best_first].tolist()):
        if row not in found and column not in taken:
            found.add(row)
            taken.add(column)
    return len(found), len(overlaps)


def require_complete(expected: Iterable[int], answers: Mapping[int, Any]) -> None:
    """Raises InvalidRun when an expected image is unanswered or another one is answered."""
    expected = list(expected)
    unknown = sorted(set(answers) - set(expected))
    if unknown:
        raise InvalidRun(f"{len(unknown)} answers are for unknown images; first {_first(unknown)}")
    missing = {i: _why_unanswered(answers.get(i)) for i in expected}
    missing = {i: why for i, why in missing.items() if why}
    if missing:
        which = _first(f"{i} ({why})" for i, why in missing.items())
        raise InvalidRun(f"{len(missing)} of {len(expected)} images are unanswered; first {which}")


def _why_unanswered(answer: Any) -> str:
    return "no answer" if answer is None else getattr(answer, "error", "")


def _require_sane(dataset: Dataset, answers: Mapping[int, Any]) -> None:
    classes = len(dataset.category_ids)
    faults = [
        fault for i in dataset.image_ids for fault in sanity.faults(i, answers[i], classes, *dataset.size(i))
    ] or sanity.stale(answers)
    if faults:
        images = len({fault.image_id for fault in faults})
        raise InvalidRun(f"{images} of {len(dataset)} answers cannot be scored; first {_first(faults)}")


def _require_agreement(ours: Scores, theirs: Scores) -> None:
    for kind, mine, other in zip(("", "AP of class "), ours[:2], theirs[:2]):
        for name in mine:
            if not _agree(mine[name], other[name]):
                figure = f"{kind}{name} is {mine[name]} by pycocotools and {other[name]} by hotcoco"
                raise InvalidRun(f"{figure}; one is wrong, compare with other versions of them", ERROR)


def _agree(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else math.isclose(a, b, rel_tol=0, abs_tol=AGREEMENT)


def _pycocotools(dataset: Dataset, answers: Mapping[int, Any]) -> Scores:
    return _run(pycoco.COCO, pycocoeval.COCOeval, dataset, answers)


def _hotcoco(dataset: Dataset, answers: Mapping[int, Any]) -> Scores:
    return _run(hotcoco.COCO, hotcoco.COCOeval, dataset, answers)


def _run(coco: Any, cocoeval: Any, dataset: Dataset, answers: Mapping[int, Any]) -> Scores:
    with contextlib.redirect_stdout(io.StringIO()):  # they print their progress and a table
        truth, rows = _truth(coco, dataset), _detections(dataset, answers)
        # pycocotools cannot load an empty list.
        found = truth.loadRes(rows) if len(rows) else _truth(coco, dataset, annotated=False)
        run = cocoeval(truth, found, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    by_class = run.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class, any area, 100 detections
    per_class = {name: _known(by_class[..., k]) for k, name in enumerate(dataset.category_names)}
    curves = {name: by_class[0, :, k].tolist() for name, k in zip(dataset.category_names, range(by_class.shape[2]))
              if per_class[name] is not None}
    return Scores({name: _known(figure) for name, figure in zip(FIGURES, run.stats)}, per_class, curves)


def _truth(coco: Any, dataset: Dataset, annotated: bool = True) -> Any:
    # Ids from 1: pycocotools takes a match with annotation id 0 for no match. Copies, as it writes into them.
    rows = dataset.ground_truth["annotations"] if annotated else []
    numbered = [{**row, "id": i} for i, row in enumerate(rows, 1)]
    made = coco()
    made.dataset = {**dataset.ground_truth, "annotations": numbered}
    made.createIndex()
    return made


def _detections(dataset: Dataset, answers: Mapping[int, Any]) -> np.ndarray:
    """All detections as float64 [n, 7]: image id, x, y, width, height, score, category id."""
    category_ids = np.array(dataset.category_ids)
    rows = []
    for image_id in dataset.image_ids:
        answer = answers[image_id]
        low, high = np.hsplit(answer.boxes.astype(np.float64), 2)
        ids = np.full(len(low), image_id)
        # No + 1 pixel: COCO boxes are continuous.
        rows.append(np.column_stack([ids, low, high - low, answer.scores, category_ids[answer.classes]]))
    return np.concatenate(rows)


def _known(figures: np.ndarray) -> float | None:
    # COCO writes -1 where there is no ground truth.
    known = np.ravel(figures)[np.ravel(figures) != -1]
    return float(known.mean()) if len(known) else None


def _first(things: Iterable[Any], count: int = 3) -> str:
    things = list(things)
    return ", ".join(map(str, things[:count])) + (", ..." if len(things) > count else "")
