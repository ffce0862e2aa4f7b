"""Which mistakes cost average precision, in which classes and sizes, and in which images they are.

The kinds of mistakes are TIDE's (Bolya et al., ECCV 2020, https://arxiv.org/abs/2008.08115). hotcoco gives its figures
for the dataset as a whole. Those of a class, a size and an image are made here by the same rules, and `tide` says how
far the two differ.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.accuracy import evaluation
from harness.accuracy.bootstrap import RECALLS, matches_at, overlaps_of
from harness.accuracy.boxes import area
from harness.accuracy.dataset import Dataset

FILE = "errors.json"
IOU, BACKGROUND_IOU = 0.5, 0.1  # TIDE's: from the one on a box fits its object, from the other on it touches it
LEAST_COST = 5e-4  # of AP50, below which a kind costs nothing
CONFIDENT = 0.25  # the score from which on a detection counts in an image
CLASS, PLACE, BOTH, DOUBLE, BACKGROUND, MISSED = KINDS = ("class", "place", "both", "double", "background", "missed")
HIT, IGNORED = "right", "ignored"
OUTCOMES = (HIT, IGNORED, *KINDS[:-1])  # of a detection
CORRECTED = (CLASS, PLACE)  # may find an object once corrected; without their mistake the others are not there
CORRECTED_CODES = [OUTCOMES.index(kind) for kind in CORRECTED]
TIDE = {CLASS: "Cls", PLACE: "Loc", BOTH: "Both", DOUBLE: "Dupe", BACKGROUND: "Bkg", MISSED: "Miss"}
WORDS = {
    CLASS: "wrong class", PLACE: "wrong place", BOTH: "wrong class and place", DOUBLE: "found twice",
    BACKGROUND: "nothing there", MISSED: "missed objects",
}
WHOLE = (0.0, 1e10)  # square pixels, as pycocotools
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST_FOR_TIDE = 6_000_000  # detections for hotcoco, which takes about a kilobyte for each
SHORTLIST = 200  # images of which it is worked out what each costs
CAVEATS = (
    "AP50 is the average precision at IoU 0.5. Each figure says how much AP50 would rise if this kind of mistake alone "
    "were corrected.",
    "The figures do not add up to 1 - AP50: to correct one kind makes room for another.",
    "A class of which nothing is found loses nothing to missed objects: they are corrected by leaving them out.",
    "Detections of every score count, weighed as AP weighs them: one with a low score costs little.",
    "Detections of classes without an object in these images cost no AP and are not among the mistakes.",
    "A detection where nothing is annotated may be an object that nobody annotated: look at the images.",
)


class Judged(NamedTuple):
    """One image by falling score: class, score and outcome (place in OUTCOMES) of each detection, and its object.

    `targets` is the object that the detection has found, or that it misses by class or place; -1 for none. `corrects`
    is the object that it would find if its class or place were corrected: of several detections the best scored one
    corrects an object that nothing finds. Of each object: its class, whether it counts, the detection that found it (-1
    for none), and whether it counts and no detection finds it, nor would if its class or place were corrected.
    """

    classes: np.ndarray
    scores: np.ndarray
    outcomes: np.ndarray
    targets: np.ndarray
    corrects: np.ndarray
    objects: np.ndarray
    counts: np.ndarray
    found_by: np.ndarray
    is_missed: np.ndarray


class ClassErrors(NamedTuple):
    """One class, or all of them in one size: AP50, objects, and AP50 lost to each kind; None without an object."""

    name: str
    AP50: float | None
    objects: int
    lost: dict[str, float] | None


class ImageErrors(NamedTuple):
    """One image: confident detections that are wrong, by kind, and objects that no confident detection finds.

    `cost` is by how much AP50 of the other images alone is higher; None where it was not worked out.
    """

    image_id: int
    file_name: str
    wrong: dict[str, int]
    missed: int
    cost: float | None = None

    @property
    def mistakes(self) -> int:
        return sum(self.wrong.values()) + self.missed


@dataclass(frozen=True)
class Errors:
    """AP50 and what it loses to each kind of mistake, as a whole, by class and size; images, the worst first.

    `counts` are detections of every score, and missed objects. `tide` is what hotcoco gives for `lost`, None where it
    is not installed or there are more than MOST_FOR_TIDE detections.
    """

    AP50: float
    lost: dict[str, float]
    counts: dict[str, int]
    classes: list[ClassErrors]
    sizes: list[ClassErrors]
    images: list[ImageErrors]
    tide: dict[str, float] | None

    @property
    def costs(self) -> dict[str, float]:
        """AP50 lost to each kind, by hotcoco where it has it."""
        return self.tide or self.lost

    @property
    def difference(self) -> float | None:
        """How far hotcoco's figures differ from those made here, at most."""
        return self.tide and max(abs(self.tide[kind] - self.lost[kind]) for kind in KINDS)

    def short(self, most: int = 2) -> str:
        """What costs most, in a few words; '' where nothing costs anything."""
        costs = ", ".join(f"{WORDS[kind]} {self.costs[kind]:.3f}" for kind in self._worst_first()[:most])
        return f"AP50 {self.AP50:.3f}; most of it is lost by: {costs}" if costs else ""

    @property
    def worst(self) -> str:
        """The kind that costs most; '' where nothing costs anything."""
        return next(iter(self._worst_first()), "")

    def _worst_first(self) -> list[str]:
        costly = [kind for kind, cost in self.costs.items() if cost > LEAST_COST]
        return sorted(costly, key=self.costs.get, reverse=True)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON."""
        return {
            "iou": IOU, "background_iou": BACKGROUND_IOU, "confident": CONFIDENT, "AP50": self.AP50,
            "lost": self.costs, "by": "hotcoco" if self.tide else "the gate", "difference": self.difference,
            "counts": self.counts, "caveats": list(CAVEATS),
            "classes": [one._asdict() for one in self.classes], "sizes": [one._asdict() for one in self.sizes],
            "images": [one._asdict() for one in self.images],
        }


def analyse(dataset: Dataset, detections: Mapping[int, Any]) -> Errors:
    """The mistakes of sane detections (by image id), as `evaluate` scores them."""
    tide = _hotcoco(dataset, detections)  # first, as it needs most memory
    areas = (WHOLE, *SIZES.values())
    images, *by_size = zip(*(_judged(dataset, i, detections[i], areas) for i in dataset.image_ids))
    whole = _Pooled(images, dataset)
    classes = whole.by_class()
    sizes = [_mean(name, _Pooled(own, dataset).by_class()) for name, own in zip(SIZES, by_size)]
    mean = _mean("all", classes)
    counts = Counter(OUTCOMES[code] for code in whole.outcomes[whole.of_known_class].tolist())
    return Errors(
        mean.AP50 or 0.0, mean.lost or dict.fromkeys(KINDS, 0.0),
        {**{kind: counts[kind] for kind in KINDS}, MISSED: int(sum(one.is_missed.sum() for one in images))},
        classes, sizes, _worst_first(dataset, images, whole), tide,
    )


def judge(dataset: Dataset, image_id: int, detections: Any) -> Judged:
    """The outcome of each detection of an image, and of each of its objects."""
    return _judged(dataset, image_id, detections, [WHOLE])[0]


def _judged(dataset: Dataset, image_id: int, detections: Any, areas: Sequence[tuple[float, float]]) -> list[Judged]:
    """The image judged once for each of the areas, from and to so many square pixels.

    Crowds, and objects outside the area, do not count: what finds them is ignored, as in pycocotools.
    """
    rows, own_areas = dataset.annotations_of(image_id), area(detections.boxes)
    objects = np.array([dataset.places[row["category_id"]] for row in rows], np.int64)
    object_areas = np.array([row["area"] for row in rows], np.float64)
    crowd = np.array([bool(row["iscrowd"]) for row in rows], bool)
    overlaps, same = overlaps_of(rows, detections), detections.classes[:, None] == objects
    pairs = [(d, g, overlaps[d, g]) for d, g in np.argwhere(same & (overlaps >= IOU)).tolist()]
    mistakes, meant = _mistakes(overlaps, same, crowd)
    found = []
    for least, most in areas:
        counts = ~crowd & (least <= object_areas) & (object_areas <= most)
        outcomes, targets, found_by = mistakes.copy(), meant.copy(), np.full(len(rows), -1)
        outcomes[(own_areas < least) | (own_areas > most)] = OUTCOMES.index(IGNORED)
        for detection, target in matches_at(pairs, IOU, ~counts, crowd.tolist()).items():
            outcomes[detection] = OUTCOMES.index(HIT if counts[target] else IGNORED)
            targets[detection] = target
            found_by[target] = detection
        is_corrected, is_unfound = np.isin(outcomes, CORRECTED_CODES), counts & (found_by < 0)
        corrects = _corrects(is_corrected, targets, is_unfound)
        is_missed = is_unfound.copy()
        is_missed[targets[is_corrected]] = False
        found.append(Judged(detections.classes, detections.scores, outcomes, targets, corrects, objects, counts,
                            found_by, is_missed))
    return found


def _corrects(is_corrected: np.ndarray, targets: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """The object that each detection would find if corrected, -1 for none; scores fall, so it is the best one."""
    corrects, taken = np.full(len(targets), -1, np.int32), set()
    for place in np.flatnonzero(is_corrected).tolist():
        target = int(targets[place])
        if is_open[target] and target not in taken:
            corrects[place] = target
            taken.add(target)
    return corrects


def _mistakes(overlaps: np.ndarray, same: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outcome and object of each detection if it finds none, by TIDE's rules in TIDE's order."""
    if not overlaps.size:
        return np.full(len(overlaps), OUTCOMES.index(BACKGROUND), np.int8), np.full(len(overlaps), -1, np.int32)
    own, other = (np.where(chosen, overlaps, 0.0) for chosen in (same, ~same & ~crowd))
    best, best_other = own.max(1), other.max(1)
    rules = (
        (PLACE, (best >= BACKGROUND_IOU) & (best <= IOU)), (CLASS, best_other >= IOU), (DOUBLE, best >= IOU),
        (BACKGROUND, best_other <= BACKGROUND_IOU),
    )
    outcomes = np.select([where for _, where in rules], [OUTCOMES.index(kind) for kind, _ in rules],
                         OUTCOMES.index(BOTH)).astype(np.int8)  # small, as there are many
    is_place, is_class = (outcomes == OUTCOMES.index(kind) for kind in (PLACE, CLASS))
    targets = np.where(is_place, own.argmax(1), np.where(is_class, other.argmax(1), -1))
    return outcomes, targets.astype(np.int32)


