"""Which arrays of a PyTorch state dict belong to which convolution, by their names or their order.

The names are those of github.com/Tianxiaomo/pytorch-YOLOv4, which AWS's YOLOv4 tutorial converts: its k-th convolution
is the k-th of the cfg. Other names are matched by their order.

A state dict does not hold the epsilon of its batch norms, which projects choose differently. Where the names do not
show it, the user must give it. The weights that are returned are for darknet's epsilon.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile

import numpy as np

from model.architecture import Architecture, Convolutional, Shortcut, Yolo
from model.formats.weights import BATCH_NORM_EPSILON, ConvolutionWeights, WeightsError, check_variance
from model.quoting import shown
from model.yolov4 import yolov4

# PyTorch's names of batch norm's rows. It also counts batches, which does not change the result.
BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
BATCH_COUNT = "num_batches_tracked"
READ_TYPES = ("float32", "float16", "bfloat16")

# Names of a convolution and its batch norm → its epsilon. `module_list.0.Conv2d` is not here: Ultralytics' yolov3 had
# 1e-5 and then 1e-4 under that name, and so has WongKinYiu's PyTorch_YOLOv4.
EPSILON_BY_NAMES = (
    (r"models\.\d+\.conv\d+", r"models\.\d+\.bn\d+", 1e-5),  # Tianxiaomo's darknet2pytorch.py, marvis' pytorch-yolo3
    (r"module_list\.\d+\.conv_\d+", r"module_list\.\d+\.batch_norm_\d+", 1e-5),  # eriklindernoren's PyTorch-YOLOv3
    (r"model\.\d+\.conv", r"model\.\d+\.bn", 1e-3),  # Ultralytics' yolov5, WongKinYiu's yolov7
)
LARGEST_EPSILON = 0.1


def module_names(architecture: Architecture) -> list[tuple[str, str | None]]:
    """The names (convolution, batch norm or None) in a written checkpoint, one pair per convolution in order.

    They are Tianxiaomo's for YOLOv4 of any width, depth and number of classes; others are `conv_000`, `norm_000` and
    so on.
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
    """Residual blocks per stage if the layers are YOLOv4's. The names allow only one block in the first stage."""
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
    """The layers without filters, activations, anchors and classes, on which a checkpoint's names do not depend."""
    return [
        replace(layer, filters=0, activation="") if isinstance(layer, Convolutional)
        else Yolo if isinstance(layer, Yolo) else layer
        for layer in architecture.layers
    ]


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


def weights_from_arrays(arrays, architecture: Architecture, keeps_order=True, epsilon=None):
    """One ConvolutionWeights per convolution, from a state dict of NumPy arrays or tensors.

    Names are matched with those of `module_names`, whatever their common prefix and whether the neck is spelled `neek`
    or `neck`. Other names are matched by order: that of the mapping or, if the file does not keep it, of their numbers.
    `epsilon` is as in `read_checkpoint`. Raises WeightsError.
    """
    modules = _modules(arrays)
    names = module_names(architecture)
    pairs = _paired(modules, names, keeps_order)
    weights = [_convolution(modules, *pair, conv, channels)
               for pair, (_, conv, channels) in zip(pairs, architecture.convolutions())]
    if any(norm for _, norm in pairs):
        epsilon = _epsilon(epsilon, modules, pairs, names)
    return [_with_darknets_epsilon(norm, conv, epsilon) if norm else conv
            for (_, norm), conv in zip(pairs, weights)]


def _epsilon(given: float | None, modules, pairs, known_names) -> float:
    """The given epsilon, else that of the project that uses these names. Raises WeightsError if no known one does."""
    if given is not None and not 0 < given <= LARGEST_EPSILON:
        raise WeightsError(f"batch norm's epsilon {given:g}: must be greater than 0 and at most {LARGEST_EPSILON:g}, "
                           "for example 1e-4")
    if given is not None:
        return given
    if _are_known(modules, known_names):
        return BATCH_NORM_EPSILON
    for conv_name, norm_name, epsilon in EPSILON_BY_NAMES:
        if all(re.search(rf"(^|\.){conv_name}$", conv) and re.search(rf"(^|\.){norm_name}$", norm)
               for conv, norm in pairs if norm):
            return epsilon
    norm = next(norm for _, norm in pairs if norm)
    raise WeightsError(
        f"names like `{shown(norm)}` do not show the epsilon of its batch norms (PyTorch and Tianxiaomo 1e-5, "
        "WongKinYiu's PyTorch_YOLOv4 1e-4, Ultralytics 1e-3); give it with "
        "`python -m model convert IN OUT.weights --bn-epsilon X`"
    )


def _with_darknets_epsilon(norm, conv: ConvolutionWeights, epsilon: float) -> ConvolutionWeights:
    """The convolution with its variance changed so that darknet's epsilon gives the same result."""
    check_variance(f"`{shown(norm)}.running_var`", conv.variance, epsilon)
    if epsilon == BATCH_NORM_EPSILON:
        return conv
    variance = conv.variance.astype(np.float64) + (epsilon - BATCH_NORM_EPSILON)
    return replace(conv, variance=variance.astype(np.float32))


def _modules(arrays) -> dict[str, dict]:
    """Arrays by module and last part of the key: {"down1.conv1.conv.0": {"weight": …}}."""
    modules: dict[str, dict] = {}
    for key, array in arrays.items():
        module, _, leaf = str(key).rpartition(".")
        if leaf == BATCH_COUNT:
            continue
        if leaf not in BATCH_NORM.values():
            raise WeightsError(f"the key `{shown(key)}` belongs neither to a convolution nor to batch norm; remove it")
        kind = _type_of(array)
        if kind not in READ_TYPES:
            raise wrong_type(key, kind)
        modules.setdefault(module, {})[leaf] = array
    return modules


