"""A load on a detector that is made up, as are its times: what `drive` would have recorded of it."""
from __future__ import annotations

import heapq

import numpy as np

from harness.load.generator import Load, Request


def closed_loop(
    cores: int, callers: int, batch_size: int, seconds_an_image, *, images: int | None = None,
    seconds: float | None = None, start: float = 0.0,
) -> Load:
    """Requests of `callers` that wait for one of `cores`, each with one batch at a time, in turn.

    `seconds_an_image` is a number, or a function of the time at which a batch starts. So many images once, the short
    last batch included, or for so many seconds.
    """
    cost = seconds_an_image if callable(seconds_an_image) else lambda at: seconds_an_image
    free, ready = [start] * cores, [(start, caller) for caller in range(callers)]
    requests, left = [], np.inf if images is None else images
    while left > 0:
        sent, caller = heapq.heappop(ready)
        if seconds is not None and sent >= start + seconds:
            break
        starts = max(sent, heapq.heappop(free))
        size = int(min(batch_size, left))
        end = starts + size * cost(starts)
        requests.append(Request(caller, tuple(range(size)), sent, sent, end, size, ""))
        heapq.heappush(free, end)
        heapq.heappush(ready, (end, caller))
        left -= size
    return Load(requests, [], {})
