"""Gate: does the network run on the device, on all of its cores and without errors? On Inferentia alone."""
from __future__ import annotations

import pytest


@pytest.mark.placement
@pytest.mark.gate("placement")
def test_target(target, placement, judge):
    judge(target, placement)
