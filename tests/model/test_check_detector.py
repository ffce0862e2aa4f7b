"""`python -m model check-detector`: each thing that breaks the contract has its own line."""
from __future__ import annotations

import sys

import pytest

from model import check_detector
from model.__main__ import main
from model.check_detector import BREAKS, GOOD, findings
from model.factory import Factory, FactoryDetector
from tests.fixtures.drawn_greys import write_greys

OWN = "tests/fixtures/own_detector.py:make"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_greys(tmp_path_factory.mktemp("data") / "greys", 6)


def found(data, **arguments):
    """Tried → finding."""
    from fixtures import ROOT

    factory = Factory(f"{ROOT / OWN}", (("data", str(data)), *arguments.items()))
    images = [(data / "val" / f"{number}.jpg").read_bytes() for number in (1, 2, 3)]
    with FactoryDetector(factory) as detector:
        return {one.tried: one for one in findings(detector, images)}


def test_a_sound_detector_has_nothing_to_repair(data):
    tried = found(data)
    assert {one.outcome for one in tried.values()} - {"note"} == {GOOD}
    assert set(tried) >= {"names", "flops", "identity", "image 3", "a batch", "again", "4 callers", "fallback()"}


@pytest.mark.parametrize(("wrong", "where", "words"), [
    ("raise", "image 1", "ZeroDivisionError"), ("none", "image 1", "returned a NoneType"), ("few", "image 1", "0 resp"),
    ("nan", "image 1", "not finite"), ("shape", "image 1", r"boxes [2, 3]"), ("pair", "image 1", "a tuple of 2"),
    ("words", "image 1", "classes cannot be read"), ("halves", "image 1", "must be a whole number"),
    ("shares", "image 1", "give pixels, not shares"), ("high", "image 1", "not in [0, 1]; give probabilities"),
    ("from one", "image 1", "count from 0"), ("error", "image 1", "no memory"),
    ("swapped", "a batch", "an image got the detections of another, 2 of 3"),
    ("stale", "a batch", "an image got the detections of another"), ("fallback", "fallback()", "it runs on the CPU"),
])
def test_what_breaks_the_contract_is_said_where_it_shows(data, wrong, where, words):
    tried = found(data, wrong=wrong)
    assert tried[where].outcome == BREAKS
    assert words in tried[where].what


def test_a_detector_that_hangs_is_said_to(data, capsys):
    images = [str(data / "val" / f"{number}.jpg") for number in (1, 2, 3)]
    assert main(["check-detector", OWN, "--arg", f"data={data}", "--arg", "wrong=hang", "--deadline", "1", "--images",
                 *images]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("loading ") and "nothing came within 1 s after “" in printed


def test_the_command_ends_with_what_is_to_be_done(data, capsys):
    images = [str(data / "val" / f"{number}.jpg") for number in (1, 2, 3)]
    assert main(["check-detector", OWN, "--arg", f"data={data}", "--images", *images]) == 0
    assert "the gate can judge it" in capsys.readouterr().out
    assert main(["check-detector", OWN, "--arg", f"data={data}", "--arg", "wrong=die", "--detector-python",
                 sys.executable, "--images", *images]) == 1
    assert "ended with exit status 7" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "words"), [
    (["nowhere.py:make"], "nowhere.py:make: there is no such file; check the path"),
    ([OWN, "--arg", "data"], "must be KEY=VALUE"),
    ([OWN, "--arg", "wrong=factory", "--arg", "data=x"], "the weights are missing"),
    ([OWN, "--images", "image.jpg"], "No such file"), ([f"{OWN[:-4]}not_a_function"], "has no such function"),
])
def test_wrong_usage_is_one_sentence(capsys, arguments, words):
    assert main(["check-detector", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error


def test_photographs_of_the_project_are_tried_without_others():
    assert len(check_detector.IMAGES) == 3