def _type_of(array) -> str:
    """The type of the numbers of an array or plain tensor, or a description of anything else."""
    if isinstance(array, np.ndarray):
        return str(array.dtype)
    if not hasattr(array, "layout"):
        return type(array).__name__
    if str(array.layout) != "torch.strided":
        return f"{str(array.layout).replace('torch.', '')} tensor"
    return "meta tensor" if array.is_meta else str(array.dtype).replace("torch.", "")


def wrong_type(key, kind) -> WeightsError:
    return WeightsError(f"`{shown(key)}` is of type {shown(kind)}, must be a tensor of {', '.join(READ_TYPES[:-1])} "
                        f"or {READ_TYPES[-1]}")


def _paired(modules, names, keeps_order) -> list[tuple[str, str | None]]:
    """The file's own names (convolution, batch norm or None), in the order of `names`."""
    plain = dict(zip(_plain(modules), modules))
    if _are_known(modules, names):
        return [(plain[conv], norm and plain[norm]) for conv, norm in names]
    convolutions = [name for name, leaves in modules.items() if "weight" in leaves and leaves["weight"].ndim == 4]
    norms = [name for name in modules if name not in convolutions]
    _check_counts(convolutions, norms, names, plain)
    blocks = [name for name in convolutions if re.search(r"(^|\.)cv\d+(\.|$)", name)]
    if blocks:  # Ultralytics' (cv1, cv2, …)
        raise WeightsError(f"blocks like `{shown(blocks[0])}` do not list their convolutions in the cfg's order; "
                           "export the network as darknet .weights with its own project")
    if not keeps_order:
        convolutions, norms = _by_numbers(convolutions), _by_numbers(norms)
    remaining = iter(norms)
    return [(conv, norm and next(remaining)) for conv, (_, norm) in zip(convolutions, names)]


def _are_known(modules, names) -> bool:
    """Whether the modules have the names of `names`, whatever their common prefix."""
    return sorted(_plain(modules)) == sorted(module for pair in names for module in pair if module)


def _plain(modules) -> list[str]:
    """The names without the prefix that all share (`module.`, `model.`) and with the neck spelled `neek`."""
    parts = [name.split(".") for name in modules]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*parts)))
    return [re.sub(r"^neck\b", "neek", ".".join(name[shared:])) for name in parts]


def _check_counts(convolutions, norms, names, plain) -> None:
    counts = len(convolutions), len(norms)
    expected = len(names), sum(norm is not None for _, norm in names)
    if counts != expected:
        known = [module for pair in names for module in pair if module]
        raise WeightsError(
            f"has {counts[0]} convolutions and {counts[1]} batch norms, must have {expected[0]} and {expected[1]}"
            f"{_difference(known, plain)}; give the checkpoint of this cfg"
        )


def _difference(known, plain) -> str:
    """The first name that differs from the known ones, as the end of a message; '' if the file uses other names."""
    if not set(known) & set(plain):
        return ""
    missing = [name for name in known if name not in plain]
    surplus = [name for name in plain if name not in known]
    if missing:
        return f" (`{missing[0]}.weight` is missing)"
    return f" (`{shown(surplus[0])}` is not part of this architecture)" if surplus else ""


def _by_numbers(names) -> list[str]:
    if len({re.sub(r"\d+", "#", name) for name in names}) > 1:
        raise WeightsError(
            f"names like `{shown(names[0])}` do not show the order of the convolutions, which safetensors files do not "
            "keep; save it as .pth"
        )
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _convolution(modules, module, norm, conv: Convolutional, channels) -> ConvolutionWeights:
    row = (conv.filters,)
    shapes = {"weight": (conv.filters, channels // conv.groups, conv.size, conv.size)}
    taken = _taken(modules, module, {**shapes, "bias": row} if norm is None else shapes)
    kernel = np.ascontiguousarray(taken["weight"].transpose(2, 3, 1, 0))
    if norm is None:
        return ConvolutionWeights(kernel, taken["bias"])
    rows = _taken(modules, norm, dict.fromkeys(BATCH_NORM.values(), row))
    return ConvolutionWeights(kernel, **{field: rows[leaf] for field, leaf in BATCH_NORM.items()})


def _taken(modules, module, shapes) -> dict[str, np.ndarray]:
    """The module's arrays as float32, checked: exactly these keys and shapes, all numbers finite."""
    surplus = [leaf for leaf in modules[module] if leaf not in shapes]
    if surplus:
        key = f"{shown(module)}.{surplus[0]}"
        raise WeightsError(f"the key `{key}` is not part of this architecture; give the checkpoint of this cfg")
    return {leaf: _one(f"{module}.{leaf}", modules[module].get(leaf), shape) for leaf, shape in shapes.items()}


def _one(key, array, shape) -> np.ndarray:
    name = f"`{shown(key)}`"
    if array is None:
        raise WeightsError(f"{name} is missing, must have shape {shape}; give the checkpoint of this cfg")
    if tuple(array.shape) != shape:
        raise WeightsError(f"{name} has shape {shown(tuple(array.shape))}, must have {shape}; give the checkpoint of "
                           "this cfg")
    if not isinstance(array, np.ndarray):  # only now: a tensor of a few bytes may stand for billions of numbers
        array = array.detach().float().numpy()
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise WeightsError(f"{name} is {array[place]} at {place}, must be finite")
    return array.astype(np.float32)
