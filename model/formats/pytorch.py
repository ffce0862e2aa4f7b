"""PyTorch checkpoints (`.pth`, `.pt`, `.safetensors`): reads and writes the numbers of a detector's convolutions.

The checkpoint is the state dict of github.com/Tianxiaomo/pytorch-YOLOv4, which AWS's YOLOv4 tutorial converts: its
k-th convolution is the k-th of the cfg. The names below are that repository's; other names are read by their order.

A state dict does not hold the epsilon of its batch norms, which projects choose differently. Where its names do not
say whose it is, the user must. The numbers that are read mean the same with darknet's epsilon.
"""
from __future__ import annotations

import importlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from model.architecture import Architecture, Convolutional, Shortcut, Yolo, yolov4
from model.formats.files import open_without_waiting, regular_size
from model.formats.weights import BATCH_NORM_EPSILON, ConvolutionWeights, WeightsError, check_variance, replace_file
from model.quoting import shown

# What PyTorch calls the rows of batch norm; it also counts batches, which says nothing of the result.
BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
BATCH_COUNT = "num_batches_tracked"
# Older ones run code in some files in spite of weights_only (CVE-2025-32434).
SAFE_TORCH = (2, 6)
SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
READ_TYPES = ("float32", "float16", "bfloat16")

# What names of a convolution and its batch norm say of batch norm's epsilon. `module_list.0.Conv2d` says nothing:
# Ultralytics' yolov3 had 1e-5 and then 1e-4 under that name, as has WongKinYiu's PyTorch_YOLOv4.
EPSILON_BY_NAMES = (
    (r"models\.\d+\.conv\d+", r"models\.\d+\.bn\d+", 1e-5),  # Tianxiaomo's darknet2pytorch.py, marvis' pytorch-yolo3
    (r"module_list\.\d+\.conv_\d+", r"module_list\.\d+\.batch_norm_\d+", 1e-5),  # eriklindernoren's PyTorch-YOLOv3
    (r"model\.\d+\.conv", r"model\.\d+\.bn", 1e-3),  # Ultralytics' yolov5, WongKinYiu's yolov7
)
LARGEST_EPSILON = 0.1

# A checkpoint may hold its optimizer's numbers and a second set of weights in float64 besides the first.
BYTES_PER_PARAMETER, OTHER_BYTES = 64, 10_000_000


def read_checkpoint(path, architecture: Architecture, epsilon: float | None = None) -> list[ConvolutionWeights]:
    """The checkpoint's numbers as float32, one record per convolution in order.

    `epsilon` of its batch norms, by default what its names say of it. Code in the file is refused, never run; so are
    files and tensors of another size than the architecture's, before they are read. Raises WeightsError, which names
    the key, if the file does not fit.
    """
    path = Path(path)
    most = OTHER_BYTES + BYTES_PER_PARAMETER * architecture.parameters()
    if path.suffix == ".safetensors":
        return weights_from_arrays(path, _read_safetensors(path, most), architecture, False, epsilon)
    return weights_from_arrays(path, state_dict(path, _read_torch(path, most)), architecture, True, epsilon)


def write_checkpoint(path, architecture: Architecture, weights: list[ConvolutionWeights]) -> None:
    """Writes the numbers bit for bit, in place of an old file only when complete; the suffix chooses the format."""
    path = Path(path)
    encode = _encode_safetensors if path.suffix == ".safetensors" else _encode_torch
    arrays = checkpoint_arrays(architecture, weights)
    content = encode(path, {key: np.array(array, order="C") for key, array in arrays.items()})
    replace_file(path, content)


# Names


def module_names(architecture: Architecture) -> list[tuple[str, str | None]]:
    """The modules (convolution, batch norm or None) of a written checkpoint, one pair per convolution in order.

    They are Tianxiaomo's for YOLOv4 of any width, depth and number of classes, else `conv_000`, `norm_000` and so on.
    """
    convolutions = [conv for _, conv, _ in architecture.convolutions()]
    depth = _yolov4_depth(architecture)
    if depth:
        names = [(f"{block}.conv.0", f"{block}.conv.1") for block in _blocks(depth)]
    else:
        names = [(f"conv_{k:03}", f"norm_{k:03}") for k in range(len(convolutions))]
    return [(name, norm if conv.batch_normalize else None) for (name, norm), conv in zip(names, convolutions)]


