"""Plots are drawn from what a run stored alone; what is missing or damaged is named and spoils nothing else."""
from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import report
from harness.load.generator import LoadPattern
from harness.load.points import Point
from harness.load.sweep import Sweep
from harness.soak.run import Plan, run_soak, summarise
from tests.harness.soaks import soak_of

ROOT = Path(__file__).parents[2]
PICTURES = ("throughput.svg", "latency.svg", "sweep.svg", "precision_recall.svg")
POINTS = (
    Point(1, 1, 1, 100.0, 95.0, 105.0, 0.01, 0.011, 0.012, 0.001, 2, 50, 0),
    Point(2, 1, 1, 180.0, None, None, 0.011, 0.012, 0.014, 0.001, 1, 90, 0),
    Point(2, 2, 1, *[None] * 7, 1, 3, 1, "1 of 3 requests failed: no room"),
)
# Three builds: one of a single load, one that is dynamic, and one that could not be opened.
BUILDS = (
    replace(POINTS[0], compiled_batch=1), replace(POINTS[0], compiled_batch=4, dynamic_batch=True),
    replace(POINTS[1], compiled_batch=4, dynamic_batch=True), replace(POINTS[1], compiled_batch=4, dynamic_batch=True,
                                                                      callers=1, batch_size=2, images_per_second=99.0),
    replace(POINTS[2], compiled_batch=8, invalid="the detector could not be opened: ValueError: no room"),
)


def detect(images):
    time.sleep(0.002)
    return [SimpleNamespace(error="")] * len(images)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict:
    """The files of a report: name → content."""
    folder = tmp_path_factory.mktemp("report")
    samples = [(i, b"image") for i in range(8)]
    plan = Plan(1.0, 0.25, LoadPattern(2, 1))
    run_soak(detect, samples, plan, folder / report.JOURNAL, {"detector": "x"}, deadline=5)
    classes = {f"class {k}": [1 - i / 100 * k / 20 for i in range(101)] for k in range(14)}
    return {
        report.JOURNAL: (folder / report.JOURNAL).read_text(),
        report.SWEEP: json.dumps(Sweep(POINTS, 0.01, 1.0).as_record()),
        report.CURVES: json.dumps({"iou": 0.5, "classes": classes}),
    }


@pytest.fixture
def folder(stored, tmp_path) -> Path:
    for name, content in stored.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_every_image_is_drawn(folder):
    assert list(report.draw(folder)) == [f"written: {folder / image}" for image in PICTURES]


def test_the_images_are_whole(folder):
    list(report.draw(folder))
    assert all(ET.parse(folder / image).getroot().tag.endswith("svg") for image in PICTURES)


@pytest.mark.parametrize("name", [report.JOURNAL, report.SWEEP, report.CURVES])
def test_what_is_missing_is_named_and_the_others_are_drawn(folder, name):
    (folder / name).unlink()
    lines = list(report.draw(folder))
    assert [line for line in lines if not line.startswith("written")] == [
        f"{name} is missing: {', '.join(report.READERS[name])} not drawn"
    ]


DAMAGE = {
    "cut short": lambda text: text[:len(text) // 2 - 3] + "\n", "empty": lambda text: "", "a list": lambda text: "[]\n",
}


@pytest.mark.parametrize("name", [report.JOURNAL, report.SWEEP, report.CURVES])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_leaves_the_image_of_before(folder, name, damage):
    list(report.draw(folder))
    image = folder / next(iter(report.READERS[name]))
    before = image.read_bytes()
    (folder / name).write_text(DAMAGE[damage]((folder / name).read_text()))
    lines = [line for line in report.draw(folder) if "cannot be drawn" in line]
    assert len(lines) == 1 and lines[0].startswith(f"{folder / name}: cannot be drawn")
    assert image.read_bytes() == before


GPU = {"gpu0/celsius": 60.0, "gpu0/mhz": 1500.0, "gpu0/watts": 65.0, "gpu0/thermal_throttling": 0.0, "gpu0/lost": 0.0}


@pytest.fixture
def gpu_soak(tmp_path):
    """A soak with two GPUs: the first is throttled from window 21 to 25 and lost from window 36 on."""
    def differing(number):
        if number > 35:
            return {"extra": {"gpu0/lost": 1.0, "gpu1/celsius": 50.0}}
        hot = {"gpu0/celsius": 88.0, "gpu0/mhz": 900.0, "gpu0/thermal_throttling": 1.0} if 20 < number < 26 else {}
        return {"extra": {**GPU, **hot, "gpu1/celsius": 50.0}}

    soak_of(tmp_path / report.JOURNAL, differing)
    return tmp_path


def test_what_gpus_reported_is_a_curve_with_the_throttled_windows_shaded(gpu_soak):
    lines = list(report.draw(gpu_soak, {report.JOURNAL}))
    assert lines[-1] == f"written: {gpu_soak / 'gpu.svg'}" and len(lines) == 3
    figure = report.gpu(summarise(gpu_soak / report.JOURNAL))
    assert [ax.get_ylabel() for ax in figure.axes] == list(report.GPU_CURVES.values())
    assert figure.axes[0].get_title() == "shaded: thermal throttling in 5 of 40 windows"
    temperature = figure.axes[0].patches[0].get_data().values
    assert list(temperature[19:27]) == [60.0, *[88.0] * 5, 60.0, 60.0] and all(map(math.isnan, temperature[35:]))


def test_without_gpus_there_is_no_such_curve(folder):
    list(report.draw(folder))
    assert not (folder / "gpu.svg").exists()


def test_only_what_was_asked_for_is_drawn(folder):
    assert list(report.draw(folder, {report.SWEEP})) == [f"written: {folder / 'sweep.svg'}"]


def test_of_several_builds_each_is_a_line_of_its_fastest_loads():
    rates, _ = report.sweep(Sweep(BUILDS, 0.01, 1.0)).axes
    assert {text.get_text() for text in rates.get_legend().get_texts()} == {
        "compiled batch 1, static", "compiled batch 4, dynamic", "knee: 2 callers × batch 1, compiled batch 4, dynamic",
    }
    assert [list(bars[0].get_ydata()) for bars in rates.containers] == [[100.0], [100.0, 180.0]]


STRANGE = {
    "letters that no font has": (report.CURVES, {"iou": 0.5, "classes": {"\uf8ff 猫": [1.0] * 101}}, "written: "),
    "classes without names": (report.CURVES, {"iou": 0.5, "classes": [[1.0] * 101]}, "cannot be drawn"),
    "several builds, one failed": (report.SWEEP, Sweep(BUILDS, 0.01, 1.0).as_record(), "written: "),
    "no valid point": (report.SWEEP, Sweep(POINTS[2:], None, 1.0).as_record(), "written: "),
}


@pytest.mark.parametrize("case", STRANGE)
def test_whatever_is_stored_a_image_is_drawn_or_it_is_said_why_not(folder, case):
    name, content, words = STRANGE[case]
    (folder / name).write_text(json.dumps(content))
    assert all(words in line for line in report.draw(folder, {name}))


def test_a_folder_that_is_none_is_an_error():
    command = [sys.executable, "-m", "harness.report", "nowhere"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (2, "error: nowhere is not a folder; name the report folder of a run\n")
