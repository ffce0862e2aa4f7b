"""The rooms of the project: what each holds, and which others it may import.

The map in docs/contributing.md is made of this list, and tests hold every import to it.
"""
from __future__ import annotations

from typing import NamedTuple


class Room(NamedTuple):
    """A folder (its path ends in a slash) or a file, what it holds, and what it may import besides itself.

    A file belongs to the room with the longest path that fits. What a room may import includes the rooms below it.
    """

    place: str
    holds: str
    imports: tuple[str, ...] = ()


ROOMS = (
    Room("conftest.py", "loads the gate's plugins from fixtures/", ("fixtures/",)),
    Room("fixtures/", "all that pytest sees of the gate: hooks, options, session fixtures, a file for each check",
         ("harness/", "model/", "fixtures/__init__.py", "fixtures/cache/", "fixtures/embedded/")),
    Room("fixtures/__init__.py", "where the project is"),
    Room("fixtures/cache/", "built and compiled models, keyed by a hash of all their inputs; folder or URL",
         ("fixtures/__init__.py", "harness/places.py")),
    Room("fixtures/embedded/", "the embedded detector, its 200 drawn scenes, and the script that trains it",
         ("model/",)),
    Room("model/__main__.py", "the detector's command line: build, check-detector, convert, detect, doctor, plan",
         ("model/",)),
    Room("model/options.py", "the options that describe a detector, for the command line and the gate",
         ("model/decoding.py", "model/formats/", "model/image_headers.py", "model/quoting.py", "model/readers.py")),
    Room("model/readers.py", "readers of option values: numbers in bounds, names, files", ("model/formats/",)),
    Room("model/architecture.py", "layer records in darknet's vocabulary"),
    Room("model/yolov4.py", "YOLOv4 as a table of layer records", ("model/architecture.py",)),
    Room("model/decoding.py", "pre- and post-processing profiles: resize, score and NMS settings",
         ("model/architecture.py", "model/image_headers.py")),
    Room("model/detections.py", "boxes, scores and classes of one image"),
    Room("model/factory.py", "a detector that a user's own function makes: how it is named, loaded and called",
         ("model/detections.py",)),
    Room("model/image_headers.py", "kind and size of an image, read from its first bytes"),
    Room("model/names.py", "class names", ("model/formats/",)),
    Room("model/logs.py", "keeps TensorFlow's log lines out of the command line's output"),
    Room("model/quoting.py", "text from files, safe to print"),
    Room("model/formats/", "cfg, weights and checkpoint files",
         ("model/architecture.py", "model/quoting.py", "model/yolov4.py")),
    Room("model/graph/", "the TensorFlow graph: network, pre- and post-processing, build, freeze, SavedModel",
         ("model/architecture.py", "model/decoding.py", "model/formats/")),
    Room("model/neuron/", "compiling for Inferentia, placement, errors of the runtime", ("model/graph/",)),
    Room("model/neuron/machine/", "what an Inferentia machine has and lacks; the doctor"),
    Room("model/neuron/partition/", "a dry run of tensorflow-neuron's partitioner", ("model/graph/", "model/neuron/")),
    Room("model/detector.py", "a loaded SavedModel: images in, detections out",
         ("model/detections.py", "model/gpu/", "model/graph/", "model/image_headers.py", "model/neuron/")),
    Room("model/worker/", "the detector in a process of another Python: protocol, server, client, pool",
         ("model/detections.py", "model/detector.py", "model/factory.py", "model/graph/", "model/neuron/",
          "model/neuron/machine/")),
    Room("model/check_detector.py", "a user's detector tried on a few images: what breaks its contract",
         ("model/detections.py", "model/factory.py", "model/image_headers.py", "model/worker/")),
    Room("model/backends/", "one file a backend: CPU, XLA, the emulation of Inferentia, Inferentia",
         ("model/graph/", "model/neuron/", "model/neuron/machine/", "model/neuron/partition/", "model/worker/")),
    Room("model/gpu/", "what shows that a network ran on a GPU, and in which format; rate of its matrix products",
         ("model/graph/",)),
    Room("model/draw.py", "detections drawn into an image"),
    Room("model/layer_diff.py", "the first layer in which two networks differ"),
    Room("harness/text.py", "text from files and users, safe for a terminal and a log"),
    Room("harness/files.py", "files that are written whole or not at all"),
    Room("harness/places.py", "a folder or a URL that files are kept in"),
    Room("harness/stats/", "estimates with their bounds: percentiles, means, spread, trend"),
    Room("harness/machine/", "what else the machine did meanwhile, and how much of a difference that explains",
         ("harness/stats/",)),
    Room("harness/load/", "load generator, estimates from its runs, sweep over load patterns, MLPerf's LoadGen",
         ("harness/stats/",)),
    Room("harness/verdict/", "target rows, load patterns, prices, and a user's own; PASS, FAIL and INVALID from values "
                             "and bounds",
         ("harness/files.py", "harness/load/", "harness/stats/", "harness/text.py")),
    Room("harness/accuracy/", "dataset, sanity of detections, COCO's AP, bootstrap, compliance with MLPerf's audits",
         ("harness/load/", "harness/machine/", "harness/stats/", "harness/text.py", "harness/verdict/")),
    Room("harness/soak/", "hours of load: run, journal, windows, and the causes of those that differ",
         ("harness/load/", "harness/machine/", "harness/stats/")),
    Room("harness/compare/", "two or more runs beside each other; the published runs, as folders like any other",
         ("harness/accuracy/", "harness/files.py", "harness/stats/", "harness/text.py", "harness/verdict/")),
    Room("harness/history/", "the runs of the past, in a folder or at a URL; which may be compared, what a new one "
                             "lost against them, where a metric changed for good",
         ("harness/accuracy/", "harness/compare/", "harness/files.py", "harness/places.py", "harness/stats/",
          "harness/text.py", "harness/turns/", "harness/verdict/")),
    Room("harness/targets/", "the target table as a command: printed with a user's own rows, or drawn from a history",
         ("harness/compare/", "harness/files.py", "harness/history/", "harness/places.py", "harness/text.py",
          "harness/verdict/")),
    Room("harness/turns/", "two commits in turns: checkouts, environments, rounds in fresh processes, what they decide",
         ("harness/accuracy/", "harness/files.py", "harness/load/", "harness/machine/", "harness/stats/",
          "harness/text.py", "harness/verdict/")),
    Room("harness/cluster/", "the same measurements on many nodes: Ray's actors, shards in a ledger, load, soak",
         ("harness/accuracy/", "harness/files.py", "harness/load/", "harness/machine/", "harness/places.py",
          "harness/soak/", "harness/stats/", "harness/verdict/")),
    Room("harness/report/", "one self-contained page of what a run stored, and its plots",
         ("harness/accuracy/", "harness/compare/", "harness/files.py", "harness/load/", "harness/machine/",
          "harness/soak/", "harness/text.py", "harness/verdict/")),
    Room("benchmarks/", "rivals beside the detector and the harness, as ratios in one run",
         ("fixtures/embedded/", "harness/", "model/")),
    Room("examples/", "detectors of other frameworks and servers, as files for `--detector` to start from",
         ("benchmarks/torch_network.py", "fixtures/embedded/", "model/")),
    Room("tests/", "tests of the project itself, in folders named as the rooms that they test",
         ("fixtures/", "harness/", "model/", "benchmarks/", "examples/", "tests/")),
    Room("tests/shards/", "detects a part of the dataset and publishes it, for jobs without Ray", ("fixtures/",)),
    Room("tests/gates/", "the release gate: one test for each row of the target table"),
)

# Room → libraries that nothing in it may import.
FORBIDDEN_LIBRARIES = {"model/": {"pytest"}, "harness/": {"pytest", "tensorflow", "keras", "torch"}}


def room_of(path: str) -> Room | None:
    """The room of a file, by its path from the root; None where it has none."""
    fits = [room for room in ROOMS if room.place == path or (room.place.endswith("/") and path.startswith(room.place))]
    return max(fits, key=lambda room: len(room.place), default=None)


def markdown_table() -> str:
    """The rooms as a Markdown table."""
    return "\n".join(["| room | holds | imports |", "|---|---|---|", *map(_row, ROOMS)])


def _row(room: Room) -> str:
    return f"| {room.place} | {room.holds} | {', '.join(room.imports) or '–'} |"