class _Pooled:
    """The detections and objects of all images, class by class."""

    def __init__(self, images: Sequence[Judged], dataset: Dataset):
        self._names = dataset.category_names
        numbers = np.arange(len(images))
        self._images = np.repeat(numbers, [len(one.scores) for one in images])
        self._classes, self._scores, self.outcomes = (
            np.concatenate([getattr(one, name) for one in images]) for name in ("classes", "scores", "outcomes"))
        # The class of the object that a detection would find if it were corrected; -1 for none.
        self._found_then = np.concatenate([np.append(one.objects, -1)[one.corrects] for one in images])
        self._owners = np.repeat(numbers, [int(one.counts.sum()) for one in images])
        self._objects = np.concatenate([one.objects[one.counts] for one in images])
        self._missed = np.concatenate([one.objects[one.is_missed] for one in images])
        # By class, so that a class costs no pass over all detections. Stable: equal scores keep the images' order.
        ranked = np.lexsort((-self._scores, self._classes))
        finders = np.argsort(self._found_then, kind="stable")
        numbers = np.arange(len(self._names))
        self._ranked = np.split(ranked, np.searchsorted(self._classes[ranked], numbers[1:]))
        self._finders = np.split(finders, np.searchsorted(self._found_then[finders], numbers))[1:]  # without -1
        self._object_counts, self._missed_counts = (
            np.bincount(classes, minlength=len(numbers)).tolist() for classes in (self._objects, self._missed))

    @property
    def of_known_class(self) -> np.ndarray:
        """For each detection, whether its class has an object that counts."""
        return np.isin(self._classes, self._objects)

    def by_class(self) -> list[ClassErrors]:
        return [self._of_class(k) for k in range(len(self._names))]

    def _of_class(self, k: int) -> ClassErrors:
        objects = self._object_counts[k]
        if not objects:
            return ClassErrors(self._names[k], None, 0, None)
        outcomes = self.outcomes[self._ranked[k]]
        base = average_precision(outcomes, objects)
        lost = {kind: average_precision(self._corrected(k, kind), objects) - base for kind in KINDS[:-1]}
        lost[MISSED] = average_precision(outcomes, objects - self._missed_counts[k]) - base
        return ClassErrors(self._names[k], base, objects, lost)

    def _corrected(self, k: int, kind: str) -> np.ndarray:
        """The outcomes of a class by falling score, as they would be without this kind of mistake.

        A detection that is corrected finds its object, in that object's class; any other such detection is not there.
        """
        code, ranks = OUTCOMES.index(kind), self._ranked[k]
        outcomes = np.where(self.outcomes[ranks] == code, OUTCOMES.index(IGNORED), self.outcomes[ranks])
        if kind not in CORRECTED:
            return outcomes
        stays = (self.outcomes[ranks] == code) & (self._found_then[ranks] == k)
        outcomes[stays] = OUTCOMES.index(HIT)  # of a wrong place: it stays in its class
        finders = self._finders[k]
        found = finders[(self.outcomes[finders] == code) & (self._classes[finders] != k)]
        scores = np.concatenate([self._scores[ranks], self._scores[found]])
        together = np.concatenate([outcomes, np.full(len(found), OUTCOMES.index(HIT))])
        return together[np.argsort(-scores, kind="stable")]

    def costs(self, images: Sequence[int]) -> list[float]:
        """By how much AP50 of all images but this one is higher, for each of these images (by place)."""
        base = {k: average_precision(self.outcomes[self._ranked[k]], objects)
                for k, objects in enumerate(self._object_counts) if objects}
        return [self._without(image, base) for image in images]

    def _without(self, image: int, base: dict[int, float]) -> float:
        found, owned = (slice(*np.searchsorted(images, [image, image + 1])) for images in (self._images, self._owners))
        own = Counter(self._objects[owned].tolist())
        rises = 0.0
        for k in base.keys() & {*own, *self._classes[found].tolist()}:
            left, ranks = self._object_counts[k] - own[k], self._ranked[k]
            if left:
                others = ranks[self._images[ranks] != image]
                rises += average_precision(self.outcomes[others], left) - base[k]
        return rises / len(base)


