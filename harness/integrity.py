"""Are the answers given under load those of a quiet run, each to its own picture, and computed anew each time?

After MLPerf's compliance tests TEST01 (answers under load are those of the accuracy run) and TEST04 (the same sample
again and again is not faster), on whole answers instead of their first number.
"""
from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from PIL import Image

from harness.evaluation import InvalidRun, matched
from harness.load import DEADLINE, Detect, Load, Request, Shape, drive
from harness.sanity import content

# Batch-mates change the order of sums, and so the last digits.
SAME_IOU, SURE = 0.99, 0.25
CORNER, QUALITY = 8, 95  # pixels of a changed corner, JPEG quality


def changed(reference: Mapping[int, Any], candidate: Mapping[int, Any]) -> list[int]:
    """The images whose confident detections (score >= 0.25) are not the same in both: class, and box to IoU 0.99.

    Judged are the images that `candidate` has, in its order. Raises InvalidRun for one that `reference` lacks.
    """
    of_these = {image: reference[image] for image in candidate if image in reference}
    there = matched(of_these, candidate, SURE, SAME_IOU)
    back = matched(candidate, of_these, SURE, SAME_IOU)
    return [image for image in candidate if any(found < total for found, total in (there[image], back[image]))]


def identical(answers: Mapping[int, Any], pictures: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """Pairs of different pictures that got detections, and the very same bytes of them. A stale buffer looks so.

    A picture that is stored twice, in whatever format, is one picture.
    """
    seen: dict[tuple, int] = {}
    pairs = []
    for image, answer in answers.items():
        if len(answer.scores):
            first = seen.setdefault(content(answer), image)
            if pictures[first] != pictures[image] and _pixels(pictures[first]) != _pixels(pictures[image]):
                pairs.append((first, image))
    return pairs


def _pixels(picture: bytes) -> tuple:
    try:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError:  # what is no picture is only like itself
        return (picture,)
    return image.size, image.tobytes()


def repeat_speedup(
    detect: Detect, samples: Sequence[tuple[int, bytes]], rounds: int, deadline: float = DEADLINE
) -> float:
    """How much faster a picture is answered when it comes again than when it is new: the median over the pictures.

    New in every round is a picture with another corner, which no cache can know. Each is compared with itself, because
    what a picture costs depends on what is in it; new and again take turns, so that a busy machine slows both. A
    detector without a cache gives about 1. Raises InvalidRun if a request fails.
    """
    new, again = defaultdict(list), defaultdict(list)
    for number in range(rounds):
        twice = [(image, variant) for image, picture in samples for variant in [_variant(picture, number)] * 2]
        for latencies, requests in zip((new, again), _every_second(_one_by_one(detect, twice, deadline))):
            for request in requests:
                latencies[request.image_ids].append(request.latency)
    return median(median(new[image]) / median(again[image]) for image in new)


def _every_second(requests: list[Request]) -> tuple:
    return requests[0::2], requests[1::2]


def _variant(picture: bytes, number: int) -> bytes:
    """The same picture with a corner of another grey, as a JPEG."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.paste((number * 16 % 256,) * 3, (0, 0, CORNER, CORNER))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _one_by_one(detect: Detect, samples: Sequence[tuple[int, bytes]], deadline: float) -> list[Request]:
    load = drive(detect, samples, Shape(1, 1), warm_up=0, deadline=deadline)
    require_answered(load)
    return load.requests


def require_answered(load: Load) -> None:
    """Raises InvalidRun if any request failed: what was not answered must not vanish from a result."""
    if load.failed:
        first = load.failed[0]
        sent = len(load.requests) + len(load.warm_up)
        raise InvalidRun(f"{len(load.failed)} of {sent} requests failed; the first, for image "
                         f"{first.image_ids[0]}: {first.error}")
