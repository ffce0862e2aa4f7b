"""What shows that a network ran on an NVIDIA GPU, and in the numeric format that was asked for.

Runs on Python 3.7 and TensorFlow 1.15. Not yet run on a GPU.
"""
from __future__ import annotations

import os
import re

import tensorflow as tf

from model.graph.operators import NOT_OPERATORS
from model.graph.saved_model import NETWORK

FLOATS = (tf.float32.as_datatype_enum, tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
# Between devices TensorFlow adds transfers, named as the operators whose results they carry.
NOT_COMPUTING = NOT_OPERATORS | {"_Send", "_Recv", "_HostSend", "_HostRecv"}
DEVICE = re.compile(r"device:([A-Z_]+:\d+)$")
HAS_TF32 = hasattr(tf.config.experimental, "enable_tensor_float_32_execution")
FIRST_TF32 = 8, 0  # compute capability: Ampere
NO_GPU = ("TensorFlow {} sees no GPU: it needs the CUDA libraries of its version (pip install 'tensorflow[and-cuda]') "
          "and NVIDIA's driver; `nvidia-smi` must list the GPU")


def device_of(name: str) -> str:
    """The device in TensorFlow's name of it, such as GPU:0; '' for its streams and for what is not a device."""
    found = DEVICE.search(name)
    return found.group(1) if found else ""


def placement_fault(partitions, wanted: str = "GPU:") -> str:
    """Why the network does not run on the wanted device alone, by the graphs that ran on each device; '' if it does.

    Shapes and other whole numbers may be computed elsewhere: TensorFlow places them on the host by itself.
    """
    nodes = [node for graph in partitions for node in graph.node if _computes(node)]
    elsewhere = [node for node in nodes if not device_of(node.device).startswith(wanted)]
    if nodes and not elsewhere:
        return ""
    if not nodes:
        return f"no operator of the network was seen to run, on {wanted.rstrip(':')} or elsewhere"
    devices = ", ".join(sorted({device_of(node.device) or "an unnamed device" for node in elsewhere}))
    return (f"{len(elsewhere)} of {len(nodes)} operators of the network ran on {devices}, not on the "
            f"{wanted.rstrip(':')}, first {elsewhere[0].name}")


def _computes(node) -> bool:
    """Whether a node is an operator of the network on floating point numbers."""
    is_of_network = node.name.startswith(NETWORK + "/") and node.op not in NOT_COMPUTING
    return is_of_network and "T" in node.attr and node.attr["T"].type in FLOATS


def explained(fault: str, session) -> str:
    """The fault with its cause, where that is a GPU that TensorFlow does not see."""
    is_seen = any(device.device_type == "GPU" for device in session.list_devices())
    return fault if is_seen or not fault else f"{fault}; {NO_GPU.format(tf.__version__)}"


def use_tf32(is_wanted: bool) -> None:
    """Lets FP32 products be computed in TF32, or not: TensorFlow's setting for the whole process, on by default.

    Does nothing where TensorFlow is too old to have it, for which there is `tf32_fault`.
    """
    if HAS_TF32:
        tf.config.experimental.enable_tensor_float_32_execution(is_wanted)


def tf32_fault() -> str:
    """Why this machine's GPU does not compute in TF32 although it is asked to; '' if it does."""
    if not HAS_TF32:
        return f"TensorFlow {tf.__version__} has no TF32: run it on 2.4 or newer, or compile the model in FP32"
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return "NVIDIA_TF32_OVERRIDE=0 turns TF32 off: unset it, or compile the model in FP32"
    gpus = tf.config.list_physical_devices("GPU")
    found = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None
    if found and tuple(found) >= FIRST_TF32:
        return ""
    which = f"this GPU has compute capability {'.'.join(map(str, found))}" if found else "there is no GPU"
    return f"TF32 needs a GPU of compute capability 8.0 or newer, and {which}: compile the model in FP32"
