"""What more nodes bring, and what the driver costs: `python -m benchmarks.cluster`.

Ray's own local cluster, two nodes with one core each, to which the detector's process is bound. The embedded detector
evaluates the drawn scenes in shards and is put under load; rounds of one node and of two take turns, so that a busy
machine affects both. A detector that only waits, as for a device, needs no core, so that other work on the machine does
not share it. One that does nothing shows the driver alone. `--output FILE` keeps what
`python -m benchmarks.cluster_simulation` starts from.

On a machine with other work two nodes get less than two cores. So the fastest rounds are shown, and beside the ratio of
wall clocks that of what the nodes would do with a core each: images by second of CPU time of their processes.
"""
from __future__ import annotations

import argparse
import os
import pickle
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from fixtures.embedded import scenes
from harness.accuracy.dataset import Dataset
from harness.accuracy.layouts import coco_folder
from harness.accuracy.stored import Stored
from harness.cluster import control
from harness.cluster.evaluation import Task, detect_all
from harness.cluster.load import NodesUnderLoad, hold
from harness.cluster.ray_cluster import Cluster
from harness.cluster.shards import SHARD_IMAGES, Ledger, cut
from harness.files import write_json
from harness.load.generator import LoadPattern, images_per_second
from harness.machine.facts import facts

ROUNDS, SECONDS = 3, 4.0
SEED, SCENES = 7, 448  # whole shards, as many for each of two nodes
WAIT = 0.02  # seconds an image of a detector that only waits
PATTERN = LoadPattern(2, 1)
DEADLINE = 120.0  # seconds a request
OBJECT_STORE = 200 << 20  # bytes a node


# ---- on a node


class Bound:
    """A detector whose process has one core, and what that process has used of it."""

    def __init__(self, detector):
        self._detector = detector
        self.metadata, self.versions = getattr(detector, "metadata", {}), {}

    def detect(self, images):
        """As the detector's."""
        return self._detector.detect(images)

    def cpu_seconds(self) -> float:
        """CPU seconds of this process so far."""
        return time.process_time()


class Waiting:
    """Finds nothing, after so many seconds an image."""

    def __init__(self, seconds: float):
        self._seconds = seconds

    def detect(self, images):
        """No detections for each image."""
        import numpy as np

        time.sleep(self._seconds * len(images))
        nothing = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32)
        return [Stored(*nothing)] * len(images)


@contextmanager
def opened(folder: str, model: str, wait: float):
    """The opener of a node, on a core of its own: the model in that folder, or with '' a detector that only waits."""
    os.sched_setaffinity(0, {_free_core(Path(folder))})
    yield Bound(_loaded(model) if model else Waiting(wait))


def _free_core(folder: Path) -> int:
    """The first of this machine's cores that no other node has."""
    for core in sorted(os.sched_getaffinity(0)):
        try:
            (folder / f"core-{core}").touch(exist_ok=False)
            return core
        except FileExistsError:
            continue
    raise OSError(f"{folder}: there are more nodes than cores; start fewer")


def _loaded(model: str):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from model.detector import Detector

    return Detector(model)


# ---- the driver


class Counting:
    """A cluster of the first nodes of another one, which counts the bytes that are handed over and come back."""

    def __init__(self, cluster, nodes: int):
        self._cluster, self.facts = cluster, cluster.facts[:nodes]
        self.nodes = [_CountingNode(self, node) for node in cluster.nodes[:nodes]]
        self.bytes = 0

    def put(self, value: Any) -> Any:
        """As the cluster's."""
        self.bytes += len(pickle.dumps(value))
        return self._cluster.put(value)


class _CountingNode:
    def __init__(self, counting: Counting, node):
        self._counting, self._node, self.name = counting, node, node.name

    def start(self, method: str, *arguments):
        return self._node.start(method, *arguments)

    def finish(self, call, method: str, deadline: float):
        found = self._node.finish(call, method, deadline)
        self._counting.bytes += len(pickle.dumps(found))
        return found

    def call(self, method: str, *arguments, deadline: float):
        return self.finish(self.start(method, *arguments), method, deadline)


