"""An untrained detector of another family: its detections are sane, and the gate says that it finds nothing."""
from __future__ import annotations

import pytest

from fixtures import ROOT
from model.check_detector import IMAGES
from tests.examples.needed import needed
from tests.fixtures.drawn_greys import write_greys
from tests.fixtures.gate import judged, run_gate

needed("torch", "torchvision")

FILE = f"{ROOT}/examples/torchvision_detector.py:make"


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names"
    path.write_text("cup\ncan\n")
    return path


def test_the_gate_is_red_for_ap_and_green_for_integrity(tmp_path, names):
    data = write_greys(tmp_path / "greys")
    ended = run_gate("--detector", FILE, "--detector-arg", f"names={names}", "--coco", data, "--report",
                     tmp_path / "report", marker="accuracy or integrity")
    assert ended.returncode == 1
    rows = {one["metric"]: one for one in judged(tmp_path / "report" / "results.json")}
    assert (rows["AP"]["verdict"], round(rows["AP"]["value"], 2)) == ("FAIL", 0)
    assert {one["verdict"] for one in rows.values() if one["check"] == "integrity"} == {"PASS"}


def test_weights_of_ones_own_are_used(tmp_path, names):
    import torch

    from examples import torchvision_detector

    image = IMAGES[0].read_bytes()
    trained = torchvision_detector.make(names)
    with torch.no_grad():
        for parameter in trained.network.head.parameters():
            parameter.mul_(2)
    torch.save(trained.network.state_dict(), tmp_path / "ssd.pth")
    read = torchvision_detector.make(names, str(tmp_path / "ssd.pth"))
    assert torch.equal(read([image])[0][1], trained([image])[0][1])
    assert not torch.equal(read([image])[0][1], torchvision_detector.make(names)([image])[0][1])
