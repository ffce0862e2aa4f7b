"""The overhead of a request to a process of its own: `python -m benchmarks.worker`.

The detector does nothing, so only the transport is measured. Calls in this process and in the other alternate, so that
a busy machine affects them equally.
"""
from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from harness.machine.facts import facts
from model.detector import Detector
from model.graph.freeze import write_saved_model
from model.worker.pool import RemoteDetector

# Name → bytes of the image of a request, number of requests.
REQUESTS = {"nothing": (1, 3000), "100 KB": (100_000, 2000), "1 MB": (1_000_000, 500), "5 MB": (5_000_000, 200)}
BOXES = 100


def idle_detector(folder) -> Path:
    """A compiled SavedModel that returns the same hundred boxes for each image without reading it."""
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.string, [None], "in")
        n = tf.size(images)
        outputs = {
            "boxes": tf.zeros([n, BOXES, 4]), "scores": tf.zeros([n, BOXES]),
            "classes": tf.zeros([n, BOXES], tf.int32), "count": tf.fill([n], BOXES),
        }
        names = {key: tensor.name for key, tensor in outputs.items()}
        write_saved_model(graph.as_graph_def(), {"image": images.name}, names, folder)
    return Path(folder)


def milliseconds(calls: dict, image: bytes, requests: int) -> dict:
    """{name: milliseconds of each request}; the detectors take turns."""
    spent: dict = {name: [] for name in calls}
    for _ in range(requests):
        for name, detect in calls.items():
            start = time.perf_counter()
            detect([image])
            spent[name].append((time.perf_counter() - start) * 1e3)
    return spent


def row(name, spent) -> str:
    here, there = np.array(spent["here"]), np.array(spent["there"])
    (here_50, here_99), (there_50, there_99) = (np.percentile(times, (50, 99)) for times in (here, there))
    return (f"| {name} | {here_50:.3f} | {there_50:.3f} | {there_50 - here_50:.3f} | {there_99 - here_99:.3f} | "
            f"{there_50 / here_50:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__.split("\n")[0])
    parser.add_argument("--detector-python", default=sys.executable, metavar="PATH",
                        help="the interpreter of the other process (default: this one)")
    python = parser.parse_args().detector_python
    with tempfile.TemporaryDirectory() as folder:
        compiled = idle_detector(Path(folder, "idle"))
        here = Detector(compiled)
        with RemoteDetector(python, compiled) as there:
            print(f"{facts()['processor']}, {facts()['cores']} cores, TensorFlow {tf.__version__} here, "
                  f"{there.versions['tensorflow']} there, {time.strftime('%Y-%m-%d')}\n")
            print("| image of | here, ms | there, ms | overhead P50, ms | overhead P99, ms | there ÷ here |")
            print("|---|---|---|---|---|---|")
            calls = {"here": here.detect, "there": there.detect}
            for name, (size, requests) in REQUESTS.items():
                milliseconds(calls, bytes(size), requests // 10)
                print(row(name, milliseconds(calls, bytes(size), requests)), flush=True)


if __name__ == "__main__":
    main()
