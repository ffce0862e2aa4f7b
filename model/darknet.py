"""Darknet's files: reads and checks `.cfg` (architecture), reads and writes `.weights` (its trained numbers).

Source: the files of github.com/AlexeyAB/darknet and its parser's behaviour. A cfg key that would change the
result and is not understood is an error; keys that only matter in training are listed and passed over.
"""
from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from model.architecture import (
    Architecture,
    ArchitectureError,
    Convolutional,
    Dropout,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
    Yolo,
    kernel_count,
    parameter_count,
)
from model.weights import ConvolutionWeights, WeightsError, replace_file


class CfgError(ValueError):
    """The cfg file cannot be used; the message names file and line."""


ACTIVATIONS = ("leaky", "mish", "linear", "logistic", "relu", "swish")

# Keys without influence on the result of inference, by section. Everything else must be consumed by a reader below.
TRAINING_KEYS = {
    "net": """batch subdivisions momentum decay angle saturation exposure hue learning_rate burn_in max_batches policy
        steps scales mosaic cutmix mixup ema_alpha optimized_memory input_calibration flip blur gaussian_noise
        max_crop min_crop aspect adversarial_lr attention label_smooth_eps power gamma step max_chart_loss
        workspace_size_limit_MB dynamic_minibatch contrastive letter_box_train time_steps track show_receptive_field""",
    "convolutional": "stopbackward",
    "shortcut": "",
    "route": "",
    "maxpool": "",
    "upsample": "",
    "dropout": "probability",
    "yolo": """jitter ignore_thresh truth_thresh random resize iou_thresh iou_normalizer cls_normalizer obj_normalizer
        delta_normalizer iou_loss max_delta objectness_smooth label_smooth_eps max thresh
        iou_thresh_kind counters_per_class focal_loss ema_alpha""",
}


class _Section:
    """One `[name]` of a cfg file; remembers which keys a reader asked for."""

    def __init__(self, path, name, line):
        self.path, self.name, self.line = path, name, line
        self.values: dict[str, tuple[str, int]] = {}
        self.used: set[str] = set()

    def add(self, key, value, line) -> None:
        """Notes a line; darknet would take the first of two, other readers the last."""
        if self.values.setdefault(key, (value, line))[0] != value:
            raise self.error(f"`{key}={value}` contradicts line {self.values[key][1]}", line)

    def error(self, why, line=None) -> CfgError:
        return CfgError(f"{self.path}:{line or self.line}: [{self.name}] {why}")

    def text(self, key, default=None) -> str:
        self.used.add(key)
        if key not in self.values and default is None:
            raise self.error(f"lacks `{key}=`")
        return self.values.get(key, (default, 0))[0]

    def _number(self, key, default, kind):
        text = self.text(key, None if default is None else str(default))
        try:
            return kind(text)
        except ValueError:
            raise self.error(f"`{key}={text}` is not a number", self.values[key][1]) from None

    def integer(self, key, default=None, least=0) -> int:
        value = self._number(key, default, int)
        if value < least:
            raise self.error(f"`{key}={value}` is less than {least}", self.values.get(key, ("", self.line))[1])
        return value

    def real(self, key, default=None) -> float:
        return self._number(key, default, _finite)

    def numbers(self, key, kind) -> list:
        text = self.text(key)
        try:
            return [kind(item) for item in text.split(",") if item.strip()]
        except ValueError:
            raise self.error(f"`{key}={text}` is not a list of numbers", self.values[key][1]) from None

    def refuse_unknown_keys(self) -> None:
        for key, (value, line) in self.values.items():
            if key not in self.used and key not in TRAINING_KEYS[self.name].split():
                raise self.error(f"`{key}={value}` is not understood and may change the result", line)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def read_cfg(path) -> Architecture:
    """The architecture that a darknet cfg file describes. Raises CfgError (file, line) on anything not understood."""
    sections = _sections(Path(path))
    if not sections or sections[0].name not in ("net", "network"):
        raise CfgError(f"{path}: is not a darknet cfg: it does not begin with [net]")
    net, *rest = sections
    net.name = "net"
    width, height = net.integer("width", least=1), net.integer("height", least=1)
    if net.integer("channels", 3) != 3:
        raise net.error("only 3 channels (RGB) are supported", net.values["channels"][1])
    letterbox = bool(net.integer("letter_box", 0))
    net.refuse_unknown_keys()
    diou_beta = _diou_beta(rest)
    layers = tuple(_layer(section, index) for index, section in enumerate(rest))
    try:
        return Architecture(width, height, layers, letterbox, diou_beta)
    except ArchitectureError as error:
        raise CfgError(f"{path}: {error}") from None


