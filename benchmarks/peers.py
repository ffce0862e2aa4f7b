"""Our CPU backend beside its rivals: same weights, same image, one run, speed as a ratio. `tox -e peers`.

Absolute times depend on the machine and its other load, so the engines take turns over several rounds, and each is
compared with ours of the same round. First their head maps must agree. Each engine has a process of its own, and only
one computes at a time. All together need more than 10 GB of memory.
"""
from __future__ import annotations

import argparse
import math
import os
import pickle
import sys
import tempfile
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from time import sleep

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.case import Case, EngineError, with_few_objects
from benchmarks.engine_process import EngineProcess
from benchmarks.engines import BF16_PRODUCT, PRODUCT_FLOPS, choices, chosen
from harness.files import write_json
from harness.machine.facts import facts, matrix_product_rates

# Largest difference of a head map from ours, as a share of the map's range. For BF16 it is only reported.
TOLERANCE = {"fp32": 1e-3, "bf16": math.inf}
COLUMNS = ("engine", "format", "version", "s/image", "GFLOP/s", "of matrix product", "time ÷ ours", "difference")
# Seconds before a turn, until the threads of the previous engine stop waiting actively.
PAUSE = 0.3
PRODUCTS = 3
INTERRUPTED = "interrupted before its turn"


def main(arguments=None) -> int:
    """The exit code: 0: all that ran agree; 1: an engine disagrees, or ours failed; 2: the options are wrong."""
    options = _parser().parse_args(arguments)
    try:
        if options.output and not Path(options.output).absolute().parent.is_dir():
            raise ValueError(f"--output {options.output}: its folder does not exist; make it")
        engines = chosen(options.engines)
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            report = compare(_case(options, folder), engines, options.rounds, options.images, options.deadline)
        return publish(report, options.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def publish(report, output=None) -> int:
    """Prints the table, writes the JSON file and returns the exit code."""
    print(markdown(report))
    if output:
        write_json(output, report)
    ours, *_ = rows = report["engines"]
    return 1 if ours["note"] or any(row["agrees"] is False for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", metavar="FILE", help="darknet cfg (default: YOLOv4 for COCO, 80 classes, 608 pixels)")
    parser.add_argument("--weights", default="random", metavar="FILE", help="darknet weights (default: untrained ones)")
    parser.add_argument("--size", type=int, metavar="N", help="input size in pixels (default: the cfg's)")
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="turns of every engine (default 5)")
    parser.add_argument("--images", type=_positive, default=3, metavar="N", help="timed images a turn (default 3)")
    parser.add_argument("--engines", metavar="NAME,NAME", help=f"which to run beside ours (default: all): {choices()}")
    parser.add_argument("--deadline", type=_positive, default=900, metavar="SECONDS",
                        help="an engine that takes longer to load or for a turn is given up (default: 900)")
    parser.add_argument("--output", metavar="FILE", help="store the results as JSON")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def _case(options, folder) -> Case:
    from model.formats.detector_files import RANDOM, load_architecture, load_weights

    architecture = load_architecture(options.cfg, options.size)
    case = Case(architecture, load_weights(options.weights, architecture), folder, options.cfg)
    if options.weights == RANDOM:
        case.weights = with_few_objects(architecture, case.weights, case.image)
    return case


class Entrant:
    """An engine's row of the table, its timed turns, and its process until it fails."""

    def __init__(self, engine, case_file, deadline):
        self.engine, self.turns, self.process = engine, [], None
        self.row = {"name": engine.name, "cast": engine.cast, "version": "", "agrees": None, "difference": None,
                    "note": INTERRUPTED}
        self._case_file, self._deadline = case_file, deadline

    def load(self) -> list:
        """The head maps, or [] if the engine cannot run here; then its row says why."""
        print(f"loading {self.engine.name} {self.engine.cast}", file=sys.stderr)
        self.process = EngineProcess(self.engine, self._case_file, self._deadline)
        try:
            self.row["version"], maps, self.row["note"] = self.process.load()
        except EngineError as error:
            self.row["note"], maps = str(error), []
        if self.row["note"]:
            self.close()
        return maps

    def turn(self, images: int) -> None:
        """Times so many images if the engine still runs."""
        if not self.process:
            return
        sleep(PAUSE)
        try:
            self.turns.append(self.process.turn(images))
        except EngineError as error:
            self.row["note"] = str(error)
            self.close()

    def close(self) -> None:
        if self.process:
            self.process.close()
        self.process = None


def compare(case, engines, rounds, images, deadline, product=lambda: max(matrix_product_rates(1.0))) -> dict:
    """The report for the table and the JSON file; the first engine is the reference.

    An interrupt ends the rounds, and the report has those that are complete.
    """
    conditions = _conditions(case, rounds, images)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, ExitStack() as stack:
        case_file = Path(folder, "case")
        case_file.write_bytes(pickle.dumps(case))
        entrants = [Entrant(engine, case_file, deadline) for engine in engines]
        bf16 = Entrant(BF16_PRODUCT, case_file, deadline)
        for entrant in (*entrants, bf16):
            stack.callback(entrant.close)
        rates: list = []
        with suppress(KeyboardInterrupt):
            _load(entrants)
            if any(entrant.engine.cast == "bf16" and entrant.process for entrant in entrants):
                bf16.load()
            _measure([*entrants, bf16], lambda: rates.append(product()), rounds, images)
    products = {"fp32": rates, "bf16": [PRODUCT_FLOPS / min(turn) for turn in bf16.turns]}
    flops, ours = conditions["flops"], entrants[0].turns
    rows = [{**one.row, **_figures(one.turns, ours, flops, products[one.engine.cast])} for one in entrants]
    return {**conditions, "matrix_product": products, "engines": rows}


def _load(entrants) -> None:
    """Loads the engines one by one, and compares the head maps of each with those of the first."""
    reference, *rivals = entrants
    expected = reference.load()
    for rival in rivals:
        maps = rival.load()
        if maps and expected:
            worst = difference(maps, expected)
            rival.row.update(agrees=worst < TOLERANCE[rival.engine.cast],
                             difference=worst if math.isfinite(worst) else None)


def _measure(entrants, yardstick, rounds, images) -> None:
    """Lets the yardstick and all engines take turns in every round."""
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        yardstick()
        for entrant in entrants:
            entrant.turn(PRODUCTS if entrant.engine is BF16_PRODUCT else images)


def difference(maps, reference) -> float:
    """The largest difference of any map as a share of the reference map's range; infinite if not comparable."""
    if [m.shape for m in maps] != [r.shape for r in reference]:
        return math.inf
    worst = max(float(np.abs(m - r).max() / np.ptp(r)) for m, r in zip(maps, reference))
    return worst if math.isfinite(worst) else math.inf


def _figures(seconds, ours, flops, rates) -> dict:
    """Medians over all images; the ratio is the median of the rounds' ratios, with the lowest and highest."""
    if not seconds:
        return {"seconds": [], "median": None, "flops_per_second": None, "share": None, "ratio": None,
                "ratio_range": None}
    typical = median(second for turn in seconds for second in turn)
    # A round without a turn of ours has no ratio.
    ratios = sorted(median(theirs) / median(mine) for theirs, mine in zip(seconds, ours))
    return {
        "seconds": seconds, "median": typical, "flops_per_second": flops / typical,
        "share": flops / typical / median(rates) if rates else None,
        "ratio": median(ratios) if ratios else None, "ratio_range": [ratios[0], ratios[-1]] if ratios else None,
    }


def _conditions(case, rounds, images) -> dict:
    """The machine before the run, because the run itself raises the load average."""
    from model.graph.build import architecture_digest

    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": facts(),
        "width": case.architecture.width, "height": case.architecture.height, "flops": case.architecture.flops(),
        "architecture_sha256": architecture_digest(case.architecture), "rounds": rounds, "images": images,
    }


