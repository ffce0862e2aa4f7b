"""Gate: does the network run on the device, on all of its cores and without errors? Judged on Inferentia alone."""
from __future__ import annotations

import pytest


@pytest.mark.placement
@pytest.mark.gate("placement")
def test_network_runs_on_the_device(placed, device_load, detector, judge):
    facts = detector.metadata
    warnings = facts["compiler_warnings"]
    judge(
        "placement",
        {
            "network_ratio": 1 - len(placed.left) / facts["network_operators"],
            "convolutions_on_cpu": len(placed.convolutions_left),
            "on_neuron_ratio": facts["on_neuron_ratio"],
            **device_load.figures,
        },
        device_load.requests,
        f"{placed}; {device_load.evidence}; OnNeuronRatio {facts['on_neuron_ratio']:.3f} by route {facts['route']}"
        + (f"; the compiler warned: {warnings[0][:200]}" if warnings else ""),
    )
