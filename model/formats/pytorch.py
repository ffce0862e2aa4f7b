"""Reads and writes PyTorch checkpoints (`.pth`, `.pt`, `.safetensors`) with the weights of a detector.

`model.formats.pytorch_names` finds out which array belongs to which convolution. Code in a file is never run.
"""
from __future__ import annotations

import importlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model.architecture import Architecture
from model.formats.files import naming, read_whole, replace_file
from model.formats.pytorch_names import checkpoint_arrays, weights_from_arrays, wrong_type
from model.formats.weights import ConvolutionWeights, WeightsError
from model.quoting import shown

# Older versions run code in some files in spite of weights_only (CVE-2025-32434).
SAFE_TORCH = (2, 6)
SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}

# A checkpoint may also hold its optimizer's numbers and a second set of weights in float64.
BYTES_PER_PARAMETER, OTHER_BYTES = 64, 10_000_000


def read_checkpoint(path, architecture: Architecture, epsilon: float | None = None) -> list[ConvolutionWeights]:
    """The checkpoint's numbers as float32, one record per convolution in order.

    `epsilon` is that of its batch norms, by default the one that its names show. Raises WeightsError, which names the
    key, if the file does not fit the architecture or holds code. Sizes are checked before anything is read.
    """
    path = Path(path)
    most = OTHER_BYTES + BYTES_PER_PARAMETER * architecture.parameters()
    is_safetensors = path.suffix == ".safetensors"
    with naming(path, WeightsError):
        data = read_whole(path, most, "checkpoint", WeightsError)
        arrays = _read_safetensors(data) if is_safetensors else state_dict(_read_torch(data, most))
        return weights_from_arrays(arrays, architecture, not is_safetensors, epsilon)


def write_checkpoint(path, architecture: Architecture, weights: list[ConvolutionWeights]) -> None:
    """Writes the numbers bit for bit, in place of an old file only when complete; the suffix chooses the format."""
    arrays = checkpoint_arrays(architecture, weights)
    with naming(path, WeightsError):
        encode = _library("safetensors.numpy").save if Path(path).suffix == ".safetensors" else _encode_torch
        content = encode({key: np.array(array, order="C") for key, array in arrays.items()})
    replace_file(path, content)


def state_dict(content) -> Mapping:
    """The mapping key → array in a checkpoint: the content itself, or the only one inside it ({"state_dict": …}).

    Raises WeightsError.
    """
    if not isinstance(content, Mapping):
        raise WeightsError(f"holds a {type(content).__name__}, must hold a state dict")
    if _has_kernel(content):
        return content
    wrapped = {key: value for key, value in content.items() if isinstance(value, Mapping) and _has_kernel(value)}
    if len(wrapped) != 1:
        several = f"holds several sets of weights ({shown(', '.join(map(str, wrapped)))}); save one of them alone"
        raise WeightsError(several if wrapped else "holds no weights of a convolution")
    return next(iter(wrapped.values()))


def _has_kernel(content: Mapping) -> bool:
    return any(getattr(value, "ndim", 0) == 4 for value in content.values())


def _library(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise WeightsError(f"needs {package}: pip install {package}") from None


def _torch():
    torch = _library("torch")
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE_TORCH:
        raise WeightsError(f"torch {torch.__version__} cannot read it safely: pip install 'torch>=2.6'")
    return torch


def _read_torch(data: bytes, most: int):
    """The object that torch.save wrote, tensors as they are. Its numbers may take `most` bytes, packed or not."""
    torch = _torch()
    _check_unpacked(data, most)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything
        code = re.search(r"GLOBAL (\S+)", str(error)[:10_000])
        if isinstance(error, pickle.UnpicklingError) and code:
            raise WeightsError(f"holds more than tensors (`{shown(code[1])}`), which could run code; save the model's "
                               "state_dict() alone") from None
        raise WeightsError(f"is not a PyTorch checkpoint, or is damaged ({type(error).__name__})") from None


def _check_unpacked(data: bytes, most: int) -> None:
    """Raises WeightsError for a zip file that unpacks to more. torch.save packs nothing, others may."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except Exception:  # older files are not zip files, and torch refuses damaged ones
        return
    if size > most:
        raise WeightsError(f"unpacks to {size:,} bytes, must be at most {most:,} for a checkpoint of this architecture")


def _encode_torch(arrays) -> bytes:
    torch = _torch()
    buffer = io.BytesIO()
    torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, buffer)
    return buffer.getvalue()


def _read_safetensors(data: bytes) -> dict:
    """The arrays by key; numbers are little-endian. Source: github.com/huggingface/safetensors."""
    safetensors = _library("safetensors")
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"is not a safetensors file, or is damaged: {shown(error, 100)}") from None
    return {key: _stored(key, **tensor) for key, tensor in tensors}


def _stored(key, shape, dtype, data) -> np.ndarray:
    """The array of these bytes; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if dtype not in SAFETENSORS_TYPES:
        raise wrong_type(key, dtype)
    return np.frombuffer(data, SAFETENSORS_TYPES[dtype]).reshape(shape)
