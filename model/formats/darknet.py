"""Darknet's files: reads and checks `.cfg` (architecture), reads and writes `.weights` (its trained numbers).

Source: the files of github.com/AlexeyAB/darknet and its parser's behaviour. A cfg key that would change the
result and is not understood is an error; keys that only matter in training are listed and passed over.
"""
from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from model.architecture import (
    LARGEST_SIDE,
    Activation,
    Architecture,
    ArchitectureError,
    AvgPool,
    Convolutional,
    DilatedConvolutional,
    Dropout,
    LocalAvgPool,
    Loss,
    MaxPool,
    MultiShortcut,
    Reorg,
    Route,
    Sam,
    ScaleChannels,
    Shortcut,
    Upsample,
    Yolo,
    kernel_count,
    parameter_count,
)
from model.formats.files import open_without_waiting, regular_size
from model.formats.weights import BATCH_NORM_EPSILON, ConvolutionWeights, WeightsError, check_variance, replace_file
from model.quoting import shown


class CfgError(ValueError):
    """The cfg file cannot be used; the message names file and line."""


ACTIVATIONS = ("leaky", "mish", "linear", "logistic", "relu", "swish", "silu", "relu6", "hard_mish", "tanh", "elu",
               "selu", "gelu", "revleaky", "relie", "ramp", "loggy", "hardtan")

# Far beyond what people have (yolov4-p7: 63 kB, 400 layers) and what a machine takes hours to turn into a network.
MOST_BYTES = 1_000_000
MOST_LAYERS = 4_096
MOST_NUMBERS = 1_024
LARGEST_WINDOW = 255
LARGEST_INTEGER = 2**31 - 1

# Sections that darknet knows by two names, and these are the ones used here.
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool", "avg": "avgpool",
           "local_avg": "local_avgpool", "silence": "empty"}

# What to do about sections that darknet knows and this project does not.
ADVICE = {
    "region": "it is YOLOv2's head; train with [yolo] heads",
    "detection": "it is YOLOv1's head; train with [yolo] heads",
    "Gaussian_yolo": "its heads have other numbers; train with [yolo] heads",
    "reorg": "it belongs to YOLOv2; [reorg3d] is supported",
    "implicit": "export the network with its implicit knowledge folded into the convolutions",
    "batchnorm": "use batch_normalize=1 in the convolution before it",
}

# Keys without influence on the result of inference, by section, `any` for all layers; from AlexeyAB's parser.
# Everything else must be consumed by a reader below.
TRAINING_KEYS = {
    "net": """batch subdivisions momentum decay angle saturation exposure hue learning_rate burn_in max_batches policy
        steps scales mosaic cutmix mixup ema_alpha optimized_memory input_calibration flip blur gaussian_noise
        max_crop min_crop aspect adversarial_lr attention label_smooth_eps power gamma step max_chart_loss
        workspace_size_limit_MB dynamic_minibatch contrastive letter_box_train time_steps track show_receptive_field
        learning_rate_min sgdr_cycle sgdr_mult seq_scales scale augment_speed sequential_subdivisions try_fix_nan
        weights_reject_freq equidistant_point badlabels_rejection_percentage num_sigmas_reject_badlabels
        use_cuda_graph loss_scale adam B1 B2 eps mosaic_bound contrastive_jit_flip contrastive_color unsupervised
        resize_step nesterov clip center random""",
    "any": "clip onlyforward dont_update burnin_update stopbackward train_only_bn learning_rate stream wait_stream",
    "convolutional": "assisted_excitation angle grad_centr reverse dot cbn",
    "maxpool": "out_channels",
    "dropout": "probability dropblock dropblock_size_rel dropblock_size_abs",
    "contrastive": "classes yolo_layer temperature steps cls_normalizer max_delta contrastive_neg_max",
    "cost": "type scale ratio",
    "yolo": """jitter ignore_thresh truth_thresh random resize iou_thresh iou_normalizer cls_normalizer obj_normalizer
        delta_normalizer iou_loss max_delta objectness_smooth label_smooth_eps max thresh
        iou_thresh_kind counters_per_class focal_loss ema_alpha show_details track_history_size sim_thresh
        dets_for_track dets_for_show track_ciou_norm embedding_layer map""",
}

