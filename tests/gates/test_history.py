"""Gate: did anything get worse since earlier runs? With --against; judged last, from what the other gates measured."""
from __future__ import annotations

import pytest


@pytest.mark.history
@pytest.mark.gate("history")
def test_target(target, against, judge):
    judge.conclude(against.verdict)
