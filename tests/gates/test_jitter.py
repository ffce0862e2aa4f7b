"""Gate: are throughput and latency steady from window to window of the soak?"""
from __future__ import annotations

import pytest


@pytest.mark.jitter
@pytest.mark.gate("jitter")
def test_target(target, jitter, judge):
    judge(target, jitter)
