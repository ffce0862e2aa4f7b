"""The command line: builds from files, finds objects, and says in one sentence what is wrong with its input."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from model.__main__ import main
from model.draw import _free_plate, class_name, draw
from model.formats.darknet_weights import write_weights
from model.formats.weights import random_weights
from model.graph.saved_model import read_metadata
from model.logs import LEVEL, LOG_LINE
from tests.model.samples import cfg_text, encode, one_head, pixels

CFG = cfg_text(width=64, height=64)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with cfg, weights and names of a small detector, an image, and a text that is not an image."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "small.cfg").write_text(CFG)
    write_weights(folder / "small.weights", random_weights(one_head(size=64), 0))
    (folder / "small.names").write_text("cup\n\n")
    (folder / "data.yaml").write_text("train: images\nnames:\n  0: cup\n")
    (folder / "image.jpg").write_bytes(encode(pixels(), "JPEG"))
    (folder / "text.jpg").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def model(files) -> Path:
    main(["build", "--cfg", str(files / "small.cfg"), "--weights", str(files / "small.weights"),
          "--names", str(files / "small.names"), "--output", str(files / "model")])
    return files / "model"


@pytest.fixture
def error(capsys):
    """Runs the command line, which must fail with exit 2 and one sentence on stderr, and gives the sentence."""
    def run(*arguments) -> str:
        assert main([str(a) for a in arguments]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err
        return printed.err

    return run


def detect(capsys, model, *arguments):
    """Exit code and what was printed."""
    code = main(["detect", "--model", str(model), "--score-threshold", "0", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_build_writes_what_the_files_describe(model):
    metadata = read_metadata(model)
    assert (metadata["names"], metadata["width"], metadata["parameters"]) == (["cup"], 64, 24)


def test_build_says_what_it_built(capsys, files, tmp_path):
    code = main(["build", "--cfg", str(files / "small.cfg"), "--weights", "random", "--output", str(tmp_path / "m")])
    assert (code, capsys.readouterr().out) == (
        0, f"{tmp_path / 'm'}: 64x64, 1 classes, 24 parameters, 0.0 GFLOP an image\n")


def test_build_options_end_up_in_the_model(files, tmp_path):
    main(["build", "--cfg", str(files / "small.cfg"), "--weights", "random", "--size", "96", "--resize", "letterbox",
          "--profile", "aws", "--score-threshold", "0.2", "--iou-threshold", "0.6", "--output", str(tmp_path / "m")])
    metadata = read_metadata(tmp_path / "m")
    expected = {"name": "aws", "resize": "letterbox", "score_threshold": 0.2, "iou_threshold": 0.6, "centre_scale": 1}
    assert metadata["width"] == 96 and {key: metadata["profile"][key] for key in expected} == expected


BAD_BUILDS = {
    "existing output": ({"--output": "model"}, "exists already"),
    "missing cfg": ({"--cfg": "no.cfg"}, "no.cfg: there is no such file; check the path"),
    "missing weights": ({"--weights": "no.weights"}, "no.weights: there is no such file; check the path"),
    "weights of another kind": ({"--weights": "image.jpg"}, "image.jpg: must end in .weights"),
    "cfg that is an image": ({"--cfg": "image.jpg"}, "image.jpg:1: has a NUL byte, so it is not a cfg file"),
    "missing names": ({"--names": "no.names"}, "no.names"),
    "names that are an image": ({"--names": "image.jpg"}, "image.jpg: is not a text file"),
    "names in YAML": ({"--names": "data.yaml"}, "data.yaml: is YAML; give a text file with one class name a line"),
    "too many names": ({"--names": "small.cfg"}, "class names for a detector of 1 classes"),
    "no size": ({"--size": "0"}, "--size 0: must be a whole number between 32 and 8,192"),
}


@pytest.mark.parametrize("change, message", BAD_BUILDS.values(), ids=BAD_BUILDS)
def test_build_names_the_input_that_is_wrong(error, files, model, change, message):
    options = {"--cfg": "small.cfg", "--weights": "small.weights", "--output": "other", **change}
    arguments = [x if x.startswith("--") or x == "0" else files / x for pair in options.items() for x in pair]
    assert message in error("build", *arguments)
    assert not (files / "other").exists()


def test_a_threshold_out_of_range_names_its_option(error, files):
    assert "--iou-threshold 2: must be a number between 0 and 1" in error(
        "build", "--weights", "random", "--output", files / "other", "--iou-threshold", 2)


def test_detect_prints_a_table(capsys, files, model):
    code, printed = detect(capsys, model, files / "image.jpg")
    first, *rows = printed.splitlines()
    assert (code, first) == (0, f"{files / 'image.jpg'}: {len(rows)} objects") and "cup" in rows[0]


def test_detect_prints_json(capsys, files, model):
    result, = json.loads(detect(capsys, model, files / "image.jpg", "--json")[1])
    assert (result["image"], result["error"]) == (str(files / "image.jpg"), "")
    assert result["detections"][0].keys() == {"class", "score", "box"}


def test_detect_shows_only_what_scores_enough(capsys, files, model):
    main(["detect", "--model", str(model), "--score-threshold", "1", str(files / "image.jpg")])
    assert capsys.readouterr().out == f"{files / 'image.jpg'}: 0 objects\n"


def test_detect_draws_pictures_of_the_same_size(capsys, files, model, tmp_path):
    detect(capsys, model, files / "image.jpg", "--draw", tmp_path / "drawn")
    with Image.open(tmp_path / "drawn" / "image.png") as drawn:
        assert drawn.size == (80, 60)


def test_no_drawing_replaces_another(error, files, model, tmp_path):
    one, two = files / "image.jpg", tmp_path / "image.jpg"
    message = error("detect", "--model", model, one, files / "other.jpg", two, "--draw", tmp_path / "drawn")
    assert f"--draw: {one} and {two} would be drawn into the same file" in message


def test_detect_names_what_is_no_picture_and_answers_the_others(capsys, files, model):
    code, printed = detect(capsys, model, files / "text.jpg", files / "image.jpg")
    assert code == 1 and f"{files / 'text.jpg'}: the image (12 bytes) cannot be decoded" in printed
    assert f"{files / 'image.jpg'}: " in printed and " objects" in printed


def test_detect_names_a_missing_picture(error, files, model):
    assert "no.jpg" in error("detect", "--model", model, files / "no.jpg")


@pytest.mark.parametrize("folder", ["no model", ""])
def test_detect_names_a_folder_that_is_no_model(error, files, folder):
    assert f"{files / folder}: is not a SavedModel" in error("detect", "--model", files / folder, files / "image.jpg")


ROOT = Path(__file__).parents[2]
WITHOUT_LEVEL = {name: value for name, value in os.environ.items() if name != LEVEL}


@pytest.fixture
def programs(files, model, tmp_path) -> dict:
    """The arguments of each command of `python -m model`, and of one that fails."""
    cfg = "--cfg", files / "small.cfg"
    return {
        "build": ["build", *cfg, "--weights", "random", "--output", tmp_path / "built"],
        "convert": ["convert", *cfg, files / "small.weights", tmp_path / "other.weights"],
        "detect": ["detect", "--model", model, files / "image.jpg"],
        "doctor": ["doctor"],
        "plan": ["plan", model],
        "failing": ["build", "--cfg", files / "no.cfg", "--weights", "random", "--output", tmp_path / "none"],
    }


@pytest.mark.slow
def test_a_program_prints_its_results_and_no_log_lines(files, programs):
    runs = {
        name: subprocess.Popen([sys.executable, "-m", "model", *map(str, arguments)], cwd=ROOT, env=WITHOUT_LEVEL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, arguments in programs.items()
    }
    printed = {name: run.communicate(timeout=300) for name, run in runs.items()}
    silent = {name: "" for name in programs}
    assert {name: err for name, (_, err) in printed.items()} == {
        **silent, "failing": f"error: --cfg {files / 'no.cfg'}: there is no such file; check the path\n"}
    assert not [out for out, _ in printed.values() if re.search(LOG_LINE, out, re.MULTILINE)]
    assert {name: run.returncode for name, run in runs.items()} == {
        **dict.fromkeys(programs, 0), "doctor": 1, "failing": 2}


LOGGING = """
import os, sys
from model.logs import without_log_lines
with without_log_lines():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
    os.write(2, b"I0000 00:00:1795630761.842548   10922 cudart_stub.cc:31] Could not find cuda drivers\\n")
    os.write(2, b"E0000 00:00:1795630769.882742   10922 cuda_platform.cc:52] failed call to cuInit\\n")
    os.write(2, b"2026-11-25 18:25:26.123456: W tensorflow/core/util/port.cc:113] oneDNN custom operations are on\\n")
    print("error: mine", file=sys.stderr)
    os.write(2, b"F0000 00:00:1795630769.882742   10922 fatal.cc:1] Check failed: memory\\n")
    os.abort()
