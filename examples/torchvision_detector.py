"""SSDlite320 of torchvision, another family, with classes and weights of your own.

pytest tests/gates --detector examples/torchvision_detector.py:make --detector-arg weights=ssd.pth \
    --detector-arg names=ssd.names --coco my-data
"""
from __future__ import annotations

import torch
import torchvision
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from examples.parts import pixels
from model.names import checked_names


def make(names, weights="random", device="cpu"):
    """The detector with a state_dict's file, or untrained, which finds nothing that is there.

    `names` is a file with a class name in each line, without the background.
    """
    names = checked_names(names, None)
    torch.manual_seed(0)
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=1 + len(names),
                                            detections_per_img=100)
    if weights != "random":
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return Detector(network.eval().to(device), device, names)


class Detector:
    """Encoded images → for each image (boxes, scores, classes), as docs/any-detector.md says."""

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}  # noqa: RUF012

    def __init__(self, network, device, names):
        self.network, self.device, self.names = network, device, names
        self.label = f"torchvision SSDlite320 on {device}"

    @torch.inference_mode()
    def __call__(self, images):
        tensors = [torch.from_numpy(pixels(image)).to(self.device).permute(2, 0, 1) / 255 for image in images]
        found = [{name: part.cpu() for name, part in one.items()} for one in self.network(tensors)]
        return [(one["boxes"], one["scores"], one["labels"] - 1) for one in found]  # its class 0 is the background
