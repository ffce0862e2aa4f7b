"""Tries a user's detector on a few images and says what breaks its contract: `python -m model check-detector`.

The gate finds the same faults; here they cost seconds, and each has its own line.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

from model.detections import Detections
from model.factory import Factory, FactoryDetector
from model.image_headers import read_header
from model.worker.pool import RemoteDetector

GOOD, NOTE, BREAKS = "good", "note", "BREAKS"
MOST = 100  # detections of an image, as COCO scores them
BORDER = 1.0  # pixels
CALLERS, ROUNDS = 4, 2
SAME_SCORE, SAME_BOX = 0.01, 1.0  # batches change the order of sums
IMAGES = sorted(Path(__file__).with_name("graph").joinpath("reference_images").glob("[bpt]*.jpg"))
DEADLINE = 300.0  # seconds until the next finding: a first call may compile
HUNG = "in time"


class Finding(NamedTuple):
    """What was tried, how it went (GOOD, NOTE or BREAKS), and in words what was found and what to do."""

    tried: str
    outcome: str
    what: str

    def __str__(self):
        return f"{self.outcome:<6}  {self.tried:<16}  {' '.join(self.what.split())}"


def tried(factory: Factory, python: str | None, images: Sequence[bytes], deadline: float) -> Iterator[Finding]:
    """Loads the detector and gives its `findings`; after `deadline` seconds without the next one BREAKS ends them.

    What hangs in this process is left behind in its thread. Raises FactoryError and WorkerError.
    """
    queue: SimpleQueue = SimpleQueue()

    def work() -> None:
        try:
            with RemoteDetector(python, factory) if python else FactoryDetector(factory) as detector:
                for finding in findings(detector, images):
                    queue.put(finding)
            queue.put(None)
        except Exception as error:  # of any framework: the caller's thread raises it
            queue.put(error)

    Thread(target=work, daemon=True).start()
    last = "the start"
    while True:
        try:
            found = queue.get(timeout=deadline)
        except Empty:
            yield Finding(HUNG, BREAKS, f"nothing came within {deadline:g} s after {last}: it hangs, or --deadline is "
                                        "too short")
            return
        if found is None:
            return
        if isinstance(found, Exception):
            raise found
        last = f"“{found.tried}”"
        yield found


def findings(detector, images: Sequence[bytes]) -> Iterator[Finding]:
    """What a loaded detector does with these encoded images, of which there must be two at least.

    Ends after the first thing that breaks so much that nothing else can be tried.
    """
    yield from _facts(detector.metadata)
    alone = []
    for number, image in enumerate(images, 1):
        found, why = _asked(detector.detect, [image])
        if why:
            yield Finding(f"image {number}", BREAKS, why)
            return
        alone.append(found[0])
        yield _values(f"image {number}", found[0], image, detector.metadata["names"])
    yield from _whole(alone)
    for tried, ask in (("a batch", lambda: _asked(detector.detect, images)),
                       ("again", lambda: _each_alone(detector, images)),
                       (f"{CALLERS} callers", lambda: _at_once(detector, images))):
        found, why = ask()
        yield Finding(tried, BREAKS, why) if why else _compared(tried, alone * (len(found) // len(alone)), found)
    yield _broken_image(detector, images[0])
    yield _placement(detector, images[0])


def _facts(facts: dict) -> Iterator[Finding]:
    names = facts["names"]
    yield Finding("names", GOOD if names else NOTE, f"{len(names)} classes, {names[0]} first" if names else
                  "none: the dataset's categories are taken in the order of their ids; give names, or --names FILE")
    yield Finding("flops", GOOD if facts["flops"] else NOTE, f"{facts['flops'] / 1e9:.3g} GFLOP an image"
                  if facts["flops"] else "none: efficiency cannot be judged")
    yield Finding("identity", GOOD if facts["identity"] else NOTE, facts["identity"] or
                  "none: runs of other weights cannot be told apart; give a hash of the weights")


def _asked(method: Callable, given) -> tuple[Any, str]:
    """What a method of the detector returns, [] where it fails, and the error."""
    try:
        return method(given), ""
    except Exception as error:  # of any framework
        return [], f"{type(error).__name__}: {error}"


def _each_alone(detector, images, run=map) -> tuple[list[Detections], str]:
    """The detections of all images, each in a request of its own, and the first error; `run` is used as `map`."""
    responses = list(run(lambda image: _asked(detector.detect, [image]), images))
    return [one for found, _ in responses for one in found], next((why for _, why in responses if why), "")


def _at_once(detector, images) -> tuple[list[Detections], str]:
    with ThreadPoolExecutor(CALLERS) as callers:
        return _each_alone(detector, [*images] * CALLERS * ROUNDS, callers.map)


def _values(tried: str, found: Detections, image: bytes, names) -> Finding:
    """Whether boxes, scores and classes are what they must be."""
    if found.error:
        return Finding(tried, BREAKS, f"has an error for a response: {found.error}")
    header = read_header(image)
    sides = np.float32([header.width, header.height] if header.width else [np.inf] * 2)
    sides = np.maximum(sides, sides[::-1])  # as its EXIF orientation may turn it
    boxes, scores, classes = found.boxes, found.scores, found.classes
    faults = {
        "a box is not finite": not np.isfinite(boxes).all(),
        "a score is not in [0, 1]; give probabilities": not ((scores >= 0) & (scores <= 1)).all(),
        "a box has x1 > x2 or y1 > y2; give corners, not a centre or a size": (boxes[:, :2] > boxes[:, 2:]).any(),
        f"a box leaves the {header.width} x {header.height} image; give pixels of the original image, not of the "
        "network's input": ((boxes < -BORDER) | (boxes > np.tile(sides, 2) + BORDER)).any(),
        f"class {classes.max(initial=0)} of {len(names or ())} names; count from 0": bool(names) and (
            (classes < 0) | (classes >= len(names))).any(),
        f"{len(scores)} detections, must be at most {MOST}: keep those with the highest scores": len(scores) > MOST,
        "all boxes lie within one pixel; give pixels, not shares of the image": len(boxes) > 0 and boxes.max() <= 1,
    }
    wrong = [what for what, is_wrong in faults.items() if is_wrong]
    return Finding(tried, BREAKS if wrong else GOOD, "; ".join(wrong) or _shown(found, names))


def _shown(found: Detections, names) -> str:
    if not len(found.scores):
        return "no detections"
    first = found.classes[0]
    box = ", ".join(f"{side:.0f}" for side in found.boxes[0])
    return (f"{len(found.scores)} detections, first {names[first] if names else f'class {first}'} "
            f"{found.scores[0]:.2f} at {box}")


def _whole(alone: Sequence[Detections]) -> Iterator[Finding]:
    """What only shows in several images."""
    filled = [one for one in alone if len(one.scores)]
    if not filled:
        yield Finding("all images", NOTE, "nothing was found in any: give images that show its classes")
    elif len(filled) > 1 and len({one.boxes.tobytes() + one.scores.tobytes() for one in filled}) == 1:
        yield Finding("all images", BREAKS, "different images got the very same detections")


def _compared(tried: str, expected: Sequence[Detections], found: Sequence[Detections]) -> Finding:
    """Whether responses are those of the same images alone."""
    differing = [place for place, (one, other) in enumerate(zip(expected, found)) if not _are_same(one, other)]
    if not differing:
        return Finding(tried, GOOD, "the same detections as alone")
    exchanged = any(_are_same(other, found[place]) for place in differing for other in expected
                    if len(other.scores) and other is not expected[place])
    what = "an image got the detections of another" if exchanged else "other detections than alone"
    advice = {"a batch": "keep the order of the images, and do not let them affect each other",
              "again": "it must not depend on what was asked before"}.get(
        tried, "it is called from several threads at once: share no buffers, or hold a lock")
    return Finding(tried, BREAKS, f"{what}, {len(differing)} of {len(found)} responses; {advice}")


def _are_same(one: Detections, other: Detections) -> bool:
    return (np.array_equal(one.classes, other.classes)
            and np.allclose(one.scores, other.scores, rtol=0, atol=SAME_SCORE)
            and np.allclose(one.boxes, other.boxes, rtol=0, atol=SAME_BOX))


def _broken_image(detector, image: bytes) -> Finding:
    found, why = _asked(detector.detect, [image[:len(image) // 2]])
    if not why and not found[0].error:
        return Finding("half an image", NOTE, "of a file that was cut off it detects objects as in a whole one")
    return Finding("half an image", GOOD, f"is refused: {why or found[0].error}"[:200])


def _placement(detector, image: bytes) -> Finding:
    if not detector.metadata["checks_placement"]:
        return Finding("fallback()", NOTE, "none: nothing says whether it runs where it should")
    fault, why = _asked(detector.fallback, image)
    why = why or fault
    return Finding("fallback()", BREAKS if why else GOOD, why or "it runs as promised, by its own word")
