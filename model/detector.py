"""The detector: encoded images in, one `Detections` per image out. Runs on Python 3.7 and TensorFlow 1.15."""
from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

from model.detections import Detections
from model.gpu import placement as gpu
from model.graph.reference_pixels import digests
from model.graph.saved_model import NETWORK, SIGNATURE, TAG, SavedModelError, read_metadata
from model.image_headers import MAX_PIXELS, fault
from model.neuron.placement import placement, with_warning
from model.neuron.runtime import DeviceError, explained

# The index of a layer in the names of its operators, and the types of operators that compute nothing.
LAYER = re.compile(NETWORK + r"/.*?[a-z]+_(\d{3})\D")
NOT_LAYERS = ("Const", "Identity", "Cast", "NeuronOp")

OUTPUTS = ("boxes", "scores", "classes", "count")


class Detector:
    """A compiled SavedModel, loaded and ready. `detect` may be called from several threads at once.

    `metadata` is that of the model: names, flops, hashes, profile, backend, cast and more. A model whose signature has
    a fixed batch size gets its requests in batches of that size, one after the other: a larger request is split, and a
    short batch is padded with its last image, whose further detections are dropped.
    """

    def __init__(self, compiled):
        self.metadata = read_metadata(compiled)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config(self.metadata))
        signature = _load(self._session, Path(compiled))
        tensor = self._session.graph.get_tensor_by_name
        self._image = tensor(signature.inputs["image"].name)
        self._outputs = [tensor(signature.outputs[key].name) for key in OUTPUTS]
        sizes = signature.inputs["image"].tensor_shape.dim
        self._batch = sizes[0].size if sizes and sizes[0].size > 0 else None  # None: any
        # A model that this project did not build may decode other formats and sizes.
        profile = self.metadata.get("profile")
        self._max_pixels = profile.get("max_pixels", MAX_PIXELS) if profile else None
        self._is_on_gpu = self.metadata.get("cast_engine") == "gpu"

    def detect(self, images: Sequence[bytes]) -> list[Detections]:
        """One `Detections` per encoded image, in order.

        An image that cannot be decoded gets one with `error` set, without an effect on the others in the batch. Raises
        DeviceError for errors of Neuron's runtime.
        """
        faults = ["" if self._max_pixels is None else fault(bytes(image), self._max_pixels) for image in images]
        good = iter(self._detect_decodable([image for image, why in zip(images, faults) if not why]))
        return [_failed(f"the image {why}") if why else next(good) for why in faults]

    def _detect_decodable(self, images) -> list[Detections]:
        """As `detect`, for images with good headers. If the decoder fails, each image is sent alone."""
        if not images:
            return []
        size = self._batch or len(images)
        try:
            return [one for start in range(0, len(images), size) for one in self._run(images[start:start + size])]
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            if "Decode" not in error.message:
                raise
            if len(images) == 1:
                return [_undecodable(images[0], error)]
        return [self._detect_decodable([image])[0] for image in images]

    def _run(self, images) -> list[Detections]:
        try:
            boxes, scores, classes, count = self._fetched(self._outputs, images)
        except tf.errors.OpError as error:
            words = explained(error.message)
            if words:
                raise DeviceError(words) from error
            raise
        return [Detections(boxes[i, :n], scores[i, :n], classes[i, :n]) for i, n in enumerate(count[:len(images)])]

    def _fetched(self, tensors, images, *options) -> list:
        """These tensors after a run on the images, padded to the batch of the size that the model takes."""
        if self._is_on_gpu:  # before each run: detectors of several casts may share this process and its setting
            gpu.use_tf32(self.metadata.get("cast") == "tf32")
        missing = max((self._batch or 0) - len(images), 0)
        batch = np.array([*images, *[images[-1]] * missing], object)
        return self._session.run(tensors, {self._image: batch}, *options)

    def fallback(self, image: bytes) -> str:
        """Why the executed graph is not what the backend promises; '' if it is."""
        if self.metadata.get("backend") == "neuron":
            fault = placement(self._session.graph.as_graph_def()).fault()
            if not fault:
                self.detect([image])  # the first call fails if there is no device
            return with_warning(fault, self.metadata)
        if self.metadata.get("backend") in ("xla", "gpu"):
            return self._gpu_fallback(image)
        if self.metadata.get("cast", "fp32") != "fp32":
            return self._cast_fallback(image)
        return ""

    def layers(self) -> list:
        """The names of the operators that compute the outputs of the network's layers, in order of execution.

        Operators inside a layer are not listed, because TensorFlow fuses them.
        """
        last = {}
        for op in self._session.graph.get_operations():
            layer = LAYER.match(op.name)
            if layer and op.type not in NOT_LAYERS and op.outputs[0].shape.ndims == 4:
                last[layer.group(1)] = op.name
        return list(last.values())

    def reference_pixels(self) -> dict:
        """The hashes of `model.graph.reference_pixels`, by the TensorFlow that the detector runs in."""
        return digests()

    def outputs(self, image: bytes, layers: list) -> list:
        """The outputs of these operators (`layers()`) for one encoded image."""
        return [values[:1] for values in self._fetched([name + ":0" for name in layers], [image])]

    def _cast_fallback(self, image) -> str:
        cast, expected = self.metadata["cast"], self.metadata["convolutions"]
        found = sum(_is_narrow_convolution(node) for graph in self._graphs_that_ran(image) for node in graph.node)
        if found >= expected:
            return ""
        return f"the cast did not happen: {found or 'none'} of {expected} convolutions compute in {cast.upper()}"

    def _gpu_fallback(self, image) -> str:
        is_compiled = self.metadata["backend"] == "xla"
        fault = self._xla_fault(image) if is_compiled else gpu.placement_fault(self._graphs_that_ran(image))
        fault = gpu.explained(fault, self._session) if self._is_on_gpu else fault
        return fault or (gpu.tf32_fault() if self.metadata["cast"] == "tf32" else "")

    def _xla_fault(self, image) -> str:
        # Operators alone: a trace of the hardware would list the kernels inside a compiled network too.
        operators = tf.compat.v1.RunOptions.SOFTWARE_TRACE
        devices = [one for one in self._traced(image, trace_level=operators).step_stats.dev_stats
                   if gpu.device_of(one.device)]
        on = [device.device for device in devices for step in device.node_stats if step.node_name == NETWORK]
        inside = {step.node_name for device in devices for step in device.node_stats if "conv" in step.node_name}
        if inside or not on:
            return f"XLA did not compile the network: TensorFlow ran {len(inside)} steps of its convolutions"
        wanted = self.metadata["cast_engine"].upper()
        is_there = gpu.device_of(on[0]).startswith(f"{wanted}:")
        return "" if is_there else f"the network ran on {gpu.device_of(on[0])}, not on the {wanted}"

    def _graphs_that_ran(self, image):
        return self._traced(image, output_partition_graphs=True).partition_graphs

    def _traced(self, image, **options):
        run = tf.compat.v1.RunMetadata()
        self._fetched(self._outputs, [image], tf.compat.v1.RunOptions(**options), run)
        return run


