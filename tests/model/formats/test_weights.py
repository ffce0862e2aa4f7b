"""Darknet's weights: read and written to the byte, and no other file is taken for them."""
from __future__ import annotations

import os
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.architecture import Convolutional
from model.formats.darknet_weights import read_weights, write_weights
from model.formats.detector_files import load_weights
from model.formats.weights import ConvolutionWeights, WeightsError, digest, random_weights
from tests.model.samples import encode, one_head, pixels

# 8 · 3 · 9 + 4 · 8 numbers, then 6 · 8 + 6.
ARCHITECTURE = one_head(Convolutional(8, 3, 1, 1, activation="mish"))
FLOATS = 302
HEADER = bytes.fromhex("00000000 02000000 05000000") + bytes(8)


@pytest.fixture(scope="module")
def weights():
    return random_weights(ARCHITECTURE, 5)


@pytest.fixture(scope="module")
def content(weights, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "good.weights"
    write_weights(path, weights)
    return path.read_bytes()


def refused(path, content=None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_weights(path, ARCHITECTURE)
    return str(caught.value)


def test_a_file_is_its_header_and_the_numbers_that_the_architecture_counts(content):
    assert (content[:20], len(content)) == (HEADER, 20 + 4 * FLOATS)


def test_numbers_lie_in_darknets_order(weights, content):
    first = weights[0]
    rows = [first.bias, first.scale, first.mean, first.variance, first.kernel.transpose(3, 2, 0, 1)]
    expected = np.concatenate([row.ravel() for row in rows])
    np.testing.assert_array_equal(np.frombuffer(content, "<f4", expected.size, 20), expected)


def test_written_and_read_again_is_the_same(tmp_path, weights, content):
    (tmp_path / "w.weights").write_bytes(content)
    assert digest(read_weights(tmp_path / "w.weights", ARCHITECTURE)) == digest(weights)


@pytest.mark.parametrize("path", ["retail/yolov4-tiny", "coco/yolo-fastest-1.1-xl"])
def test_a_real_file_read_and_written_keeps_every_number(real, tmp_path, path):
    from model.formats.cfg import read_cfg

    source = real / f"{path}.weights"
    write_weights(tmp_path / "copy.weights", read_weights(source, read_cfg(real / f"{path}.cfg")))
    assert (tmp_path / "copy.weights").read_bytes()[20:] == source.read_bytes()[20:]


def test_the_old_header_counts_images_in_32_bits(tmp_path, weights, content):
    path = tmp_path / "old.weights"
    path.write_bytes(np.array([0, 1, 0, 7], "<i4").tobytes() + content[20:])
    assert digest(read_weights(path, ARCHITECTURE)) == digest(weights)


WRONG_LENGTH = {
    "too short": (lambda data: data[:-8], "too short for this architecture: has 300 floats, must have 302"),
    "too long": (lambda data: data + bytes(4), "too long for this architecture: has 303 floats, must have 302"),
    "odd bytes": (lambda data: data + b"\n", "too long for this architecture: has 302 floats and 1 more bytes"),
    "header alone": (lambda data: data[:20], "too short for this architecture: has 0 floats, must have 302"),
    "empty": (lambda data: b"", "0 bytes are less than a header"),
    "half a header": (lambda data: data[:10], "10 bytes are less than a header"),
}


@pytest.mark.parametrize("change, message", WRONG_LENGTH.values(), ids=WRONG_LENGTH)
def test_a_file_of_another_length_is_refused_with_both_counts(tmp_path, content, change, message):
    path = tmp_path / "w.weights"
    error = refused(path, change(content))
    assert error.startswith(f"{path}: ") and message in error, error


@given(st.data())
def test_every_truncation_is_refused(content, data):
    length = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as folder:
        refused(Path(folder, "cut.weights"), content[:length])


FOREIGN = {
    "JPEG": lambda: encode(pixels(), "JPEG"),
    "PNG": lambda: encode(pixels(), "PNG"),
    "zip": lambda: b"PK\x03\x04" + bytes(2000),
    "text": lambda: b"[net]\nwidth=32\n" * 20,
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(2000),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_another_kind_of_file_is_not_taken_for_weights(tmp_path, make):
    assert "is not a darknet weights file: has version" in refused(tmp_path / "w.weights", make())


LEFT = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\n", "fetch it with git lfs pull"),
    "page": (b"<!DOCTYPE html><html><head>", "is HTML or XML, as a failed download leaves it"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "is compressed by gzip; unpack it"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_of_a_download_says_what_to_do(tmp_path, case):
    content, message = LEFT[case]
    assert message in refused(tmp_path / "w.weights", content)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_place(tmp_path, content, number):
    broken = content[:20 + 4 * 17] + np.float32(number).tobytes() + content[20 + 4 * 18:]
    assert f"float 17 of 302 is {number}, must be finite" in refused(tmp_path / "w.weights", broken)


def test_a_negative_variance_is_refused_because_it_would_turn_into_nan(tmp_path, weights):
    path = tmp_path / "w.weights"
    write_weights(path, [replace(weights[0], variance=-weights[0].variance), weights[1]])
    assert "the variance of layer 0 is -1.2, must be greater than -1e-05 for batch norm" in refused(path)


@pytest.mark.parametrize("variance, is_read", {-7e-44: True, -9e-6: True, -1.1e-5: False, -0.1: False}.items())
def test_a_variance_is_read_as_long_as_darknets_epsilon_makes_it_positive(tmp_path, weights, variance, is_read):
    path = tmp_path / "w.weights"
    write_weights(path, [replace(weights[0], variance=np.full(8, variance, np.float32)), weights[1]])
    if is_read:
        assert np.isfinite(read_weights(path, ARCHITECTURE)[0].folded().kernel).all()
    else:
        assert "must be greater than -1e-05" in refused(path)


def test_dead_channels_of_a_trained_network_are_computed_as_darknet_does(real):
    from model.formats.cfg import read_cfg
    from model.graph.network import assign, network

    case = real / "cases/weights-variance-tiny-negative"
    architecture = read_cfg(case / "case.cfg")
    keras_network = network(architecture)
    assign(keras_network, architecture, read_weights(case / "case.weights", architecture))
    found = np.asarray(keras_network(np.full((1, 64, 64, 3), 0.5, np.float32)))
    expected = np.load(case / "expected.npy").reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected))


def test_a_file_of_another_size_is_refused_before_it_is_read(tmp_path, content):
    path = tmp_path / "w.weights"
    path.write_bytes(content)
    with open(path, "r+b") as file:
        file.truncate(20 * 10**9)
    tracemalloc.start()
    message = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "too long for this architecture: has 4,999,999,995 floats" in message and peak < 10**6, peak


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.weights")
    assert refused(tmp_path / "pipe.weights").endswith("cannot be read as a weights file: it is not a regular file")


def test_a_missing_file_is_named(tmp_path):
    assert refused(tmp_path / "no.weights") == f"{tmp_path / 'no.weights'}: there is no such weights file"


def test_a_folder_is_refused(tmp_path):
    assert f"{tmp_path}: cannot be read" in refused(tmp_path)


def test_a_file_of_another_name_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"model\.h5: must end in \.weights"):
        load_weights(tmp_path / "model.h5", ARCHITECTURE)


class Broken:
    """Stands for a convolution whose numbers cannot be written."""

    def arrays(self):
        raise RuntimeError("the disk is full")


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, weights, content):
    path = tmp_path / "w.weights"
    path.write_bytes(content)
    with pytest.raises(RuntimeError):
        write_weights(path, [weights[1], Broken()])
    assert (os.listdir(tmp_path), path.read_bytes()) == ([path.name], content)


