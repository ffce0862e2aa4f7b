"""Gate: how many images a second, and what share of the machine's arithmetic is that?"""
from __future__ import annotations

import pytest


@pytest.mark.performance
@pytest.mark.throughput
@pytest.mark.gate("throughput")
def test_target(target, throughput, judge):
    judge(target, throughput)