"""


@pytest.mark.parametrize(("level", "lines"), [(None, 2), ("2", 2), ("3", 2), ("0", 6), ("1", 6)])
def test_log_lines_are_dropped_unless_asked_for_and_last_words_never(level, lines):
    environment = {**WITHOUT_LEVEL, **({LEVEL: level} if level else {})}
    run = subprocess.run([sys.executable, "-c", LOGGING], cwd=ROOT, env=environment, capture_output=True, text=True,
                         check=False, timeout=60)
    assert len(run.stderr.splitlines()) == lines, run.stderr
    assert "error: mine\n" in run.stderr and "Check failed: memory\n" in run.stderr


@pytest.fixture
def detected():
    from model.detector import Detections

    def make(*boxes, score=0.9):
        import numpy as np
        n = len(boxes)
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(n, score, np.float32),
                          np.arange(n, dtype=np.int32))

    return make


@pytest.mark.parametrize("box", [
    (0, 0, 80, 60), (70, 50, 80, 60), (0, 58, 3, 60), (40, 30, 40, 30), (0, 0, 0, 0), (80, 60, 80, 60),
], ids=str)
def test_a_box_anywhere_in_the_picture_can_be_drawn(detected, box):
    image = draw(encode(pixels()), detected(box), ["a name that is wider than the image"])
    assert image.size == (80, 60)


def test_labels_of_boxes_that_lie_upon_each_other_do_not_hide_each_other(detected):
    boxes = [(50, 60, 180, 150)] * 3
    canvas = ImageDraw.Draw(Image.new("RGB", (320, 240)))
    font, plates = ImageFont.load_default(12), []
    for box in detected(*boxes).boxes:
        plates.append(_free_plate(canvas, box, "truck 0.43", font, plates))
    assert len({y for _, y, *_ in plates}) == 3


def test_a_picture_without_detections_stays_as_it_is(detected):
    array = pixels()
    assert (draw(encode(array), detected()).tobytes()) == array.tobytes()


def test_boxes_below_the_threshold_are_not_drawn(detected):
    array = pixels()
    assert draw(encode(array), detected((5, 5, 50, 50), score=0.2), score_threshold=0.25).tobytes() == array.tobytes()


def test_classes_without_names_are_called_by_index():
    assert [class_name(names, 1) for names in (["cup"], ["cup", "can"])] == ["class 1", "can"]
