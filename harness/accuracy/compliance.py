"""Are the responses under load those of a sequential run, each for its own image, and computed anew each time?

After MLPerf's compliance tests TEST01 (responses under load are those of the accuracy run) and TEST04 (the same sample
again and again is not faster), on whole responses instead of their first number, and on bytes that are new.

`Freshness` sees a cache, or responses computed beforehand, by what speed was measured on being faster than what nobody
has seen; a key that confuses the two (a corner, the size, the first kilobyte, a thumbnail), by both getting the very
same detections. `changed` sees responses that are dropped, exchanged or emptied under load. Not seen: what is known of
so small a share of the load that it gains less than the bound; what is learned only from more repetitions than are
sent here; what happens to one request in more than the load has. A detector that recognises this test can deceive it.
"""
from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, JpegImagePlugin

from harness.accuracy.evaluation import InvalidRun, matched, require_complete
from harness.accuracy.sanity import content
from harness.load.generator import DEADLINE, Detect, Load, Shape, drive
from harness.stats.percentiles import INTERVAL_CONFIDENCE, Interval, error_rate
from harness.verdict.intervals import narrowing
from harness.verdict.verdict import ERROR, NOISY, Estimate

SURE = 0.25
# Batch-mates change the order of sums: of 2,200 images in BF16 at batch 8 none had a score that was off by more than
# 0.004, and 3 had a box below IoU 0.99 (0.954 at worst), which had changed places with a nearly equal one.
SAME_IOU, SAME_SCORE = 0.99, 0.01
# Above the IoU of suppression one of two boxes is dropped, and which one is a matter of the last digits of two scores.
TIE_IOU, TIED_SHARE, TIED_IMAGES = 0.45, 0.01, 2

BLOCK, CORNER = 16, 8  # pixels: JPEG's largest coding block, and a corner that makes a small or plain image new
LEAST_TURNS, MOST_TURNS = 12, 96
LOOKS = 4  # after 12, 24, 48 and 96 turns
RESAMPLES = 4000
SHORTEST = 1e-9  # seconds


def changed(reference: Mapping[int, Any], candidate: Mapping[int, Any], exact: bool = False) -> list[int]:
    """The images whose responses are not the same in both; judged are those that `candidate` has, in its order.

    With `exact` the same is the same bytes. Else the confident detections (score >= 0.25) of each must be in the other:
    class, score to 0.01 and box to IoU 0.99. A single box that took the place of another, of as high a score and above
    the IoU of suppression, is a tie, as long as there are ties in at most 1 % of the images, or in two; in more they
    are changes. Raises InvalidRun for an image that `reference` lacks or that was not answered.
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
    """How many confident detections of an image are in one and not in the other, on the side that has more of them."""
    there, back = matched(a, b, SURE, iou, SAME_SCORE), matched(b, a, SURE, iou, SAME_SCORE)
    return {image: max(total - found for found, total in (there[image], back[image])) for image in b}


def identical(responses: Mapping[int, Any], images: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """Pairs of different images that got detections, and the very same bytes of them. A stale buffer looks so.

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
    except OSError:  # what cannot be decoded is only like itself
        return (encoded,)
    return image.size, image.tobytes()


class Turn(NamedTuple):
    """Seconds for a part of the load that is new, for the same again at once, and for the bytes of the load itself.

    `overlooked` are the images whose new variant got detections, and the very same bytes of them as the image itself.
    """

    fresh: float
    again: float
    known: float
    overlooked: tuple[int, ...]


