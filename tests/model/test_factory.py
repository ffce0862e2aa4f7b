"""A user's own detector: how its factory is named and loaded, and what its responses become."""
from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model import readers
from model.detections import Detections
from model.factory import Factory, FactoryDetector, FactoryError
from model.worker.client import RemoteError, WorkerError
from model.worker.pool import RemoteDetector, WorkerPool

BOX = [[1, 2, 30, 40]]


@pytest.fixture
def made(monkeypatch):
    """A function: what the call returns, attributes → the detector that a factory made of it."""
    def make(response, **attributes):
        class Own(SimpleNamespace):
            def __call__(self, images):
                return response

        monkeypatch.setitem(sys.modules, "own", SimpleNamespace(make=lambda: Own(**attributes)))
        return FactoryDetector(Factory("own:make"))

    return make


@pytest.fixture
def written(tmp_path):
    """A function: the text of a file → the factory `make` in it."""
    def write(text, *arguments):
        path = tmp_path / "written.py"
        path.write_text(text)
        return Factory(f"{path}:make", arguments)

    return write


@pytest.mark.parametrize(("text", "words"), {
    "own": "must be MODULE:FACTORY", ":make": "must be MODULE:FACTORY", "own:": "must be MODULE:FACTORY",
    "own:ma-ke": "must be MODULE:FACTORY", "a/b:make": "a/b must be a module",
    "../x.py:make": "there is no such file; check the path",
}.items())
def test_a_factory_that_cannot_be_one_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        readers.factory(text)


def test_a_file_is_named_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert readers.factory("mine.py:make") == f"{tmp_path}/mine.py:make"
    assert readers.factory("package.module:make") == "package.module:make"


@pytest.mark.parametrize("text", ["key", "=value", "a b=c"])
def test_an_argument_that_cannot_be_one_is_refused(text):
    with pytest.raises(ValueError, match="must be KEY=VALUE"):
        readers.argument(text)
    assert readers.argument("key=a=b") == ("key", "a=b")


def test_a_file_finds_what_lies_beside_it(written, tmp_path):
    (tmp_path / "beside_it.py").write_text("NAMES = ['cup']")
    factory = written("import beside_it\nclass make:\n    names = beside_it.NAMES\n"
                      "    def __call__(self, images): return []\n")
    assert FactoryDetector(factory).metadata["names"] == ["cup"]


def test_the_digest_is_that_of_file_and_arguments(written):
    first = written("def make(): pass").digest()
    assert written("def make(): pass").digest() == first
    assert written("def make(): return").digest() != first
    assert written("def make(): pass", ("a", "1")).digest() != first


@pytest.mark.parametrize(("text", "words"), {
    "import not_there\n": r"cannot be imported by .*No module named 'not_there'.*install it there",
    "1 / 0\n": "cannot be imported by .*ZeroDivisionError", "def make(:\n": "SyntaxError",
    "import sys; sys.exit('no licence')\n": "SystemExit: no licence", "make = 3\n": "has no such function",
    "": "has no such function",
    "def make(): raise OSError('no weights')\n": r"the factory failed \(OSError: no weights, in written\.py:1\)",
    "def make(needed): pass\n": "the factory failed .*needed", "def make(): pass\n": "returned a NoneType",
    "def make(): return 'yes'\n": "returned a str",
}.items())
def test_a_factory_that_fails_says_why(written, text, words):
    with pytest.raises(FactoryError, match=words):
        FactoryDetector(written(text))


def test_a_response_becomes_detections_by_falling_score(made):
    found = made([([[0, 0, 1, 1], *BOX], [0.2, 0.9], [1.0, 3.0])]).detect([b""])[0]
    assert found.boxes.tolist() == [*map(lambda box: [float(side) for side in box], BOX), [0, 0, 1, 1]]
    assert found.classes.tolist() == [3, 1]
    assert [array.dtype for array in found[:3]] == [np.float32, np.float32, np.int32]