def _blocks(depth) -> Iterator[str]:
    """Tianxiaomo's blocks in the order of darknet's layers: a stage's residual blocks come before its conv4."""
    yield from (f"down1.conv{k}" for k in range(1, 9))
    for stage, residual_blocks in enumerate(depth[1:], 2):
        yield from (f"down{stage}.conv{k}" for k in (1, 2, 3))
        yield from (f"down{stage}.resblock.module_list.{k}.{part}" for k in range(residual_blocks) for part in (0, 1))
        yield from (f"down{stage}.conv{k}" for k in (4, 5))
    yield from (f"neek.conv{k}" for k in range(1, 21))
    yield from (f"head.conv{k}" for k in range(1, 19))


def _yolov4_depth(architecture: Architecture) -> tuple | None:
    """Residual blocks per stage if the layers are YOLOv4's; the names know only one block in the first stage."""
    depth: list[int] = []
    for layer in architecture.layers:
        if isinstance(layer, Convolutional) and layer.stride == 2:
            depth.append(0)
        elif isinstance(layer, Shortcut) and depth:
            depth[-1] += 1
    if len(depth) < 5 or depth[0] != 1:
        return None
    same = _skeleton(architecture) == _skeleton(yolov4(depth=tuple(depth[:5])))
    return tuple(depth[:5]) if same else None


def _skeleton(architecture: Architecture) -> list:
    """The layers without what a checkpoint's names do not depend on: filters, activations, anchors and classes."""
    return [
        replace(layer, filters=0, activation="") if isinstance(layer, Convolutional)
        else Yolo if isinstance(layer, Yolo) else layer
        for layer in architecture.layers
    ]


# Arrays by key → records per convolution


def checkpoint_arrays(architecture: Architecture, weights: list[ConvolutionWeights]) -> dict[str, np.ndarray]:
    """The state dict as views: kernels [filters, channels / groups, height, width], rows [filters], in order."""
    arrays = {}
    for (module, norm), conv in zip(module_names(architecture), weights):
        arrays[f"{module}.weight"] = conv.kernel.transpose(3, 2, 0, 1)
        if norm is None:
            arrays[f"{module}.bias"] = conv.bias
        else:
            arrays.update({f"{norm}.{leaf}": getattr(conv, field) for field, leaf in BATCH_NORM.items()})
            arrays[f"{norm}.{BATCH_COUNT}"] = np.zeros((), np.int64)
    return arrays


def weights_from_arrays(path, arrays, architecture: Architecture, keeps_order=True, epsilon=None
                        ) -> list[ConvolutionWeights]:
    """One record per convolution from a state dict of numpy arrays or tensors; `path` is for errors.

    The names that `module_names` gives decide the order, whatever their common prefix and whether the neck is spelled
    `neek` or `neck`; with others, the k-th convolution and the k-th batch norm in the mapping's order, or where the
    file does not keep it, in the order of their numbers. `epsilon` as in `read_checkpoint`. Raises WeightsError.
    """
    modules = _modules(path, arrays)
    pairs = _paired(path, modules, module_names(architecture), keeps_order)
    convolutions = [(conv, channels) for _, conv, channels in architecture.convolutions()]
    weights = [_convolution(path, modules, *pair, *conv) for pair, conv in zip(pairs, convolutions)]
    norms = [norm for _, norm in pairs if norm]
    if norms:
        epsilon = _checked_epsilon(path, epsilon) or _epsilon(path, modules, pairs, module_names(architecture))
    return [_with_darknets_epsilon(path, norm, conv, epsilon) if norm else conv
            for (_, norm), conv in zip(pairs, weights)]


