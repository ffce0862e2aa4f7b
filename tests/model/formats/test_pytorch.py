"""PyTorch checkpoints: every number finds its convolution, whatever the spelling; other files are refused."""
from __future__ import annotations

import json
import os
import pickle
import re
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from model.__main__ import main
from model.architecture import Convolutional
from model.formats import pytorch
from model.formats.darknet_weights import write_weights
from model.formats.detector_files import load_weights, save_weights
from model.formats.pytorch import read_checkpoint, write_checkpoint
from model.formats.pytorch_names import checkpoint_arrays, module_names, weights_from_arrays
from model.formats.weights import ConvolutionWeights, WeightsError, digest, random_weights
from model.yolov4 import yolov4
from tests.model.samples import cfg_text, one_head, tiny

TINY = tiny()
WEIGHTS = random_weights(TINY, 1)
# No YOLOv4: twelve convolutions of one shape, so that numbers of two digits are sorted too, and the head's.
CHAIN = one_head(*[Convolutional(3, 1)] * 12)
CHAIN_WEIGHTS = random_weights(CHAIN, 2)


def arrays(architecture=TINY, weights=WEIGHTS) -> dict:
    """What a PyTorch user's state dict holds."""
    return {key: np.array(array, order="C") for key, array in checkpoint_arrays(architecture, weights).items()}


def renamed(old, new, given=None) -> dict:
    return {re.sub(old, new, key): array for key, array in (given or arrays()).items()}


def read(given, architecture=TINY, keeps_order=True, epsilon=None) -> str:
    return digest(weights_from_arrays(given, architecture, keeps_order, epsilon))


def refused(given, architecture=TINY, keeps_order=True, epsilon=None) -> str:
    with pytest.raises(WeightsError) as caught:
        weights_from_arrays(given, architecture, keeps_order, epsilon)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_file(path, architecture=TINY) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(path, architecture)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value)


# Names and order


