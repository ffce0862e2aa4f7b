"""SSDlite320 of torchvision, another family: for classes of your own, weights that you have trained, as a state_dict.

pytest tests/gates --detector examples/torchvision_detector.py:make --detector-arg weights=ssd.pth --coco my-data
"""
from __future__ import annotations

import torch
import torchvision
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from examples.parts import pixels
from fixtures.embedded.scenes import CLASSES

MOST = 100


def make(weights="random", device="cpu"):
    """The detector with a file of weights, or untrained, which finds nothing that is there."""
    torch.manual_seed(0)
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=1 + len(CLASSES),
                                            detections_per_img=MOST)
    if weights != "random":
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return Detector(network.eval().to(device), device)


class Detector:
    """Encoded images → for each image (boxes, scores, classes), as docs/any-detector.md says."""

    names = CLASSES
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}  # noqa: RUF012

    def __init__(self, network, device):
        self.network, self.device, self.label = network, device, f"torchvision SSDlite320 on {device}"

    @torch.inference_mode()
    def __call__(self, images):
        tensors = [torch.from_numpy(pixels(image)).to(self.device).permute(2, 0, 1) / 255 for image in images]
        found = [{name: part.cpu() for name, part in one.items()} for one in self.network(tensors)]
        return [(one["boxes"], one["scores"], one["labels"] - 1) for one in found]  # its class 0 is the background