class Evaluated(NamedTuple):
    """One evaluation: images, wall clock, CPU seconds of the driver and of the nodes, bytes moved."""

    images: int
    seconds: float
    driver: float
    nodes: float
    bytes: int


def evaluate(cluster: Counting, dataset: Dataset, folder: str) -> Evaluated:
    """The dataset in shards, into a ledger of its own."""
    images = dict(dataset)
    task = Task(cut(dataset.image_ids, PATTERN.batch_size), control.chosen(dataset.image_ids),
                lambda ids: [images[image] for image in ids], None, PATTERN.callers, PATTERN.batch_size, DEADLINE, True)
    before, cluster.bytes = node_seconds(cluster), 0
    with tempfile.TemporaryDirectory(dir=folder) as place:
        start, used = time.perf_counter(), time.process_time()
        outcome = detect_all(cluster, Ledger(place, {"benchmark": place}), task, resume=False)
        spent = time.perf_counter() - start, time.process_time() - used
    return Evaluated(len(outcome.detections), *spent, node_seconds(cluster) - before, cluster.bytes)


def node_seconds(cluster: Counting) -> float:
    """CPU seconds of all nodes' processes so far."""
    return sum(node.call("ask", "cpu_seconds", deadline=60) for node in cluster.nodes)


class Loaded(NamedTuple):
    """One round of load: images a second of all nodes, CPU seconds of their processes and of the driver an image."""

    rate: float
    node_seconds: float
    driver_seconds: float
    late: float
    bound: float


def under_load(cluster: Counting, images: int) -> Loaded:
    """The load pattern on every node for some seconds."""
    with NodesUnderLoad(cluster, images, DEADLINE) as nodes:
        before, used = node_seconds(cluster), time.process_time()
        load = nodes.send(PATTERN, seconds=SECONDS)
        done = sum(request.answered for request in load.requests)
        bound = max(clock.bound for clock in nodes.offsets.values())
        return Loaded(images_per_second([load]), (node_seconds(cluster) - before) / done,
                      (time.process_time() - used) / done, nodes.late, bound)


@contextmanager
def two_nodes():
    """The address of Ray's local cluster: a head without cores, and two nodes with one each."""
    from ray.cluster_utils import Cluster as RayCluster

    ray_cluster = RayCluster(initialize_head=True, head_node_args=dict(num_cpus=0, object_store_memory=OBJECT_STORE))
    try:
        for _ in range(2):
            ray_cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
        yield ray_cluster.address
    finally:
        ray_cluster.shutdown()


