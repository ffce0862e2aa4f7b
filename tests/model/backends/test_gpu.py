"""The GPU backend: the CPU's detections where TensorFlow runs it, and a GPU that is not used is a fallback."""
from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

from model import backends
from model.backends import gpu, has_gpu, xla
from model.detector import Detector
from model.worker.pool import RemoteDetector
from tests.model.interpreters import TENSORFLOW_1
from tests.model.samples import sample_images

IMAGES = sample_images(2)
TENSOR_CORES = tf.config.experimental.tensor_float_32_execution_enabled


@pytest.fixture(scope="module")
def gpu_detector(tiny_model, tmp_path_factory):
    return Detector(gpu.compile(tiny_model, tmp_path_factory.mktemp("gpu") / "compiled"))


def test_the_detections_are_the_cpu_backends(gpu_detector, tiny_detector):
    assert (gpu_detector.metadata["backend"], gpu_detector.metadata["cast_engine"]) == ("gpu", "gpu")
    for ours, expected in zip(gpu_detector.detect(IMAGES), tiny_detector.detect(IMAGES)):
        np.testing.assert_array_equal(ours.classes, expected.classes)
        np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(ours.boxes, expected.boxes, atol=1e-2)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow sees a GPU here")
def test_a_silent_fallback_to_the_processor_is_named(gpu_detector):
    lapse = gpu_detector.fallback(IMAGES[0])
    assert "operators of the network ran on CPU:0, not on the GPU, first network/" in lapse
    assert f"TensorFlow {tf.__version__} sees no GPU: it needs the CUDA libraries" in lapse


@pytest.mark.skipif(not os.environ.get(TENSORFLOW_1),
                    reason=f"set {TENSORFLOW_1} to the python of an environment with TensorFlow 1.15")
def test_a_silent_fallback_on_tensorflow_1_is_named(tiny_model, tmp_path, tiny_detector):
    compiled = gpu.compile(tiny_model, tmp_path / "compiled")
    with RemoteDetector(os.environ[TENSORFLOW_1], compiled) as remote:
        np.testing.assert_array_equal(remote.detect(IMAGES)[0].classes, tiny_detector.detect(IMAGES)[0].classes)
        assert "ran on CPU:0, not on the GPU" in remote.fallback(IMAGES[0])
        assert "TensorFlow 1.15" in remote.fallback(IMAGES[0])


@pytest.fixture(scope="module")
def xla_detector(tiny_model, tmp_path_factory):
    """Compiled by XLA on a machine with a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "has_gpu", lambda: True)
        return Detector(xla.compile(tiny_model, tmp_path_factory.mktemp("xla") / "compiled"))


@pytest.mark.slow
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow sees a GPU here")
def test_xla_on_the_processor_of_a_machine_with_a_gpu_is_named(xla_detector):
    lapse = xla_detector.fallback(IMAGES[0])
    assert lapse.startswith("the network ran on CPU:0, not on the GPU; TensorFlow ") and "sees no GPU" in lapse


def traced(*devices):
    """What TensorFlow's trace of a run has: the names of the steps on each device."""
    run = tf.compat.v1.RunMetadata()
    for device, *steps in devices:
        stats = run.step_stats.dev_stats.add(device=device)
        for step in steps:
            stats.node_stats.add(node_name=step)
    return run


ON_GPU = "/job:localhost/replica:0/task:0/device:GPU:0"


@pytest.mark.parametrize(("devices", "words"), [
    (((ON_GPU, "network"), ("/device:GPU:0/stream:all", "cudnn_conv_fwd", "network/conv_001/Conv2D")), ""),
    (((ON_GPU, "network", "network/conv_001/Conv2D"),), "XLA did not compile the network: TensorFlow ran 1 steps"),
    (((ON_GPU.replace("GPU", "CPU"), "network"), (ON_GPU, "preprocess/resize")), "the network ran on CPU:0, not on"),
])
def test_kernels_inside_a_network_that_xla_compiled_are_not_steps_of_tensorflow(
    xla_detector, monkeypatch, devices, words
):
    monkeypatch.setattr(xla_detector, "_traced", lambda image, **options: traced(*devices))
    lapse = xla_detector.fallback(IMAGES[0])
    assert lapse.startswith(words) and bool(lapse) == bool(words)


def test_fp32_is_fp32_whichever_detector_of_the_process_ran_before(tiny_model, tmp_path):
    """On a GPU that has TF32 it is TensorFlow's default, and a setting of the whole process."""
    before = TENSOR_CORES()
    try:
        fp32, tf32 = (Detector(gpu.compile(tiny_model, tmp_path / cast, cast)) for cast in ("fp32", "tf32"))
        for detector, is_on in ((fp32, False), (tf32, True), (fp32, False)):
            detector.detect(IMAGES[:1])
            assert TENSOR_CORES() is is_on
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def test_a_cpu_detector_leaves_the_setting_alone(tiny_detector):
    before = TENSOR_CORES()
    tiny_detector.detect(IMAGES[:1])
    assert TENSOR_CORES() is before


@pytest.mark.parametrize("module", [gpu, xla])
def test_another_cast_is_an_error_that_names_them(module):
    with pytest.raises(ValueError, match="cast bf16: must be one of: fp32, tf32"):
        module.cast_engine("bf16")


MACHINES = {  # (vendor, class) of PCI devices, nodes under /dev, CUDA_VISIBLE_DEVICES → whether it has a GPU
    "T4": ([("0x10de", "0x030200")], (), None, True),
    "graphics card": ([("0x1af4", "0x020000"), ("0x10de", "0x030000")], (), None, True),
    "driver's node alone": ([], ("nvidia0", "nvidiactl"), None, True),
    "driver without a GPU": ([], ("nvidiactl", "nvidia-uvm"), None, False),
    "sound of a graphics card": ([("0x10de", "0x040300")], (), None, False),
    "AMD's GPU": ([("0x1002", "0x030000")], (), None, False),
    "none": ([], (), None, False),
    "the first chosen": ([("0x10de", "0x030200")], (), "0", True),
    "chosen by UUID": ([("0x10de", "0x030200")], (), "GPU-8932f937-d72c", True),
    "hidden": ([("0x10de", "0x030200")], ("nvidia0",), "-1", False),
    "hidden by nothing": ([("0x10de", "0x030200")], ("nvidia0",), "", False),
    "hidden from the first on": ([("0x10de", "0x030200")], ("nvidia0",), "-1,0", False),
}


@pytest.mark.parametrize("case", MACHINES)
def test_a_gpu_is_found_whether_or_not_tensorflow_sees_it(case, monkeypatch, tmp_path):
    devices, nodes, visible, expected = MACHINES[case]
    for number, (vendor, kind) in enumerate(devices):
        folder = tmp_path / "pci" / f"0000:00:{number:02x}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    (tmp_path / "pci" / "broken").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    for name in nodes:
        (tmp_path / "dev" / name).touch()
    monkeypatch.setattr(backends, "PCI", tmp_path / "pci")
    monkeypatch.setattr(backends, "DEVICES", tmp_path / "dev")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert has_gpu() is expected