# Keys that change the result and are supported at the value that leaves them out, by section, `any` for all layers.
NEUTRAL_KEYS = {
    "any": {"dontload": 0, "dontloadscales": 0},
    "convolutional": {key: 0 for key in ("antialiasing", "binary", "xnor", "bin_output", "flipped", "coordconv",
                                         "sway", "rotate", "stretch", "stretch_sway")},
    "maxpool": {"antialiasing": 0, "maxpool_depth": 0, "maxpool_zero_nonmax": 0},
    "upsample": {"scale": 1},
    "scale_channels": {"scale_wh": 0},
    "reorg3d": {"reverse": 0},
}

# What may stand behind a number: darknet stops reading there. Behind a word it would belong to the word.
COMMENT = re.compile(r"#|;|//")
INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")
REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
HEADING = re.compile(r"\[([^\[\]]*)\](?:(?:#|;|//).*)?")
# In these lists darknet itself knows `#`; in others it counts a comment's commas.
COMMENTED_LISTS = ("anchors", "mask")


class _Section:
    """One `[name]` of a cfg file; remembers which keys a reader asked for."""

    def __init__(self, path, name, line):
        self.path, self.name, self.line = path, ALIASES.get(name, name), line
        self.values: dict[str, tuple[str, int]] = {}
        self.contradictions: dict[str, tuple[str, int]] = {}
        self.used: set[str] = set()

    def add(self, key, value, line) -> None:
        """Notes a line. Of two lines darknet takes the first, other readers the last; only used keys must agree."""
        first, _ = self.values.setdefault(key, (value, line))
        if _bare(first) != _bare(value):
            self.contradictions.setdefault(key, (value, line))

    def error(self, why, line=None) -> CfgError:
        return CfgError(f"{shown(self.path, 200)}:{line or self.line}: [{shown(self.name, 30)}] {why}")

    def key_error(self, key, why) -> CfgError:
        """The error that names the key's value and line, or the section's where the key is left out."""
        value, line = self.values.get(key, ("", self.line))
        return self.error(f"`{shown(key, 30)}={shown(value)}` {why}", line)

    def has(self, key) -> bool:
        return key in self.values

    def text(self, key, default=None) -> str:
        self.used.add(key)
        if key in self.contradictions:
            value, line = self.contradictions[key]
            first = self.values[key][1]
            raise self.error(f"`{shown(key, 30)}={shown(value)}` contradicts line {first}; keep one", line)
        if key not in self.values and default is None:
            raise self.error(f"lacks `{key}=`")
        return self.values.get(key, (default, 0))[0]

    def word(self, key, default, known) -> str:
        """One of the known words."""
        value = self.text(key, default)
        if value in known:
            return value
        if _bare(value) in known:
            raise self.key_error(key, "has a comment behind it, which darknet reads as part of the word, other readers "
                                      "not; remove the comment")
        raise self.key_error(key, f"is not supported (supported: {', '.join(known)})")

    def integer(self, key, default=None, least=0, most=LARGEST_INTEGER) -> int:
        text = _bare(self.text(key, None if default is None else str(default)))
        if not INTEGER.fullmatch(text):
            raise self.key_error(key, "is not a number")
        value = int(text)
        if value < least:
            raise self.key_error(key, f"is less than {least:,}")
        if value > most:
            raise self.key_error(key, f"is more than {most:,}")
        return value

    def real(self, key, default=None) -> float:
        text = _bare(self.text(key, None if default is None else str(default)))
        value = _real(text)
        if value is None:
            raise self.key_error(key, "is not a number")
        return value

    def numbers(self, key, parse) -> list:
        """The list's numbers; `parse` gives None for what is none."""
        text = self.text(key)
        bare = _bare(text)
        is_ours = text[len(bare):len(bare) + 1] == "#" and key in COMMENTED_LISTS
        if "," in text[len(bare):] and not is_ours:
            raise self.key_error(key, "has a comment with a comma, which darknet reads as one more number; remove it")
        items = bare.split(",")
        if key == "anchors" and not items[-1]:
            items.pop()
        if len(items) > MOST_NUMBERS:
            raise self.key_error(key, f"holds {len(items):,} numbers, at most {MOST_NUMBERS:,} are read")
        values = [parse(item) for item in items]
        if None in values:
            raise self.key_error(key, "is not a list of numbers")
        return values

    def check_other_keys(self) -> None:
        """Raises CfgError for a key that no reader asked for and that may change the result."""
        is_layer = self.name != "net"
        neutral = {**(NEUTRAL_KEYS["any"] if is_layer else {}), **NEUTRAL_KEYS.get(self.name, {})}
        for key, value in neutral.items():
            if self.real(key, value) != value:
                raise self.key_error(key, f"is not supported (only {key}={value} is)")
        training = TRAINING_KEYS.get(self.name, "").split() + (TRAINING_KEYS["any"].split() if is_layer else [])
        for key in self.values:
            if key not in self.used and key not in training:
                raise self.key_error(key, "is not understood and may change the result; correct or remove the line")


