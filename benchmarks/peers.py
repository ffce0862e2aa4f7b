"""Our CPU backend beside its rivals: same weights, same picture, one run; speed as a ratio. `tox -e peers`.

Absolute times are the machine's and drift with what else it does, so the engines take turns over several rounds, and
each is compared with ours of the same round. First all must agree on what the network computes. With all of
them loaded the process needs more than 10 GB of memory.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.case import Case, EngineError, with_few_objects
from benchmarks.engines import ENGINES, bf16_product_rate, version
from harness.machine import facts, matrix_product_rate

# Largest difference of a head map from ours, in parts of the map's range. BF16 is reported, but must be numbers.
TOLERANCE = {"fp32": 1e-3, "bf16": math.inf}
COLUMNS = ("engine", "format", "version", "s/image", "GFLOP/s", "of matrix product", "time ÷ ours", "difference")


def main(arguments=None) -> int:
    """0: all that ran agree. 1: an engine disagrees on the head maps. 2: the options cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        if options.output and not Path(options.output).absolute().parent.is_dir():
            raise ValueError(f"--output {options.output}: there is no such folder")
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            report = compare(_case(options, folder), ENGINES, _yardsticks(), options.rounds, options.images)
        return publish(report, options.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def publish(report, output=None) -> int:
    """Prints the table, stores the JSON file and gives the exit code."""
    print(markdown(report))
    if output:
        write_json(output, report)
    return 1 if any(row["agrees"] is False for row in report["engines"]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", metavar="FILE", help="darknet cfg (default: YOLOv4 for COCO, 80 classes, 608 pixels)")
    parser.add_argument("--weights", default="random", metavar="FILE", help="darknet weights (default: untrained ones)")
    parser.add_argument("--size", type=int, metavar="N", help="input size in pixels (default: the cfg's)")
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="turns of every engine (default 5)")
    parser.add_argument("--images", type=_positive, default=3, metavar="N", help="timed images a turn (default 3)")
    parser.add_argument("--output", metavar="FILE", help="store the results as JSON")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _case(options, folder) -> Case:
    from model.load import RANDOM, load_architecture, load_weights

    architecture = load_architecture(options.cfg, options.size)
    case = Case(architecture, load_weights(options.weights, architecture), folder, options.cfg)
    if options.weights == RANDOM:
        case.weights = with_few_objects(architecture, case.weights, case.image)
    return case


def _yardsticks() -> dict:
    """Per format, what measures the machine's matrix-product rate in FLOP/s; None where it has no such arithmetic."""
    return {"fp32": matrix_product_rate, "bf16": bf16_product_rate()}


def compare(case, engines, yardsticks, rounds, images) -> dict:
    """Everything about the run that the table and the JSON file say; the first engine is the reference."""
    conditions = _conditions(case, rounds, images)
    rows, runs, reference = [], {}, []
    for number, engine in enumerate(engines):
        print(f"loading {engine.name} {engine.cast}", file=sys.stderr)
        row, run, maps = prepare(engine, case, reference)
        reference = reference or maps
        rows.append(row)
        if run:
            runs[number] = run
    seconds, rates = measure(runs, yardsticks, case.image, rounds, images)
    flops = case.architecture.flops()
    for number, row in enumerate(rows):
        row.update(_figures(seconds.get(number), seconds[0], flops, rates[row["cast"]]))
    return {**conditions, "matrix_product": rates, "engines": rows}


def prepare(engine, case, reference) -> tuple:
    """(row, run or None, head maps); a rival that cannot run here is a row that says why."""
    row = {"name": engine.name, "cast": engine.cast, "version": "", "agrees": None, "difference": None, "note": ""}
    try:
        row["version"] = version(engine)
        run = engine.prepare(case)
        maps = [np.array(head) for head in run(case.image)]
    except Exception as error:  # whatever a rival raises is its row, and no reason to lose the others
        if not reference:
            raise
        return {**row, "note": _note(error)}, None, []
    if maps and reference:
        row.update(_agreement(maps, reference, TOLERANCE[engine.cast]))
    return row, run, maps


def _note(error) -> str:
    kind = "" if isinstance(error, EngineError) else f"{type(error).__name__}: "
    return f"{kind}{(str(error).strip().splitlines() or [''])[0][:160]}"


def _agreement(maps, reference, tolerance) -> dict:
    worst = difference(maps, reference)
    return {"agrees": worst < tolerance, "difference": worst if math.isfinite(worst) else None}


def difference(maps, reference) -> float:
    """The largest difference of any map in parts of the reference map's range; infinite where not comparable."""
    if [m.shape for m in maps] != [r.shape for r in reference]:
        return math.inf
    worst = max(float(np.abs(m - r).max() / np.ptp(r)) for m, r in zip(maps, reference))
    return worst if math.isfinite(worst) else math.inf


def measure(runs, yardsticks, image, rounds, images) -> tuple[dict, dict]:
    """(seconds, rates): per engine and per format one list a round, as all take turns in every round."""
    seconds, rates = {name: [] for name in runs}, {cast: [] for cast in yardsticks}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for cast, rate in yardsticks.items():
            rates[cast] += [rate()] if rate else []
        for name, run in runs.items():
            run(image)  # not timed: brings its weights back into the caches and its threads back to work
            seconds[name].append([_timed(run, image) for _ in range(images)])
    return seconds, rates


def _timed(run, image) -> float:
    start = perf_counter()
    run(image)
    return perf_counter() - start


def _figures(seconds, ours, flops, rates) -> dict:
    """Medians over all images; the ratio is the median of the rounds' own ratios, with the lowest and highest."""
    if not seconds:
        return {"seconds": [], "median": None, "flops_per_second": None, "share": None, "ratio": None}
    typical = median(second for turn in seconds for second in turn)
    ratios = sorted(median(theirs) / median(mine) for theirs, mine in zip(seconds, ours))
    return {
        "seconds": seconds, "median": typical, "flops_per_second": flops / typical,
        "share": flops / typical / median(rates) if rates else None,
        "ratio": median(ratios), "ratio_range": [ratios[0], ratios[-1]],
    }


def _conditions(case, rounds, images) -> dict:
    """To be noted before the run: afterwards the load average is the run's own."""
    from model.build import architecture_digest

    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": facts(),
        "width": case.architecture.width, "height": case.architecture.height, "flops": case.architecture.flops(),
        "architecture_sha256": architecture_digest(case.architecture), "rounds": rounds, "images": images,
    }