def _checked_epsilon(path, epsilon) -> float | None:
    if epsilon is not None and not 0 < epsilon <= LARGEST_EPSILON:
        raise WeightsError(f"{shown(path, 200)}: batch norm's epsilon {epsilon:g} is not between 0 and "
                           f"{LARGEST_EPSILON:g}, for example 1e-4")
    return epsilon


def _epsilon(path, modules, pairs, known_names) -> float:
    """The epsilon of the project whose names these are. Raises WeightsError where they are nobody's."""
    if _are_known(modules, known_names):
        return BATCH_NORM_EPSILON
    for conv_name, norm_name, epsilon in EPSILON_BY_NAMES:
        if all(re.search(rf"(^|\.){conv_name}$", conv) and re.search(rf"(^|\.){norm_name}$", norm)
               for conv, norm in pairs if norm):
            return epsilon
    norm = next(norm for _, norm in pairs if norm)
    raise WeightsError(
        f"{shown(path, 200)}: names like `{shown(norm)}` do not say which epsilon its batch norms have (PyTorch and "
        "Tianxiaomo 1e-5, WongKinYiu's PyTorch_YOLOv4 1e-4, Ultralytics 1e-3); give it with "
        "`python -m model convert IN OUT.weights --bn-epsilon X`"
    )


def _with_darknets_epsilon(path, norm, conv: ConvolutionWeights, epsilon: float) -> ConvolutionWeights:
    """The convolution whose variance, with darknet's epsilon, gives what the file's gives with its own."""
    check_variance(path, f"`{shown(norm)}.running_var`", conv.variance, epsilon)
    if epsilon == BATCH_NORM_EPSILON:
        return conv
    variance = conv.variance.astype(np.float64) + (epsilon - BATCH_NORM_EPSILON)
    return replace(conv, variance=variance.astype(np.float32))


def _modules(path, arrays) -> dict[str, dict]:
    """Arrays by module and last part of the key: {"down1.conv1.conv.0": {"weight": …}}."""
    modules: dict[str, dict] = {}
    for key, array in arrays.items():
        module, _, leaf = str(key).rpartition(".")
        if leaf == BATCH_COUNT:
            continue
        if leaf not in BATCH_NORM.values():
            raise WeightsError(f"{shown(path, 200)}: the key `{shown(key)}` belongs neither to a convolution nor to "
                               "batch norm")
        kind = _type_of(array)
        if kind not in READ_TYPES:
            raise _wrong_type(path, key, kind)
        modules.setdefault(module, {})[leaf] = array
    return modules


def _type_of(array) -> str:
    """The type of an array's or plain tensor's numbers, or in words what it is instead."""
    if isinstance(array, np.ndarray):
        return str(array.dtype)
    if not hasattr(array, "layout"):
        return type(array).__name__
    if str(array.layout) != "torch.strided":
        return f"{str(array.layout).replace('torch.', '')} tensor"
    return "meta tensor" if array.is_meta else str(array.dtype).replace("torch.", "")


def _wrong_type(path, key, kind) -> WeightsError:
    return WeightsError(f"{shown(path, 200)}: `{shown(key)}` is of type {shown(kind)}, expected a tensor of "
                        f"{', '.join(READ_TYPES[:-1])} or {READ_TYPES[-1]}")


def _paired(path, modules, names, keeps_order) -> list[tuple[str, str | None]]:
    """The file's (convolution, batch norm or None) in the order of `names`."""
    plain = dict(zip(_plain(modules), modules))
    if _are_known(modules, names):
        return [(plain[conv], norm and plain[norm]) for conv, norm in names]
    convolutions = [name for name, leaves in modules.items() if "weight" in leaves and leaves["weight"].ndim == 4]
    norms = [name for name in modules if name not in convolutions]
    _check_counts(path, convolutions, norms, names, plain)
    _check_order_of_execution(path, convolutions)
    if not keeps_order:
        convolutions, norms = _by_numbers(path, convolutions), _by_numbers(path, norms)
    remaining = iter(norms)
    return [(conv, norm and next(remaining)) for conv, (_, norm) in zip(convolutions, names)]