def _bare(value: str) -> str:
    """The value without a comment behind it."""
    return COMMENT.split(value, maxsplit=1)[0]


def _integer(text: str):
    return int(text) if INTEGER.fullmatch(text) else None


def _real(text: str):
    """The number, or None for what is none or not finite."""
    if not REAL.fullmatch(text) or not math.isfinite(float(text)):
        return None
    return float(text)


def read_cfg(path) -> Architecture:
    """The architecture that a darknet cfg file describes. Raises CfgError (file, line) on anything not understood."""
    path = Path(path)
    sections = _sections(path)
    if not sections or sections[0].name != "net":
        raise CfgError(f"{shown(path, 200)}: is not a darknet cfg: it does not begin with [net]")
    net, *rest = sections
    if len(rest) > MOST_LAYERS:
        raise CfgError(f"{shown(path, 200)}: has {len(rest):,} layers, at most {MOST_LAYERS:,} are read")
    width = net.integer("width", least=1, most=LARGEST_SIDE)
    height = net.integer("height", least=1, most=LARGEST_SIDE)
    if net.integer("channels", 3) != 3:
        raise net.key_error("channels", "is not supported: only 3 channels (RGB) are supported")
    if net.integer("inputs", 3 * width * height) != 3 * width * height:
        raise net.key_error("inputs", f"is not {width} x {height} x 3; remove the line")
    letterbox = bool(net.integer("letter_box", 0))
    net.check_other_keys()
    diou_beta = _diou_beta(rest)
    layers = tuple(_layer(section, index) for index, section in enumerate(rest))
    try:
        return Architecture(width, height, layers, letterbox, diou_beta)
    except ArchitectureError as error:
        line = "" if error.layer is None else f":{rest[error.layer].line}"
        raise CfgError(f"{shown(path, 200)}{line}: {error}") from None


# darknet's suppressions: whether they take the distance of centres into account.
NMS_KINDS = {"default": False, "greedynms": False, "diounms": True}


def _diou_beta(sections) -> float | None:
    """The exponent of DIoU-NMS, or None for greedy suppression; darknet goes by the last yolo layer."""
    beta = None
    for section in (section for section in sections if section.name == "yolo"):
        kind = section.word("nms_kind", "default", NMS_KINDS)
        exponent = section.real("beta_nms", 0.6)
        beta = exponent if NMS_KINDS[kind] else None
    return beta


def _sections(path: Path) -> list[_Section]:
    sections: list[_Section] = []
    for number, line in enumerate(_lines(path), 1):
        line = re.sub("[ \t\r]", "", line)
        if not line or line[0] in "#;":
            continue
        heading = HEADING.fullmatch(line)
        if heading:
            sections.append(_Section(path, heading[1], number))
        elif line[0] != "[" and "=" in line and sections:
            key, value = line.split("=", 1)
            sections[-1].add(key, value, number)
        else:
            raise CfgError(f"{shown(path, 200)}:{number}: `{shown(line)}` is neither a [section] nor key=value")
    return sections


