"""The comparison with rivals: processes, turns, agreement, the table and the stored file; no rival is needed."""
from __future__ import annotations

import json
import math
import os
import pickle
import signal
from functools import partial

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.case import Case, EngineError, cfg_text, our_maps, with_few_objects
from benchmarks.engine_process import EngineProcess
from benchmarks.engines import ENGINES, chosen, our_network
from model.architecture import Convolutional, MaxPool, Route, Shortcut, Upsample
from model.formats.cfg import read_cfg
from model.formats.weights import random_weights
from tests.benchmarks import standins
from tests.benchmarks.standins import MAPS, engine, giving, later
from tests.model.samples import one_head, tiny

DEADLINE = 120  # seconds, for a busy machine
SPOILED = [MAPS[0] + np.float32(0.5)]
# Name of the stand-in → how it behaves, its format, and what its row must say.
ROWS = {
    "near": (giving, [MAPS[0] + np.float32(1e-3)], "fp32", "| 1.0e-04 |"),
    "far": (giving, SPOILED, "fp32", "**DISAGREES: 5.0e-02**"),
    "NaN": (giving, [MAPS[0] * np.float32(math.nan)], "fp32", "**DISAGREES: not comparable**"),
    "one map too many": (giving, MAPS * 2, "fp32", "**DISAGREES: not comparable**"),
    "narrow": (giving, SPOILED, "bf16", "| 5.0e-02 |"),
    "narrow infinity": (giving, [MAPS[0] * np.inf], "bf16", "**DISAGREES: not comparable**"),
    "fails to load": (later, standins.raise_error, "fp32", "| RuntimeError: no compiler |"),
    "crashes": (later, standins.crash, "fp32", "crashed while computing: its process was killed by signal 11"),
    "leaves": (later, standins.leave, "fp32", "crashed while computing: its process ended with exit code 3 |"),
}


KINDS = one_head(
    Convolutional(8, 3, 1, 1, activation="mish"), Convolutional(8, 3, 1, 1, groups=2, activation="swish"), Shortcut(0),
    Route((2,), groups=2, group_id=1), MaxPool(2, 2, 1), MaxPool(5, 1, 4), Upsample(2), Route((3, 6)),
    Convolutional(8, 3, 2, 1, activation="logistic"),
)


OURS = partial(giving, MAPS)


def one_image_a_round(*engines, rounds=2, ours=OURS):
    return peers.compare(standins.case(tiny()), [engine("ours", ours), *engines], rounds, 1, DEADLINE, lambda: 2e11)


@pytest.fixture(scope="module")
def report() -> dict:
    """Of one run beside all kinds of rivals."""
    rivals = [engine(name, partial(prepare, what), cast) for name, (prepare, what, cast, _) in ROWS.items()]
    first = engine("crashes at once", standins.crash)
    return one_image_a_round(
        first, engine("cannot load", standins.raise_error), engine("missing", standins.crash, package="no_such_rival"),
        engine("loud", standins.chatter), *rivals)


def row(report, name) -> str:
    found, = [line for line in peers.markdown(report).splitlines() if line.startswith(f"| {name} |")]
    return found


def without(report, *names) -> dict:
    return {**report, "engines": [one for one in report["engines"] if one["name"] not in names]}


def should_agree(found, expected, tolerance=1e-4):
    worst = peers.difference(found, expected)
    assert worst < tolerance, f"difference = {worst:.1e} of the range, should be < {tolerance:.0e}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_row_says_how_the_rival_did(report, name):
    assert ROWS[name][-1] in row(report, name)


@pytest.mark.parametrize(("name", "words"), [
    ("crashes at once", "crashed while loading: its process was killed by signal 11 (SIGSEGV)"),
    ("cannot load", "RuntimeError: no compiler"),
    ("missing", "not installed: pip install no_such_rival"),
])
def test_rival_that_does_not_load_is_a_row(report, name, words):
    assert f"| {words} |" in row(report, name)


def test_what_a_rival_prints_is_not_in_the_table(capfd):
    report = one_image_a_round(engine("loud", standins.chatter), rounds=1)
    peers.publish(report)
    assert not {"| loud |", "| louder |"} & set(capfd.readouterr().out.splitlines())
    assert row(report, "loud")


DISAGREEING = ("far", "NaN", "one map too many", "narrow infinity")


def test_exit_code_counts_disagreement_alone(report, capsys):
    assert [peers.publish(without(report, *DISAGREEING)), peers.publish(report)] == [0, 1]
    assert capsys.readouterr().out.count("| ours | FP32 |") == 2
    for name in DISAGREEING:
        assert peers.publish(without(report, *(other for other in DISAGREEING if other != name))) == 1


def test_our_own_crash_leaves_a_table_and_is_an_error(capsys):
    report = one_image_a_round(engine("rival", OURS), ours=standins.crash)
    assert peers.publish(report) == 1
    printed = capsys.readouterr().out
    assert "| ours | FP32 |" in printed and "(SIGSEGV)" in printed
    assert row(report, "rival").endswith("| – | – |"), "there is nothing to compare it with"