def weightless(conv: Convolutional, channels) -> ConvolutionWeights:
    """Arrays of the right shapes that take no memory."""
    def zeros(*shape):
        return np.broadcast_to(np.float32(0), shape)

    rows = [zeros(conv.filters)] * (4 if conv.batch_normalize else 1)
    return ConvolutionWeights(zeros(conv.size, conv.size, channels // conv.groups, conv.filters), *rows)


@pytest.fixture(scope="module")
def shapes() -> dict:
    """Key → shape of the whole YOLOv4's checkpoint."""
    architecture = yolov4()
    weights = [weightless(conv, channels) for _, conv, channels in architecture.convolutions()]
    return {key: array.shape for key, array in checkpoint_arrays(architecture, weights).items()}


def test_yolov4_has_the_published_checkpoints_entries_and_numbers(shapes):
    numbers = sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith("num_batches_tracked"))
    assert (len(shapes), sum(len(shape) == 4 for shape in shapes.values()), numbers) == (648, 110, 64_429_405)


# From the class definitions of Tianxiaomo's models.py.
PUBLISHED = {
    "down1.conv1.conv.0.weight": (32, 3, 3, 3),
    "down1.conv6.conv.0.weight": (64, 32, 3, 3),
    "down1.conv8.conv.0.weight": (64, 128, 1, 1),
    "down2.conv1.conv.1.running_var": (128,),
    "down2.resblock.module_list.1.1.conv.0.weight": (64, 64, 3, 3),
    "down3.resblock.module_list.7.0.conv.0.weight": (128, 128, 1, 1),
    "down4.conv5.conv.0.weight": (512, 512, 1, 1),
    "down5.resblock.module_list.3.1.conv.1.running_mean": (512,),
    "neek.conv4.conv.0.weight": (512, 2048, 1, 1),
    "neek.conv8.conv.0.weight": (256, 512, 1, 1),
    "neek.conv15.conv.0.weight": (128, 256, 1, 1),
    "neek.conv20.conv.0.weight": (128, 256, 1, 1),
    "head.conv2.conv.0.weight": (255, 256, 1, 1),
    "head.conv2.conv.0.bias": (255,),
    "head.conv3.conv.0.weight": (256, 128, 3, 3),
    "head.conv10.conv.0.weight": (255, 512, 1, 1),
    "head.conv12.conv.0.weight": (512, 1024, 1, 1),
    "head.conv18.conv.0.bias": (255,),
}


def test_yolov4s_keys_have_the_published_shapes(shapes):
    assert {key: shapes.get(key) for key in PUBLISHED} == PUBLISHED


def convolutions(shapes, stage) -> list[str]:
    """The names within the stage of those that have a kernel, in the checkpoint's order."""
    found = (re.fullmatch(rf"{stage}\.(.*)\.conv\.0\.weight", key) for key in shapes)
    return [one[1] for one in found if one]


def test_residual_blocks_come_before_the_convolutions_that_join_the_stage(shapes):
    blocks = [f"resblock.module_list.{k}.{part}" for k in (0, 1) for part in (0, 1)]
    assert convolutions(shapes, "down2") == ["conv1", "conv2", "conv3", *blocks, "conv4", "conv5"]


def test_stages_come_in_the_order_of_execution(shapes):
    assert list(dict.fromkeys(key.split(".")[0] for key in shapes)) == [
        "down1", "down2", "down3", "down4", "down5", "neek", "head"]


@pytest.mark.parametrize("stage, count", [("down1", 8), ("neek", 20), ("head", 18)])
def test_a_stage_without_residual_blocks_is_in_the_order_of_its_numbers(shapes, stage, count):
    assert convolutions(shapes, stage) == [f"conv{k}" for k in range(1, count + 1)]


def test_rows_and_kernels_lie_under_pytorchs_keys():
    first, conv = arrays(), WEIGHTS[0]
    rows = {"weight": conv.scale, "bias": conv.bias, "running_mean": conv.mean, "running_var": conv.variance}
    for leaf, row in rows.items():
        np.testing.assert_array_equal(first[f"down1.conv1.conv.1.{leaf}"], row)
    assert first["down1.conv1.conv.0.weight"][5, 2, 0, 1] == conv.kernel[0, 1, 2, 5]


def test_names_do_not_depend_on_activations_classes_and_width():
    leaky = [replace(layer, activation="leaky") if isinstance(layer, Convolutional) else layer for layer in TINY.layers]
    assert module_names(replace(TINY, layers=tuple(leaky))) == module_names(TINY)


@pytest.mark.parametrize("architecture", [CHAIN, yolov4(depth=(2, 2, 8, 8, 4))], ids=["chain", "deeper first stage"])
def test_what_is_not_yolov4_gets_numbered_names(architecture):
    assert module_names(architecture)[:2] == [("conv_000", "norm_000"), ("conv_001", "norm_001")]


@given(st.permutations(list(arrays())))
def test_known_names_need_no_order(keys):
    given = arrays()
    assert read({key: given[key] for key in keys}) == digest(WEIGHTS)


SPELLINGS = {
    "neck": renamed("^neek", "neck"),
    "several GPUs": renamed("^", "module."),
    "deep prefix": renamed("^", "module.model.net.", renamed("^neek", "neck")),
    "no batch counts": {key: array for key, array in arrays().items() if "num_batches" not in key},
}


@pytest.mark.parametrize("keeps_order", [True, False], ids=["file's order", "sorted"])
@pytest.mark.parametrize("given", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_of_the_known_names_mean_the_same(given, keeps_order):
    assert read(dict(sorted(given.items())), keeps_order=keeps_order) == digest(WEIGHTS)


FOREIGN = renamed("(down|neek|head)", r"part.\1", renamed("conv", "c"))


def test_other_names_are_read_in_the_files_order():
    assert read(FOREIGN, epsilon=1e-5) == digest(WEIGHTS)


def test_other_names_whose_order_is_lost_are_refused():
    assert "do not show the order of the convolutions, which safetensors files do not" in refused(FOREIGN, TINY, False)


def numbered(conv, norm) -> dict:
    """The chain's arrays under other names, `{}` in place of their numbers."""
    given = {}
    for key, array in arrays(CHAIN, CHAIN_WEIGHTS).items():
        kind, number, leaf = re.fullmatch(r"(conv|norm)_(\d+)\.(\w+)", key).groups()
        given[f"{(conv if kind == 'conv' else norm).replace('{}', str(int(number)))}.{leaf}"] = array
    return given


NUMBERED = {"ours": ("conv_{}", "norm_{}"), "darknet2pytorch": ("models.{}.conv{}", "models.{}.bn{}"),
            "plain": ("c.{}", "b.{}")}


@pytest.mark.parametrize("conv, norm", NUMBERED.values(), ids=NUMBERED)
def test_numbered_names_come_in_the_order_of_their_numbers(conv, norm):
    given = dict(sorted(numbered(conv, norm).items()))
    assert read(given, CHAIN, False, epsilon=1e-5) == digest(CHAIN_WEIGHTS)


# Batch norm's epsilon


FAMILIES = {
    "darknet2pytorch": ("models.{}.conv{}", "models.{}.bn{}", 1e-5),
    "eriklindernoren": ("module_list.{}.conv_{}", "module_list.{}.batch_norm_{}", 1e-5),
    "yolov5 and yolov7": ("model.{}.conv", "model.{}.bn", 1e-3),
    "of several GPUs": ("module.model.{}.conv", "module.model.{}.bn", 1e-3),
}


@pytest.mark.parametrize("conv, norm, epsilon", FAMILIES.values(), ids=FAMILIES)
def test_names_that_tell_the_epsilon_need_no_option(conv, norm, epsilon):
    weights = weights_from_arrays(numbered(conv, norm), CHAIN)
    assert_same_batch_norm(weights, CHAIN_WEIGHTS, epsilon)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-4, 1e-5, 1e-6])
