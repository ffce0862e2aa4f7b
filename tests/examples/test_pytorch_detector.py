"""The PyTorch example finds what the detector that this project builds finds, and keeps the contract."""
from __future__ import annotations

import json

import numpy as np
import pytest

from fixtures import ROOT
from model.check_detector import BREAKS, IMAGES, findings
from model.factory import Factory, FactoryDetector
from tests.examples.needed import needed
from tests.fixtures.gate import judged, run_gate

needed("torch")
import torch  # noqa: E402

from examples import pytorch_detector  # noqa: E402

FILE = f"{ROOT}/examples/pytorch_detector.py:make"
BUILT_AP = 0.658  # docs/measurements.md


def test_its_ap_is_that_of_the_built_detector(tmp_path):
    ended = run_gate("--detector", FILE, "--report", tmp_path / "report")
    assert ended.returncode == 0, ended.stdout
    ap, = (one for one in judged(tmp_path / "report" / "results.json") if one["metric"] == "AP")
    assert ap["value"] == pytest.approx(BUILT_AP, abs=0.005)
    assert json.loads((tmp_path / "report" / "run.json").read_text())["detector"]["name"] == "PyTorch FP32 on cpu"


@pytest.mark.parametrize("dtype", pytorch_detector.DTYPES)
def test_it_keeps_the_contract(dtype):
    with FactoryDetector(Factory(FILE, (("dtype", dtype),))) as detector:
        found = list(findings(detector, [path.read_bytes() for path in IMAGES]))
    assert [str(one) for one in found if one.outcome == BREAKS] == []
    assert found[-1].tried == "fallback()"


def test_it_says_where_it_runs_elsewhere_or_in_another_format():
    detector = pytorch_detector.make()
    assert detector.fallback() == ""
    detector.network.half()
    assert "torch.float16" in detector.fallback()
    detector.network.float()
    detector.device = torch.device("cuda")
    assert "'cpu'" in detector.fallback()


def test_a_network_that_computes_nan_is_not_one_that_sees_nothing():
    detector = pytorch_detector.make()
    with torch.no_grad():
        for convolution in detector.network.convolutions.values():
            convolution.bias.fill_(torch.nan)
    (_, scores, _), = detector([IMAGES[0].read_bytes()])
    assert len(scores) and not (np.asarray(scores) <= 1).all()


def test_a_format_that_it_does_not_have_is_refused():
    with pytest.raises(ValueError, match="dtype fp8: must be one of: fp32, fp16, bf16"):
        pytorch_detector.make(dtype="fp8")