@pytest.mark.parametrize("empty", [([], [], []), (np.zeros((0, 4)), np.zeros(0), np.zeros(0))])
def test_an_image_without_objects_has_empty_detections(made, empty):
    assert made([empty]).detect([b""])[0].boxes.shape == (0, 4)


def test_an_image_may_carry_an_error(made):
    assert made([([], [], [], "cannot be decoded")]).detect([b""])[0].error == "cannot be decoded"


RESPONSES = {
    "none": (None, "returned a NoneType"), "text": ("abc", "returned a str"), "dictionary": ({}, "returned a dict"),
    "too few": ([], "returned 0 responses for 1 images"), "two": ([([], [], [])] * 2, "2 responses for 1"),
    "pair": ([([], [])], r"image 1 of 1: the response is a tuple of 2"), "number": ([3], "the response is a int"),
    "no boxes": ([(BOX, [], [])], r"boxes \[1, 4\], scores \[0\]"), "flat": ([(BOX[0], [1], [1])], r"boxes \[4\]"),
    "three sides": ([([[1, 2, 3]], [1], [1])], r"boxes \[1, 3\]"), "words": ([(BOX, [1], ["cup"])], "classes cannot"),
    "half": ([(BOX, [1], [0.5])], "class 0.5 must be a whole"), "huge": ([(BOX, [1], [2**40])], "must be a whole"),
    "NaN": ([(BOX, [1], [np.nan])], "class nan"), "infinite": ([(BOX, [1], [np.inf])], "class inf"),
    "ragged": ([([[1, 2], [3]], [1], [1])], "boxes cannot be read"), "error": ([([], [], [], 3)], "must be text"),
    "object": ([(BOX, [object()], [1])], "scores cannot be read"),
}


