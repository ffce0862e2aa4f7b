"""The confirmation gives what pycocotools gives when it evaluates all images and classes itself."""
from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.accuracy import confirmation, processes
from harness.accuracy.confirmation import confirmed
from harness.accuracy.processes import ProcessError, in_processes


def stock(truth, rows):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {**truth, "annotations": [dict(row) for row in truth["annotations"]]}
        coco.createIndex()
        found = COCO()
        found.dataset = {**truth, "annotations": []}
        found.createIndex()
        run = COCOeval(coco, coco.loadRes(rows) if len(rows) else found, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def random_boxes(rng, count):
    """Boxes of all of COCO's sizes, some beyond the largest, many of them near each other."""
    corner = rng.integers(0, 4, (count, 2)) * 5.0
    return np.column_stack([corner, rng.choice([8, 10, 40, 50, 150, 180, 1e6], (count, 2))])


def made(seed, images, objects, detections, classes):
    """A dataset with crowds, empty images and a class that is never annotated; detections with tied scores."""
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, objects)
    annotations = [
        {"id": n, "image_id": int(rng.integers(1, images + 1)), "category_id": int(rng.integers(1, classes + 1)),
         "bbox": box.tolist(), "area": float(box[2] * box[3] * rng.choice([0.5, 1])),
         "iscrowd": int(rng.random() < 0.2)}
        for n, box in enumerate(boxes, 1)
    ]
    truth = {"images": [{"id": i} for i in range(1, images + 1)], "annotations": annotations,
             "categories": [{"id": k} for k in range(1, classes + 2)]}
    chosen = rng.integers(0, max(1, objects), detections)
    near = boxes[chosen] + rng.normal(0, 1, (detections, 4)) if objects else random_boxes(rng, detections)
    near[:, 2:] = near[:, 2:].clip(1)
    where = np.sort(rng.integers(1, images + 1, detections))
    label, scores = rng.integers(1, classes + 2, detections), rng.integers(0, 6, detections) / 5
    return truth, np.column_stack([where, near, scores, label])


@given(seed=st.integers(0, 2**32), images=st.integers(1, 12), objects=st.integers(0, 40),
       detections=st.integers(0, 120), classes=st.integers(1, 4))
@example(seed=0, images=1, objects=3, detections=900, classes=1)  # more than 100 detections of a class in an image
@example(seed=1, images=4, objects=2, detections=2000, classes=1)  # the same in images without an object
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_pycocotools(seed, images, objects, detections, classes):
    truth, rows = made(seed, images, objects, detections, classes)
    ours, theirs = confirmed(truth, rows), stock(truth, rows)
    assert ours.stats == pytest.approx(theirs.stats, abs=1e-12, rel=0)
    for what in ("precision", "recall"):
        np.testing.assert_allclose(ours.eval[what], theirs.eval[what], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cores", [2, 9])
def test_processes_share_the_classes_and_nothing_changes(monkeypatch, cores):
    monkeypatch.setattr(confirmation, "FEW", 0)
    truth, rows = made(2, 30, 60, 400, 5)
    ours, theirs = confirmed(truth, rows, cores), confirmed(truth, rows)
    np.testing.assert_array_equal(ours.stats, theirs.stats)
    for what in ("precision", "recall"):
        np.testing.assert_array_equal(ours.eval[what], theirs.eval[what])


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The processes that are started."""
    made, popen = [], subprocess.Popen

    def start(*how, **more):
        made.append(popen(*how, **more))
        return made[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    return made


def assert_ended(started):
    assert started and all(process.returncode is not None for process in started)


def test_a_process_that_hangs_is_given_up_and_ended(started, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    with pytest.raises(ProcessError, match=r"gave no figures within 0.1 s; run it again"):
        in_processes(time.sleep, [(60,), (60,)])
    assert_ended(started)


def test_a_process_that_fails_is_an_error_with_its_last_line(started):
    with pytest.raises(ProcessError, match=r"exit code 1 \(ValueError: sleep length must be non-negative\)"):
        in_processes(time.sleep, [(-1,), (60,)])
    assert_ended(started)


def test_a_process_that_is_killed_is_an_error_with_its_exit_code():
    with pytest.raises(ProcessError, match=r"exit code -9 \(nothing was printed\); -9 is what a machine"):
        in_processes(signal.raise_signal, [(signal.SIGKILL,)])


def test_processes_are_others_than_this_one():
    assert os.getpid() not in in_processes(os.getpid, [(), ()])


def test_a_process_loads_neither_a_framework_nor_another_evaluator():
    heavy = "{'tensorflow', 'hotcoco', 'pytest', 'matplotlib'}"
    code = f"import sys, harness.accuracy.confirmation; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=processes.ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
