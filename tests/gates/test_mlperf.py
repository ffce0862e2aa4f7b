"""Gates: MLPerf's scenarios, driven and judged by its own load generator. Only those that --mlperf names."""
from __future__ import annotations

import pytest

from harness.load.mlperf import VALID


@pytest.mark.mlperf
@pytest.mark.gate("mlperf")
def test_scenario_is_valid(scenario, scenario_result, require_same, judge):
    require_same(scenario_result.detections)
    figures = {f"{scenario}/{name}": value for name, value in scenario_result.figures.items()}
    judge(
        "mlperf", {"valid": int(scenario_result.verdict == VALID), **figures}, scenario_result.requests,
        scenario_result.evidence,
    )
