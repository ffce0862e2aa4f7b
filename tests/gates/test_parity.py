"""Gate: does the auto-cast to a narrower format cost accuracy against FP32 on CPU?"""
from __future__ import annotations

import pytest


@pytest.mark.parity
@pytest.mark.gate("parity")
def test_target(cast, target, parity, judge):
    judge(target, parity)