def _are_known(modules, names) -> bool:
    """Whether the file's modules are those of `names`, whatever their common prefix."""
    return sorted(_plain(modules)) == sorted(module for pair in names for module in pair if module)


def _check_order_of_execution(path, convolutions) -> None:
    """Ultralytics' blocks list cv1, cv2, … in another order than a cfg does, and several of one shape."""
    blocks = [name for name in convolutions if re.search(r"(^|\.)cv\d+(\.|$)", name)]
    if blocks:
        raise WeightsError(f"{shown(path, 200)}: blocks like `{shown(blocks[0])}` do not list their convolutions in "
                           "the cfg's order; export the network as darknet .weights with its own project")


def _plain(modules) -> list[str]:
    """The modules' names without the prefix that all share (`module.`, `model.`) and with the neck spelled `neek`."""
    parts = [name.split(".") for name in modules]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*parts)))
    return [re.sub(r"^neck\b", "neek", ".".join(name[shared:])) for name in parts]


def _check_counts(path, convolutions, norms, names, plain) -> None:
    counts = len(convolutions), len(norms)
    expected = len(names), sum(norm is not None for _, norm in names)
    if counts != expected:
        known = [module for pair in names for module in pair if module]
        raise WeightsError(
            f"{shown(path, 200)}: holds {counts[0]} convolutions and {counts[1]} batch norms, expected {expected[0]} "
            f"and {expected[1]}{_difference(known, plain)} (is it the cfg's own checkpoint?)"
        )


def _difference(known, plain) -> str:
    """Names the first module in which the file's names differ from the known ones, if it uses them at all."""
    if not set(known) & set(plain):
        return ""
    missing = [name for name in known if name not in plain]
    surplus = [name for name in plain if name not in known]
    if missing:
        return f": `{missing[0]}.weight` is missing"
    return f": `{shown(surplus[0])}` has no place in it" if surplus else ""


