"""The ONNX example gives boxes in pixels of the original image, in both layouts of Ultralytics."""
from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.examples.needed import needed

needed("torch", "onnx", "onnxruntime", "cv2")
import onnx  # noqa: E402
import torch  # noqa: E402

from examples import onnx_detector  # noqa: E402

SIDE = 64  # of the network's input
RAW, AFTER_NMS = "raw", "after NMS"


class FindsWhite(torch.nn.Module):
    """An image with one white rectangle → its box as class 1, and beside it what must be suppressed."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout

    def forward(self, image):
        white = (image[0].amin(0) > 0.7).float()
        (left, right), (top, bottom) = self._span(white.amax(0)), self._span(white.amax(1))
        if self.layout == AFTER_NMS:
            first = torch.stack([left, top, right, bottom, left * 0 + 0.9, left * 0 + 1])
            return torch.stack([first, first * 0])[None]
        box = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        scores = torch.tensor([[0.0, 0.9], [0.0, 0.8], [0.7, 0.0]])  # the third is another class
        return torch.cat([box.expand(3, 4), scores], 1).T[None]

    def _span(self, line):
        places = torch.arange(SIDE, dtype=torch.float32)
        return torch.where(line > 0, places, 1e4).min(), torch.where(line > 0, places, -1.0).max() + 1


@pytest.fixture(params=[RAW, AFTER_NMS])
def model(request, tmp_path):
    """The path of such a network as an ONNX file with class names, as Ultralytics keeps them."""
    path = tmp_path / "white.onnx"
    torch.onnx.export(FindsWhite(request.param).eval(), (torch.zeros(1, 3, SIDE, SIDE),), path, opset_version=17,
                      dynamo=False)
    graph = onnx.load(path)
    graph.metadata_props.add(key="names", value="{0: 'cup', 1: 'can'}")
    onnx.save(graph, path)
    return path


def photograph(size, box) -> bytes:
    image = Image.new("RGB", size)
    ImageDraw.Draw(image).rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill="white")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


@pytest.mark.parametrize(("size", "box"), [
    ((256, 128), (40, 20, 200, 100)), ((128, 256), (20, 40, 100, 200)), ((64, 64), (8, 16, 40, 50)),
    ((32, 24), (4, 4, 28, 20)),
])
def test_boxes_are_in_pixels_of_the_original_image(model, size, box):
    detector = onnx_detector.make(str(model))
    assert detector.names == ["cup", "can"] and detector.fallback() == ""
    (boxes, scores, classes), = detector([photograph(size, box)])
    assert boxes[0] == pytest.approx(box, abs=2 * max(size) / SIDE)  # two pixels of the network's input
    assert (scores[0], classes[0]) == (pytest.approx(0.9), 1)
    assert [round(float(score), 3) for score in scores] in ([0.9], [0.9, 0.7])  # without the one that overlaps


def test_another_provider_is_named(model):
    detector = onnx_detector.make(str(model))
    detector.provider = "CUDAExecutionProvider"
    assert detector.fallback() == "ONNX Runtime runs CPUExecutionProvider, must be CUDAExecutionProvider"


def test_a_provider_that_is_not_there_is_refused(model):
    with pytest.raises(ValueError, match=r"provider FPGA: this ONNX Runtime has .*CPUExecutionProvider"):
        onnx_detector.make(str(model), "FPGA")


def test_a_score_of_nan_is_not_dropped():
    output = np.array([[1, 2, 3, 4, np.nan, 0]], np.float32)
    assert len(onnx_detector.detections(output)[0]) == 1
    raw = np.array([[1], [2], [3], [4], [np.nan]], np.float32)
    assert (onnx_detector.detections(raw)[1] > 1).all()
