"""What runs in the detector's process keeps to Python 3.7 and to few libraries, and responds on a Python 3.7."""
from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from model.detections import Detections
from model.worker.client import ROOT, RemoteError, Worker
from model.worker.protocol import PREFIX
from model.worker.server import Service
from tests.model.interpreters import TENSORFLOW_1, pythons
from tests.model.samples import sample_images

ALLOWED = {"numpy", "tensorflow"}


def imports(path: Path) -> set:
    """The modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom)}


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def reached(start: str) -> dict:
    """Module → what it imports, of every module of this project that the first one leads to."""
    found, ahead = {}, [start]
    while ahead:
        module = ahead.pop()
        if module.split(".")[0] == "model" and module not in found:
            found[module] = imports(file_of(module))
            ahead += [module.rpartition(".")[0], *found[module]]
    return found


def test_all_that_the_process_imports_parses_on_python_3_7():
    assert set(reached("model.worker.server")) >= {
        "model", "model.worker.server", "model.detector", "model.detections", "model.worker.protocol",
        "model.graph.saved_model",
    }


@pytest.mark.skipif(sys.version_info < (3, 10), reason="only Python 3.10 and newer lists its own modules")
def test_the_process_needs_tensorflow_and_numpy_alone():
    names = {name.split(".")[0] for names in reached("model.worker.server").values() for name in names}
    assert names - set(sys.stdlib_module_names) == ALLOWED | {"model"}


def response(service, kind, buffers=(), **fields):
    """(prefix, header and buffers as one text) of the service's response."""
    views = service.response({"id": 7, "kind": kind, **fields}, list(buffers))
    return bytes(views[0])[PREFIX.size:].decode(), [bytes(view) for view in views[1:]]


class Fake:
    """A detector of plain arrays."""

    def detect(self, images):
        rows = np.arange(8, dtype=np.float32).reshape(2, 4)
        return [Detections(rows, rows[:, 0], rows[:, 0].astype(np.int32), "no" if b"bad" in i else "") for i in images]

    def outputs(self, image, layers):
        import ml_dtypes

        return [np.array([1.5, -0.25], ml_dtypes.bfloat16)]


@pytest.fixture
def service():
    service = Service()
    service._detector = Fake()
    return service


def test_arrays_are_sent_as_they_are(service):
    header, buffers = response(service, "detect", [b"good", b"bad"])
    assert '"errors": ["", "no"]' in header and '["<f4", [2, 4]], ["<f4", [2]], ["<i4", [2]]' in header
    assert buffers[0] == np.arange(8, dtype="<f4").tobytes() and buffers[2] == np.array([0, 4], "<i4").tobytes()


def test_numbers_in_bf16_are_sent_as_float32(service):
    pytest.importorskip("ml_dtypes", reason="NumPy has no BF16 without it: pip install ml_dtypes")
    header, buffers = response(service, "outputs", [b"x"], layers=["one"])
    assert '["<f4", [2]]' in header and buffers == [np.array([1.5, -0.25], "<f4").tobytes()]


def test_a_request_that_makes_no_sense_is_answered_with_its_error(service):
    for fields in ({"kind": "fly"}, {"kind": None}, {"kind": "fallback"}, {"kind": "call", "function": 3}):
        header, _ = response(service, **fields)
        assert '"error": {"type": ' in header and '"id": 7' in header


OLD = pythons("3.7")


@pytest.mark.skipif(not OLD, reason="there is no Python 3.7 here: install python3.7 or `pyenv install 3.7`")
def test_the_process_runs_on_python_3_7():
    with Worker(OLD[0]) as worker:
        assert worker.python.startswith("3.7.")
        assert worker.call("tests.model.jobs:echo", a="é" * 100_000) == {"a": "é" * 100_000}
        with pytest.raises(RemoteError, match="LookupError: over there") as raised:
            worker.call("tests.model.jobs:fail", message="over there")
    assert 'raise LookupError(message)' in raised.value.traceback


@pytest.mark.skipif(not os.environ.get(TENSORFLOW_1),
                    reason=f"set {TENSORFLOW_1} to the python of an environment with TensorFlow 1.15")
def test_the_process_runs_on_tensorflow_1_15(compiled, tiny_detector):
    from model.worker.pool import RemoteDetector

    with RemoteDetector(os.environ[TENSORFLOW_1], compiled) as remote:
        assert remote.versions["tensorflow"].startswith("1.15")
        for one, two in zip(remote.detect(sample_images(4)), tiny_detector.detect(sample_images(4))):
            np.testing.assert_array_equal(one.classes, two.classes)
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
            np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-3)
        assert "cannot be decoded" in remote.detect([b"bad"])[0].error
        assert remote.fallback(sample_images(1)[0]) == "" and remote.layers() == tiny_detector.layers()


@pytest.mark.skipif(not os.environ.get(TENSORFLOW_1),
                    reason=f"set {TENSORFLOW_1} to the python of an environment with TensorFlow 1.15")
def test_a_cast_that_tensorflow_1_15_does_not_have_is_refused(tiny_model, tmp_path):
    from model.backends import cpu
    from model.worker.pool import RemoteDetector

    if cpu.cast_engine("bf16") != "onednn":
        pytest.skip("BF16 is emulated on this processor, which any TensorFlow can")
    compiled = cpu.compile(tiny_model, tmp_path / "bf16", "bf16")
    with pytest.raises(RemoteError, match=r"TensorFlow 1\.15\.\d has no auto-cast to BF16 by oneDNN"):
        RemoteDetector(os.environ[TENSORFLOW_1], compiled)
