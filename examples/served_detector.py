"""A detector behind a server: TensorFlow Serving's REST API, or the Open Inference Protocol (v2) of KServe and Triton.

pytest tests/gates --detector examples/served_detector.py:make --detector-arg url=http://localhost:8501 \
    --detector-arg model=detector --detector-arg names=detector.names

The server takes encoded images as `image` and gives `boxes`, `scores`, `classes` and `count` of each, as the SavedModel
that this project builds does; examples/serve.py serves it. `v2` sends the images as they are, `v2-base64` as text that
the server decodes. Sources: TensorFlow Serving, "RESTful API"; KServe, "Open Inference Protocol (V2)" and "Binary
Tensor Data Extension".
"""
from __future__ import annotations

import base64
import http.client
import json
import struct
import threading
from urllib.parse import quote, urlsplit

import numpy as np

from model.names import checked_names

INPUT, OUTPUTS = "image", ("boxes", "scores", "classes", "count")
JSON = {"Content-Type": "application/json"}
SHOWN = 200  # characters of a body that was not expected
PATHS = {"tensorflow": "/v1/models/{}:predict", "v2": "/v2/models/{}/infer", "v2-base64": "/v2/models/{}/infer"}


class ServerError(RuntimeError):
    """The server cannot be reached, refuses, is late, or gives something else than was agreed."""


def make(url, model="detector", protocol="tensorflow", seconds="10", names=""):
    """The detector at a URL (http or https); `names` is a file with a class name in each line. Raises ValueError."""
    if protocol not in PATHS:
        raise ValueError(f"protocol {protocol}: must be one of: {', '.join(PATHS)}")
    parts = urlsplit(url)
    try:
        is_possible = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or too large
        is_possible = False
    if not is_possible:
        raise ValueError(f"url {url}: must be like http://localhost:8501")
    detector = Detector(parts, model, protocol, float(seconds))
    if names:
        detector.names = checked_names(names, None)
    return detector


class Detector:
    """Encoded images → for each image (boxes, scores, classes). Raises ServerError; it never repeats a request."""

    def __init__(self, url, model: str, protocol: str, seconds: float):
        self.label = f"{model} at {url.netloc} ({protocol})"
        self._url, self._path = url, url.path.rstrip("/") + PATHS[protocol].format(quote(model, safe=""))
        self._request, self._response = {"tensorflow": (_to_tensorflow, _from_tensorflow), "v2": (_to_v2, _from_v2),
                                         "v2-base64": (_to_v2_base64, _from_v2)}[protocol]
        self._seconds, self._of_thread, self._open = seconds, threading.local(), []

    def __call__(self, images):
        body = self._asked(*self._request(images))
        try:
            return self._response(json.loads(body), len(images))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ServerError(f"{self._path}: the response is not as agreed ({type(error).__name__}: {error}): "
                              f"{body[:SHOWN]!r}") from error

    def close(self) -> None:
        """Closes the connections of all threads."""
        for connection in self._open:
            connection.close()

    def _asked(self, request: bytes, headers: dict) -> bytes:
        """The body of the response, on the connection of this thread, which is kept for the next request."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, request, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerError(self._explained(error)) from error
        if response.status != http.client.OK:
            raise ServerError(f"{self._path}: status {response.status}: {body[:SHOWN]!r}")
        return body

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._of_thread, "connection"):
            kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[self._url.scheme]
            self._of_thread.connection = kind(self._url.hostname, self._url.port, timeout=self._seconds)
            self._open.append(self._of_thread.connection)
        return self._of_thread.connection

    def _explained(self, error: Exception) -> str:
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {self._url.netloc}: start the server, or give its url"
        if isinstance(error, TimeoutError):
            return f"{self._url.netloc}: no response within {self._seconds:g} s"
        return f"{self._url.netloc}: {type(error).__name__}: {error}"


def _to_tensorflow(images) -> tuple:
    """The body and headers of a request."""
    instances = [{INPUT: {"b64": base64.b64encode(image).decode()}} for image in images]
    return json.dumps({"instances": instances}).encode(), JSON


def _from_tensorflow(response: dict, images: int) -> list:
    rows = _as_many("predictions", response["predictions"], images)
    return [_one(*(np.array(row[name]) for name in OUTPUTS)) for row in rows]


def _to_v2(images) -> tuple:
    """The body and headers of a request: JSON cannot hold bytes, so they follow it, each image after its length."""
    data = b"".join(struct.pack("<I", len(image)) + image for image in images)
    header = json.dumps({"inputs": [{"name": INPUT, "shape": [len(images)], "datatype": "BYTES",
                                     "parameters": {"binary_data_size": len(data)}}]}).encode()
    return header + data, {"Content-Type": "application/octet-stream",
                           "Inference-Header-Content-Length": str(len(header))}


def _to_v2_base64(images) -> tuple:
    """As `_to_v2` with the images as base64 text, because KServe's own server reads bytes that follow as UTF-8."""
    tensor = {"name": INPUT, "shape": [len(images)], "datatype": "BYTES",
              "data": [base64.b64encode(image).decode() for image in images]}
    return json.dumps({"inputs": [tensor]}).encode(), JSON


def _from_v2(response: dict, images: int) -> list:
    tensors = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in response["outputs"]}
    return [_one(*parts) for parts in zip(*(_as_many(name, tensors[name], images) for name in OUTPUTS))]


def _as_many(what: str, parts, images: int):
    if len(parts) != images:
        raise ValueError(f"{what}: {len(parts)} for {images} images")
    return parts


def _one(boxes, scores, classes, count) -> tuple:
    """One image's detections: the first `count` rows."""
    if not 0 <= int(count) <= len(scores):
        raise ValueError(f"count {int(count)}: must be between 0 and {len(scores)}, the rows that there are")
    return tuple(part[:int(count)] for part in (boxes, scores, classes))
