"""Matrix products of a device run in each format, are all timed, and never run on another device instead."""
from __future__ import annotations

import os

import numpy as np
import pytest

from model.gpu import placement, products
from model.worker.client import RemoteError, Worker
from tests.model.interpreters import TENSORFLOW_1

CPU = "/device:CPU:0"


@pytest.mark.parametrize("number_format", ["fp32", "fp16"])
def test_products_run_at_a_plausible_rate(number_format):
    found = products.rates(0.0, number_format, CPU, 128)
    assert len(found) == products.LEAST and all(1e5 < rate < 1e15 for rate in found)


def test_each_run_counts_all_its_products(monkeypatch):
    looks = iter([0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.5, 0.0, 4.0, 9.0])
    monkeypatch.setattr(products, "perf_counter", lambda: next(looks))
    monkeypatch.setattr(products, "_products", lambda *arguments: lambda: None)
    assert products.rates(5.0, side=10) == [products.CHAIN * 2000 / seconds for seconds in (2.0, 1.0, 0.5, 4.0)]


@pytest.mark.parametrize("number_format", ["fp32", "fp16"])
def test_the_numbers_stay_finite_and_differ(number_format):
    """Products of zeros or infinities would be faster than those of a network."""
    kind = products.tf.float16 if number_format == "fp16" else products.tf.float32
    last = products._products(kind, CPU, 128)()
    assert np.isfinite(last) and 0.01 < last < 10


@pytest.mark.parametrize("number_format", ["fp32", "fp16"])
def test_a_gpu_that_tensorflow_does_not_see_is_an_error_and_no_rate_of_the_processor(number_format):
    with pytest.raises(RuntimeError, match=r"cannot run on /device:GPU:7; TensorFlow .* sees no GPU: it needs"):
        products.rates(0.0, number_format, "/device:GPU:7", 16)


def test_tf32_of_a_gpu_without_it_is_an_error(monkeypatch):
    monkeypatch.setattr(placement, "tf32_fault", lambda: "it has none")
    with pytest.raises(RuntimeError, match="matrix products in TF32: it has none"):
        products.rates(0.0, "tf32", CPU, 16)


@pytest.mark.parametrize(("number_format", "wanted"), [("fp32", False), ("tf32", True), ("fp16", False)])
def test_tf32_is_on_for_tf32_alone(monkeypatch, number_format, wanted):
    said = []
    monkeypatch.setattr(placement, "tf32_fault", lambda: "")
    monkeypatch.setattr(placement, "use_tf32", said.append)
    products.rates(0.0, number_format, CPU, 16)
    assert said == [wanted]


@pytest.mark.skipif(not os.environ.get(TENSORFLOW_1),
                    reason=f"set {TENSORFLOW_1} to the python of an environment with TensorFlow 1.15")
def test_products_run_on_tensorflow_1_and_without_its_gpu_are_an_error():
    with Worker(os.environ[TENSORFLOW_1]) as worker:
        ask = {"seconds": 0.0, "side": 64, "deadline": 120}
        assert len(worker.call("model.gpu.products:rates", device=CPU, **ask)) == products.LEAST
        with pytest.raises(RemoteError, match="sees no GPU"):
            worker.call("model.gpu.products:rates", **ask)
        with pytest.raises(RemoteError, match="has no TF32"):
            worker.call("model.gpu.products:rates", number_format="tf32", **ask)
