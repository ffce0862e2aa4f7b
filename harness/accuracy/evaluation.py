"""COCO's average precision, never open to a broken detector: detections must be complete and sane, evaluators agree."""
from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from harness.accuracy import sanity
from harness.accuracy.boxes import overlaps
from harness.accuracy.confirmation import confirmed, loaded
from harness.accuracy.dataset import Dataset
from harness.accuracy.off_objects import BESIDE, off_objects
from harness.accuracy.processes import ProcessError
from harness.machine.facts import cores
from harness.verdict.metrics import PRECISIONS
from harness.verdict.verdict import BROKEN, ERROR

try:
    import hotcoco
except ImportError:
    hotcoco = None

AGREEMENT = 1e-6
LEAST_GAPS, REGULAR = 5, 0.8  # between images, and the share of them about as wide as usual, of a regular distance
SCORE_GAP = 0.25  # a cast that computes rightly moves no score as far: 0.18 at most in BF16, of three detectors


class InvalidRun(ValueError):
    """The run proves nothing about the detector; the message says which images or figures, and why.

    `reason` is one of `harness.verdict.verdict.REASONS`.
    """

    def __init__(self, message: str, reason: str = BROKEN):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Evaluation:
    """COCO's twelve figures and the AP of each class by name, in [0, 1]; None without ground truth.

    `curves` has each class's precision at COCO's 101 recalls (0, 0.01, ... 1) at IoU 0.5; classes without ground truth
    are left out. `unscored` counts the detections of those classes, which are wrong and cost nothing.
    """

    figures: dict[str, float | None]
    per_class: dict[str, float | None]
    curves: dict[str, list[float]]
    images: int
    detections: int
    unscored: int
    evaluator: str


class Scores(NamedTuple):
    """The figures of one evaluator; fields as of `Evaluation`."""

    figures: dict[str, float | None]
    per_class: dict[str, float | None]
    curves: dict[str, list[float]]


def evaluate(dataset: Dataset, detections: Mapping[int, Any]) -> Evaluation:
    """Score `detections` (by image id) against the dataset, changing neither.

    Raises InvalidRun as `require_scorable`, and when pycocotools and hotcoco (where it is installed) differ by more
    than 1e-6. Figures: https://cocodataset.org/#detection-eval.
    """
    require_scorable(dataset, detections)
    scores = _pycocotools(dataset, detections)
    evaluator = f"pycocotools {version('pycocotools')}"
    if hotcoco:
        _require_agreement(scores, _hotcoco(dataset, detections))
        evaluator += f" and hotcoco {version('hotcoco')}"
    else:
        evaluator += " alone"
    without_objects = [k for k, name in enumerate(dataset.category_names) if scores.per_class[name] is None]
    return Evaluation(
        **scores._asdict(), images=len(detections), detections=sum(len(own.scores) for own in detections.values()),
        unscored=sum(int(np.isin(own.classes, without_objects).sum()) for own in detections.values()),
        evaluator=evaluator,
    )


def require_scorable(dataset: Dataset, detections: Mapping[int, Any]) -> None:
    """Raises InvalidRun when an image of the dataset has no detections, another one has, or they are not sane."""
    require_complete(dataset.image_ids, detections)
    _require_sane(dataset, detections)


def matched(
    reference: Mapping[int, Any], candidate: Mapping[int, Any], min_score: float = 0.25, iou: float = 0.9,
    score_gap: float = math.inf,
) -> dict[int, tuple[int, int]]:
    """Image id -> (matched, total): how many reference detections of at least `min_score` the candidate has too.

    Matched means the same class with at least this IoU, or with corners at most half a pixel apart as of boxes without
    area, and scores at most `score_gap` apart, one to one, the best free box for each reference detection by falling
    score. Both map image id -> detections. Raises InvalidRun unless both have the same images.
    """
    require_complete(reference, candidate)
    require_complete(candidate, reference)
    return {i: _matched(reference[i], candidate[i], min_score, iou, score_gap) for i in reference}