def _by_numbers(path, names) -> list[str]:
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        raise WeightsError(
            f"{shown(path, 200)}: its names, like `{shown(names[0])}`, do not tell the convolutions' order, which "
            "safetensors files do not keep; save it as .pth"
        )
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _convolution(path, modules, module, norm, conv: Convolutional, channels) -> ConvolutionWeights:
    row = (conv.filters,)
    shapes = {"weight": (conv.filters, channels // conv.groups, conv.size, conv.size)}
    if norm is None:
        taken = _taken(path, modules, module, {**shapes, "bias": row})
        return ConvolutionWeights(_kernel(taken), taken["bias"])
    kernel = _kernel(_taken(path, modules, module, shapes))
    rows = _taken(path, modules, norm, {leaf: row for leaf in BATCH_NORM.values()})
    return ConvolutionWeights(kernel, **{field: rows[leaf] for field, leaf in BATCH_NORM.items()})


def _kernel(taken) -> np.ndarray:
    return np.ascontiguousarray(taken["weight"].transpose(2, 3, 1, 0))


def _taken(path, modules, module, shapes) -> dict[str, np.ndarray]:
    """The module's arrays as float32: these keys and no others, of these shapes and finite."""
    surplus = [leaf for leaf in modules[module] if leaf not in shapes]
    if surplus:
        key = f"{shown(module)}.{surplus[0]}"
        raise WeightsError(f"{shown(path, 200)}: the key `{key}` has no place in this architecture")
    return {leaf: _one(path, f"{module}.{leaf}", modules[module].get(leaf), shape) for leaf, shape in shapes.items()}


def _one(path, key, array, shape) -> np.ndarray:
    name = f"{shown(path, 200)}: `{shown(key)}`"
    if array is None:
        raise WeightsError(f"{name} is missing, expected shape {shape}")
    if tuple(array.shape) != shape:
        raise WeightsError(f"{name} has shape {shown(tuple(array.shape))}, expected {shape}")
    if not isinstance(array, np.ndarray):  # only now: a tensor of a few bytes may stand for billions of numbers
        array = array.detach().float().numpy()
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise WeightsError(f"{name} holds {array[place]} at {place}, not a finite number")
    return array.astype(np.float32)


# Files → arrays by key


def state_dict(path, content) -> Mapping:
    """The mapping of key → array in what a file holds: itself, or the only one that it wraps ({"state_dict": …})."""
    name = shown(path, 200)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{name}: holds a {type(content).__name__}, not a state dict")
    if _has_kernel(content):
        return content
    wrapped = {key: value for key, value in content.items() if isinstance(value, Mapping) and _has_kernel(value)}
    if len(wrapped) != 1:
        several = f"holds several sets of weights ({shown(', '.join(map(str, wrapped)))}); save one of them alone"
        raise WeightsError(f"{name}: {several if wrapped else 'holds no weights of a convolution'}")
    return next(iter(wrapped.values()))


def _has_kernel(content: Mapping) -> bool:
    return any(getattr(value, "ndim", 0) == 4 for value in content.values())


def _bytes(path: Path, most: int) -> bytes:
    name = shown(path, 200)
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            size = regular_size(file)
            content = file.read(most) if size <= most else b""
    except FileNotFoundError:
        raise WeightsError(f"{name}: there is no such checkpoint") from None
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read: {shown(error, 100)}") from None
    if size > most:
        raise WeightsError(f"{name}: has {size:,} bytes, more than the {most:,} that a checkpoint of this architecture "
                           "takes with its optimizer (is it the cfg's own checkpoint?)")
    return content


def _library(path, name):
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise WeightsError(f"{shown(path, 200)}: {path.suffix} files need {package}: pip install {package}") from None


def _torch(path):
    torch = _library(path, "torch")
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE_TORCH:
        raise WeightsError(f"{shown(path, 200)}: torch {torch.__version__} cannot read it safely: "
                           "pip install 'torch>=2.6'")
    return torch


def _read_torch(path: Path, most: int):
    """What torch.save wrote, tensors as they are. Numbers may take `most` bytes, packed or not."""
    data, torch = _bytes(path, most), _torch(path)
    _check_unpacked(path, data, most)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything
        raise WeightsError(f"{shown(path, 200)}: {_refusal(error)}") from None


def _check_unpacked(path, data: bytes, most: int) -> None:
    """torch.save packs nothing, but its zip files may be."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except Exception:  # older files are no zip files; what is damaged, torch refuses
        return
    if size > most:
        raise WeightsError(f"{shown(path, 200)}: unpacks to {size:,} bytes, more than the {most:,} that a checkpoint "
                           "of this architecture takes with its optimizer")


def _refusal(error) -> str:
    code = re.search(r"GLOBAL (\S+)", str(error)[:10_000])
    if isinstance(error, pickle.UnpicklingError) and code:
        found = shown(code[1])
        return f"holds more than tensors (`{found}`), which could run code; save the model's state_dict() alone"
    return f"is not a PyTorch checkpoint, or is damaged ({type(error).__name__})"


def _encode_torch(path, arrays) -> bytes:
    torch = _torch(path)
    buffer = io.BytesIO()
    torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, buffer)
    return buffer.getvalue()


def _read_safetensors(path: Path, most: int) -> dict:
    """Source: github.com/huggingface/safetensors; numbers are little-endian."""
    data, safetensors = _bytes(path, most), _library(path, "safetensors")
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        problem = f"is not a safetensors file, or is damaged: {shown(error, 100)}"
        raise WeightsError(f"{shown(path, 200)}: {problem}") from None
    return {key: _stored(path, key, **tensor) for key, tensor in tensors}


def _stored(path, key, shape, dtype, data) -> np.ndarray:
    """The array of these bytes; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if dtype not in SAFETENSORS_TYPES:
        raise _wrong_type(path, key, dtype)
    return np.frombuffer(data, SAFETENSORS_TYPES[dtype]).reshape(shape)


def _encode_safetensors(path, arrays) -> bytes:
    return _library(path, "safetensors.numpy").save(arrays)
