"""Gate: is the detector as accurate as promised?"""
from __future__ import annotations

import pytest


@pytest.mark.accuracy
@pytest.mark.gate("accuracy")
def test_target(target, accuracy, judge):
    judge(target, accuracy)
