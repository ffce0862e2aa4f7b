"""A network that did not run on the GPU is named, by where TensorFlow placed its operators; so is TF32 that is not."""
from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import tensorflow as tf

from model import detector as detector_module
from model.backends import gpu
from model.detector import Detector
from model.gpu import placement
from tests.model.samples import sample_images

IMAGE = sample_images(1)[0]
GPU, CPU = ("/job:localhost/replica:0/task:0/device:GPU:0", "/job:localhost/replica:0/task:0/device:CPU:0")


def node(name, device=GPU, op="Conv2D", dtype=tf.float32, key="T"):
    """A node of a partition graph."""
    made = tf.compat.v1.NodeDef(name=name, op=op, device=device)
    made.attr[key].type = dtype.as_datatype_enum
    return made


def partitions(*nodes) -> list:
    return [SimpleNamespace(node=[one]) for one in nodes]


ALL = (node("network/conv_001/Conv2D"), node("network/conv_001/leaky", op="LeakyRelu", dtype=tf.float16))
PLACED = {
    "all on the GPU": (ALL, ""),
    "on the second GPU": ((node("network/conv_001/Conv2D", GPU.replace("GPU:0", "GPU:1")),), ""),
    "pre- and post-processing elsewhere": ((*ALL, node("preprocess/resize", CPU), node("postprocess/nms", CPU)), ""),
    "shapes elsewhere": ((*ALL, node("network/up/Shape", CPU, "StridedSlice", tf.int32)), ""),
    "constants and transfers elsewhere": (
        (*ALL, node("network/c", CPU, "Const", key="dtype"), node("network/i", CPU, "Identity"),
         node("network/conv_001/Conv2D/_1", CPU, "_Send")), ""),
    "one convolution on the CPU": (
        (*ALL, node("network/conv_002/Conv2D", CPU)),
        "1 of 3 operators of the network ran on CPU:0, not on the GPU, first network/conv_002/Conv2D"),
    "an activation in FP16 on the CPU": ((*ALL, node("network/conv_002/mish", CPU, "Tanh", tf.float16)),
                                         "1 of 3 operators of the network ran on CPU:0, not on the GPU"),
    "without a device": ((node("network/conv_001/Conv2D", ""),),
                         "1 of 1 operators of the network ran on an unnamed device, not on the GPU"),
    "on XLA's own device": ((node("network/conv_001/Conv2D", CPU.replace("CPU", "XLA_GPU")),),
                            "1 of 1 operators of the network ran on XLA_GPU:0, not on the GPU"),
    "nothing seen": ((node("preprocess/resize"),), "no operator of the network was seen to run, on GPU or elsewhere"),
}


@pytest.mark.parametrize("case", PLACED)
def test_every_operator_of_the_network_must_be_on_the_gpu(case):
    nodes, words = PLACED[case]
    found = placement.placement_fault(partitions(*nodes))
    assert found.startswith(words) and bool(found) == bool(words)


@pytest.mark.parametrize(("name", "device"), [
    (GPU, "GPU:0"), (CPU, "CPU:0"), ("/device:GPU:0/stream:all", ""), ("/device:GPU:0/memcpy", ""), ("/host:CPU", ""),
    ("/device:GPU:12", "GPU:12"),
])
def test_streams_are_not_devices(name, device):
    assert placement.device_of(name) == device


@pytest.fixture(scope="module")
def apart():
    """A process for sessions of two devices: later sessions of such a process do not compute the same each time."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield process


def fault_on_two_devices(tiny_model, folder, left=()) -> str:
    """What is found of the detector with its network on the second of two devices, but for the nodes of these names."""
    def pinned(graph_def, *others):
        for one in graph_def.node:
            if one.name.startswith("network/") and one.name not in left:
                one.device = "/device:CPU:1"
        return graph_def, *others

    whole, config = gpu.frozen_graph, tf.compat.v1.ConfigProto(device_count={"CPU": 2})
    with patch.object(gpu, "frozen_graph", lambda *given: pinned(*whole(*given))), \
            patch.object(detector_module, "_session_config", lambda metadata: config):
        detector = Detector(gpu.compile(tiny_model, folder / "compiled"))
    return placement.placement_fault(detector._traced(IMAGE, output_partition_graphs=True).partition_graphs, "CPU:1")


def test_tensorflows_own_placement_on_a_second_device_is_seen_to_be_whole(apart, tiny_model, tmp_path):
    assert apart.submit(fault_on_two_devices, tiny_model, tmp_path).result(timeout=300) == ""


def test_one_convolution_that_tensorflow_placed_elsewhere_is_seen(apart, tiny_model, tmp_path, frozen):
    first = next(one.name for one in frozen()[0].node if one.op == "Conv2D")
    found = apart.submit(fault_on_two_devices, tiny_model, tmp_path, (first,)).result(timeout=300)
    assert found.startswith("1 of ") and "ran on CPU:0, not on the CPU:1, first network/" in found


def details(monkeypatch, capability):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] if capability else [])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {"compute_capability": capability})


@pytest.mark.parametrize(("capability", "words"), [
    ((8, 0), ""), ((8, 6), ""), ((12, 0), ""),
    ((7, 5), "this GPU has compute capability 7.5: compile the model in FP32"), ((7, 0), "compute capability 7.0"),
    (None, "and there is no GPU"),
])
def test_tf32_needs_a_gpu_that_has_it(monkeypatch, capability, words):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    details(monkeypatch, capability)
    assert words in placement.tf32_fault() and bool(placement.tf32_fault()) == bool(words)


def test_tf32_that_the_environment_turns_off_is_seen(monkeypatch):
    details(monkeypatch, (8, 0))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert placement.tf32_fault().startswith("NVIDIA_TF32_OVERRIDE=0 turns TF32 off: unset it")
