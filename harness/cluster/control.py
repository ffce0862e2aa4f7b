"""The control set: a few images that every node detects, so that a node which computes something else is named."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.accuracy.compliance import changed

IMAGES = 8


class Control(NamedTuple):
    """A node's detections of the control images; `kind` is that of its machine, as its processor."""

    name: str
    kind: str
    detections: Mapping[int, Any]


def chosen(image_ids: Sequence[int], count: int = IMAGES) -> tuple[int, ...]:
    """The control images: `count`, evenly spread over all."""
    step = max(1, len(image_ids) / count)
    return tuple(image_ids[int(place * step)] for place in range(min(count, len(image_ids))))


def disagreement(responses: Sequence[Control], exact: bool) -> str:
    """Which nodes detect something else than the others, in words; '' where none does.

    With `exact` the detections of machines of one kind must be the same bytes; otherwise, and between kinds of
    machines, they must be the same as far as the last digits of sums allow (`harness.accuracy.compliance.changed`).
    """
    groups = _groups(responses, exact)
    if len(groups) < 2:
        return ""
    largest = max(groups, key=len)
    others = [one for group in groups if group is not largest for one in group]
    differing = _differing(largest[0], others[0], exact)
    where = f"{len(differing)} of {len(responses[0].detections)} control images, first image {differing[0]}"
    if 2 * len(largest) > len(responses):
        return (f"{_listed(others)}: other detections than the other {len(largest)} workers in {where}; examine this "
                "machine, or leave it out")
    return (f"{_listed(responses)}: they do not detect the same in {where}, and no majority says which is right; "
            "examine these machines")


def _groups(responses: Sequence[Control], exact: bool) -> list[list[Control]]:
    """Nodes that detect the same."""
    groups: list[list[Control]] = []
    for one in responses:
        same = next((group for group in groups if not _differing(group[0], one, exact)), None)
        if same is None:
            groups.append([one])
        else:
            same.append(one)
    return groups


def _differing(one: Control, other: Control, exact: bool) -> list[int]:
    return changed(one.detections, other.detections, exact and one.kind == other.kind)


def _listed(nodes: Sequence[Control]) -> str:
    return ", ".join(f"{one.name} [{one.kind}]" for one in nodes)
