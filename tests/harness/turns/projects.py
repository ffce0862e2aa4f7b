"""A small git repository whose gate has a detector that takes milliseconds and needs no TensorFlow."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

from harness.turns.checkout import Repository
from tests.harness import synthetic

GATE = '''
"""The gate of a made-up project."""
import time
from pathlib import Path
import numpy as np
import pytest
from harness.accuracy.dataset import Dataset
from harness.accuracy.stored import Stored

SECONDS, SHIFT = {seconds}, {shift}


def pytest_addoption(parser):
    parser.addoption("--cache-dir")
    parser.addoption("--seconds", type=float, default=SECONDS)


class Detector:
    metadata = {{"backend": "cpu", "cast": "fp32", "names": ["cup"]}}

    def __init__(self, dataset, seconds):
        self._found, self._seconds = {{}}, seconds
        for image in dataset.image_ids:
            rows = dataset.annotations_of(image)
            boxes = [[x + SHIFT, y, x + SHIFT + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
            classes = [dataset.category_ids.index(row["category_id"]) for row in rows]
            self._found[dataset.image_bytes(image)] = Stored(
                np.array(boxes, np.float32), np.array([0.9, 0.8], np.float32), np.array(classes, np.int32))

    def detect(self, images):
        time.sleep(self._seconds * len(images))
        return [self._found[image] for image in images]


@pytest.fixture(scope="session")
def dataset():
    data = Path({data!r})
    return Dataset.load(data / "annotations" / "instances_val.json", data / "val")


@pytest.fixture(scope="session")
def detector(dataset, pytestconfig):
    return Detector(dataset, pytestconfig.getoption("--seconds"))
'''
ROOT = Path(__file__).resolve().parents[3]


class Project:
    """The repository in `root`, whose commits are made by `commit`; its dataset has 40 made-up images."""

    def __init__(self, folder: Path):
        self.root = folder / "project"
        self.root.mkdir()
        self._data = folder / "data"
        self._data.mkdir()
        synthetic.write(self._data, synthetic.content(40))
        self.git("init", "-q", "-b", "main")
        for name, text in (("requirements.txt", ""), (".gitignore", ".cache/\n__pycache__/\n"), ("pytest.ini", INI)):
            (self.root / name).write_text(text)

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *who, *arguments], cwd=self.root, check=True, capture_output=True,
                              text=True).stdout.strip()

    def write(self, seconds: float = 0.001, shift: float = 0.0) -> None:
        """The gate, whose detector takes so many seconds an image and moves each box so many pixels to the right."""
        (self.root / "conftest.py").write_text(GATE.format(seconds=seconds, shift=shift, data=str(self._data)))

    def commit(self, title: str, **detector: float) -> str:
        """A commit of such a gate; its hash."""
        self.write(**detector)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", title)
        return self.git("rev-parse", "HEAD")

    @property
    def repository(self) -> Repository:
        return Repository(self.root)

    @property
    def checkouts(self) -> list[str]:
        """The folders of git's worktrees but its own."""
        lines = self.git("worktree", "list", "--porcelain").splitlines()
        return [line.split(" ", 1)[1] for line in lines if line.startswith("worktree ")][1:]


# The made-up gate needs this project's harness, which a real one has in its own commit.
INI = f"[pytest]\npythonpath = {ROOT}\n"


def record(path: Path) -> dict:
    return json.loads(path.read_text())
