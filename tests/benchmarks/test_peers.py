"""The comparison with rivals: turns, agreement, the table and the stored file; no rival is needed."""
from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.case import Case, cfg_text, our_maps, with_few_objects
from benchmarks.engines import Engine, our_network
from model.architecture import Convolutional, MaxPool, Route, Shortcut, Upsample
from model.darknet import read_cfg
from model.weights import random_weights
from tests.model.samples import one_head, tiny

MAPS = [np.linspace(-5, 5, 100, dtype=np.float32).reshape(1, 2, 2, 25)]
KINDS = one_head(
    Convolutional(8, 3, 1, 1, activation="mish"), Convolutional(8, 3, 1, 1, groups=2, activation="swish"), Shortcut(0),
    Route((2,), groups=2, group_id=1), MaxPool(2, 2, 1), MaxPool(5, 1, 4), Upsample(2), Route((3, 6)),
    Convolutional(8, 3, 2, 1, activation="logistic"),
)


def engine(name, maps=MAPS, cast="fp32", package="numpy"):
    return Engine(name, cast, package, package, lambda case: lambda image: maps)


def broken(case):
    raise RuntimeError("no compiler\nlong story")


def compare(*engines):
    case = SimpleNamespace(architecture=tiny(), image=np.zeros((1, 64, 64, 3), np.float32))
    rates = {"fp32": lambda: 2e11, "bf16": None}
    return peers.compare(case, [engine("ours"), *engines], rates, rounds=2, images=1)


def check(report, capsys, code, text):
    found, table = peers.publish(report), capsys.readouterr().out
    assert (found, text in table) == (code, True), f"exit code = {found}, should be {code} with `{text}` in\n{table}"


def should_agree(found, expected, tolerance=1e-4):
    worst = peers.difference(found, expected)
    assert worst < tolerance, f"difference = {worst:.1e} of the range, should be < {tolerance:.0e}"


def test_engines_take_turns_in_every_round():
    turns = []
    runs = {name: lambda image, name=name: turns.append(name) for name in "ab"}
    seconds, rates = peers.measure(runs, {"fp32": lambda: turns.append("product") or 1.0}, None, rounds=2, images=2)
    assert turns == ["product", *"aaabbb"] * 2, "one product, then of each engine one run to warm up and two timed"
    assert [len(turn) for turn in seconds["a"]] == [2, 2] and rates == {"fp32": [1.0, 1.0]}


def test_ratio_is_of_the_same_round():
    figures = peers._figures([[2.0], [9.0], [1.2]], [[1.0], [3.0], [1.0]], flops=100, rates=[100.0])
    assert (figures["ratio"], figures["ratio_range"], figures["share"]) == (2.0, [1.2, 3.0], 0.5)


def test_engines_that_agree_pass(capsys):
    near = [MAPS[0] + np.float32(1e-3)]
    check(compare(engine("rival", near)), capsys, 0, "1.0e-04 |")


@pytest.mark.parametrize(("maps", "text"), [
    pytest.param([MAPS[0] + np.float32(0.5)], "**DISAGREES: 5.0e-02**", id="different"),
    pytest.param([MAPS[0] * np.float32(math.nan)], "**DISAGREES: not comparable**", id="NaN"),
    pytest.param(MAPS * 2, "**DISAGREES: not comparable**", id="one-map-too-many"),
])
def test_engine_that_disagrees_fails(capsys, maps, text):
    check(compare(engine("rival", maps)), capsys, 1, text)


def test_bf16_may_differ_but_must_be_numbers(capsys):
    check(compare(engine("rival", [MAPS[0] + 1], "bf16")), capsys, 0, "1.0e-01")
    check(compare(engine("rival", [MAPS[0] * np.inf], "bf16")), capsys, 1, "DISAGREES")


@pytest.mark.parametrize(("load", "warned"), [(0.2, False), (1.9, True)])
def test_table_says_when_the_machine_was_busy(load, warned):
    report = compare(engine("rival"))
    report["machine"] = {**report["machine"], "cores": 4, "load_average": [load, 0, 0]}
    assert ("Repeat this on a quiet machine" in peers.markdown(report)) == warned


def test_missing_library_is_a_row(capsys):
    check(compare(engine("rival", package="no_such_rival")), capsys, 0, "not installed: pip install no_such_rival")


def test_rival_that_cannot_run_is_a_row(capsys):
    rival = engine("rival")._replace(prepare=broken)
    check(compare(rival, engine("another")), capsys, 0, "| RuntimeError: no compiler |")


def test_our_own_failure_is_an_error():
    with pytest.raises(RuntimeError, match="no compiler"):
        peers.prepare(engine("ours")._replace(prepare=broken), None, [])


def test_report_is_stored_whole(tmp_path):
    report = compare(engine("rival"))
    peers.write_json(tmp_path / "peers.json", report)
    assert json.loads((tmp_path / "peers.json").read_text()) == report
    with pytest.raises(ValueError, match="JSON compliant"):
        peers.write_json(tmp_path / "peers.json", {**report, "flops": math.nan})
    assert json.loads((tmp_path / "peers.json").read_text()) == report
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]


@pytest.mark.parametrize("arguments", [["--cfg", "nowhere.cfg"], ["--output", "nowhere/peers.json"], ["--size", "7"]])
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
