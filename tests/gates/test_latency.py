"""Gate: how long does a request take?"""
from __future__ import annotations

import pytest


@pytest.mark.performance
@pytest.mark.latency
@pytest.mark.gate("latency")
def test_target(target, latency, judge):
    judge(target, latency)