def _session_config(metadata: dict):
    # Only what is compiled for the GPU may use it, because the CPU backend is the reference of the others.
    config = tf.compat.v1.ConfigProto(device_count={} if metadata.get("cast_engine") == "gpu" else {"GPU": 0})
    config.gpu_options.allow_growth = True  # else the first process takes all of its memory
    if metadata.get("cast_engine") == "onednn":
        rewrite = config.graph_options.rewrite_options
        if not hasattr(rewrite, "auto_mixed_precision_onednn_bfloat16"):
            raise SavedModelError(f"TensorFlow {tf.__version__} has no auto-cast to BF16 by oneDNN, which the model "
                                  "needs; compile it in FP32 or run it on TensorFlow 2.10 or newer")
        rewrite.auto_mixed_precision_onednn_bfloat16 = rewrite.ON
    return config


def _is_narrow_convolution(node) -> bool:
    """Whether a node of the executed graph is a convolution of BF16 or rounded numbers."""
    rounded = any("/rounded_" in source for source in node.input)
    return "Conv2" in node.op and "T" in node.attr and (node.attr["T"].type == tf.bfloat16.as_datatype_enum or rounded)


def _load(session, compiled: Path):
    try:
        with session.graph.as_default():
            meta_graph = SavedModelLoader(str(compiled)).load(session, [TAG])
        signature = meta_graph.signature_def[SIGNATURE]
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise SavedModelError(f"{compiled}: is not a SavedModel: {str(error).splitlines()[0]}") from None
    missing = {"image"} - set(signature.inputs) | set(OUTPUTS) - set(signature.outputs)
    if missing:
        raise SavedModelError(f"{compiled}: its signature {SIGNATURE} has no {', '.join(sorted(missing))}; "
                              "build it with `python -m model build`")
    return signature


def _undecodable(image: bytes, error) -> Detections:
    # The decoder's message comes last, before a line that points into the graph.
    reason = [line for line in error.message.splitlines() if line.strip() and "[[" not in line][-1]
    return _failed(f"the image ({len(image):,} bytes) cannot be decoded: {reason[:200]}")


def _failed(error: str) -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), error=error)
