"""One module per backend: each compiles the SavedModel for one kind of machine into another SavedModel.

A backend's `compile(saved_model, output, cast, batch)` writes a frozen SavedModel with the same signature. With `batch`
it takes exactly so many images, and `model.detector` splits and pads requests to that.
"""
from __future__ import annotations

from importlib import import_module
from pathlib import Path

# The values of --fp32-cast of Inferentia's compiler.
NEURON_CASTS = ("all", "matmult", "matmult-bf16", "matmult-fp16", "none")
# Backend → its casts. The modules are imported only when used, because TensorFlow is slow to load.
CASTS = {"cpu": ("fp32", "bf16"), "xla": ("fp32",), "emulated": NEURON_CASTS, "neuron": NEURON_CASTS}


def backend(name: str):
    """The module of a backend."""
    return import_module(f"model.backends.{name}")


def has_bf16() -> bool:
    """Whether this processor has BF16 instructions, so that the auto-cast need not be emulated."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16"))
