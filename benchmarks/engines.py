"""The engines that `benchmarks.peers` runs side by side: ours and its rivals, with one interface.

An engine's `prepare(case)` loads the network and returns `run(image float32 [1, height, width, 3] in [0, 1], RGB)
-> list of head maps float32 [1, rows, columns, channels]`, or an empty list if the engine has no maps. Every engine
uses its default number of threads, and runs in a process of its own (benchmarks/engine_process.py).
"""
from __future__ import annotations

import importlib
import importlib.util
import re
from functools import partial
from typing import Callable, NamedTuple

import numpy as np

from benchmarks.case import EngineError
from model.backends import has_bf16

# Rows and columns of the matrices of the BF16 yardstick, and the operations of their product.
SIDE = 4096
PRODUCT_FLOPS = 2 * SIDE**3


class Engine(NamedTuple):
    """One row: name, numeric format, the package it needs (names for import and pip), and how to load it."""

    name: str
    cast: str
    module: str
    package: str
    prepare: Callable


def our_network(cast, case):
    """The session that ships, from the network's input (pixels in [0, 255]) to its heads."""
    from model.graph.freeze import network_part

    session = case.detector(cast)._session
    _, source, heads = network_part(session.graph.as_graph_def())
    heads.sort(key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
    images, *maps = (session.graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
                     for name in (source, *heads))
    run = session.make_callable(maps, [images])
    return lambda image: list(run(image * np.float32(255)))


def our_detector(cast, case):
    """The detector from JPEG to boxes. It does more than the rivals, which get a decoded and resized image."""
    detect, jpeg = case.detector(cast).detect, [case.jpeg]
    if detect(jpeg)[0].error:
        raise EngineError(detect(jpeg)[0].error)

    def run(image):
        detect(jpeg)
        return []
    return run


def openvino(cast, case):
    import openvino

    precision = {"fp32": "f32", "bf16": "bf16"}[cast]
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = openvino.Core().compile_model(str(case.onnx), "CPU", options).create_infer_request()

    def run(image):
        return list(request.infer([image], share_inputs=True, share_outputs=True).to_tuple())
    return run


def onnx_runtime(case):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Its threads must not wait actively after the run, when the next engine is timed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(case.onnx), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})


def opencv(case):
    import cv2

    net = cv2.dnn.readNetFromDarknet(*case.darknet)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    names = net.getLayerNames()
    # OpenCV turns a yolo layer i into permute_i and yolo_i; the layer before is the raw map.
    heads = [names[i - 1] for i, name in enumerate(names) if name.startswith("permute_")]

    def run(image):
        net.setInput(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
        return [head.transpose(0, 2, 3, 1) for head in net.forward(heads)]
    return run


def pytorch(cast, compiled, case):
    import torch

    from benchmarks.torch_network import TorchNetwork

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[cast]
    network = TorchNetwork(case.architecture, case.weights).to(dtype)
    if compiled:
        network = torch.compile(network, options={"freezing": True})

    def run(image):
        with torch.no_grad():
            return [head.float().numpy() for head in network(torch.from_numpy(image).to(dtype))]
    return run


def with_bf16(prepare, case):
    """A rival in BF16, only if the processor has BF16 instructions; else it takes minutes per image."""
    if not has_bf16():
        raise EngineError("this processor has no BF16 instructions")
    return prepare(case)


ENGINES = (
    # The first is the reference.
    Engine("ours, network", "fp32", "tensorflow", "tensorflow", partial(our_network, "fp32")),
    Engine("ours, JPEG to boxes", "fp32", "tensorflow", "tensorflow", partial(our_detector, "fp32")),
    Engine("OpenVINO", "fp32", "openvino", "openvino", partial(openvino, "fp32")),
    Engine("ONNX Runtime", "fp32", "onnxruntime", "onnxruntime", onnx_runtime),
    Engine("OpenCV DNN", "fp32", "cv2", "opencv-python-headless", opencv),
    Engine("PyTorch", "fp32", "torch", "torch", partial(pytorch, "fp32", False)),
    Engine("PyTorch compiled", "fp32", "torch", "torch", partial(pytorch, "fp32", True)),
    Engine("ours, network", "bf16", "tensorflow", "tensorflow", partial(our_network, "bf16")),
    Engine("ours, JPEG to boxes", "bf16", "tensorflow", "tensorflow", partial(our_detector, "bf16")),
    Engine("OpenVINO", "bf16", "openvino", "openvino", partial(with_bf16, partial(openvino, "bf16"))),
    Engine("PyTorch", "bf16", "torch", "torch", partial(with_bf16, partial(pytorch, "bf16", False))),
    Engine("PyTorch compiled", "bf16", "torch", "torch", partial(with_bf16, partial(pytorch, "bf16", True))),
)


def version(engine: Engine) -> str:
    """The engine's version without the build's hash. Raises EngineError if the package is not installed."""
    if not importlib.util.find_spec(engine.module):
        raise EngineError(f"not installed: pip install {engine.package}")
    return importlib.import_module(engine.module).__version__.split("-")[0]


def choices() -> str:
    """The names that `chosen` takes."""
    return ", ".join(dict.fromkeys(_key(engine) for engine in ENGINES))


def chosen(names: str | None) -> tuple:
    """The engines with these names, in the table's order, all for None. The first is always ours, the reference.

    Raises EngineError for an unknown name.
    """
    wanted = names.split(",") if names is not None else [_key(engine) for engine in ENGINES]
    unknown = [name for name in wanted if name not in map(_key, ENGINES)]
    if unknown:
        raise EngineError(f"--engines {unknown[0]}: must be one or more of {choices()}")
    return (ENGINES[0], *(engine for engine in ENGINES[1:] if _key(engine) in wanted))


def _key(engine: Engine) -> str:
    return re.sub(r"\W+", "-", engine.name.lower())


def bf16_product(case):
    """One BF16 matrix product in TensorFlow, the yardstick for BF16."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        a, b = (tf.Variable(tf.cast(tf.random.uniform((SIDE, SIDE)), tf.bfloat16)) for _ in range(2))
        product = tf.linalg.matmul(a, b).op
        start = tf.compat.v1.global_variables_initializer()
    session = tf.compat.v1.Session(graph=graph)
    session.run(start)

    def run(image):
        session.run(product)
        return []
    return run


BF16_PRODUCT = Engine("matrix product", "bf16", "tensorflow", "tensorflow", partial(with_bf16, bf16_product))
