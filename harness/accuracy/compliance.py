"""Compliance: responses under load are those of a sequential run, each for its own image, and computed anew each time.

After MLPerf's compliance tests TEST01 (responses under load are those of the accuracy run) and TEST04 (a repeated
sample is not faster), but on whole responses instead of their first number, and on new bytes.

`Freshness` finds a cache, or responses computed beforehand, because the images of the load are then faster than images
never seen. It finds a cache key that confuses the two (a corner, the size, the first kilobyte, a thumbnail), because
both get the same detections. `changed` finds responses that are dropped, exchanged or emptied under load. Not found: a
cache for so small a share of the load that it gains less than the bound, one that learns only from more repetitions
than are sent here, and a fault in fewer requests than one of the load. A detector that recognises this test can deceive
it.
"""
from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from harness.accuracy.changed_images import variant
from harness.accuracy.evaluation import InvalidRun, matched, require_complete
from harness.accuracy.sanity import content
from harness.load.generator import DEADLINE, SHORTEST, Detect, Load, LoadPattern, drive
from harness.stats.estimate import NOISY, Estimate, narrowing
from harness.stats.intervals import INTERVAL_CONFIDENCE
from harness.stats.percentiles import error_rate

SURE = 0.25  # score of a confident detection
# Batch-mates change the order of sums: of 2,200 images in BF16 at batch 8 none had a score that was off by more than
# 0.004, and 3 had a box below IoU 0.99 (0.954 at worst), which had swapped places with a nearly equal one.
SAME_IOU, SAME_SCORE = 0.99, 0.01
# Above the IoU of suppression one of two boxes is dropped, and the last digits of two scores decide which.
TIE_IOU, TIED_SHARE, TIED_IMAGES = 0.45, 0.01, 2

LEAST_TURNS, MOST_TURNS = 12, 96
LEAST_LATER = 5  # requests that all fail, from which on a detector is said not to recover
LOOKS = 4  # after 12, 24, 48 and 96 turns
RESAMPLES = 4000


def changed(reference: Mapping[int, Any], candidate: Mapping[int, Any], exact: bool = False) -> list[int]:
    """The images of `candidate`, in its order, whose detections are not those of `reference`.

    With `exact` they must be the same bytes. Otherwise the confident detections (score >= 0.25) of each must match one
    in the other: class, score to 0.01 and box to IoU 0.99. A single box that took the place of another with as high a
    score, above the IoU of suppression, is a tie. Ties in up to 1 % of the images, or in two, do not count. Raises
    InvalidRun for an image that `reference` lacks or that has no detections.
    """
    same = {image: reference[image] for image in candidate if image in reference}
    require_complete(same, candidate)
    if exact:
        return [image for image in candidate if content(same[image]) != content(candidate[image])]
    moved, replaced = _unmatched(same, candidate, SAME_IOU), _unmatched(same, candidate, TIE_IOU)
    tied = {image for image in candidate if moved[image] == 1 and not replaced[image]}
    if len(tied) > max(TIED_IMAGES, TIED_SHARE * len(candidate)):
        tied = set()
    return [image for image in candidate if moved[image] and image not in tied]


def _unmatched(a: Mapping[int, Any], b: Mapping[int, Any], iou: float) -> dict[int, int]:
    """For each image, how many confident detections are in one and not in the other, whichever side has more."""
    both = matched(a, b, SURE, iou, SAME_SCORE), matched(b, a, SURE, iou, SAME_SCORE)
    return {image: max(total - found for found, total in (way[image] for way in both)) for image in b}


def exchanged(expected: Mapping[int, Any], found: Mapping[int, Any]) -> list[tuple[int, int]]:
    """(image, other image) where an image got the very detections that are expected of another one, and has other ones.

    So it is with a batch in the wrong order, and with a buffer that two callers share. An image without detections is
    left to others.
    """
    owners = {_content(own): image for image, own in expected.items() if len(own.scores)}
    pairs = [(image, owners.get(_content(own))) for image, own in found.items()]
    return [(image, other) for image, other in pairs if other not in (None, image)
            and _content(expected.get(image)) != _content(found[image])]


def _content(detections: Any) -> tuple[bytes, ...] | None:
    try:
        return content(detections)
    except AttributeError:
        return None


