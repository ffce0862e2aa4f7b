"""The detector's command line: `python -m model build`, `check-detector`, `convert`, `detect`, `doctor` and `plan`."""
from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from itertools import chain
from pathlib import Path

from model import readers
from model.backends import CASTS, EDGES
from model.decoding import profile_for
from model.logs import without_log_lines
from model.options import DetectorOptions, Option, OptionError, add_option, chosen, rows, values, with_flag

OF_PLAN = ("no_fuse", "minimum_segment_size")  # what the planner's errors start with, as the options that they mean


def main(arguments=None) -> int:
    try:
        options = values(_parser().parse_args(arguments))
        return options.run(options)
    except (OptionError, ValueError, OSError) as error:
        message = with_flag(str(error), DetectorOptions)
        for name in OF_PLAN:
            message = re.sub(rf"^{name}(?= \S+: )", "--" + name.replace("_", "-"), message)
        print(f"error: {message}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model", description="Builds and runs YOLOv4 detectors.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (help, add, run) in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        add(command)
        command.set_defaults(run=run)
    return parser


BN_EPSILON = Option("--bn-epsilon", readers.above_zero(), "X",
                    "epsilon of a PyTorch checkpoint's batch norms (default: the one that its names imply)")


def _add_build(parser) -> None:
    for name, row in rows(DetectorOptions).items():
        add_option(parser.add_argument, name, row, required=name == "weights")
    add_option(parser.add_argument, "bn_epsilon", BN_EPSILON)
    parser.add_argument("--output", required=True, metavar="DIR", help="SavedModel folder to write; must not exist")


def _add_check_detector(parser) -> None:
    parser.add_argument("factory", metavar="FACTORY", help="MODULE:FACTORY or FILE.py:FACTORY, as the gate's "
                        "--detector")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", default=[],
                        help="at least two images that show its classes (default: three small photographs)")
    add_option(parser.add_argument, "arguments", Option(
        "--arg", readers.argument, "KEY=VALUE", "an argument of the factory, as text; may be repeated", repeats=True))
    parser.add_argument("--detector-python", metavar="PATH", help="the Python that runs it (default: this one)")
    add_option(parser.add_argument, "deadline", Option(
        "--deadline", readers.above_zero(), "SECONDS", "for its start and for each thing that is tried (default: 300)"))


def _add_convert(parser) -> None:
    parser.add_argument("input", metavar="IN", help="weights; the suffix says in which format")
    parser.add_argument("output", metavar="OUT", help="file to write, its suffix likewise; must not exist")
    add_option(parser.add_argument, "cfg", rows(DetectorOptions)["cfg"])
    add_option(parser.add_argument, "bn_epsilon", BN_EPSILON)