class Agreement(NamedTuple):
    """How many confident detections of one detector another one has too, and by image id: (matched, total).

    Of the two directions it is the one in which less matches: `is_reverse` where the candidate has detections that the
    reference lacks.
    """

    matched: int
    total: int
    by_image: dict[int, tuple[int, int]]
    is_reverse: bool = False

    @property
    def share(self) -> float | None:
        """None where neither has a confident detection."""
        return self.matched / self.total if self.total else None

    @property
    def worst_first(self) -> list[int]:
        """The images by how many detections are not matched."""
        return sorted(self.by_image, key=lambda image: self.by_image[image][0] - self.by_image[image][1])

    def words(self, whose: str) -> str:
        """The counts in words; `whose` names the candidate."""
        side = f" of {whose}" if self.is_reverse else ""
        return f"{self.matched:,} of {self.total:,} confident detections{side} matched"


def agreement(reference: Mapping[int, Any], candidate: Mapping[int, Any]) -> Agreement:
    """How far the confident detections of two detectors are the same: those that are lost, changed or made up are not.

    Matched as `matched` says, with scores at most SCORE_GAP apart. Raises InvalidRun as `matched`.
    """
    there = _summed(matched(reference, candidate, score_gap=SCORE_GAP), is_reverse=False)
    back = _summed(matched(candidate, reference, score_gap=SCORE_GAP), is_reverse=True)
    return back if back.share is not None and (there.share is None or back.share < there.share) else there


def _summed(by_image: dict[int, tuple[int, int]], is_reverse: bool) -> Agreement:
    return Agreement(*(sum(pair[place] for pair in by_image.values()) for place in (0, 1)), by_image, is_reverse)


def _matched(reference: Any, candidate: Any, min_score: float, iou: float, score_gap: float) -> tuple[int, int]:
    sought = reference.scores >= min_score
    fits = overlaps(reference.boxes[sought], candidate.boxes)
    same = reference.classes[sought][:, None] == candidate.classes
    near = np.abs(reference.scores[sought][:, None] - candidate.scores) <= score_gap
    rows, columns = np.nonzero(same & near & (fits >= iou))
    best_first = np.lexsort((columns, -fits[rows, columns], rows))
    found, taken = set(), set()
    for row, column in zip(rows[best_first].tolist(), columns[best_first].tolist()):
        if row not in found and column not in taken:
            found.add(row)
            taken.add(column)
    return len(found), len(fits)


def require_complete(expected: Iterable[int], detections: Mapping[int, Any]) -> None:
    """Raises InvalidRun when an expected image has no detections or an error, or another image has detections."""
    expected = list(expected)
    unknown = sorted(set(detections) - set(expected))
    if unknown:
        raise InvalidRun(f"{len(unknown)} unknown images have detections; first {_first(unknown)}")
    missing = {i: why for i in expected if (why := _why_missing(detections.get(i)))}
    if missing:
        which = _first(f"{i} ({why})" for i, why in missing.items())
        raise InvalidRun(f"{len(missing)} of {len(expected)} images have no detections; first {which}")


def _why_missing(detections: Any) -> str:
    return "no response" if detections is None else getattr(detections, "error", "")


def _require_sane(dataset: Dataset, detections: Mapping[int, Any]) -> None:
    classes = len(dataset.category_ids)
    # What is wrong everywhere comes first: boxes that leave smaller images are only what comes of it.
    everywhere = sanity.systematic(detections, classes)
    faults = everywhere + [
        fault for i in dataset.image_ids for fault in sanity.faults(i, detections[i], classes, *dataset.size(i))]
    if faults:
        images = {fault.image_id for fault in faults}
        cause = "" if everywhere else off_objects(dataset, detections)
        if cause.startswith(BESIDE) and not all(sanity.LEAVES in fault.what for fault in faults):
            cause = ""  # it is not what the others have come of
        raise InvalidRun(f"{cause and f'{cause}; '}detections of {len(images)} of {len(dataset)} images"
                         f"{_period(dataset, images)} cannot be scored; first {_first(faults)}")


