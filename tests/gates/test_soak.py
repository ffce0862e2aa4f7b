"""Gate: does the detector keep its speed and memory, and answer everything, from the soak's start to its end?"""
from __future__ import annotations

import pytest


@pytest.mark.soak
@pytest.mark.gate("soak")
def test_target(target, soak, judge):
    judge(target, soak)