def _add_detect(parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--model", required=True, metavar="DIR", help="SavedModel folder that `build` wrote")
    add_option(parser.add_argument, "cast", Option(
        "--cast", readers.one_of(*CASTS["cpu"]), "FORMAT",
        f"numeric format of the convolutions: {' or '.join(CASTS['cpu'])} (default: %(default)s)", CASTS["cpu"][0]))
    add_option(parser.add_argument, "score_threshold", Option(
        "--score-threshold", readers.between(0, 1), "SCORE",
        "lowest score that is shown, 0 to 1 (default: %(default)s)", "0.25"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--draw", metavar="DIR", help="write the images with their boxes into this folder")


def _add_doctor(parser) -> None:
    parser.add_argument("--detector-python", default=sys.executable, metavar="PATH",
                        help="the Python that will run the detector (default: this one)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_plan(parser) -> None:
    parser.add_argument("path", metavar="PATH", help="SavedModel folder, or file with a frozen GraphDef (.pb)")
    parser.add_argument("--route", choices=("tf1", "tf2"), default="tf1",
                        help="tensorflow-neuron 1.15 or 2.x (default: %(default)s)")
    parser.add_argument("--as-compiled", action="store_true",
                        help="plan a model of `build` as the gate has it compiled for Inferentia")
    parser.add_argument("--no-fuse", action="append", nargs="+", default=[], metavar="NAME",
                        help="nodes to leave on the CPU, by name or by a prefix that ends in *")
    add_option(parser.add_argument, "minimum_segment_size", Option(
        "--minimum-segment-size", readers.whole(1), "N", "smallest segment of operators, with route tf1 (default: 2)"))
    add_option(parser.add_argument, "batch_size", Option(
        "--batch-size", readers.whole(1), "N", "images in a batch (default: %(default)s)", "1"))
    parser.add_argument("--input", action="append", nargs="+", metavar="NAME",
                        help="input tensors (default: the signature's, or all placeholders)")
    parser.add_argument("--output", action="append", nargs="+", metavar="NAME",
                        help="output tensors (default: the signature's, or those that no node reads)")
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")


def _build(options) -> int:
    from model.formats.detector_files import load_architecture, load_weights
    from model.graph.build import build
    from model.names import checked_names, default_names

    subject = chosen(DetectorOptions, options)
    architecture = load_architecture(subject.cfg, subject.size)
    profile = profile_for(architecture, subject.profile, **subject.profile_changes)
    weights = load_weights(subject.weights, architecture, options.bn_epsilon)
    classes = architecture.classes
    names = checked_names(subject.class_names, classes) if subject.class_names else default_names(classes)
    build(architecture, weights, options.output, profile, names)
    whose = " with COCO's names" if names and not subject.class_names else ""
    print(f"{options.output}: {architecture.width}x{architecture.height}, {classes} classes{whose}, "
          f"{architecture.parameters():,} parameters, {architecture.flops() / 1e9:.1f} GFLOP an image")
    return 0


def _check_detector(options) -> int:
    from model import check_detector
    from model.factory import Factory
    from model.worker.client import WorkerError

    try:
        factory = Factory(readers.factory(options.factory), options.arguments or ())
    except ValueError as error:
        raise ValueError(f"{options.factory}: {error}") from None
    images = [Path(image).read_bytes() for image in options.images or check_detector.IMAGES]
    if len(images) < 2:
        raise ValueError("--images: one cannot show whether images affect each other; give at least two")
    outcomes = set()
    try:
        print(f"loading {factory} …", flush=True)
        for finding in check_detector.tried(factory, options.detector_python, images,
                                            options.deadline or check_detector.DEADLINE):
            print(finding, flush=True)
            outcomes.add(finding.outcome)
    except WorkerError as error:
        raise ValueError(str(error)) from error
    is_good = check_detector.BREAKS not in outcomes
    print("the gate can judge it" if is_good else "repair what breaks the contract: docs/any-detector.md")
    return 0 if is_good else 1


def _convert(options) -> int:
    from model.formats.detector_files import load_architecture, load_weights, save_weights

    if Path(options.output).exists():
        raise ValueError(f"{options.output}: exists already; name another file")
    architecture = load_architecture(options.cfg)
    save_weights(options.output, architecture, load_weights(options.input, architecture, options.bn_epsilon))
    print(f"{options.output}: {architecture.parameters():,} parameters")
    return 0


def _detect(options) -> int:
    from model.backends import cpu
    from model.detector import Detector
    from model.names import default_names

    drawings = {Path(image).stem: image for image in options.images}
    if options.draw and len(drawings) < len(options.images):
        twice = next(i for i in options.images if drawings[Path(i).stem] != i or options.images.count(i) > 1)
        raise ValueError(f"--draw: {twice} and {drawings[Path(twice).stem]} would be drawn into the same file; "
                         "draw them one at a time")
    with tempfile.TemporaryDirectory() as folder:
        detector = Detector(cpu.compile(options.model, Path(folder, "compiled"), options.cast))
        names = detector.metadata.get("names") or default_names(detector.metadata.get("classes", 0))
        results = [_detect_one(detector, Path(image), options, names) for image in options.images]
    print(json.dumps(results, indent=1) if options.json else _table(results))
    return 1 if any(result["error"] for result in results) else 0


def _detect_one(detector, path: Path, options, names) -> dict:
    from model.draw import class_name, draw

    encoded = path.read_bytes()
    found = detector.detect([encoded])[0]
    if options.draw and not found.error:
        Path(options.draw).mkdir(parents=True, exist_ok=True)
        draw(encoded, found, names, options.score_threshold).save(Path(options.draw, f"{path.stem}.png"))
    detections = [
        {"class": class_name(names, label), "score": round(float(score), 4), "box": [round(float(x), 1) for x in box]}
        for box, score, label in zip(found.boxes, found.scores, found.classes) if score >= options.score_threshold
    ]
    return {"image": str(path), "error": found.error, "detections": detections}


def _doctor(options) -> int:
    from model.neuron.machine.doctor import diagnose
    from model.neuron.machine.instance import facts

    found = diagnose(python=options.detector_python)
    report = {"ready": found.ready, "summary": found.summary(), "checks": [check._asdict() for check in found.checks]}
    if options.json:
        report["facts"] = facts(python=options.detector_python)
    print(json.dumps(report, indent=1) if options.json else found.table())
    return 0 if found.ready else 1


def _table(results) -> str:
    lines = []
    for result in results:
        lines.append(f"{result['image']}: {result['error'] or str(len(result['detections'])) + ' objects'}")
        for row in result["detections"]:
            corners = "  ".join(f"{x:8.1f}" for x in row["box"])
            lines.append(f"  {row['score']:.3f}  {row['class']:<20} {corners}")
    return "\n".join(lines)


def _plan(options) -> int:
    from model.neuron.partition.frozen import read_graph
    from model.neuron.partition.plan import plan
    from model.neuron.partition.report import as_dict, expanded, text

    graph_def, inputs, outputs = read_graph(options.path)
    # Python 3.7, on which the doctor runs, has no action "extend".
    names = {name: [*chain(*(getattr(options, name) or []))] for name in ("input", "output", "no_fuse")}
    if options.as_compiled:
        planned = _plan_as_compiled(graph_def, inputs, outputs, options)
    else:
        planned = plan(graph_def, names["input"] or inputs, names["output"] or outputs, options.route,
                       expanded(graph_def, names["no_fuse"]), options.minimum_segment_size, options.batch_size)
    print(json.dumps(as_dict(planned), indent=1) if options.json else text(planned))
    return 0


def _plan_as_compiled(graph_def, inputs, outputs, options):
    from model.graph.precision import set_edges
    from model.neuron.partition.detector import plan_of_detector

    if options.no_fuse or options.minimum_segment_size or options.input or options.output or options.batch_size != 1:
        raise ValueError("--as-compiled: inputs, outputs, nodes, segments and batch size are the gate's own; leave out "
                         "their options")
    set_edges(graph_def, EDGES["neuron"][0])
    return plan_of_detector(graph_def, inputs, outputs, options.route)


# Name → what it does, its options, and how it runs.
COMMANDS = {
    "build": ("make a SavedModel of a detector's weights, as TensorFlow Serving loads it", _add_build, _build),
    "check-detector": ("try a detector of your own on a few images, and say what breaks the gate's contract",
                       _add_check_detector, _check_detector),
    "convert": ("convert darknet weights to a PyTorch checkpoint (.pth, .pt, .safetensors) or back", _add_convert,
                _convert),
    "detect": ("find objects in images", _add_detect, _detect),
    "doctor": ("list what is missing to run on Inferentia; the exit code is 0 if nothing is", _add_doctor, _doctor),
    "plan": ("predict which operators tensorflow-neuron would place on the device", _add_plan, _plan),
}


if __name__ == "__main__":
    with without_log_lines():
        code = main()
    sys.exit(code)