def _mean(name: str, classes: Sequence[ClassErrors]) -> ClassErrors:
    """The mean over the classes that have an object."""
    known = [one for one in classes if one.objects]
    if not known:
        return ClassErrors(name, None, 0, None)
    lost = {kind: float(np.mean([one.lost[kind] for one in known])) for kind in KINDS}
    return ClassErrors(name, float(np.mean([one.AP50 for one in known])), sum(one.objects for one in known), lost)


def average_precision(outcomes: np.ndarray, objects: int) -> float:
    """AP at one IoU of the outcomes of a class by falling score, interpolated at 101 recalls as in pycocotools."""
    counted = outcomes[outcomes != OUTCOMES.index(IGNORED)]
    if not len(counted) or not objects:
        return 0.0
    right = np.cumsum(counted == OUTCOMES.index(HIT))
    best = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    reached = np.searchsorted(right / objects, RECALLS, "left")
    return float(best[reached[reached < len(best)]].sum() / len(RECALLS))


def _worst_first(dataset: Dataset, images: Sequence[Judged], whole: _Pooled) -> list[ImageErrors]:
    """The images with mistakes, those that cost most first; beyond a shortlist by the number of mistakes."""
    names = {row["id"]: row["file_name"] for row in dataset.ground_truth["images"]}
    counted = [_of_image(i, names[i], one) for i, one in zip(dataset.image_ids, images)]
    by_number = sorted(range(len(counted)), key=lambda place: -counted[place].mistakes)
    costly = [place for place in by_number if counted[place].mistakes][:SHORTLIST]
    known = [counted[place]._replace(cost=cost) for place, cost in zip(costly, whole.costs(costly))]
    others = (counted[place] for place in by_number[len(costly):])
    return [*sorted(known, key=lambda one: -one.cost), *others]