@pytest.mark.parametrize(("response", "words"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_of_another_form_is_an_error_that_says_which(made, response, words):
    with pytest.raises(FactoryError, match=words):
        made(response).detect([b""])


def test_an_exception_of_a_users_own_code_says_in_which_line(tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def make():\n    return call\n\n\ndef call(images):\n    return inner()\n\n\ndef inner():\n"
                   "    raise ValueError('no weights')\n")
    with pytest.raises(ValueError, match=r"^no weights, in own\.py:10$"):
        FactoryDetector(Factory(f"{own}:make")).detect([b""])


@pytest.mark.parametrize(("source", "words"), [
    ("class D:\n    def __call__(self, images): pass\ndef make(): return D", "returned the class D, must be an object"),
    ("class D:\n    names = 'person'\n    def __call__(self, images): pass\ndef make(): return D()",
     "names: is one text, must be a list of texts"),
])
def test_the_likeliest_slips_are_named(tmp_path, source, words):
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(FactoryError, match=words):
        FactoryDetector(Factory(f"{tmp_path / 'own.py'}:make"))


class OnTheGpu:
    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def test_a_tensor_that_is_still_on_the_gpu_is_named(made):
    with pytest.raises(FactoryError, match=r"boxes cannot be read as numbers \(TypeError: can't convert cuda:0"):
        made([(OnTheGpu(), [1], [1])]).detect([b""])


@given(arrays.arrays(np.float64, st.integers(0, 30), elements=st.floats(0, 1)))
def test_nothing_is_lost_by_sorting(scores):
    def own(images):
        return [(np.arange(4 * len(scores)).reshape(-1, 4), scores, np.arange(len(scores)))]

    sys.modules["own_sorted"] = SimpleNamespace(make=lambda: own)
    found = FactoryDetector(Factory("own_sorted:make")).detect([b""])[0]
    assert sorted(found.classes) == list(range(len(scores)))
    assert (np.diff(found.scores) <= 0).all()
    assert (scores.astype(np.float32)[found.classes] == found.scores).all()
    assert (found.boxes[:, 0] == 4 * found.classes).all()


@pytest.mark.parametrize(("attributes", "words"), [
    ({"names": ["a", "a"]}, "a class occurs twice"), ({"names": [1]}, "must be text"), ({"flops": -1}, "flops: -1"),
    ({"flops": "many"}, "flops: 'many'"), ({"flops": float("nan")}, "flops: nan"), ({"label": 3}, "label: must be"),
    ({"versions": {"torch": 2}}, r"versions\['torch'\]: must be text"), ({"versions": "2.8"}, "must be a dictionary"),
])
def test_what_it_says_of_itself_is_checked(made, attributes, words):
    with pytest.raises(FactoryError, match=words):
        made([], **attributes)


def test_what_it_does_not_say_is_not_made_up(made):
    facts = made([]).metadata
    assert facts == {"factory": "own:make", "names": None, "flops": None, "label": None, "identity": None,
                     "checks_placement": False}
    assert json.dumps(made([], flops=np.float32(2), names=("a",)).metadata)


def test_fallback_is_asked_after_a_first_image(made):
    asked = []
    own = made([([], [], [])], fallback=lambda: asked.append(1) or "it runs on the CPU")
    assert own.fallback(b"") == "it runs on the CPU"
    with pytest.raises(FactoryError, match="returned 0 responses"):
        made([], fallback=lambda: "").fallback(b"")
    with pytest.raises(FactoryError, match=r"fallback\(\): must be text, is a NoneType"):
        made([([], [], [])], fallback=lambda: None).fallback(b"")


@pytest.mark.parametrize("counters", [{"a": "x"}, [1], {"a": float("nan")}, {3: 1}])
def test_counters_that_are_none_are_refused(made, counters):
    with pytest.raises(FactoryError):
        made([], counters=lambda: counters).counters()


def test_counters_and_close_may_be_there(made):
    closed = []
    with made([], counters=lambda: {"a": 1, "b": np.int64(2)}, close=lambda: closed.append(1)) as own:
        assert own.counters() == {"a": 1.0, "b": 2.0}
    assert closed == [1]
    assert made([]).counters() == {}


# ---- in a process of its own

ECHO = """
import os
class Echo:
    names, label, versions = ["cup"], "echo", {"echo": "1"}
    def __init__(self, closed): self.closed = closed
    def __call__(self, images):
        if images[0] == b"raise": raise OSError("no memory")
        if images[0] == b"die": os._exit(7)
        return [([[0, 0, len(image), 1]], [0.5], [0]) for image in images]
    def fallback(self): return "it runs on the CPU"
    def counters(self): return {"calls": 2}
    def close(self): open(self.closed, "w").close()
make = Echo
"""


def test_it_runs_in_another_process_as_here(written, tmp_path):
    factory = written(ECHO, ("closed", str(tmp_path / "closed")))
    with RemoteDetector(sys.executable, factory) as there, FactoryDetector(factory) as here:
        assert there.metadata == here.metadata
        assert there.versions == here.versions
        for one, other in zip(there.detect([b"abc", b""]), here.detect([b"abc", b""])):
            assert [*map(np.ndarray.tolist, one[:3])] == [*map(np.ndarray.tolist, other[:3])]
        assert there.fallback(b"") == "it runs on the CPU"
        assert there.counters() == {"calls": 2}
        with pytest.raises(RemoteError, match="OSError: no memory"):
            there.detect([b"raise"])
        with pytest.raises(WorkerError, match="ended with exit status 7"):
            there.detect([b"die"])


def test_each_process_of_several_closes_what_it_has_open(written, tmp_path):
    factory = written(ECHO, ("closed", str(tmp_path / "closed")))
    with WorkerPool(sys.executable, factory, 2) as pool:
        assert pool.counters() == {"calls": 4}
        assert isinstance(pool.detect([b"a"])[0], Detections)
    assert (tmp_path / "closed").exists()


def test_a_factory_that_fails_in_another_process_says_why(written):
    with pytest.raises(WorkerError, match=r"FactoryError: .*failed \(OSError: no weights, in written\.py:1\)"):
        RemoteDetector(sys.executable, written("def make(): raise OSError('no weights')"))