def write_json(path, report: dict) -> None:
    """Writes the report whole or not at all."""
    path = Path(path)
    draft = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        draft.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def markdown(report: dict) -> str:
    """The conditions of the run, then one line per engine."""
    machine, flops = report["machine"], report["flops"] / 1e9
    products = ", ".join(f"{cast.upper()} {_product(rates)}" for cast, rates in report["matrix_product"].items())
    lines = [
        f"{report['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"load average {machine['load_average'][0]:.2f} before the run",
        f"{report['width']}×{report['height']}, batch 1, {flops:.3g} GFLOP an image; "
        f"medians of {report['rounds']} rounds × {report['images']} images, all engines in turn",
        f"Matrix product: {products}",
    ]
    if busy(machine):
        lines.append("**The machine was busy before the run. Engines whose threads wait for each other (PyTorch)"
                     " then lose many times over. Repeat this on a quiet machine.**")
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, report["engines"])]
    return "\n\n".join([*lines, "\n".join(f"| {' | '.join(cells)} |" for cells in rows)])


def busy(machine) -> bool:
    """Whether others had more than a quarter of the cores in the minute before."""
    return machine["load_average"][0] > machine["cores"] / 4


def _product(rates) -> str:
    return f"{median(rates) / 1e9:.0f} GFLOP/s" if rates else "not in this processor"


def _cells(row) -> list[str]:
    named = [row["name"], row["cast"].upper(), row["version"] or "–"]
    if row["note"]:
        return [*named, row["note"].replace("|", "/"), "", "", "", _difference(row)]
    share = f"{row['share']:.0%}" if row["share"] else "–"
    low, high = row["ratio_range"]
    return [*named, f"{row['median']:.4f}", f"{row['flops_per_second'] / 1e9:.0f}", share,
            f"{row['ratio']:.2f} ({low:.2f}–{high:.2f})", _difference(row)]


def _difference(row) -> str:
    if row["agrees"] is None:
        return "–"
    size = "not comparable" if row["difference"] is None else f"{row['difference']:.1e}"
    return size if row["agrees"] else f"**DISAGREES: {size}**"


if __name__ == "__main__":
    sys.exit(main())