def test_folding_is_batch_norm(weights):
    conv = weights[0]
    patch = np.random.default_rng(0).standard_normal(conv.kernel.shape[:3])

    def product(kernel):
        return np.tensordot(patch, kernel.astype(np.float64), 3)

    deviation = np.sqrt(conv.variance.astype(np.float64) + 1e-5)
    expected = (product(conv.kernel) - conv.mean) / deviation * conv.scale + conv.bias
    np.testing.assert_allclose(product(conv.folded().kernel) + conv.folded().bias, expected, rtol=1e-5)


def test_folding_keeps_a_tiny_variance_finite():
    one = np.ones(1, np.float32)
    folded = ConvolutionWeights(np.ones((1, 1, 1, 1), np.float32), one, one, one, one * 0).folded()
    assert folded.kernel[0, 0, 0, 0] == pytest.approx(1e-5 ** -0.5)


def test_folding_without_batch_norm_changes_nothing(weights):
    assert weights[1].folded() is weights[1]


@given(st.data())
def test_the_digest_changes_with_any_number(weights, data):
    layer = data.draw(st.integers(0, 1))
    field = data.draw(st.sampled_from(["kernel", "bias"] + ["scale", "mean", "variance"] * (layer == 0)))
    changed = getattr(weights[layer], field).copy()
    place = data.draw(st.integers(0, changed.size - 1))
    changed.flat[place] = np.nextafter(changed.flat[place], np.float32(9))
    other = list(weights)
    other[layer] = replace(weights[layer], **{field: changed})
    assert digest(other) != digest(weights)


def test_random_weights_repeat_with_their_seed(weights):
    assert digest(random_weights(ARCHITECTURE, 5)) == digest(weights) != digest(random_weights(ARCHITECTURE, 6))
