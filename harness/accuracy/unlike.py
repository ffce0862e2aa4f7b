"""In what detections differ from those of a reference: the likely cause of a red row, in words."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.accuracy.boxes import displacement, overlaps
from harness.accuracy.off_objects import CONFIDENT, LEAST, LOOSE
from harness.text import shown

SAME = 0.9  # IoU of the same box
ALIKE = 0.02  # the range of ratios of scores that are nearly the same
RARE = 0.05  # the share of the unmatched below which a kind is left out
MOST_CLASSES = 3  # that are named
SCORE, CLASS, PLACE, MISSING, DOUBLE = "another score", "another class", "another place", "no counterpart", "a double"


class Unmatched(NamedTuple):
    """A confident detection without a match: what its counterpart has instead, and both, the reference's first.

    `labels` are the classes, `ratio` is the candidate's score by the reference's, `boxes` [2, 4]. Without a counterpart
    they are those of the detection itself.
    """

    kind: str
    labels: tuple[int, int]
    ratio: float
    boxes: np.ndarray


def unmatched(reference: Mapping[int, Any], candidate: Mapping[int, Any], gap: float, is_reverse: bool,
              names: Sequence[str], whose: str) -> str:
    """What the confident detections of one have in the other instead of a match, in words; '' where all match.

    Those of the reference are looked for in the candidate, with `is_reverse` the other way round. A match has the same
    class, IoU SAME and scores at most `gap` apart; `names` are those of the classes, and `whose` names the candidate.
    """
    found = [one for image in reference for one in _of_image(reference[image], candidate[image], gap, is_reverse)]
    kinds = [f"{count:,} have {kind}{_detail(kind, [one for one in found if one.kind == kind], names)}"
             for kind, count in Counter(one.kind for one in found).most_common() if count >= RARE * len(found)]
    words = [f"of the {len(found):,} unmatched {', '.join(kinds)}"] if found else []
    return "; ".join(_of_one_alone(reference, candidate, names, whose) + words)


def _of_one_alone(
    reference: Mapping[int, Any], candidate: Mapping[int, Any], names: Sequence[str], whose: str,
) -> list[str]:
    """The classes that one of both finds with confidence and the other not at all, in words."""
    here, there = (Counter(label for one in found.values() for label in one.classes[one.scores >= CONFIDENT].tolist())
                   for found in (reference, candidate))
    both = set.intersection(*({label for one in found.values() for label in one.classes.tolist()}
                              for found in (reference, candidate)))
    alone = [label for label in sorted(here | there) if label not in both]
    return [f"of class {label} ({shown(names[label])}) the reference has {_count(here[label])} and {whose} "
            f"{_count(there[label])}" for label in alone if max(here[label], there[label]) >= LEAST][:MOST_CLASSES]


def _count(number: int) -> str:
    return f"{number:,}" if number else "none"


def _of_image(reference: Any, candidate: Any, gap: float, is_reverse: bool) -> Iterator[Unmatched]:
    own, other = (candidate, reference) if is_reverse else (reference, candidate)
    fits, taken = overlaps(own.boxes, other.boxes), set()
    for place in np.flatnonzero(own.scores >= CONFIDENT).tolist():
        kind, counterpart = _counterpart(own, other, fits, place)
        is_near = not kind and abs(float(own.scores[place]) - float(other.scores[counterpart])) <= gap
        if not kind:
            kind = SCORE if not is_near else DOUBLE if counterpart in taken else ""
            taken.add(counterpart)
        if kind:
            pair = (own, place), (own, place) if counterpart is None else (other, counterpart)
            (a, i), (b, j) = reversed(pair) if is_reverse else pair
            yield Unmatched(kind, (int(a.classes[i]), int(b.classes[j])), float(b.scores[j] / max(a.scores[i], 1e-9)),
                            np.array([a.boxes[i], b.boxes[j]]))


def _counterpart(own: Any, other: Any, fits: np.ndarray, place: int) -> tuple[str, int | None]:
    """(what differs but for the score, '' for nothing; place of the detection that is most likely meant, if any)."""
    if not len(other.scores):
        return MISSING, None
    of_class = np.where(other.classes == own.classes[place], fits[place], 0.0)
    confident = np.where(other.scores >= CONFIDENT, fits[place], 0.0)  # below it a box may have any class
    best, nearest = int(of_class.argmax()), int(confident.argmax())
    if of_class[best] >= SAME:
        return "", best
    if confident[nearest] >= SAME:
        return CLASS, nearest
    return (PLACE, best) if of_class[best] >= LOOSE else (MISSING, None)


def _detail(kind: str, found: list[Unmatched], names: Sequence[str]) -> str:
    """What is to be said of all of a kind, if anything."""
    if kind == SCORE:
        low, middle, high = np.quantile([one.ratio for one in found], (0.1, 0.5, 0.9))
        most = "nearly all alike" if high - low < ALIKE else f"most from {low:.2f} to {high:.2f}"
        return f", in the median {middle:.2f} × the reference's, {most}"
    if kind == PLACE:
        words = displacement(*np.array([one.boxes for one in found]).swapaxes(0, 1))
        return words and f", in the median {words}"
    (labels, count), = Counter(one.labels for one in found).most_common(1)
    if 2 * count < len(found):
        return ""
    first, second = (shown(names[label]) for label in labels)
    return f", {count:,} of them {f'{second} in place of {first}' if kind == CLASS else first}"
