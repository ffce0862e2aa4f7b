"""Gate: what do a million images cost at the throughput that was measured?"""
from __future__ import annotations

import pytest


@pytest.mark.cost
@pytest.mark.gate("cost")
def test_target(target, cost, judge):
    judge(target, cost)
