"""The detector in its own process gives the very detections of the one in this process, to any number of callers."""
from __future__ import annotations

import os
import reprlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from model.detections import Detections
from model.graph.freeze import write_saved_model
from model.graph.saved_model import write_metadata
from model.neuron.machine.environment import VISIBLE_CORES
from model.worker import pool as remote
from model.worker import protocol as frames
from model.worker import responses
from model.worker.client import RemoteError, WorkerError
from model.worker.pool import RemoteDetector, WorkerPool
from model.worker.protocol import FrameError
from tests.model.samples import sample_images
from tests.waiting import PATIENCE, until

GOOD = sample_images(4)
BAD = [b"", b"this is not a picture", GOOD[0][:100]]


@pytest.fixture(scope="module")
def there(compiled):
    """The tiny detector in a process of its own, for at most four requests at a time."""
    with RemoteDetector(sys.executable, compiled, callers=4) as there:
        yield there


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A SavedModel that gives each image one box of its length and fingerprint, whatever it shows."""
    folder = tmp_path_factory.mktemp("echo") / "saved"
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.string, [None], "in")
        length = tf.cast(tf.strings.length(images), tf.float32)
        fingerprint = tf.cast(tf.strings.to_hash_bucket_fast(images, 2**31 - 1), tf.int32)
        outputs = {"boxes": tf.tile(length[:, None, None], [1, 1, 4]), "scores": tf.ones_like(length)[:, None],
                   "classes": fingerprint[:, None], "count": tf.ones_like(fingerprint)}
        names = {key: tensor.name for key, tensor in outputs.items()}
        write_saved_model(graph.as_graph_def(), {"image": images.name}, names, folder)
    return folder


@pytest.fixture(scope="module")
def pool(echo):
    """Two processes of it."""
    with WorkerPool(sys.executable, echo, 2, callers=3) as pool:
        yield pool


@pytest.fixture(scope="module")
def here(echo):
    from model.detector import Detector

    return Detector(echo)


def same(one, two) -> bool:
    """Whether two detections are equal to the bit, types and shapes included."""
    facts = [[(array.dtype, array.shape, array.tobytes()) for array in found[:3]] for found in (one, two)]
    return isinstance(one, Detections) and facts[0] == facts[1] and one.error == two.error


BATCHES = {"one": GOOD[:1], "four": GOOD, "bad": BAD[:1], "mixed": [*GOOD, *BAD], "none": []}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_answers_are_those_of_this_process_to_the_bit(there, tiny_detector, batch):
    results, expected = there.detect(batch), tiny_detector.detect(batch)
    assert isinstance(results, list) and len(results) == len(expected) == len(batch)
    assert all(map(same, results, expected))


@pytest.mark.parametrize("container", [tuple, lambda images: np.array(images, object)], ids=["tuple", "array"])
def test_any_sequence_of_images_is_taken(there, tiny_detector, container):
    assert all(map(same, there.detect(container(GOOD)), tiny_detector.detect(container(GOOD))))


def test_detections_may_be_written_to(there):
    found, = there.detect(GOOD[:1])
    found.boxes[:] = 0
    assert not found.boxes.any()


def test_it_says_of_itself_what_the_one_in_this_process_says(there, tiny_detector):
    assert there.metadata == tiny_detector.metadata
    assert there.versions == {"python": sys.version.split()[0], "tensorflow": tf.__version__, "numpy": np.__version__}
    assert there.startup_seconds > there.call("time:process_time") / 10 and 0 < there.load_seconds < 60


def test_it_proves_what_the_one_in_this_process_proves(there, tiny_detector):
    assert there.fallback(GOOD[0]) == tiny_detector.fallback(GOOD[0]) == ""
    layers = tiny_detector.layers()
    assert there.layers() == layers
    for one, two in zip(there.outputs(GOOD[0], layers[:5]), tiny_detector.outputs(GOOD[0], layers[:5])):
        np.testing.assert_array_equal(one, two)


def test_eight_threads_get_the_answers_of_one(there, tiny_detector):
    expected = [tiny_detector.detect([image])[0] for image in GOOD]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda i: there.detect([GOOD[i % 4]])[0], range(64)))
    assert [i for i, one in enumerate(results) if not same(one, expected[i % 4])] == []


@settings(max_examples=20)
@given(st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=6), min_size=1, max_size=20), st.integers(1, 8))
def test_every_caller_gets_the_answers_to_its_own_images_in_order(pool, here, batches, threads):
    with ThreadPoolExecutor(threads) as callers:
        for found, batch in zip(callers.map(pool.detect, batches), batches):
            assert len(found) == len(batch) and all(map(same, found, here.detect(batch)))


@pytest.mark.parametrize("sizes", [[5_000_000], [100_000_000], [4_000_000] * 8, [100] * 3000],
                         ids=["5 MB", "100 MB", "8 of 4 MB", "3000"])
def test_images_of_any_size_and_number(pool, here, sizes):
    images = [os.urandom(min(size, 1000)) * (size // min(size, 1000)) for size in sizes]
    assert all(map(same, pool.detect(images), here.detect(images)))


def test_what_is_no_image_is_the_callers_error_and_harms_nobody(there):
    for unfit in (["text"], [None], [GOOD[0], 3]):
        with pytest.raises(TypeError, match="bytes-like"):
            there.detect(unfit)
    assert len(there.detect(GOOD)) == 4


def test_a_request_that_is_too_large_is_the_callers_error_and_harms_nobody(there, monkeypatch):
    monkeypatch.setattr(frames, "LARGEST_BODY", 1000)
    with pytest.raises(FrameError, match="send fewer images at once"):
        there.detect(GOOD)
    monkeypatch.undo()
    assert len(there.detect(GOOD)) == 4


def test_a_folder_that_is_no_saved_model_is_refused_by_name(there, tmp_path):
    with pytest.raises(RemoteError, match=f"{sys.executable}: SavedModelError: {tmp_path}: is not a SavedModel"):
        there.ask("load", compiled=str(tmp_path))


# Other TensorFlows are planted, as packages that are found first: the real one takes seconds to import.

def planted(folder, text, **modules) -> dict:
    """The environment in which `import tensorflow` runs this text."""
    package = folder / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text(text)
    for name, content in modules.items():
        (package / f"{name}.py").write_text(content)
    return {"PYTHONPATH": str(folder)}


STARTS = {
    "is missing": ("raise ImportError('no TensorFlow here')", 60,
                   r"ImportError: TensorFlow cannot be imported \(no TensorFlow here\); install it in that"),
    "exits at import": ("import os; print('libfoo.so: not found'); os._exit(3)", 60,
                        "its process ended with exit status 3; its last output:\n  libfoo.so: not found"),
    "crashes at import": ("import os; os.abort()", 60, r"was killed by signal 6 \(SIGABRT\)"),
    "hangs at import": ("import time; print('looking for devices'); time.sleep(60)", 1,
                        r"gave no response within 1 s and was killed; its last output:\n  looking for devices"),
    "is broken": ("raise RuntimeError('compiled for another NumPy')", 60, "RuntimeError: compiled for another NumPy"),
}


@pytest.mark.parametrize("text, startup, message", STARTS.values(), ids=STARTS)
def test_a_tensorflow_that_cannot_be_used_is_told_with_the_interpreter(echo, tmp_path, text, startup, message):
    with pytest.raises(WorkerError, match=message) as raised:
        RemoteDetector(sys.executable, echo, startup=startup, environment=planted(tmp_path, text))
    assert str(raised.value).startswith(f"{sys.executable}: ")


def neuron_model(folder):
    write_metadata(folder, {"backend": "neuron"})
    return folder


def test_a_model_for_neuron_needs_its_operator(tmp_path):
    (tmp_path / "model").mkdir()
    environment = planted(tmp_path, "__version__ = '2.10.1'")
    with pytest.raises(RemoteError, match=r"compiled for Neuron, but tensorflow\.neuron cannot be imported \("
                                          r".*\); install tensorflow-neuron in that environment"):
        RemoteDetector(sys.executable, neuron_model(tmp_path / "model"), environment=environment)


def test_a_model_for_neuron_gets_its_operator_before_it_is_loaded(tmp_path):
    (tmp_path / "model").mkdir()
    environment = planted(tmp_path, "__version__ = '2.10.1'", neuron="raise RuntimeError('registering')")
    with pytest.raises(RemoteError, match="RuntimeError: registering"):
        RemoteDetector(sys.executable, neuron_model(tmp_path / "model"), environment=environment)


BOXES, SCORES, CLASSES = ["<f4", [2, 4]], ["<f4", [2]], ["<i4", [2]]
SOUND = [bytes(32), bytes(8), bytes(8)]
NO_DETECTIONS = {
    "too few bytes": ([BOXES, SCORES, CLASSES], [b"1234", *SOUND[1:]], r"an array of float32 \[2, 4\] has 4 by"),
    "too many bytes": ([BOXES, SCORES, CLASSES], [bytes(36), *SOUND[1:]], "has 36 bytes, must have 32"),
    "one array less": ([BOXES, SCORES], SOUND[:2], "it has 1 responses and 2 arrays for 1 images"),
    "one array more": ([BOXES, SCORES, CLASSES, SCORES], [*SOUND, SOUND[1]], "and 4 arrays for 1 images"),
    "numbers of twice the size": ([["<f8", [2, 4]], SCORES, CLASSES], [bytes(64), *SOUND[1:]], "the boxes of image"),
    "classes that are fractions": ([BOXES, SCORES, ["<f4", [2]]], SOUND, "classes of image 1 are float32 .2., must"),
    "numbers in the other order": ([[">f4", [2, 4]], SCORES, CLASSES], SOUND, "the boxes of image 1 are >f4"),
    "more scores than boxes": ([["<f4", [1, 4]], SCORES, CLASSES], [bytes(16), *SOUND[1:]], "the scores of image 1"),
    "boxes of five": ([["<f4", [2, 5]], SCORES, CLASSES], [bytes(40), *SOUND[1:]], "the boxes of image 1"),
    "boxes in a row": ([["<f4", [8]], SCORES, CLASSES], SOUND, "the boxes of image 1"),
    "a number for the boxes": ([["<f4", []], SCORES, CLASSES], [bytes(4), *SOUND[1:]], "the boxes of image 1"),
}


class Told(RemoteDetector):
    """A detector whose process responds this to whatever it is asked. Nothing is started."""

    _deadline = _first_deadline = 1.0

    def __init__(self, header, buffers):
        self._response = header, buffers

    def ask(self, *_, **__):
        return self._response

    def failed(self, what):
        return WorkerError(what)


@pytest.mark.parametrize("arrays, buffers, words", NO_DETECTIONS.values(), ids=NO_DETECTIONS)
def test_a_response_that_holds_no_detections_is_the_end_of_its_process(arrays, buffers, words):
    with pytest.raises(WorkerError, match=f"sent an invalid response: .*{words}"):
        Told({"errors": [""], "arrays": arrays}, buffers).detect([b"x"])


@pytest.mark.parametrize("images, errors", [(1, ["", ""]), (1, []), (3, ["", ""])], ids=["more", "none", "fewer"])
def test_there_is_one_response_for_each_image(images, errors):
    header = {"errors": errors, "arrays": [BOXES, SCORES, CLASSES] * len(errors)}
    with pytest.raises(WorkerError, match=f"{len(errors)} responses and {3 * len(errors)} arrays for {images} images"):
        Told(header, SOUND * len(errors)).detect([b"x"] * images)


def test_there_is_one_array_for_each_layer():
    with pytest.raises(WorkerError, match="it has 1 arrays for 2 layers"):
        Told({"arrays": [SCORES]}, [bytes(8)]).outputs(b"x", ["a", "b"])


NO_ARRAYS = {
    "no type": [["fly", [1]]], "objects": [["|O", [1]]], "texts": [["|S4", [1]]], "nothing": [["|V4", [1]]],
    "times": [["<M8", [1]]], "a shape that is text": [["<f4", "far"]], "a length below 0": [["<f4", [-1]]],
    "true for a length": [["<f4", [True]]], "a fraction for a length": [["<f4", [1.0]]], "no shape": [["<f4"]],
    "an object": {"0": ["<f4", [1]]}, "a text": "<f4", "a number for an array": [5], "too many dimensions": [
        ["<f4", [1] * 99]],
}


@pytest.mark.parametrize("arrays", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_what_describes_no_array_is_not_a_response(arrays):
    with pytest.raises(FrameError, match="its response to detect has the invalid arrays"):
        responses.check("detect", 1, {"id": 1, "errors": [""], "arrays": arrays}, [b"1234"])


@pytest.mark.parametrize("count", [10**400, -10**400, float("nan"), float("inf"), True, "1"], ids=reprlib.repr)
def test_a_count_is_a_number_that_can_be_computed_with(count):
    with pytest.raises(FrameError, match="invalid counters"):
        responses.check("counters", 1, {"id": 1, "counters": {"requests": count}}, [])
    responses.check("counters", 1, {"id": 1, "counters": {"requests": 3, "seconds": 0.5}}, [])


# Several processes.

def test_each_process_has_a_core_of_its_own(pool):
    assert [one.call("os:getenv", key=VISIBLE_CORES) for one in pool.detectors] == ["0", "1"]
    assert pool.metadata == {} and pool.versions == pool.detectors[0].versions
    assert pool.startup_seconds == max(one.startup_seconds for one in pool.detectors)
    assert pool.fallback(b"x") == ""


class Counting:
    """In place of a process: notes what it is given, and may have to wait before it responds."""

    all = []  # noqa: RUF012 - each test has a new one

    def __init__(self, python, compiled, name, environment, **settings):
        self.name, self.environment, self.settings = name, environment, settings
        self.seen, self.free, self.closed, self.failure = [], threading.Event(), False, None
        self.free.set()
        self.metadata, self.versions, self.startup_seconds, self.load_seconds = {}, {}, 1.0, 2.0
        Counting.all.append(self)
        if compiled and compiled == name:
            raise WorkerError(f"{name}no")

    def require_alive(self):
        if self.failure:
            raise self.failure

    def detect(self, images):
        self.seen.append(images)
        assert self.free.wait(10)
        return []

    def close(self):
        self.closed = True


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(remote, "RemoteDetector", Counting)
    monkeypatch.setattr(Counting, "all", [])
    return lambda workers, compiled="", **settings: WorkerPool("python", compiled, workers, **settings)


def test_idle_processes_are_asked_in_turn(counting):
    pool = counting(3)
    for number in range(7):
        pool.detect([number])
    assert [len(one.seen) for one in pool.detectors] == [3, 2, 2]


def test_a_request_goes_to_the_process_with_the_fewest_in_flight(counting):
    pool = counting(2)
    slow, quick = pool.detectors
    slow.free.clear()
    with ThreadPoolExecutor(1) as caller:
        stuck = caller.submit(pool.detect, ["slow"])
        until(lambda: slow.seen)
        for number in range(5):
            pool.detect([number])
        slow.free.set()
        stuck.result(PATIENCE)
    assert (slow.seen, len(quick.seen)) == ([["slow"]], 5)
    pool.detect(["next"])
    assert slow.seen[-1] == ["next"], "what failed or ended must not count as in flight"


def test_one_process_alone_has_all_cores_and_no_number(counting):
    pool = counting(1, environment={"A": "b"}, deadline=5)
    one, = pool.detectors
    assert (one.name, one.environment, one.settings) == ("", {"A": "b"}, {"deadline": 5, "callers": 128})


@pytest.mark.parametrize("callers, each", [(128, 32), (5, 2), (4, 1), (1, 1)])
def test_the_callers_are_shared_out_and_none_is_left_over(counting, callers, each):
    assert [one.settings["callers"] for one in counting(4, callers=callers).detectors] == [each] * 4


def test_cores_that_are_chosen_already_are_not_given_away(counting, monkeypatch):
    monkeypatch.setenv(VISIBLE_CORES, "0-3")
    with pytest.raises(WorkerError, match=f"{VISIBLE_CORES} is set, but each of 2 workers needs a NeuronCore"):
        counting(2)
    assert not Counting.all and counting(1).detectors


def test_a_process_that_does_not_start_takes_the_others_along(counting):
    with pytest.raises(WorkerError, match=r"worker 2 of 3 .*no"):
        counting(3, compiled=f"worker 2 of 3 ({VISIBLE_CORES}=1), ")
    assert sorted((one.name[:8], one.closed) for one in Counting.all) == [
        ("worker 1", True), ("worker 2", False), ("worker 3", True)]


def test_one_dead_process_is_the_end_of_all_and_named(echo):
    with WorkerPool(sys.executable, echo, 2) as pool:
        os.kill(pool.detectors[1].call("os:getpid"), 9)
        pool.detect([b"first"])
        for _ in range(3):
            with pytest.raises(WorkerError, match=rf"^worker 2 of 2 \({VISIBLE_CORES}=1\), {sys.executable}: its "
                                                  r"process was killed by signal 9 \(SIGKILL\)"):
                pool.detect([b"x"])
    pool.close()
