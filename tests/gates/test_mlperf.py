"""Gate: is an MLPerf scenario valid, driven and judged by LoadGen? Only those that --mlperf names."""
from __future__ import annotations

import pytest


@pytest.mark.mlperf
@pytest.mark.gate("mlperf")
def test_target(scenario, target, mlperf, judge):
    judge(target, mlperf)
