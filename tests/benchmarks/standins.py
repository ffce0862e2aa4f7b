"""Engines that take the place of rivals in the tests, in a module that a spawned process can import quickly."""
from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.engines import Engine
from model.architecture import Architecture

IMAGE = np.zeros((1, 64, 64, 3), np.float32)
MAPS = [np.linspace(-5, 5, 100, dtype=np.float32).reshape(1, 2, 2, 25)]


def engine(name, prepare, cast="fp32", package="numpy") -> Engine:
    return Engine(name, cast, package, package, prepare)


def case(architecture: Architecture):
    return SimpleNamespace(architecture=architecture, image=IMAGE)


def giving(maps, case):
    """An engine whose head maps are these."""
    return lambda image: maps


def logged(name, path, case):
    """An engine that writes into a file when it starts and ends an image."""
    def run(image):
        for moment in ("start", "end"):
            with Path(path).open("a") as file:
                file.write(f"{name} {moment}\n")
            time.sleep(0.01)
        return MAPS
    return run


def later(misbehave, case):
    """An engine that does what it does wrong after two images: the one that it is loaded with and a turn's first."""
    left = iter([MAPS, MAPS])

    def run(image):
        return next(left, None) or misbehave(case)
    return run


def raise_error(case):
    raise RuntimeError("no compiler\nlong story")


def crash(case):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(case):
    os._exit(3)


def hang(case):
    time.sleep(3600)


def chatter(case):
    """An engine that prints to stdout, below Python too."""
    print("| loud |")
    os.write(1, b"| louder |\n")
    return partial(giving, MAPS)(case)