def identical(responses: Mapping[int, Any], images: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """Pairs of different images whose detections, if they have any, are the same bytes: a sign of a stale buffer.

    An image that is stored twice, in whatever format, is one image.
    """
    seen: dict[tuple, int] = {}
    pairs = []
    for image, response in responses.items():
        if len(response.scores):
            first = seen.setdefault(content(response), image)
            if images[first] != images[image] and _pixels(images[first]) != _pixels(images[image]):
                pairs.append((first, image))
    return pairs


def _pixels(encoded: bytes) -> tuple:
    try:
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
    except OSError:  # a file that cannot be decoded equals only itself
        return (encoded,)
    return image.size, image.tobytes()


class Turn(NamedTuple):
    """Seconds for a part of the load: fresh variants, the same variants repeated at once, and the load's own bytes.

    `overlooked` are the images whose fresh variant got detections with the same bytes as the image itself.
    """

    fresh: float
    repeated: float
    known: float
    overlooked: tuple[int, ...]


class Freshness:
    """Times parts of a load against fresh variants of the same images, in as many turns as `measure` is asked for.

    Each part has as many requests as the load has in flight, and is sent in the load's own pattern. Fresh variants are
    the same images shifted in a circle by whole coding blocks: other bytes and other pixels everywhere, but nearly as
    many. Both are sent twice in a row, so that a cache that learns or forgets quickly has learned. Which goes first
    alternates, so that a busy machine slows both. Parts are drawn from all over the load.
    """

    def __init__(
        self, detect: Detect, samples: Sequence[tuple[int, bytes]], pattern: LoadPattern, deadline: float = DEADLINE
    ):
        size = pattern.callers * pattern.batch_size
        self._detect = detect
        self._pattern = pattern
        self._deadline = deadline
        self._parts = [samples[first:first + size] for first in range(0, len(samples), size)]
        Random(0).shuffle(self._parts)
        self.turns: list[Turn] = []

    def measure(self, turns: int) -> None:
        """Take more turns. Raises InvalidRun if a request fails or an image cannot be varied."""
        first = len(self.turns)
        self.turns += [self._turn(number) for number in range(first, first + turns)]

    @property
    def repeat_speedup(self) -> Estimate:
        """How many times as fast fresh variants are when repeated at once: the geometric mean of the turns."""
        return _ratio([turn.fresh / max(turn.repeated, SHORTEST) for turn in self.turns])

    @property
    def fresh_slowdown(self) -> Estimate:
        """How many times as long fresh variants take as the images of the load: the geometric mean of the turns."""
        return _ratio([turn.fresh / max(turn.known, SHORTEST) for turn in self.turns])

    @property
    def overlooked(self) -> list[int]:
        """The images whose variant got the same detections."""
        return sorted({image for turn in self.turns for image in turn.overlooked})

    def _turn(self, number: int) -> Turn:
        known = self._parts[number % len(self._parts)]
        fresh = [(image_id, variant(image, number)) for image_id, image in known]
        if number % 2:
            _, warm = self._send_twice(known)
            new, repeated = self._send_twice(fresh)
        else:
            new, repeated = self._send_twice(fresh)
            _, warm = self._send_twice(known)
        return Turn(new.seconds, repeated.seconds, warm.seconds, tuple(_overlooked(warm, new)))

    def _send_twice(self, part: Sequence[tuple[int, bytes]]) -> tuple[Load, Load]:
        return self._send(part), self._send(part)

    def _send(self, part: Sequence[tuple[int, bytes]]) -> Load:
        load = drive(self._detect, part, self._pattern, warm_up=0, deadline=self._deadline)
        require_answered(load)
        return load


def _overlooked(known: Load, fresh: Load) -> Iterator[int]:
    for image, response in fresh.detections.items():
        if len(response.scores) and content(response) == content(known.detections[image]):
            yield image


def _ratio(ratios: Sequence[float]) -> Estimate:
    """The geometric mean of ratios, bounded by bootstrap; LOOKS looks share the error of a bound at 95 %."""
    logs = np.log(np.maximum(ratios, SHORTEST))
    value = float(np.exp(logs.mean()))
    if len(logs) < LEAST_TURNS:
        return Estimate(value, more=lambda limit, sense: f"at least {LEAST_TURNS} turns are needed")
    alpha = error_rate(INTERVAL_CONFIDENCE) / LOOKS
    means = np.random.default_rng(0).choice(logs, (RESAMPLES, len(logs))).mean(1)
    low, high = np.exp(np.quantile(means, (alpha, 1 - alpha))).tolist()
    estimate = narrowing(Estimate(value, min(low, value), max(high, value)), len(logs), "turns")
    return replace(estimate, reason=NOISY) if len(logs) >= MOST_TURNS else estimate


def require_answered(load: Load) -> None:
    """Raises InvalidRun if any request failed: a missing response must not vanish from a result."""
    if load.failed:
        first = load.failed[0]
        sent = len(load.requests) + len(load.warm_up)
        before = sum(not one.error and one.end <= first.end for one in load.warm_up + load.requests)
        later = [one for one in load.warm_up + load.requests if one.end > first.end]
        is_end = len(later) >= LEAST_LATER and all(one.error for one in later)
        never = ", and none succeeded after it (repeat it: what fails there again is the detector)" if is_end else ""
        raise InvalidRun(f"{len(load.failed)} of {sent} requests failed; the first, for image {first.image_ids[0]} "
                         f"after {before} responses{never}: {first.error}")
