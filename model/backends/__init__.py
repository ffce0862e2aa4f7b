"""One module per backend: each compiles the SavedModel for one kind of machine into another SavedModel.

A backend's `compile(saved_model, output, cast, batch)` writes a frozen SavedModel with the same signature. With `batch`
it takes exactly so many images, and `model.detector` splits and pads requests to that. Where `EDGES` gives a choice it
takes `edges`, and on Inferentia `build` and `dynamic`.
"""
from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

FP16 = "fp16"
# The values of --fp32-cast of Inferentia's compiler, and the network itself in FP16, in which nothing is left to cast.
NEURON_CASTS = ("all", "matmult", "matmult-bf16", "matmult-fp16", "none", FP16)
# TF32, FP32 with 10 bits of mantissa, is TensorFlow's default on GPUs that have it; here it is a cast to ask for.
GPU_CASTS = ("fp32", "tf32")
# Backend → its casts. The modules are imported only when used, because TensorFlow is slow to load.
CASTS = {
    "cpu": ("fp32", "bf16"), "xla": GPU_CASTS, "gpu": GPU_CASTS, "emulated": NEURON_CASTS, "neuron": NEURON_CASTS,
}
# Backend → the bits of a number that crosses between host and network. Of both tables the first is the default.
EDGES = {"cpu": (32, 16), "xla": (32,), "gpu": (32,), "emulated": (16, 32), "neuron": (16, 32)}
OWN, TUTORIAL = "own", "tutorial"
PCI, DEVICES = Path("/sys/bus/pci/devices"), Path("/dev")
NVIDIA, DISPLAY = "0x10de", "0x03"  # vendor, and the first byte of the class of graphics and 3D controllers


class Compilation(NamedTuple):
    """What a model is compiled for: the backend, the numbers that it computes in, the bits at its edges, the batch.

    `build` is TUTORIAL where all of it must be as in AWS's YOLOv4 tutorial, else OWN. `compiled_batch` is None where
    the model takes any batch. With `dynamic_batch` Neuron's runtime cuts requests into such batches.
    """

    backend: str
    cast: str
    edges: int
    build: str = OWN
    compiled_batch: int | None = None
    dynamic_batch: bool = False

    def settings(self) -> dict[str, Any]:
        """The arguments of the backend's `compile` that not every backend has."""
        found: dict[str, Any] = {"batch": self.compiled_batch}
        if len(EDGES[self.backend]) > 1:
            found["edges"] = self.edges
        if self.build != OWN:
            found["build"] = self.build
        if self.backend == "neuron":
            found["dynamic"] = self.dynamic_batch
        return found

    @property
    def file_name(self) -> str:
        """A name for files of this compilation."""
        batch = f"batch-{self.compiled_batch}-{'dynamic' if self.dynamic_batch else 'static'}"
        build = [self.build] if self.build != OWN else []
        return "-".join([self.backend, self.cast, *build, *([batch] if self._is_batch_special else [])])

    @property
    def _is_batch_special(self) -> bool:
        return bool(self.compiled_batch) and (self.compiled_batch, self.dynamic_batch) != (1, True)

    def __str__(self):
        words = [f"{self.backend} {self.cast}"]
        words += [f"{self.edges}-bit edges"] if self.edges != 32 else []
        words += [f"build {self.build}"] if self.build != OWN else []
        if self._is_batch_special:
            words.append(f"compiled batch {self.compiled_batch}, {'dynamic' if self.dynamic_batch else 'static'}")
        return ", ".join(words)


# What the others are compared with.
REFERENCE = Compilation("cpu", "fp32", 32)


def require_cast(backend: str, cast: str) -> None:
    """Raises ValueError for a cast that the backend does not have."""
    if cast not in CASTS[backend]:
        raise ValueError(f"cast {cast}: must be one of: {', '.join(CASTS[backend])}")


def backend(name: str):
    """The module of a backend."""
    return import_module(f"model.backends.{name}")


def has_bf16() -> bool:
    """Whether this processor has BF16 instructions, so that the auto-cast need not be emulated."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, seen by TensorFlow or not, that CUDA_VISIBLE_DEVICES does not hide."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    is_hidden = first in ("", "-1", "NoDevFiles")  # CUDA sees the devices before the first that does not exist
    return not is_hidden and (any(DEVICES.glob("nvidia[0-9]*")) or any(map(_is_nvidia_gpu, PCI.glob("*"))))


def _is_nvidia_gpu(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
    except OSError:
        return False
    return vendor == NVIDIA and kind.startswith(DISPLAY)
