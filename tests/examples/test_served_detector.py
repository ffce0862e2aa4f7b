"""The client of a served detector, against a server that answers as agreed, or not."""
from __future__ import annotations

import base64
import json
import re
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from examples import served_detector
from model.factory import Factory, FactoryDetector

IMAGES = [b"\xff\xd8first", b"\xff\xd8second image"]
PROTOCOLS = pytest.mark.parametrize("protocol", served_detector.PATHS)


def known(image: bytes) -> dict:
    """What the server finds in an image: one box as wide as its bytes, and a row that `count` leaves out."""
    return {"boxes": [[0, 0, len(image), 1], [0, 0, 0, 0]], "scores": [0.5, 0], "classes": [3, 0], "count": 1}


def as_agreed(path: str, headers, body: bytes) -> dict:
    """The response of each protocol, from the request's own bytes."""
    if path == "/v1/models/cars:predict":
        instances = json.loads(body)["instances"]
        images = [base64.b64decode(one["image"]["b64"], validate=True) for one in instances]
        return {"predictions": [known(image) for image in images]}
    assert path == "/v2/models/cars/infer"
    split = int(headers.get("Inference-Header-Content-Length", len(body)))
    (tensor,), data = json.loads(body[:split])["inputs"], body[split:]
    if "data" in tensor:
        images = [base64.b64decode(text, validate=True) for text in tensor["data"]]
    else:
        assert tensor["parameters"] == {"binary_data_size": len(data)}
        images = elements(data)
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("image", "BYTES", [len(images)])
    found = [known(image) for image in images]
    parts = {name: np.array([one[name] for one in found]) for name in found[0]}
    return {"outputs": [{"name": name, "shape": list(part.shape), "datatype": "FP32", "data": part.ravel().tolist()}
                        for name, part in parts.items()]}


def elements(data: bytes) -> list:
    """The elements of a BYTES tensor, each after its length in four bytes, the lowest first."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        found.append(data[4:end])
        data = data[end:]
    return found


class Server(ThreadingHTTPServer):
    """`wrong` names what it does wrong; `requests` counts them, `connections` those that carried them."""

    daemon_threads = True
    wrong, requests, connections = "", 0, 0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url, self.ended = f"http://127.0.0.1:{self.server_port}", threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.server.connections += 1
        super().setup()

    def do_POST(self):
        self.server.requests += 1
        request = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.wrong == "hang":
            self.server.ended.wait(30)
            return
        if self.server.wrong == "close":
            self.close_connection = True
            return
        status = 503 if self.server.wrong == "busy" else 200
        agreed = self._spoiled(as_agreed(self.path, self.headers, request))
        body = {"busy": b'{"error": "no workers"}', "malformed": b'{"predictions": [', "other": b'{"error": "?"}',
                }.get(self.server.wrong, json.dumps(agreed).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _spoiled(self, response):
        if self.server.wrong == "few":
            response["predictions"].pop()
        if self.server.wrong == "count":
            response["predictions"][0]["count"] = 7
        return response

    def log_message(self, *_):
        """Prints nothing."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


@PROTOCOLS
def test_boxes_scores_and_classes_are_those_of_each_image(server, protocol):
    with closing(served_detector.make(server.url, "cars", protocol)) as detector:
        first, second = detector(IMAGES)
    for image, (boxes, scores, classes) in zip(IMAGES, (first, second)):
        assert (boxes.tolist(), scores.tolist(), classes.tolist()) == ([[0, 0, len(image), 1]], [0.5], [3])


@PROTOCOLS
def test_the_gate_reads_it_as_a_detector(server, protocol, tmp_path):
    (tmp_path / "names").write_text("car\nvan\nbus\ntram")  # no line break at the end
    arguments = {"url": server.url, "model": "cars", "protocol": protocol, "names": f"{tmp_path}/names"}
    with FactoryDetector(Factory(served_detector.__file__ + ":make", tuple(arguments.items()))) as detector:
        assert detector.metadata["names"] == ["car", "van", "bus", "tram"]
        assert [one.classes.tolist() for one in detector.detect(IMAGES)] == [[3], [3]]


def test_a_thread_keeps_its_connection(server):
    with closing(served_detector.make(server.url, "cars")) as detector:
        for _ in range(3):
            detector(IMAGES)
        other = threading.Thread(target=detector, args=(IMAGES,))
        other.start()
        other.join()
    assert (server.requests, server.connections) == (4, 2)


@pytest.mark.parametrize(("wrong", "words"), [
    ("busy", "status 503: b'{\"error\": \"no workers\"}'"), ("hang", "no response within 1 s"),
    ("malformed", "b'{\"predictions\": ['"), ("other", "KeyError: 'predictions'"), ("close", "RemoteDisconnected"),
    ("few", "predictions: 1 for 2 images"), ("count", "count 7: must be between 0 and 2"),
])
def test_what_the_server_does_wrong_is_an_error_and_never_asked_again(server, wrong, words):
    with closing(served_detector.make(server.url, "cars", seconds="1")) as detector:
        server.wrong = wrong
        with pytest.raises(served_detector.ServerError, match=re.escape(words)):
            detector(IMAGES)
        assert server.requests == 1
        server.wrong = ""
        assert len(detector(IMAGES)) == 2  # what failed does not spoil the next request


def test_without_a_server_it_says_what_to_start():
    with Server() as server:
        url = server.url
    with pytest.raises(served_detector.ServerError, match=r"nothing listens at 127\.0\.0\.1:\d+: start the server"):
        served_detector.make(url)(IMAGES)


@pytest.mark.parametrize(("given", "words"), [
    ({"url": "localhost:8501"}, "must be like http://localhost:8501"),
    ({"url": "http://localhost:eighty"}, "must be like http://localhost:8501"),
    ({"url": "http://localhost:70000"}, "must be like http://localhost:8501"),
    ({"url": "http://localhost", "protocol": "grpc"}, "protocol grpc: must be one of: tensorflow, v2, v2-base64"),
])
def test_what_cannot_be_asked_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        served_detector.make(**given)