class Freshness:
    """Times parts of a load against fresh variants of the same images, in turns, as many as `measure` is asked for.

    Each part has as many requests as the load has in flight, and is sent in the load's own pattern: `shape`. Fresh are
    the same images moved in a circle by whole coding blocks, which are other bytes and other pixels everywhere, and
    nearly as many. Both are sent twice in a row, so that whatever learns or forgets quickly has learned; which goes
    first alternates, so that a busy machine slows both. Parts are drawn from all over the load.
    """

    def __init__(self, detect: Detect, samples: Sequence[tuple[int, bytes]], shape: Shape, deadline: float = DEADLINE):
        size = shape.callers * shape.batch_size
        self._detect, self._shape, self._deadline = detect, shape, deadline
        self._parts = [samples[first:first + size] for first in range(0, len(samples), size)]
        Random(0).shuffle(self._parts)
        self.turns: list[Turn] = []

    def measure(self, turns: int) -> None:
        """So many turns more. Raises InvalidRun if a request fails or an image cannot be varied."""
        first = len(self.turns)
        self.turns += [self._turn(number) for number in range(first, first + turns)]

    @property
    def repeat_speedup(self) -> Estimate:
        """How many times as fast what was new is when it comes again at once: the geometric mean of the turns."""
        return _ratio([turn.fresh / max(turn.again, SHORTEST) for turn in self.turns])

    @property
    def fresh_slowdown(self) -> Estimate:
        """How many times as long what is new takes as what speed was measured on: the geometric mean of the turns."""
        return _ratio([turn.fresh / max(turn.known, SHORTEST) for turn in self.turns])

    @property
    def overlooked(self) -> list[int]:
        """The images whose variant got the very same detections."""
        return sorted({image for turn in self.turns for image in turn.overlooked})

    def _turn(self, number: int) -> Turn:
        known = self._parts[number % len(self._parts)]
        fresh = [(image_id, variant(image, number)) for image_id, image in known]
        order = (known, fresh) if number % 2 else (fresh, known)
        runs = {id(part): (self._send(part), self._send(part)) for part in order}
        (new, again), (_, warm) = runs[id(fresh)], runs[id(known)]
        return Turn(new.seconds, again.seconds, warm.seconds, tuple(_overlooked(warm, new)))

    def _send(self, part: Sequence[tuple[int, bytes]]) -> Load:
        load = drive(self._detect, part, self._shape, warm_up=0, deadline=self._deadline)
        require_answered(load)
        return load


def _overlooked(known: Load, fresh: Load) -> Iterator[int]:
    for image, response in fresh.answers.items():
        if len(response.scores) and content(response) == content(known.answers[image]):
            yield image


def _ratio(ratios: Sequence[float]) -> Estimate:
    """Their geometric mean, bounded by bootstrap; each of LOOKS looks shares the error of a bound at 95 %."""
    logs = np.log(np.maximum(ratios, SHORTEST))
    value = float(np.exp(logs.mean()))
    if len(logs) < LEAST_TURNS:
        return Estimate(None, value, None, lambda bound, sense: f"at least {LEAST_TURNS} turns are needed")
    alpha = error_rate(INTERVAL_CONFIDENCE) / LOOKS
    means = np.random.default_rng(0).choice(logs, (RESAMPLES, len(logs))).mean(1)
    low, high = np.exp(np.quantile(means, (alpha, 1 - alpha))).tolist()
    found = narrowing(Interval(min(low, value), value, max(high, value)), len(logs), "turns")
    return found._replace(reason=NOISY) if len(logs) >= MOST_TURNS else found


def variant(encoded: bytes, number: int) -> bytes:
    """The same image moved in a circle by whole coding blocks, in its own format and as nearly as many bytes.

    A JPEG keeps its quantisation tables and its chroma subsampling. One corner gets a grey of its own. Raises
    InvalidRun for what is not an image.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
        moved = _moved(image, number)
        return min(_encoded(image, moved), key=lambda one: abs(len(one) - len(encoded)))
    except (OSError, ValueError) as error:
        raise InvalidRun(f"an image of {len(encoded)} bytes cannot be varied, to look for a cache ({error}); convert "
                         "it to JPEG or PNG", ERROR) from error


def _moved(image: Image.Image, number: int) -> Image.Image:
    columns, rows = (max(side // BLOCK, 1) for side in image.size)
    by = 1 + number % max(columns - 1, 1), 1 + number % max(rows - 1, 1)
    moved = ImageChops.offset(image, by[0] * BLOCK, by[1] * BLOCK)
    shade = number * 37 % 256  # neighbours far apart, so that no quantisation makes them equal
    moved.paste((shade,) * len(moved.getbands()), (0, 0, CORNER, CORNER))
    return moved


def _encoded(image: Image.Image, moved: Image.Image) -> Iterator[bytes]:
    """What the original's own encoder may have made of it: which of its settings it had, a file does not say."""
    kept = {name: image.info[name] for name in ("exif", "icc_profile") if image.info.get(name)}
    kind = "JPEG" if image.format == "MPO" else image.format  # what many telephones call a JPEG with a preview
    if kind == "JPEG":
        kept.update(qtables=image.quantization, progressive=bool(image.info.get("progressive")))
        if (sampling := JpegImagePlugin.get_sampling(image)) >= 0:
            kept["subsampling"] = sampling
    for settings in ({}, {"optimize": True}, {"lossless": True}):
        buffer = io.BytesIO()
        moved.save(buffer, kind, **kept, **settings)
        yield buffer.getvalue()


def require_answered(load: Load) -> None:
    """Raises InvalidRun if any request failed: what was not answered must not vanish from a result."""
    if load.failed:
        first = load.failed[0]
        sent = len(load.requests) + len(load.warm_up)
        raise InvalidRun(f"{len(load.failed)} of {sent} requests failed; the first, for image "
                         f"{first.image_ids[0]}: {first.error}")
