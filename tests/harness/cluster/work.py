"""Sixty images in ten shards, what the double detects in them, and how a test asks a node for what fails."""
from __future__ import annotations

import pytest

from harness.accuracy.sanity import content
from harness.cluster.control import chosen
from harness.cluster.errors import NodeError
from harness.cluster.evaluation import Outcome, Task
from harness.cluster.shards import cut
from tests.harness.cluster.doubles import found

IMAGES = {image: b"x" * image for image in range(1, 61)}
EXPECTED = {image: content(found(encoded)) for image, encoded in IMAGES.items()}


def task(**changes) -> Task:
    """What the nodes are asked: shards of 6 images, requests of 2 by 2 callers, 4 control images."""
    ids = list(IMAGES)
    usual = dict(shards=cut(ids, 2, 6), control=chosen(ids, 4), images=lambda own: [IMAGES[i] for i in own],
                 digest=None, callers=2, batch_size=2, deadline=20.0, exact=True)
    return Task(**{**usual, **changes})


def contents(outcome: Outcome) -> dict:
    """Image id → the bytes of its detections."""
    return {image: content(own) for image, own in outcome.detections.items()}


def failed(node, method: str, *arguments, deadline: float = 60.0) -> NodeError:
    """The error of a call that fails."""
    with pytest.raises(NodeError) as raised:
        node.call(method, *arguments, deadline=deadline)
    return raised.value