def _of_image(image_id: int, file_name: str, one: Judged) -> ImageErrors:
    sure = one.scores >= CONFIDENT
    wrong = Counter(OUTCOMES[code] for code in one.outcomes[sure].tolist())
    return ImageErrors(image_id, file_name, {kind: wrong[kind] for kind in KINDS[:-1] if wrong[kind]},
                       int(unfound(one).sum()))


def unfound(one: Judged) -> np.ndarray:
    """For each object of an image: it counts, and no confident detection finds it."""
    sure = np.append(one.scores >= CONFIDENT, False)  # the last one for objects that nothing finds
    return one.counts & ~sure[one.found_by]


def boxes(dataset: Dataset, image_id: int, detections: Any) -> Iterator[dict[str, Any]]:
    """What a plot of an image shows: confident detections with their outcome, and objects that none of them finds.

    Boxes are x1, y1, x2, y2 as shares of width and height. `of` is the class of the object that a detection is meant
    for, where it is another one.
    """
    one, names = judge(dataset, image_id, detections), dataset.category_names
    size = np.tile(dataset.size(image_id), 2).astype(np.float64)

    def share(box) -> list[float]:
        return [round(float(side), 4) for side in np.clip(box / size, 0, 1)]

    for place in np.flatnonzero(unfound(one)).tolist():
        x, y, width, height = dataset.annotations_of(image_id)[place]["bbox"]
        yield {"kind": MISSED, "name": names[one.objects[place]], "score": None, "of": "",
               "box": share(np.array([x, y, x + width, y + height]))}
    for place in np.flatnonzero(one.scores >= CONFIDENT).tolist():
        kind, target = OUTCOMES[one.outcomes[place]], one.targets[place]
        if kind != IGNORED:
            yield {"kind": kind, "name": names[one.classes[place]], "score": round(float(one.scores[place]), 3),
                   "of": names[one.objects[target]] if kind == CLASS else "", "box": share(detections.boxes[place])}


def _hotcoco(dataset: Dataset, detections: Mapping[int, Any]) -> dict[str, float] | None:
    """AP50 lost to each kind of mistake by hotcoco's TIDE; None where it is not installed, or has none or too many."""
    if evaluation.hotcoco is None or not 0 < sum(len(one.scores) for one in detections.values()) <= MOST_FOR_TIDE:
        return None
    run = evaluation.prepared(evaluation.hotcoco.COCO, evaluation.hotcoco.COCOeval, dataset, detections)
    run.evaluate()
    found = run.tide_errors(pos_thr=IOU, bg_thr=BACKGROUND_IOU)["delta_ap"]
    return {kind: float(found[theirs]) for kind, theirs in TIDE.items()}
