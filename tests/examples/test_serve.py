"""A detector behind KServe's own model server finds what the SavedModel finds, by both protocols.

`make serving` makes the server's environment, which TF_SERVING_PYTHON names, and runs this.
"""
from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from examples import served_detector
from fixtures import ROOT
from fixtures.embedded import ARCHITECTURE, HELD_OUT_SEED, WEIGHTS
from fixtures.embedded.scenes import CLASSES, draw, encode
from tests.waiting import until

PYTHON = os.environ.get("TF_SERVING_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="TF_SERVING_PYTHON does not name a Python with KServe (make serving)"),
]
PROTOCOLS = pytest.mark.parametrize("protocol", ["tensorflow", "v2-base64"])
SECONDS_TO_START = 300


@pytest.fixture(scope="module")
def images() -> list:
    return [encode(draw(HELD_OUT_SEED, index)) for index in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    pytest.importorskip("tensorflow", reason="needs TensorFlow, which builds the model to serve")
    from model.formats.detector_files import load_weights
    from model.graph.build import build

    output = tmp_path_factory.mktemp("serving") / "saved-model"
    return build(ARCHITECTURE, load_weights(WEIGHTS, ARCHITECTURE), output, names=CLASSES)


@pytest.fixture(scope="module")
def expected(folder, images) -> list:
    from model.detector import Detector

    return Detector(folder).detect(images)


@pytest.fixture(scope="module")
def url(folder, tmp_path_factory):
    """The URL of a server that has loaded the model; it ends after the tests."""
    port, log = _free_port(), tmp_path_factory.mktemp("server") / "log"
    command = [PYTHON, f"{ROOT}/examples/serve.py", str(folder), "--model_name", "detector",
               "--http_port", str(port), "--enable_grpc", "false"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            until(lambda: _ready(server, port, log), SECONDS_TO_START)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        return one.getsockname()[1]


def _ready(server, port: int, log: Path) -> bool:
    assert server.poll() is None, log.read_text()[-3000:]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/detector/ready", timeout=10) as response:
            return json.load(response)["ready"]
    except OSError:
        return False


def check(found: list, expected: list) -> None:
    """Other versions of TensorFlow may round the last digits of a sum differently."""
    assert len(found) == len(expected)
    for (boxes, scores, classes), one in zip(found, expected):
        assert len(one.scores) and np.array_equal(classes, one.classes)
        np.testing.assert_allclose(scores, one.scores, atol=1e-4)
        np.testing.assert_allclose(boxes, one.boxes, atol=0.05)


@PROTOCOLS
def test_it_finds_what_the_model_finds(url, protocol, images, expected):
    with closing(served_detector.make(url, protocol=protocol)) as detector:
        check(detector(images), expected)


@PROTOCOLS
def test_several_callers_get_their_own_responses(url, protocol, images, expected):
    calls = [index % len(images) for index in range(12)]
    with closing(served_detector.make(url, protocol=protocol)) as detector, ThreadPoolExecutor(4) as callers:
        for index, found in zip(calls, callers.map(lambda index: detector([images[index]]), calls)):
            check(found, [expected[index]])


@PROTOCOLS
def test_a_broken_image_is_refused_with_the_reason_and_the_server_goes_on(url, protocol, images, expected):
    with closing(served_detector.make(url, protocol=protocol)) as detector:
        with pytest.raises(served_detector.ServerError, match=r"status 400: .*cannot be decoded: Unknown image file"):
            detector([images[0], b"\xff\xd8broken"])
        check(detector(images[:1]), expected[:1])


@PROTOCOLS
def test_a_model_that_it_does_not_have_is_named(url, protocol, images):
    not_there = pytest.raises(served_detector.ServerError, match=r"status 404: .*other does not exist")
    with closing(served_detector.make(url, "other", protocol)) as detector, not_there:
        detector(images)


@pytest.mark.parametrize(("path", "request_", "words"), [
    ("/v1/models/detector:predict", {"instances": [{"image": "text"}]}, "must be"),
    ("/v1/models/detector:predict", {"instances": [{"image": {"b64": "?"}}]}, "not base64"),
    ("/v2/models/detector/infer", {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["?"]}]},
     "not base64"),
    ("/v2/models/detector/infer", {"inputs": [{"name": "pixels", "shape": [1], "datatype": "BYTES", "data": ["AA=="]}]},
     "must have an input image"),
])
def test_a_request_of_another_form_is_refused_with_the_reason(url, path, request_, words):
    request = urllib.request.Request(url + path, json.dumps(request_).encode(), {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as response:
        assert response.code == 400 and re.search(words, response.read().decode())


def test_images_as_they_are_are_what_kserve_does_not_read(url, images):
    """If this fails, KServe has learnt it: then `v2` serves for all, and `v2-base64` can go."""
    not_text = pytest.raises(served_detector.ServerError, match=r"status 500: .*Failed to encode")
    with closing(served_detector.make(url, protocol="v2")) as detector, not_text:
        detector(images)