# darknet's suppressions: whether they take the distance of centres into account.
NMS_KINDS = {"default": False, "greedynms": False, "diounms": True}


def _diou_beta(sections) -> float | None:
    """The exponent of DIoU-NMS, or None for greedy suppression; darknet goes by the last yolo layer."""
    beta = None
    for section in (section for section in sections if section.name == "yolo"):
        kind = section.text("nms_kind", "default")
        if kind not in NMS_KINDS:
            line = section.values["nms_kind"][1]
            raise section.error(f"`nms_kind={kind}` is not supported (supported: {', '.join(NMS_KINDS)})", line)
        exponent = section.real("beta_nms", 0.6)
        beta = exponent if NMS_KINDS[kind] else None
    return beta


def _sections(path: Path) -> list[_Section]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise CfgError(f"{path}: there is no such cfg file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CfgError(f"{path}: cannot be read as a cfg file: {error}") from None
    sections: list[_Section] = []
    for number, line in enumerate(lines, 1):
        line = "".join(line.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            sections.append(_Section(path, line.strip("[]"), number))
        elif "=" in line and sections:
            key, value = line.split("=", 1)
            sections[-1].add(key, value, number)
        else:
            raise CfgError(f"{path}:{number}: `{line[:60]}` is neither a [section] nor key=value")
    return sections


def _layer(section: _Section, index: int):
    reader = _READERS.get(section.name)
    if reader is None:
        raise section.error(f"layers of this kind are not supported (supported: {', '.join(_READERS)})")
    layer = reader(section, index)
    section.refuse_unknown_keys()
    return layer


def _absolute(section: _Section, reference: int, index: int) -> int:
    absolute = reference if reference >= 0 else index + reference
    if not 0 <= absolute < index:
        raise section.error(f"layer {index} refers to layer {absolute}, which is not before it")
    return absolute


def _activation(section: _Section, default: str) -> str:
    name = section.text("activation", default)
    if name not in ACTIVATIONS:
        line = section.values["activation"][1]
        raise section.error(f"`activation={name}` is not supported (supported: {', '.join(ACTIVATIONS)})", line)
    return name


def _convolutional(section: _Section, index: int) -> Convolutional:
    size = section.integer("size", 1, least=1)
    padding = section.integer("padding", 0)
    return Convolutional(
        filters=section.integer("filters", 1, least=1),
        size=size,
        stride=section.integer("stride", 1, least=1),
        padding=size // 2 if section.integer("pad", 0) else padding,
        groups=section.integer("groups", 1, least=1),
        batch_normalize=bool(section.integer("batch_normalize", 0)),
        activation=_activation(section, "logistic"),
    )


def _route(section: _Section, index: int) -> Route:
    layers = tuple(_absolute(section, i, index) for i in section.numbers("layers", int))
    if not layers:
        raise section.error("`layers=` names no layer")
    return Route(layers, section.integer("groups", 1, least=1), section.integer("group_id", 0))


def _shortcut(section: _Section, index: int) -> Shortcut:
    sources = section.numbers("from", int)
    if len(sources) != 1:
        raise section.error(f"`from={section.text('from')}` must name one layer")
    return Shortcut(_absolute(section, sources[0], index), _activation(section, "linear"))


def _maxpool(section: _Section, index: int) -> MaxPool:
    stride = section.integer("stride", 1, least=1)
    size = section.integer("size", stride, least=1)
    return MaxPool(size, stride, section.integer("padding", size - 1))


def _yolo(section: _Section, index: int) -> Yolo:
    numbers = section.numbers("anchors", _finite)
    pairs = list(zip(numbers[::2], numbers[1::2]))
    if len(numbers) % 2 or len(pairs) != section.integer("num", len(pairs)):
        num = section.text("num", "?")
        raise section.error(f"has {len(numbers)} anchor numbers, which is not two for each of num={num}")
    if min(numbers, default=1) <= 0:
        raise section.error(f"`anchors={section.text('anchors')}` holds a side that is not longer than 0")
    mask = section.numbers("mask", int) if "mask" in section.values else range(len(pairs))
    if any(not 0 <= i < len(pairs) for i in mask):
        raise section.error(f"`mask={section.text('mask')}` names an anchor that is not among the {len(pairs)}")
    return Yolo(
        anchors=tuple(pairs[i] for i in mask),
        classes=section.integer("classes", 20, least=1),
        scale_x_y=section.real("scale_x_y", 1.0),
        new_coords=bool(section.integer("new_coords", 0)),
    )


_READERS = {
    "convolutional": _convolutional,
    "route": _route,
    "shortcut": _shortcut,
    "maxpool": _maxpool,
    "upsample": lambda section, index: Upsample(section.integer("stride", 2, least=1)),
    "dropout": lambda section, index: Dropout(),
    "yolo": _yolo,
}

# Header of the format's version 0.2: major, minor, revision as int32, then the number of images seen as int64.
HEADER_BYTES = 20


def read_weights(path, architecture: Architecture) -> list[ConvolutionWeights]:
    """The weights file's numbers, one record per convolution in order. Raises WeightsError if they do not fit."""
    numbers = _numbers(Path(path), architecture.parameters())
    weights, offset = [], 0
    for index, conv, channels in architecture.convolutions():
        count = parameter_count(conv, channels)
        weights.append(_convolution(numbers[offset:offset + count], conv, channels))
        offset += count
        if conv.batch_normalize and weights[-1].variance.min() < 0:
            raise WeightsError(f"{path}: the variance of layer {index} is negative (is it the cfg's own weights file?)")
    return weights


def _numbers(path: Path, expected: int) -> np.ndarray:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such weights file") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from None
    start = _header_bytes(path, data)
    actual, rest = divmod(len(data) - start, 4)
    if actual != expected or rest:
        problem = "too short" if actual < expected else "too long"
        raise WeightsError(
            f"{path}: {problem} for this architecture: it holds {actual:,} floats"
            f"{f' and {rest} odd bytes' if rest else ''}, expected {expected:,} (is it the cfg's own weights file?)"
        )
    numbers = np.frombuffer(data, "<f4", expected, start)
    if not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise WeightsError(f"{path}: float {bad:,} of {expected:,} is {numbers[bad]}, not a finite number")
    return numbers


def _header_bytes(path: Path, data: bytes) -> int:
    if len(data) < HEADER_BYTES:
        raise WeightsError(f"{path}: is not a darknet weights file: {len(data)} bytes are less than its header")
    major, minor = np.frombuffer(data, "<i4", 2)
    if not (0 <= major <= 9 and 0 <= minor <= 9):
        raise WeightsError(f"{path}: is not a darknet weights file: its header says version {major}.{minor}")
    return HEADER_BYTES if major * 10 + minor >= 2 else HEADER_BYTES - 4


def _convolution(numbers: np.ndarray, conv: Convolutional, channels: int) -> ConvolutionWeights:
    """Darknet's order: bias, then scale, mean and variance of batch norm, then the kernel [filters, channels, h, w]."""
    kernel = numbers[-kernel_count(conv, channels):]
    rows = numbers[:-kernel.size].reshape(-1, conv.filters)
    kernel = kernel.reshape(conv.filters, channels // conv.groups, conv.size, conv.size)
    return ConvolutionWeights(np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), *rows)


def write_weights(path, weights: list[ConvolutionWeights]) -> None:
    """Writes a darknet weights file (version 0.2.5), in place of an old one only when complete."""
    parts = [np.array([0, 2, 5, 0, 0], "<i4").tobytes()]
    for conv in weights:
        _, *rows = conv.arrays()
        parts += [np.asarray(array, "<f4").tobytes() for array in (*rows, conv.kernel.transpose(3, 2, 0, 1))]
    replace_file(path, b"".join(parts))