def markdown(report: dict) -> str:
    """The conditions of the run, then one line per engine."""
    machine, flops = report["machine"], report["flops"] / 1e9
    products = ", ".join(f"{cast.upper()} {_product(rates)}" for cast, rates in report["matrix_product"].items())
    lines = [
        f"{report['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"load average {machine['load_average'][0]:.2f} before the run",
        f"{report['width']}×{report['height']}, batch 1, {flops:.3g} GFLOP an image; "
        f"medians of {report['rounds']} rounds × {report['images']} images, each engine in its own process, in turn",
        f"Matrix product: {products}",
    ]
    if busy(machine):
        lines.append("**The machine was busy before the run. Engines whose threads wait for each other (PyTorch) are "
                     "then several times slower. Repeat this on an idle machine.**")
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, report["engines"])]
    return "\n\n".join([*lines, "\n".join(f"| {' | '.join(cells)} |" for cells in rows)])


def busy(machine) -> bool:
    """Whether other processes used more than a quarter of the cores in the minute before."""
    return machine["load_average"][0] > machine["cores"] / 4


def _product(rates) -> str:
    return f"{median(rates) / 1e9:.0f} GFLOP/s" if rates else "not measured"


def _cells(row) -> list[str]:
    named = [row["name"], row["cast"].upper(), row["version"] or "–"]
    if row["note"] or not row["median"]:
        return [*named, (row["note"] or INTERRUPTED).replace("|", "/"), "", "", "", _difference(row)]
    share = f"{row['share']:.0%}" if row["share"] else "–"
    rate = f"{row['flops_per_second'] / 1e9:.0f}"
    return [*named, f"{row['median']:.4f}", rate, share, _ratio(row), _difference(row)]


def _ratio(row) -> str:
    if row["ratio"] is None:
        return "–"
    low, high = row["ratio_range"]
    return f"{row['ratio']:.2f} ({low:.2f}–{high:.2f})"


def _difference(row) -> str:
    if row["agrees"] is None:
        return "–"
    size = "not comparable" if row["difference"] is None else f"{row['difference']:.1e}"
    return size if row["agrees"] else f"**DISAGREES: {size}**"


if __name__ == "__main__":
    sys.exit(main())
