"""The detector's command line: `python -m model build`, `convert`, `detect`, `doctor` and `plan`."""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from model.backends import CASTS
from model.decoding import DEFAULT, PROFILES, RESIZE, profile_for
from model.logs import without_log_lines


def main(arguments=None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model", description="Builds and runs YOLOv4 detectors.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="darknet weights → SavedModel (TensorFlow Serving loads it as it is)")
    build.add_argument("--cfg", metavar="FILE", help="darknet cfg (default: YOLOv4 for COCO, 80 classes, 608 pixels)")
    build.add_argument("--weights", required=True, metavar="FILE",
                       help="darknet weights or PyTorch checkpoint; `random` for untrained ones")
    build.add_argument("--bn-epsilon", type=float, metavar="X",
                       help="epsilon of a PyTorch checkpoint's batch norms (default: what its names say)")
    build.add_argument("--size", type=int, metavar="N", help="input size in pixels (default: the cfg's)")
    build.add_argument("--names", metavar="FILE",
                       help="class names, one a line (default: COCO's for a detector of 80 classes)")
    build.add_argument("--profile", choices=PROFILES, default=DEFAULT,
                       help="how it looks at pictures and suppresses boxes (default: %(default)s)")
    for option, settings in (("--resize", {"choices": RESIZE}), ("--score-threshold", {"type": float, "metavar": "X"}),
                             ("--iou-threshold", {"type": float, "metavar": "X"}),
                             ("--max-pixels", {"type": int, "metavar": "N"})):
        build.add_argument(option, help="in place of the profile's", **settings)
    build.add_argument("--output", required=True, metavar="DIR", help="SavedModel folder to write; must not exist")
    build.set_defaults(run=_build)
    convert = commands.add_parser("convert", help="darknet weights ↔ PyTorch checkpoint (.pth, .pt, .safetensors)")
    convert.add_argument("input", metavar="IN", help="weights in the format that the suffix names")
    convert.add_argument("output", metavar="OUT", help="file to write; must not exist")
    convert.add_argument("--cfg", metavar="FILE", help="darknet cfg (default: YOLOv4 for COCO)")
    convert.add_argument("--bn-epsilon", type=float, metavar="X",
                         help="epsilon of a PyTorch checkpoint's batch norms (default: what its names say)")
    convert.set_defaults(run=_convert)
    detect = commands.add_parser("detect", help="find objects in images")
    detect.add_argument("images", nargs="+", metavar="IMAGE")
    detect.add_argument("--model", required=True, metavar="DIR", help="SavedModel folder that `build` wrote")
    detect.add_argument("--cast", choices=CASTS["cpu"], default="fp32")
    detect.add_argument("--score-threshold", type=float, default=0.25, metavar="X", help="show what scores at least X")
    detect.add_argument("--json", action="store_true", help="print JSON instead of a table")
    detect.add_argument("--draw", metavar="DIR", help="write the images with their boxes into this folder")
    detect.set_defaults(run=_detect)
    doctor = commands.add_parser("doctor", help="what is missing to run on Inferentia; exit 0 if nothing is")
    doctor.add_argument("--detector-python", default=sys.executable, metavar="PATH",
                        help="the Python that is to run the detector (default: this one)")
    doctor.add_argument("--json", action="store_true", help="print JSON instead of a table")
    doctor.set_defaults(run=_doctor)
    plan = commands.add_parser("plan", help="predict which operators tensorflow-neuron would place on the device")
    plan.add_argument("path", metavar="PATH", help="SavedModel folder, or file with a frozen GraphDef (.pb)")
    plan.add_argument("--route", choices=("tf1", "tf2"), default="tf1",
                      help="tensorflow-neuron 1.15 or 2.x (default: %(default)s)")
    plan.add_argument("--no-fuse", action="extend", nargs="+", default=[], metavar="NAME",
                      help="nodes to leave on the CPU, by name or by a prefix that ends in *")
    plan.add_argument("--minimum-segment-size", type=int, metavar="N", help="route tf1: smallest segment (default: 2)")
    plan.add_argument("--batch-size", type=int, default=1, metavar="N", help="default: 1")
    plan.add_argument("--input", action="extend", nargs="+", metavar="NAME",
                      help="default: the signature's, or all placeholders")
    plan.add_argument("--output", action="extend", nargs="+", metavar="NAME",
                      help="default: the signature's, or what nobody reads")
    plan.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    plan.set_defaults(run=_plan)
    return parser


def _build(options) -> int:
    from model.formats.detector_files import load_architecture, load_weights
    from model.graph.build import build
    from model.names import checked_names, default_names

    architecture = load_architecture(options.cfg, options.size)
    profile = profile_for(architecture, options.profile, resize=options.resize,
                          score_threshold=options.score_threshold, iou_threshold=options.iou_threshold,
                          max_pixels=options.max_pixels)
    weights = load_weights(options.weights, architecture, options.bn_epsilon)
    classes = architecture.classes
    names = checked_names(options.names, classes) if options.names else default_names(classes)
    build(architecture, weights, options.output, profile, names)
    whose = " with COCO's names" if names and not options.names else ""
    print(f"{options.output}: {architecture.width}x{architecture.height}, {classes} classes{whose}, "
          f"{architecture.parameters():,} parameters, {architecture.flops() / 1e9:.1f} GFLOP an image")
    return 0


def _convert(options) -> int:
    from model.formats.detector_files import load_architecture, load_weights, save_weights

    if Path(options.output).exists():
        raise ValueError(f"{options.output}: exists already")
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
        raise ValueError(f"--draw: {twice} and {drawings[Path(twice).stem]} would be drawn into the same file")
    with tempfile.TemporaryDirectory() as folder:
        detector = Detector(cpu.compile(options.model, Path(folder, "compiled"), options.cast))
        names = detector.metadata.get("names") or default_names(detector.metadata.get("classes", 0))
        results = [_detect_one(detector, Path(image), options, names) for image in options.images]
    print(json.dumps(results, indent=1) if options.json else _table(results))
    return 1 if any(result["error"] for result in results) else 0


def _detect_one(detector, path: Path, options, names) -> dict:
    from model.draw import class_name, draw

    encoded = path.read_bytes()
    answer = detector.detect([encoded])[0]
    if options.draw and not answer.error:
        Path(options.draw).mkdir(parents=True, exist_ok=True)
        draw(encoded, answer, names, options.score_threshold).save(Path(options.draw, f"{path.stem}.png"))
    rows = [
        {"class": class_name(names, label), "score": round(float(score), 4), "box": [round(float(x), 1) for x in box]}
        for box, score, label in zip(*answer[:3]) if score >= options.score_threshold
    ]
    return {"image": str(path), "error": answer.error, "detections": rows}


def _doctor(options) -> int:
    from model.neuron.machine.device import facts
    from model.neuron.machine.doctor import diagnose

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
    planned = plan(graph_def, options.input or inputs, options.output or outputs, options.route,
                   expanded(graph_def, options.no_fuse), options.minimum_segment_size, options.batch_size)
    print(json.dumps(as_dict(planned), indent=1) if options.json else text(planned))
    return 0


if __name__ == "__main__":
    with without_log_lines():
        code = main()
    sys.exit(code)