def _period(dataset: Dataset, images: set[int]) -> str:
    """That these images follow each other at about the same distance, in words; '' if not.

    Callers that send at once change an order a little.
    """
    gaps = np.diff([place for place, image in enumerate(dataset.image_ids) if image in images])
    usual = round(float(np.median(gaps))) if len(gaps) >= LEAST_GAPS else 0
    is_regular = usual > 2 and np.mean(np.abs(gaps - usual) <= usual / 4) >= REGULAR
    return f", regularly about one in {usual}," if is_regular else ""


def _require_agreement(ours: Scores, theirs: Scores) -> None:
    pairs = [(name, ours.figures[name], theirs.figures[name]) for name in ours.figures]
    pairs += [(f"AP of class {name}", ours.per_class[name], theirs.per_class[name]) for name in ours.per_class]
    for name, mine, other in pairs:
        if not _agree(mine, other):
            raise InvalidRun(f"pycocotools and hotcoco disagree on {name} ({mine}, {other}): try other versions to "
                             "find the faulty one", ERROR)


def _agree(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else math.isclose(a, b, rel_tol=0, abs_tol=AGREEMENT)


def _pycocotools(dataset: Dataset, detections: Mapping[int, Any]) -> Scores:
    try:
        return _scores(dataset, confirmed(dataset.ground_truth, _rows(dataset, detections), cores()))
    except ProcessError as error:
        raise InvalidRun(str(error), ERROR) from error


def _hotcoco(dataset: Dataset, detections: Mapping[int, Any]) -> Scores:
    run = prepared(hotcoco.COCO, hotcoco.COCOeval, dataset, detections)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a table
        run.evaluate()
        run.accumulate()
        run.summarize()
    return _scores(dataset, run)


def prepared(coco: Any, cocoeval: Any, dataset: Dataset, detections: Mapping[int, Any]) -> Any:
    """The COCOeval of one of the evaluators, loaded; `coco` and `cocoeval` are its classes."""
    with contextlib.redirect_stdout(io.StringIO()):  # they print their progress
        return cocoeval(*loaded(coco, dataset.ground_truth, _rows(dataset, detections)), "bbox")


def _scores(dataset: Dataset, run: Any) -> Scores:
    by_class = run.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class, any area, 100 detections
    per_class = {name: _known(by_class[..., k]) for k, name in enumerate(dataset.category_names)}
    curves = {name: by_class[0, :, k].tolist() for k, name in enumerate(dataset.category_names)
              if per_class[name] is not None}
    return Scores({name: _known(figure) for name, figure in zip(PRECISIONS, run.stats)}, per_class, curves)


def _rows(dataset: Dataset, detections: Mapping[int, Any]) -> np.ndarray:
    """All detections as float64 [n, 7]: image id, x, y, width, height, score, category id."""
    own = [detections[i] for i in dataset.image_ids]
    boxes, scores, classes = (np.concatenate([getattr(one, name) for one in own]) for name in sanity.COLUMNS)
    image_ids = np.repeat(dataset.image_ids, [len(one.scores) for one in own])
    low, high = np.hsplit(boxes.astype(np.float64), 2)
    # Not + 1 pixel: COCO boxes are continuous.
    return np.column_stack([image_ids, low, high - low, scores, np.array(dataset.category_ids)[classes]])


def _known(figures: np.ndarray) -> float | None:
    # COCO writes -1 where there is no ground truth.
    known = np.ravel(figures)[np.ravel(figures) != -1]
    return float(known.mean()) if len(known) else None


def _first(things: Iterable[Any], count: int = 3) -> str:
    things = list(things)
    return ", ".join(map(str, things[:count])) + (", ..." if len(things) > count else "")