def test_an_epsilon_that_is_given_counts_whatever_the_names(epsilon):
    assert_same_batch_norm(weights_from_arrays(arrays(), TINY, True, epsilon), WEIGHTS, epsilon)


def assert_same_batch_norm(found, expected, epsilon) -> None:
    """With darknet's epsilon, what was found divides as the expected does with `epsilon`."""
    for one, two in zip(found, expected):
        if two.variance is not None:
            np.testing.assert_allclose(one.variance.astype(float) + 1e-5, two.variance.astype(float) + epsilon, 1e-6)


AMBIGUOUS = {
    "PyTorch_YOLOv4 and early yolov3": ("module_list.{}.Conv2d", "module_list.{}.BatchNorm2d"),
    "nn.Sequential": ("{}.0", "{}.1"),
    "a family's convolutions with another's batch norms": ("models.{}.conv{}", "models.{}.batch_norm_{}"),
}


@pytest.mark.parametrize("conv, norm", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_names_that_do_not_tell_the_epsilon_are_refused_with_the_option(conv, norm):
    message = refused(numbered(conv, norm), CHAIN)
    assert norm.replace("{}", "0") in message and "convert IN OUT.weights --bn-epsilon X" in message, message
    assert read(numbered(conv, norm), CHAIN, epsilon=1e-5) == digest(CHAIN_WEIGHTS)


@pytest.mark.parametrize("epsilon", [0, -1e-5, 1, float("nan")])
def test_an_epsilon_without_sense_is_refused(epsilon):
    assert "must be greater than 0 and at most 0.1" in refused(arrays(), epsilon=epsilon)


def test_without_batch_norm_no_epsilon_is_asked_for():
    head = one_head()
    weights = random_weights(head, 0)
    given = {f"any.{leaf}": array for leaf, array in zip(("weight", "bias"), arrays(head, weights).values())}
    assert read(given, head) == digest(weights)


def test_blocks_that_list_convolutions_in_another_order_are_refused():
    message = refused(numbered("model.{}.cv1.conv", "model.{}.cv1.bn"), CHAIN)
    assert "blocks like `model.0.cv1.conv` do not list their convolutions in the cfg's order" in message


def test_the_epsilon_of_an_unknown_project_is_asked_for_and_then_exact(real, tmp_path, capsys):
    torch()
    from model.formats.cfg import read_cfg
    from model.formats.darknet_weights import read_weights
    from model.graph.network import assign, network

    case, output = real / "cases/checkpoint-bn-eps", tmp_path / "w.weights"
    command = ["convert", str(case / "case.pth"), str(output), "--cfg", str(case / "case.cfg")]
    assert main(command) == 2 and "--bn-epsilon X" in capsys.readouterr().err and not output.exists()
    assert main([*command, "--bn-epsilon", "1e-4"]) == 0
    architecture = read_cfg(case / "case.cfg")
    keras_network = network(architecture)
    assign(keras_network, architecture, read_weights(output, architecture))
    expected = np.load(case / "expected.npy")
    found = np.asarray(keras_network(np.full((1, 64, 64, 3), 0.5, np.float32)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("weights", ["random", "w.weights"])
def test_an_epsilon_for_what_is_no_checkpoint_is_refused(weights):
    with pytest.raises(WeightsError, match=r"is not a PyTorch checkpoint, so the epsilon .* cannot be 0\.0001"):
        load_weights(weights, TINY, 1e-4)


# Files


@pytest.fixture(params=[".pth", ".pt", ".safetensors"])
def suffix(request):
    if request.param != ".safetensors":
        torch()
    return request.param


def torch():
    return pytest.importorskip("torch", reason="pip install torch to test .pth files")


@pytest.mark.parametrize("architecture, weights", [(TINY, WEIGHTS), (CHAIN, CHAIN_WEIGHTS)], ids=["YOLOv4", "chain"])
def test_written_and_read_again_is_the_same(tmp_path, suffix, architecture, weights):
    write_checkpoint(tmp_path / f"w{suffix}", architecture, weights)
    assert digest(read_checkpoint(tmp_path / f"w{suffix}", architecture)) == digest(weights)


def test_converted_there_and_back_is_the_same_file(tmp_path, suffix, capsys):
    cfg, first, middle, last = (str(tmp_path / name) for name in ("s.cfg", "1.weights", f"2{suffix}", "3.weights"))
    Path(cfg).write_text(cfg_text("[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=mish"))
    write_weights(first, random_weights(one_head(Convolutional(8, 3, 1, 1, activation="mish")), 3))
    assert main(["convert", first, middle, "--cfg", cfg]) == main(["convert", middle, last, "--cfg", cfg]) == 0
    assert Path(first).read_bytes() == Path(last).read_bytes()
    assert capsys.readouterr().out == f"{middle}: 302 parameters\n{last}: 302 parameters\n"


def test_no_conversion_replaces_a_file(tmp_path, capsys):
    path = tmp_path / "w.weights"
    path.write_text("trained for a week")
    assert main(["convert", "random", str(path)]) == 2
    assert path.read_text() == "trained for a week"
    assert capsys.readouterr().err == f"error: {path}: exists already; name another file\n"


def test_writing_into_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.h5: must end in \.weights \(darknet\), \.pth"):
        save_weights(tmp_path / "w.h5", TINY, WEIGHTS)


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(path, TINY, WEIGHTS)
    assert (os.listdir(tmp_path), path.read_bytes()) == ([path.name], b"old")


def rounded(convert) -> str:
    """The digest of the weights after each number went through another type."""
    return digest([ConvolutionWeights(*(convert(a).astype(np.float32) for a in conv.arrays())) for conv in WEIGHTS])


def bfloat16_bits(array) -> np.ndarray:
    """The upper halves of the float32 numbers: bfloat16, rounded towards zero."""
    return (np.ascontiguousarray(array).view("<u4") >> 16).astype("<u2")


def test_float16_is_widened(tmp_path):
    halves = {key: array.astype(np.float16) for key, array in arrays().items() if array.dtype == np.float32}
    save_file(halves, tmp_path / "w.safetensors")
    assert digest(load_weights(tmp_path / "w.safetensors", TINY)) == rounded(lambda a: a.astype(np.float16))


def test_bfloat16_is_widened(tmp_path):
    tensors = {key: {"dtype": "bfloat16", "shape": array.shape, "data": bfloat16_bits(array).tobytes()}
               for key, array in arrays().items() if array.dtype == np.float32}
    (tmp_path / "w.safetensors").write_bytes(serialized(tensors))
    expected = rounded(lambda a: (bfloat16_bits(a).astype("<u4") << 16).view("<f4"))
    assert digest(load_weights(tmp_path / "w.safetensors", TINY)) == expected


def serialized(tensors) -> bytes:
    """A safetensors file made by hand: its header's length, the header as JSON, the numbers."""
    header, data = {}, b""
    for key, tensor in tensors.items():
        header[key] = {"dtype": "BF16", "shape": tensor["shape"],
                       "data_offsets": [len(data), len(data) + len(tensor["data"])]}
        data += tensor["data"]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# Errors


def without(*keys) -> dict:
    return {key: array for key, array in arrays().items() if key not in keys}


def but(key, array, given=None) -> dict:
    return {**(given or arrays()), key: array}


def spoiled(key, number) -> dict:
    array = arrays()[key]
    array.flat[5] = number
    return but(key, array)


KERNEL, NORM, BIAS = "down2.conv4.conv.0.weight", "neek.conv3.conv.1.running_var", "head.conv2.conv.0.bias"
WRONG = {
    "no kernel": (without(KERNEL), "has 73 convolutions and 71 batch norms, must have 74 and 71 "
                                   "(`down2.conv4.conv.0.weight` is missing); give the checkpoint of this cfg"),
    "no head's kernel": (without("head.conv2.conv.0.weight"),
                         "`head.conv2.conv.0.weight` is missing, must have shape (24, 16, 1, 1)"),
    "no bias": (without(BIAS), "`head.conv2.conv.0.bias` is missing, must have shape (24,)"),
    "no variance": (without(NORM), "`neek.conv3.conv.1.running_var` is missing, must have shape (24,)"),
    "nothing": ({}, "has 0 convolutions and 0 batch norms, must have 74 and 71"),
    "another key": (but("anchors", np.zeros(9)),
                    "the key `anchors` belongs neither to a convolution nor to batch norm"),
    "a misspelled key": ({**without(KERNEL), KERNEL + "s": arrays()[KERNEL]},
                         "the key `down2.conv4.conv.0.weights` belongs neither"),
    "a bias besides batch norm": (but("down1.conv1.conv.0.bias", np.zeros(8, np.float32)),
                                  "the key `down1.conv1.conv.0.bias` is not part of this architecture"),
    "one convolution more": (but("head.conv19.conv.0.weight", np.zeros((8, 8, 1, 1), np.float32)),
                             "has 75 convolutions and 71 batch norms, must have 74 and 71 "
                             "(`head.conv19.conv.0` is not part of this architecture)"),
    "two spellings of the neck": ({**arrays(), **SPELLINGS["neck"]}, "convolutions and"),
    "two networks": ({**renamed("^", "model."), **renamed("^", "ema.")},
                     "has 148 convolutions and 142 batch norms, must have 74 and 71; give the"),
    "wrong shape": (but(KERNEL, np.zeros((8, 8, 3, 3), np.float32)),
                    "`down2.conv4.conv.0.weight` has shape (8, 8, 3, 3), must have (8, 8, 1, 1)"),
    "transposed": (but("head.conv2.conv.0.weight", np.zeros((16, 24, 1, 1), np.float32)),
                   "`head.conv2.conv.0.weight` has shape (16, 24, 1, 1), must have (24, 16, 1, 1)"),
    "wrong row": (but(NORM, np.ones(7, np.float32)),
                  "`neek.conv3.conv.1.running_var` has shape (7,), must have (24,)"),
    "NaN": (spoiled(KERNEL, np.nan), "`down2.conv4.conv.0.weight` is nan at (0, 5, 0, 0), must be finite"),
    "infinity": (spoiled(BIAS, -np.inf), "`head.conv2.conv.0.bias` is -inf at (5,), must be finite"),
    "negative variance": (spoiled(NORM, -0.1),
                          "`neek.conv3.conv.1.running_var` is -0.1, must be greater than -1e-05 for batch norm"),
    "float64": (but(KERNEL, np.zeros((8, 8, 1, 1))),
                "`down2.conv4.conv.0.weight` is of type float64, must be a tensor"),
    "integers": (but(BIAS, np.zeros(24, int)), "`head.conv2.conv.0.bias` is of type int64, must be a tensor"),
    "a list": (but(BIAS, [0.0] * 24), "`head.conv2.conv.0.bias` is of type list, must be a tensor"),
    "a module": (but(BIAS, object), "`head.conv2.conv.0.bias` is of type type, must be a tensor"),
}


@pytest.mark.parametrize("given, message", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_with_its_key(given, message):
    error = refused(given)
    assert message in error, error


@given(st.sampled_from([key for key in arrays() if "num_batches" not in key]), st.booleans())
def test_any_missing_key_is_named(key, keeps_order):
    module, _, leaf = key.rpartition(".")
    assert f"`{module}.{leaf}` is missing" in refused(without(key), keeps_order=keeps_order)


def test_another_classes_count_is_refused_at_the_first_head():
    message = "`head.conv2.conv.0.weight` has shape (24, 16, 1, 1), must have (27, 16, 1, 1)"
    assert message in refused(arrays(), yolov4(classes=4, size=64, width=0.05, depth=(1,) * 5))


def test_another_depth_is_refused_with_counts_and_key():
    deeper = yolov4(classes=3, size=64, width=0.05, depth=(1, 2, 1, 1, 1))
    message = "must have 76 and 73 (`down2.resblock.module_list.1.0.conv.0.weight` is missing)"
    assert message in refused(arrays(), deeper)


WRAPPED = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {0: {}}, "param_groups": []}},
    "model": lambda state: {"model": state, "best": 0.4},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_wrapped_state_dict_is_found(wrap):
    assert pytorch.state_dict(wrap(arrays())).keys() == arrays().keys()


NO_STATE = {
    "a list": ([1, 2], "holds a list, must hold a state dict"),
    "no kernels": ({"epoch": 3, "state_dict": {"a.bias": np.zeros(3)}}, "holds no weights of a convolution"),
    "two": ({"model": arrays(), "ema": arrays()}, "holds several sets of weights (model, ema); save one"),
}


@pytest.mark.parametrize("content, message", NO_STATE.values(), ids=NO_STATE)
def test_what_holds_no_state_dict_is_refused(content, message):
    with pytest.raises(WeightsError, match=re.escape(message)):
        pytorch.state_dict(content)


def test_a_missing_file_is_named(tmp_path, suffix):
    path = tmp_path / f"no{suffix}"
    assert refused_file(path) == f"{path}: there is no such checkpoint"


def test_a_file_larger_than_any_checkpoint_is_refused_by_its_size(tmp_path, suffix):
    path = tmp_path / f"big{suffix}"
    with open(path, "wb") as file:
        file.truncate(20 * 10**9)
    assert "has 20,000,000,000 bytes, must have at most " in refused_file(path)


@pytest.mark.parametrize("key", ["\x1b[2J.weight", "k" * 100_000, "a\n::error::b.weight", "\u202e.bias"])
def test_keys_reach_a_message_escaped_and_cut(key):
    for one in ({**arrays(), key: np.zeros(9)}, {key: np.zeros((8, 3, 3, 3), np.float32)},
                {key + ".weights": np.zeros(9)}):
        message = refused(one)
        assert message.isprintable() and len(message) < 400, message


def test_a_folder_is_refused(tmp_path, suffix):
    path = tmp_path / f"folder{suffix}"
    path.mkdir()
    assert f"{path}: cannot be read" in refused_file(path)


NOT_CHECKPOINTS = {
    "empty": b"",
    "text": b"[net]\nwidth=32\n" * 20,
    "zip": b"PK\x03\x04" + bytes(2000),
    "zeros": bytes(99),
}


@pytest.mark.parametrize("content", NOT_CHECKPOINTS.values(), ids=NOT_CHECKPOINTS)
def test_another_kind_of_file_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert re.search("is not a (PyTorch checkpoint|safetensors file), or is damaged|holds", refused_file(path))


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict:
    """The bytes of a small checkpoint in each format."""
    folder = tmp_path_factory.mktemp("contents")

    def content(suffix):
        if suffix != ".safetensors":
            torch()
        path = folder / f"w{suffix}"
        if not path.exists():
            write_checkpoint(path, CHAIN, CHAIN_WEIGHTS)
        return path.read_bytes()

    return content


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@given(data=st.data())
def test_every_truncation_of_a_file_is_refused(contents, suffix, data):
    content = contents(suffix)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"cut{suffix}")
        path.write_bytes(content[:data.draw(st.integers(0, len(content) - 1))])
        refused_file(path, CHAIN)


def test_a_type_of_number_that_no_checkpoint_has_is_refused_with_its_key(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(save({"conv_000.weight": np.zeros((3, 3, 1, 1), np.uint8)}))
    assert "`conv_000.weight` is of type U8, must be a tensor of" in refused_file(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name, library", [("w.pth", "torch"), ("w.pt", "torch"), ("w.safetensors", "safetensors")])
def test_a_missing_library_is_named_with_its_installation(tmp_path, monkeypatch, name, library):
    (tmp_path / name).write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, library, None)
    assert refused_file(tmp_path / name).endswith(f": needs {library}: pip install {library}")


def test_a_torch_that_would_run_code_is_refused(tmp_path, monkeypatch):
    (tmp_path / "w.pth").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.5.1+cu118"))
    assert "torch 2.5.1+cu118 cannot read it safely: pip install 'torch>=2.6'" in refused_file(tmp_path / "w.pth")


# With PyTorch itself


def saved(path, content) -> Path:
    torch().save(content, path)
    return path


def tensors(convert=lambda tensor: tensor) -> dict:
    from_numpy = torch().from_numpy
    return {key: convert(from_numpy(array)) if array.ndim else from_numpy(array) for key, array in arrays().items()}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_what_torch_saves_is_read(tmp_path, wrap):
    assert digest(load_weights(saved(tmp_path / "w.pth", wrap(tensors())), TINY)) == digest(WEIGHTS)


KINDS = {
    "parameters": lambda tensor: torch().nn.Parameter(tensor),
    "not contiguous": lambda tensor: tensor.movedim(0, -1).contiguous().movedim(-1, 0),
}


@pytest.mark.parametrize("convert", KINDS.values(), ids=KINDS)
def test_tensors_of_every_kind_are_read(tmp_path, convert):
    assert digest(load_weights(saved(tmp_path / "w.pth", tensors(convert)), TINY)) == digest(WEIGHTS)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_torchs_short_types_are_widened(tmp_path, kind):
    short = getattr(torch(), kind)
    path = saved(tmp_path / "w.pth", tensors(lambda tensor: tensor.to(short)))
    assert digest(load_weights(path, TINY)) == rounded(lambda a: torch().from_numpy(a).to(short).float().numpy())


# How it is called → a tensor that is not what its few bytes seem to be.
NO_PLAIN_TENSORS = {
    "meta tensor": lambda t: t.empty(24, device="meta"),
    "quint8": lambda t: t.quantize_per_tensor(t.zeros(24), 0.1, 0, t.quint8),
    "complex64": lambda t: t.zeros(24, dtype=t.complex64),
    "float64": lambda t: t.zeros(24, dtype=t.float64),
    "sparse_csr tensor": lambda t: t.zeros(4, 6).to_sparse_csr(),
    "sparse_coo tensor": lambda t: t.zeros(24).to_sparse(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NO_PLAIN_TENSORS)
def test_what_is_no_plain_tensor_is_refused_with_its_key(tmp_path, kind):
    path = saved(tmp_path / "w.pth", {**tensors(), BIAS: NO_PLAIN_TENSORS[kind](torch())})
    assert f"`{BIAS}` is of type {kind}, must be a tensor of float32" in refused_file(path)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_a_few_bytes_that_stand_for_billions_of_numbers_are_refused_by_their_shape(tmp_path, kind):
    huge = torch().zeros(1, dtype=getattr(torch(), kind)).expand(2**36).reshape(2**34, 2, 2, 1)
    path = saved(tmp_path / "w.pth", {**tensors(), KERNEL: huge})
    assert f"`{KERNEL}` has shape (17179869184, 2, 2, 1), must have (8, 8, 1, 1)" in refused_file(path)


def test_a_scalar_expanded_in_bfloat16_is_refused_by_its_shape(real):
    torch()
    from model.formats.cfg import read_cfg

    case = real / "cases/hostile/checkpoint-bf16-expand"
    error = refused_file(case / "bf16expand.pth", read_cfg(case / "m.cfg"))
    assert "has shape" in error or "must have" in error, error


def test_a_file_that_unpacks_to_more_than_any_checkpoint_is_refused(tmp_path):
    torch()
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(200_000_000))
    assert "unpacks to 200,000,000 bytes, must be at most " in refused_file(tmp_path / "w.pth")


def test_a_pickle_of_any_depth_is_refused_in_one_sentence(tmp_path):
    torch()
    for depth in (2_000, 200_000):
        content = pickle.PROTO + b"\x02" + pickle.EMPTY_LIST * (depth + 1) + pickle.APPEND * depth + pickle.STOP
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
        assert re.search("not a state dict|is damaged", refused_file(tmp_path / "w.pth"))


class Command:
    """Pickled, it is a command that unpickling runs."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    path = saved(tmp_path / "w.pth", {**tensors(), "extra": Command(tmp_path / "ran")})
    assert re.search(r"holds more than tensors \(`\w+\.mkdir`\), which could run code; save", refused_file(path))
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused_with_what_to_save(tmp_path):
    path = saved(tmp_path / "w.pt", torch().nn.Conv2d(3, 8, 1))
    assert "save the model's state_dict() alone" in refused_file(path)


def test_our_network_computes_what_the_torch_module_computes(tmp_path):
    import tensorflow as tf

    from model.graph.network import assign, network

    torch().manual_seed(0)
    nn = torch().nn
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1),
                           nn.Conv2d(8, 6, 1))
    images = torch().rand(2, 3, 32, 32)
    layers.train()(images)  # moves batch norm's mean and variance away from 0 and 1
    nn.init.uniform_(layers[1].weight)
    nn.init.uniform_(layers[1].bias)
    theirs = layers.eval()(images).detach().numpy().transpose(0, 2, 3, 1)

    architecture = one_head(Convolutional(8, 3, 2, 1))
    ours = network(architecture)
    assign(ours, architecture, load_weights(saved(tmp_path / "w.pth", layers.state_dict()), architecture, 1e-5))
    np.testing.assert_allclose(tf.nest.flatten(ours(images.numpy().transpose(0, 2, 3, 1)))[0], theirs, atol=1e-5)