def compiled_model(folder: str) -> str:
    """The embedded detector, built and compiled for the CPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from fixtures import embedded
    from model.backends import cpu
    from model.formats.detector_files import load_weights
    from model.graph.build import build

    saved, compiled = Path(folder, "saved"), Path(folder, "compiled")
    build(embedded.ARCHITECTURE, load_weights(embedded.WEIGHTS, embedded.ARCHITECTURE), saved)
    cpu.compile(saved, compiled, "fp32")
    return str(compiled)


def measure(address: str, dataset: Dataset, folder: str, model: str = "", wait: float = 0.0) -> dict[str, Any]:
    """Rounds of one node and of two in turns, after one that warms up."""
    cores = tempfile.mkdtemp(dir=folder)
    start = time.perf_counter()
    with Cluster(address, "benchmarks.cluster:opened", {"folder": cores, "model": model, "wait": wait},
                 workers=2) as cluster:
        found: dict[str, Any] = defaultdict(list, startup=time.perf_counter() - start)
        parts = {count: Counting(cluster, count) for count in (1, 2)}
        hold(cluster, list(dataset), deadline=DEADLINE)
        evaluate(parts[2], dataset, folder)
        for _ in range(ROUNDS):
            for count, part in parts.items():
                found[f"evaluated {count}"].append(evaluate(part, dataset, folder))
                if model or wait:
                    found[f"loaded {count}"].append(under_load(part, len(dataset)))
    return found


def report(found: dict[str, Any], waiting: dict[str, Any], idle: dict[str, Any]) -> dict[str, Any]:
    """Prints the tables; what the simulation starts from."""
    print("| | 1 node | 2 nodes | ratio |\n|---|---|---|---|")
    for name, own in (("embedded detector", found), (f"detector that waits {WAIT * 1e3:g} ms", waiting)):
        _row(f"{name}: evaluation, images/s, fastest round",
             [max(row.images / row.seconds for row in own[f"evaluated {count}"]) for count in (1, 2)])
        _row(f"{name}: load, images/s, fastest round",
             [max(row.rate for row in own[f"loaded {count}"]) for count in (1, 2)])
    _row("embedded detector: images by CPU second of a node × nodes",
         [count / min(row.nodes / row.images for row in found[f"evaluated {count}"]) for count in (1, 2)])
    one, two = found["evaluated 1"], found["evaluated 2"]
    drivers = {"embedded detector": one + two, "detector that does nothing": idle["evaluated 1"] + idle["evaluated 2"]}
    print("\n| driver of an evaluation | CPU ms an image | its share of all CPU time | bytes moved an image |")
    print("|---|---|---|---|")
    for name, rows in drivers.items():
        print(f"| {name} | {1e3 * _per_image(rows):.2f} | {_share(rows):.1%} | {_moved(rows):,.0f} |")
    loads = [row for own in (found, waiting) for count in (1, 2) for row in own[f"loaded {count}"]]
    driver = 1e3 * median(row.driver_seconds for row in loads)
    print(f"\nThe driver of a load takes {driver:.2f} CPU ms an image. Nodes started "
          f"within {1e3 * max(row.late for row in loads):.1f} ms of the agreed times, clocks known to "
          f"{1e3 * max(row.bound for row in loads):.2f} ms. Both nodes were ready after {found['startup']:.0f} s.")
    return {
        "processor": facts()["processor"], "date": time.strftime("%Y-%m-%d"), "shard_images": SHARD_IMAGES,
        "node_seconds_per_image": [row.nodes / row.images for row in one + two],
        "driver_seconds_per_image": _per_image(drivers["detector that does nothing"]),
        "bytes_per_image": _moved(one + two), "startup_seconds": found["startup"],
    }


def _row(name: str, values: list[float]) -> None:
    print(f"| {name} | {values[0]:.1f} | {values[1]:.1f} | {values[1] / values[0]:.2f} |")


def _per_image(rows: list[Evaluated]) -> float:
    return median(row.driver / row.images for row in rows)


def _share(rows: list[Evaluated]) -> float:
    return fmean(row.driver / (row.driver + row.nodes) for row in rows)


def _moved(rows: list[Evaluated]) -> float:
    return median(row.bytes / row.images for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, metavar="FILE", help="keep what the simulation starts from")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, two_nodes() as address:
        scenes.write_coco(Path(folder, "scenes"), SEED, SCENES)
        dataset = Dataset.load(*coco_folder(Path(folder, "scenes")))
        found = measure(address, dataset, folder, compiled_model(folder))
        waiting, idle = measure(address, dataset, folder, wait=WAIT), measure(address, dataset, folder)
    machine = facts()
    print(f"{machine['processor']}, {machine['cores']} cores, load average {machine['load_average'][0]:.2f}, "
          f"{time.strftime('%Y-%m-%d')}, {ROUNDS} rounds of {SCENES} images, {PATTERN}\n")
    kept = report(found, waiting, idle)
    if given.output:
        write_json(given.output, kept)


if __name__ == "__main__":
    main()
