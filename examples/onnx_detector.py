"""A detector of an ONNX file in ONNX Runtime, with the outputs and the letterbox of Ultralytics.

pytest tests/gates --detector examples/onnx_detector.py:make --detector-arg model=yolo.onnx --coco my-data
Sources: ultralytics.data.augment.LetterBox, ultralytics.utils.nms and the metadata of its exporter.
"""
from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from examples.parts import pixels, suppressed

GREY = 114  # around the image
SCORE, IOU, MOST = 0.001, 0.7, 100  # of Ultralytics' validation, but for its 300 detections


def make(model, provider="CPUExecutionProvider"):
    """The detector of an ONNX file, on an execution provider of ONNX Runtime. Raises ValueError."""
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise ValueError(f"provider {provider}: this ONNX Runtime has {', '.join(available)}")
    return Detector(Path(model).read_bytes(), provider)


class Detector:
    """Encoded images → for each image (boxes, scores, classes), as docs/any-detector.md says.

    The network reads float32 or float16 [1, 3, height, width] (RGB in [0, 1]). Its output is [1, 4 + classes, n]
    (centre, width and height in pixels of its input, then scores), or after NMS [1, n, 6] (x1, y1, x2, y2, score,
    class).
    """

    versions = {"onnxruntime": onnxruntime.__version__}  # noqa: RUF012 - nothing changes it

    def __init__(self, model: bytes, provider: str):
        self.identity, self.provider = hashlib.sha256(model).hexdigest(), provider
        self.session = onnxruntime.InferenceSession(model, providers=[provider])
        self.input, = self.session.get_inputs()
        _, channels, *self.sides = self.input.shape
        if channels != 3 or not all(isinstance(side, int) for side in self.sides):
            raise ValueError(f"the input {self.input.name} is {self.input.shape}, must be [batch, 3, height, width] "
                             "with numbers for height and width; export without dynamic sizes")
        self.label = f"ONNX Runtime {provider}"
        names = self.session.get_modelmeta().custom_metadata_map.get("names")
        self.names = list(ast.literal_eval(names).values()) if names else None

    def __call__(self, images):
        return [self._one(pixels(image)) for image in images]

    def _one(self, original: np.ndarray) -> tuple:
        image, scale, corner = letterboxed(original, *self.sides)
        dtype = np.float16 if self.input.type == "tensor(float16)" else np.float32
        planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype) / dtype(255)
        boxes, scores, classes = detections(self.session.run(None, {self.input.name: planes})[0][0].astype(np.float32))
        size = np.float32(original.shape[1::-1] * 2)
        return ((boxes - corner * 2) / scale).clip(0, size), scores, classes

    def fallback(self) -> str:
        """Why it does not run as asked: ONNX Runtime goes on without a provider that it cannot load."""
        first = self.session.get_providers()[0]
        return "" if first == self.provider else f"ONNX Runtime runs {first}, must be {self.provider}"


def letterboxed(original: np.ndarray, height: int, width: int) -> tuple:
    """The image [height, width, 3] inside grey, pixels of it per pixel of the original, and its (left, top) in it."""
    rows, columns = original.shape[:2]
    scale = min(height / rows, width / columns)
    inner = round(columns * scale), round(rows * scale)
    left, top = (round((side - part) / 2 - 0.1) for side, part in zip((width, height), inner))
    image = np.full((height, width, 3), GREY, np.uint8)
    image[top:top + inner[1], left:left + inner[0]] = cv2.resize(original, inner)
    return image, scale, (left, top)


def detections(output: np.ndarray) -> tuple:
    """One image's output in either layout → boxes in pixels of the network's input, scores and classes.

    NaN becomes the score infinity, because NaN is above no threshold.
    """
    if output.shape[1] == 6:  # after NMS
        output = output[np.nan_to_num(output[:, 4], nan=np.inf) > SCORE][:MOST]
        return output[:, :4], output[:, 4], output[:, 5]
    centres, sizes, scores = output[:2].T, output[2:4].T, np.nan_to_num(output[4:].T, nan=np.inf)
    return suppressed(np.hstack([centres - sizes / 2, centres + sizes / 2]), scores, SCORE, IOU, MOST)
