"""A detector of another family: untrained it finds the same in every image, and the gate says so."""
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


def test_the_gate_says_that_it_finds_the_same_in_every_image(tmp_path, names):
    data = write_greys(tmp_path / "greys")
    ended = run_gate("--detector", FILE, "--detector-arg", f"names={names}", "--coco", data, "--report",
                     tmp_path / "report", marker="accuracy")
    assert ended.returncode == 1
    [row] = judged(tmp_path / "report" / "results.json")
    assert row["verdict"] == "INVALID"
    assert "the very same detections as every other image" in row["why"]


def test_weights_of_ones_own_are_used(tmp_path, names):
    import torch

    from examples import torchvision_detector

    image = IMAGES[0].read_bytes()
    trained = torchvision_detector.make(names)
    with torch.no_grad():
        for parameter in trained.network.head.parameters():
            parameter.add_(torch.randn_like(parameter))  # untrained, every class has the same score
    torch.save(trained.network.state_dict(), tmp_path / "ssd.pth")
    read = torchvision_detector.make(names, str(tmp_path / "ssd.pth"))
    assert torch.equal(read([image])[0][1], trained([image])[0][1])
    assert not torch.equal(read([image])[0][1], torchvision_detector.make(names)([image])[0][1])
