"""Gate: are the responses under load the right ones, each for its own image, and computed anew each time?"""
from __future__ import annotations

import pytest


@pytest.mark.integrity
@pytest.mark.gate("integrity")
def test_target(target, integrity, judge):
    judge(target, integrity)
