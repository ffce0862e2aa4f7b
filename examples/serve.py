"""Serves a SavedModel over HTTP through KServe's model server, for examples/served_detector.py to gate.

python -m model build --weights yolov4.weights --output saved-model
python examples/serve.py saved-model --model_name detector --http_port 8501 --enable_grpc false

It needs requirements-serving.txt, in an environment of its own: KServe asks for an older psutil than the gate does.
Protocols: TensorFlow Serving's REST API at /v1/models/detector:predict, as tensorflow_model_server has it, and the Open
Inference Protocol at /v2/models/detector/infer. KServe listens on all interfaces of the machine.
"""
from __future__ import annotations

import argparse
import asyncio
import base64
import uuid

import tensorflow as tf
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.errors import InvalidInput

INPUT, SIGNATURE = "image", "serving_default"
DATATYPES = {tf.float32: "FP32", tf.int32: "INT32"}


class SavedModel(Model):
    """A SavedModel with one input, `image` (string vector of encoded images), and any outputs of a row an image."""

    def __init__(self, name: str, folder: str):
        super().__init__(name)
        self._loaded = tf.saved_model.load(folder)  # its variables live as long as it
        self._call = self._loaded.signatures[SIGNATURE]
        self.ready = True

    async def predict(self, payload, headers=None):
        """The response to a request of either protocol. Raises InvalidInput, which is status 400."""
        # In a thread, because else one request would keep all others and the health checks waiting.
        return await asyncio.to_thread(self._response, payload)

    def _response(self, payload):
        if isinstance(payload, InferRequest):
            return self._to_v2(payload, self._found(_from_v2(payload)))
        return _to_v1(self._found(_from_v1(payload)))

    def _found(self, images: list) -> dict:
        """Name → array of each output."""
        try:
            return {name: one.numpy() for name, one in self._call(**{INPUT: tf.constant(images, tf.string)}).items()}
        except tf.errors.InvalidArgumentError as error:
            # TensorFlow's reason comes last, before lines that point into the graph.
            reason = [line for line in error.message.splitlines() if line.strip() and "[[" not in line][-1]
            raise InvalidInput(f"the images cannot be decoded: {reason}") from error

    def _to_v2(self, request: InferRequest, found: dict) -> InferResponse:
        outputs = [InferOutput(name, list(one.shape), DATATYPES[tf.as_dtype(one.dtype)], one.ravel().tolist())
                   for name, one in found.items()]
        return InferResponse(request.id or uuid.uuid4().hex, self.name, outputs)  # KServe refuses to send none


def _from_v1(payload: dict) -> list:
    try:
        return [_decoded(one[INPUT]["b64"]) for one in payload["instances"]]
    except (KeyError, TypeError) as error:
        raise InvalidInput(f'must be {{"instances": [{{"{INPUT}": {{"b64": …}}}}, …]}}, lacks {error}') from error


def _to_v1(found: dict) -> dict:
    columns = {name: one.tolist() for name, one in found.items()}
    return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


def _from_v2(request: InferRequest) -> list:
    tensors = {one.name: one for one in request.inputs}
    if INPUT not in tensors or tensors[INPUT].datatype != "BYTES":
        raise InvalidInput(f"must have an input {INPUT} of datatype BYTES")
    return [_decoded(one) for one in tensors[INPUT].as_numpy().ravel()]


def _decoded(text: str) -> bytes:
    """An image from its base64 text, because JSON has no bytes."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"an image is not base64: {error}") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser], description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", help="SavedModel folder")
    options = parser.parse_args()
    ModelServer().start([SavedModel(options.model_name, options.folder)])