def _lines(path: Path) -> list[str]:
    text = _decoded(_content(path)).replace("\r\n", "\n")
    if "\0" in text:
        line = text[:text.index("\0")].count("\n") + 1
        raise CfgError(f"{shown(path, 200)}: cannot be read as a cfg file: it is not text (line {line} has a NUL byte)")
    return text.split("\n" if "\n" in text else "\r")


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            size = regular_size(file)
            content = file.read(MOST_BYTES) if size <= MOST_BYTES else b""
    except FileNotFoundError:
        raise CfgError(f"{shown(path, 200)}: there is no such cfg file") from None
    except (OSError, ValueError) as error:
        raise CfgError(f"{shown(path, 200)}: cannot be read as a cfg file: {shown(error, 100)}") from None
    if size > MOST_BYTES:
        raise CfgError(f"{shown(path, 200)}: has {size:,} bytes, more than the {MOST_BYTES:,} of any cfg file")
    return content


def _decoded(content: bytes) -> str:
    """The text of a cfg, whose words are ASCII: comments may be in any encoding that keeps ASCII's bytes."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _layer(section: _Section, index: int):
    reader = _READERS.get(section.name)
    if reader is None:
        advice = ADVICE.get(section.name, f"supported: {', '.join(_READERS)}")
        raise section.error(f"layers of this kind are not supported ({advice})")
    layer = reader(section, index)
    section.check_other_keys()
    return layer


def _absolute(section: _Section, reference: int, index: int) -> int:
    absolute = reference if reference >= 0 else index + reference
    if not 0 <= absolute < index:
        raise section.error(f"layer {index} refers to layer {absolute}, which is not before it")
    return absolute


def _references(section: _Section, key: str, index: int) -> tuple[int, ...]:
    return tuple(_absolute(section, reference, index) for reference in section.numbers(key, _integer))


def _source(section: _Section, index: int) -> int:
    """The only layer of `from=`."""
    sources = _references(section, "from", index)
    if len(sources) != 1:
        raise section.key_error("from", "must name one layer")
    return sources[0]


def _activation(section: _Section, default: str) -> str:
    return section.word("activation", default, ACTIVATIONS)


def _stride(section: _Section) -> int:
    stride = section.integer("stride", 1, least=1)
    across, down = (section.integer(f"stride_{axis}", stride, least=1) for axis in "xy")
    if across != down:
        raise section.error(f"`stride_x={across}` and `stride_y={down}` differ, which is not supported")
    return across


def _convolutional(section: _Section, index: int) -> Convolutional:
    size = section.integer("size", 1, least=1, most=LARGEST_WINDOW)
    padding = section.integer("padding", 0, most=LARGEST_WINDOW)
    dilation = section.integer("dilation", 1, least=1, most=LARGEST_WINDOW)
    layer = Convolutional(
        filters=section.integer("filters", 1, least=1),
        size=size,
        stride=_stride(section),
        padding=size // 2 if section.integer("pad", 0) else padding,
        groups=section.integer("groups", 1, least=1),
        batch_normalize=bool(section.integer("batch_normalize", 0) or section.integer("cbn", 0)),
        activation=_activation(section, "logistic"),
    )
    return layer if dilation == 1 or size == 1 else _dilated(section, layer, dilation)


def _dilated(section: _Section, layer: Convolutional, dilation: int) -> DilatedConvolutional:
    if layer.stride > 1 or layer.size % 2 == 0 or layer.padding != layer.size // 2:
        raise section.key_error("dilation", "is supported for an odd size with pad=1 and stride=1 only")
    fields = {**vars(layer), "padding": layer.padding * dilation}
    return DilatedConvolutional(**fields, dilation=dilation)


def _route(section: _Section, index: int) -> Route:
    layers = _references(section, "layers", index)
    return Route(layers, section.integer("groups", 1, least=1), section.integer("group_id", 0))


def _shortcut(section: _Section, index: int) -> Shortcut | MultiShortcut:
    section.word("weights_type", "none", ("none",))
    section.text("weights_normalization", "none")
    sources, activation = _references(section, "from", index), _activation(section, "linear")
    return Shortcut(*sources, activation) if len(sources) == 1 else MultiShortcut(sources, activation)


def _maxpool(section: _Section, index: int, kind=MaxPool) -> MaxPool:
    stride = section.integer("stride", 1, least=1)
    size = section.integer("size", stride, least=1, most=LARGEST_WINDOW)
    return kind(size, _stride(section), section.integer("padding", size - 1, most=2 * LARGEST_WINDOW))


def _yolo(section: _Section, index: int) -> Yolo:
    numbers = section.numbers("anchors", _real)
    pairs = list(zip(numbers[::2], numbers[1::2]))
    num = section.integer("num", len(pairs), least=1)
    if len(numbers) % 2 or len(pairs) < num:
        raise section.error(f"has {len(numbers)} anchor numbers, which is not two for each of num={num}")
    if min(numbers) <= 0:
        raise section.key_error("anchors", "holds a side that is not longer than 0")
    mask = section.numbers("mask", _integer) if section.has("mask") else range(num)
    if any(not 0 <= i < num for i in mask):
        raise section.key_error("mask", f"names an anchor that is not among the {num}")
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
    "scale_channels": lambda section, index: ScaleChannels(_source(section, index), _activation(section, "linear")),
    "sam": lambda section, index: Sam(_source(section, index), _activation(section, "linear")),
    "activation": lambda section, index: Activation(_activation(section, "linear")),
    "maxpool": _maxpool,
    "local_avgpool": lambda section, index: _maxpool(section, index, LocalAvgPool),
    "avgpool": lambda section, index: AvgPool(),
    "reorg3d": lambda section, index: Reorg(section.integer("stride", 1, least=1)),
    "upsample": lambda section, index: Upsample(section.integer("stride", 2, least=1)),
    "dropout": lambda section, index: Dropout(),
    "empty": lambda section, index: Dropout(),
    "contrastive": lambda section, index: Loss(),
    "cost": lambda section, index: Loss(),
    "yolo": _yolo,
}

# Header of the format's version 0.2: major, minor, revision as int32, then the number of images seen as int64.
HEADER_BYTES = 20


def read_weights(path, architecture: Architecture) -> list[ConvolutionWeights]:
    """The weights file's numbers, one record per convolution in order. Raises WeightsError if they do not fit.

    A file of another size than the architecture's is refused before it is read.
    """
    numbers = _numbers(Path(path), architecture.parameters())
    weights, offset = [], 0
    for index, conv, channels in architecture.convolutions():
        count = parameter_count(conv, channels)
        weights.append(_convolution(numbers[offset:offset + count], conv, channels))
        offset += count
        if conv.batch_normalize:
            check_variance(path, f"the variance of layer {index}", weights[-1].variance, BATCH_NORM_EPSILON)
    return weights


def _numbers(path: Path, expected: int) -> np.ndarray:
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            size = regular_size(file)
            start = _header_bytes(path, file.read(HEADER_BYTES), size)
            _check_size(path, size - start, expected)
            file.seek(start)
            data = file.read(4 * expected)
    except FileNotFoundError:
        raise WeightsError(f"{shown(path, 200)}: there is no such weights file") from None
    except OSError as error:
        raise WeightsError(f"{shown(path, 200)}: cannot be read: {shown(error, 100)}") from None
    _check_size(path, len(data), expected)  # it may have shrunk meanwhile
    numbers = np.frombuffer(data, "<f4")
    if not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise WeightsError(f"{shown(path, 200)}: float {bad:,} of {expected:,} is {numbers[bad]}, not a finite number")
    return numbers


def _check_size(path: Path, size: int, expected: int) -> None:
    actual, rest = divmod(size, 4)
    if actual != expected or rest:
        problem = "too short" if actual < expected else "too long"
        raise WeightsError(
            f"{shown(path, 200)}: {problem} for this architecture: it holds {actual:,} floats"
            f"{f' and {rest} odd bytes' if rest else ''}, expected {expected:,} (is it the cfg's own weights file?)"
        )


def _header_bytes(path: Path, header: bytes, size: int) -> int:
    name = shown(path, 200)
    if len(header) < HEADER_BYTES:
        raise WeightsError(f"{name}: is not a darknet weights file: {size} bytes are less than its header")
    major, minor = np.frombuffer(header, "<i4", 2)
    if not (0 <= major <= 9 and 0 <= minor <= 9):
        raise WeightsError(f"{name}: is not a darknet weights file: its header says version {major}.{minor}")
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