def test_one_process_computes_at_a_time_and_engines_take_turns(tmp_path):
    def product():
        with log.open("a") as file:
            file.write("product start\nproduct end\n")
        return 2e11

    log, names = tmp_path / "log", ["a", "b", "c"]
    report = peers.compare(standins.case(tiny()), [engine(name, partial(standins.logged, name, log)) for name in names],
                           2, 2, DEADLINE, product)
    turn = [name for name in names for _ in range(3)]
    expected = [*names, *["product", *turn] * 2]  # each is loaded with an image, then in each round one is not timed
    assert log.read_text().split("\n")[:-1] == [f"{name} {moment}" for name in expected for moment in ("start", "end")]
    assert [[len(seconds) for seconds in one["seconds"]] for one in report["engines"]] == [[2, 2]] * 3


def test_interrupt_leaves_the_table_of_the_rounds_that_there_are():
    def product():
        if products:
            os.kill(os.getpid(), signal.SIGINT)
        products.append(1)
        return 2e11

    products: list = []
    report = peers.compare(standins.case(tiny()), [engine("ours", OURS)], 5, 1, DEADLINE, product)
    assert len(report["engines"][0]["seconds"]) == 1 and "1.00" in row(report, "ours")


@pytest.fixture
def process(tmp_path):
    """A function: how an engine is prepared → its process; all are ended with the test."""
    def start(prepare):
        (tmp_path / "case").write_bytes(pickle.dumps(standins.case(tiny())))
        started.append(EngineProcess(engine("rival", prepare), tmp_path / "case", DEADLINE))
        return started[-1]

    started: list = []
    yield start
    for one in started:
        one.close()


def test_engine_that_hangs_is_ended(process):
    hanging = process(partial(later, standins.hang))
    assert hanging.load().note == ""
    hanging.deadline = 0.2
    with pytest.raises(EngineError, match=r"^hung while computing: no response within 0.2 s$"):
        hanging.turn(3)
    hanging.close()
    assert not hanging._process.is_alive()


def test_killed_engine_is_asked_for_its_memory(process):
    killed = process(OURS)
    killed.load()
    killed._process.kill()
    with pytest.raises(EngineError, match=r"signal 9 \(SIGKILL\); is there too little memory\?"):
        killed.turn(1)


def test_ratio_is_of_the_same_round():
    figures = peers._figures([[2.0], [9.0], [1.2]], [[1.0], [3.0], [1.0]], flops=100, rates=[100.0])
    assert (figures["ratio"], figures["ratio_range"], figures["share"]) == (2.0, [1.2, 3.0], 0.5)


@pytest.mark.parametrize(("load", "warned"), [(0.2, False), (1.9, True)])
def test_table_says_when_the_machine_was_busy(report, load, warned):
    machine = {**report["machine"], "cores": 4, "load_average": [load, 0, 0]}
    assert ("Repeat this on an idle machine" in peers.markdown({**report, "machine": machine})) == warned


def test_report_is_stored_whole(report, tmp_path):
    peers.write_json(tmp_path / "peers.json", report)
    assert json.loads((tmp_path / "peers.json").read_text()) == report
    with pytest.raises(ValueError, match="JSON compliant"):
        peers.write_json(tmp_path / "peers.json", {**report, "flops": math.nan})
    assert json.loads((tmp_path / "peers.json").read_text()) == report
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]


def test_engines_are_chosen_by_name_and_ours_is_always_there():
    assert [(one.name, one.cast) for one in chosen("openvino,onnx-runtime")] == [
        ("ours, network", "fp32"), ("OpenVINO", "fp32"), ("ONNX Runtime", "fp32"), ("OpenVINO", "bf16")]
    assert chosen(None) == ENGINES


@pytest.mark.parametrize("arguments", [["--cfg", "nowhere.cfg"], ["--output", "nowhere/peers.json"], ["--size", "7"],
                                       ["--engines", "openvino,tvm"], ["--engines", ""]])
def test_bad_option_is_an_error_before_the_run(capsys, arguments):
    assert peers.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("architecture", [tiny(), KINDS], ids=["yolov4", "kinds"])
def test_cfg_of_the_records_is_the_same_architecture(cfg_path, architecture):
    cfg_path.write_text(cfg_text(architecture))
    assert read_cfg(cfg_path) == architecture


@pytest.fixture
def cfg_path(tmp_path):
    return tmp_path / "network.cfg"


@pytest.mark.slow
def test_shipped_graph_is_read_at_its_heads(tmp_path):
    case = Case(tiny(), random_weights(tiny(), 1), tmp_path)
    should_agree(our_network("fp32", case)(case.image), our_maps(tiny(), case.weights, case.image))


def test_few_objects_are_seen(tmp_path):
    architecture = tiny(128)
    case = Case(architecture, random_weights(architecture, 1), tmp_path)
    maps = our_maps(architecture, with_few_objects(architecture, case.weights, case.image), case.image)
    seen = sum(int((m.reshape(-1, 8)[:, 4] > math.log(0.001 / 0.999)).sum()) for m in maps)
    assert abs(seen - 500) < 50, f"boxes above the threshold = {seen}, should be about 500"


@pytest.mark.parametrize("architecture", [tiny(), KINDS], ids=["yolov4", "kinds"])
def test_torch_network_agrees_with_keras(architecture):
    torch = pytest.importorskip("torch", reason="pip install torch")
    from benchmarks.torch_network import TorchNetwork

    weights = random_weights(architecture, 1)
    image = np.random.default_rng(1).random((1, architecture.height, architecture.width, 3), np.float32)
    theirs = [head.numpy() for head in TorchNetwork(architecture, weights)(torch.from_numpy(image))]
    should_agree(theirs, our_maps(architecture, weights, image))
