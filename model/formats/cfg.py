"""Reads darknet's `.cfg` files, which describe an architecture.

Source: the files of github.com/AlexeyAB/darknet and its parser's behaviour. A key that would change the result and is
not understood is an error; keys that only matter in training are listed and ignored.
"""
from __future__ import annotations

import math
import re
from pathlib import Path

from model import architecture as records
from model.architecture import LARGEST_SIDE, Architecture, ArchitectureError
from model.formats.files import naming, read_whole
from model.quoting import shown


class CfgError(ValueError):
    """The cfg file cannot be used; the message names file and line."""


ACTIVATIONS = ("leaky", "mish", "linear", "logistic", "relu", "swish", "silu", "relu6", "hard_mish", "tanh", "elu",
               "selu", "gelu", "revleaky", "relie", "ramp", "loggy", "hardtan")

# Far beyond known networks (yolov4-p7: 63 kB, 400 layers); larger files would take hours to build.
MOST_BYTES = 1_000_000
MOST_LAYERS = 4_096
MOST_NUMBERS = 1_024
LARGEST_WINDOW = 255
LARGEST_INTEGER = 2**31 - 1

# Sections with two names in darknet → the name used here.
ALIASES = {"network": "net", "conv": "convolutional", "max": "maxpool", "avg": "avgpool",
           "local_avg": "local_avgpool", "silence": "empty"}

# Sections of darknet that are not supported → what to do about them.
ADVICE = {
    "region": "it is YOLOv2's head; train with [yolo] heads",
    "detection": "it is YOLOv1's head; train with [yolo] heads",
    "Gaussian_yolo": "its heads have other numbers; train with [yolo] heads",
    "reorg": "it belongs to YOLOv2; [reorg3d] is supported",
    "implicit": "export the network with its implicit knowledge folded into the convolutions",
    "batchnorm": "use batch_normalize=1 in the convolution before it",
}

# Keys that do not change the result of inference, by section, `any` for all layers; from AlexeyAB's parser.
# A reader below must use every other key.
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

# Keys that change the result and are supported only with the value that switches them off, by section.
NEUTRAL_KEYS = {
    "any": {"dontload": 0, "dontloadscales": 0},
    "convolutional": {key: 0 for key in ("antialiasing", "binary", "xnor", "bin_output", "flipped", "coordconv",
                                         "sway", "rotate", "stretch", "stretch_sway")},
    "maxpool": {"antialiasing": 0, "maxpool_depth": 0, "maxpool_zero_nonmax": 0},
    "upsample": {"scale": 1},
    "scale_channels": {"scale_wh": 0},
    "reorg3d": {"reverse": 0},
}

# A comment after a number, where darknet stops reading. After a word darknet takes it as part of the word.
COMMENT = re.compile(r"#|;|//")
INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")
REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
HEADING = re.compile(r"\[([^\[\]]*)\](?:(?:#|;|//).*)?")
# Lists in which darknet itself understands `#`; in others it counts a comment's commas.
COMMENTED_LISTS = ("anchors", "mask")


class _Section:
    """One `[name]` of a cfg file. It remembers which keys a reader used."""

    def __init__(self, path, name, line):
        self.path, self.name, self.line = path, ALIASES.get(name, name), line
        self.values: dict[str, tuple[str, int]] = {}
        self.contradictions: dict[str, tuple[str, int]] = {}
        self.used: set[str] = set()

    def add(self, key, value, line) -> None:
        """Adds a line. Of two for one key darknet takes the first, other readers the last, so they must agree."""
        first, _ = self.values.setdefault(key, (value, line))
        if _bare(first) != _bare(value):
            self.contradictions.setdefault(key, (value, line))

    def error(self, why, line=None) -> CfgError:
        return CfgError(f"{shown(self.path, 200)}:{line or self.line}: [{shown(self.name, 30)}] {why}")

    def key_error(self, key, why) -> CfgError:
        """The error with the key's value and line, or the section's line if the key is missing."""
        value, line = self.values.get(key, ("", self.line))
        return self.error(f"`{shown(key, 30)}={shown(value)}` {why}", line)

    def text(self, key, default=None) -> str:
        self.used.add(key)
        if key in self.contradictions:
            value, line = self.contradictions[key]
            first = self.values[key][1]
            raise self.error(f"`{shown(key, 30)}={shown(value)}` contradicts line {first}; keep one", line)
        if key not in self.values and default is None:
            raise self.error(f"has no `{key}=`; add the line")
        return self.values.get(key, (default, 0))[0]

    def word(self, key, default, known) -> str:
        """One of the known words."""
        value = self.text(key, default)
        if value in known:
            return value
        if _bare(value) in known:
            raise self.key_error(key, "has a comment, which darknet reads as part of the word; remove the comment")
        raise self.key_error(key, f"must be one of: {', '.join(known)}")

    def integer(self, key, default=None, least=0, most=LARGEST_INTEGER) -> int:
        value = self._number(key, default, _integer, "whole")
        if not least <= value <= most:
            raise self.key_error(key, f"must be between {least:,} and {most:,}")
        return value

    def real(self, key, default=None) -> float:
        return self._number(key, default, _real, "finite")

    def _number(self, key, default, parse, kind):
        value = parse(_bare(self.text(key, None if default is None else str(default))))
        if value is None:
            raise self.key_error(key, f"must be a {kind} number")
        return value

    def numbers(self, key, parse) -> list:
        """The numbers of a list; `parse` returns None for text that is not a number."""
        text = self.text(key)
        bare = _bare(text)
        is_ours = text[len(bare):len(bare) + 1] == "#" and key in COMMENTED_LISTS
        if "," in text[len(bare):] and not is_ours:
            raise self.key_error(key, "has a comment with a comma, which darknet reads as a number; remove it")
        items = bare.split(",")
        if key == "anchors" and not items[-1]:
            items.pop()
        if len(items) > MOST_NUMBERS:
            raise self.key_error(key, f"has {len(items):,} numbers, must have at most {MOST_NUMBERS:,}")
        values = [parse(item) for item in items]
        if None in values:
            raise self.key_error(key, "must be a list of numbers")
        return values

    def check_other_keys(self) -> None:
        """Raises CfgError for a key that no reader used and that may change the result."""
        is_layer = self.name != "net"
        neutral = {**(NEUTRAL_KEYS["any"] if is_layer else {}), **NEUTRAL_KEYS.get(self.name, {})}
        for key, value in neutral.items():
            if self.real(key, value) != value:
                raise self.key_error(key, f"is not supported: must be {key}={value}")
        training = TRAINING_KEYS.get(self.name, "").split() + (TRAINING_KEYS["any"].split() if is_layer else [])
        for key in self.values:
            if key not in self.used and key not in training:
                raise self.key_error(key, "is not known and may change the result; correct or remove the line")


def _bare(value: str) -> str:
    """The value without the comment after it."""
    return COMMENT.split(value, maxsplit=1)[0]


def _integer(text: str):
    return int(text) if INTEGER.fullmatch(text) else None


def _real(text: str):
    """The number, or None if the text is not a finite number."""
    return float(text) if REAL.fullmatch(text) and math.isfinite(float(text)) else None


def read_cfg(path) -> Architecture:
    """The architecture that a darknet cfg file describes. Raises CfgError with file and line."""
    path = Path(path)
    sections = _sections(path)
    if not sections or sections[0].name != "net":
        raise CfgError(f"{shown(path, 200)}: is not a darknet cfg: it must start with [net]")
    net, *rest = sections
    if len(rest) > MOST_LAYERS:
        raise CfgError(f"{shown(path, 200)}: has {len(rest):,} layers, must have at most {MOST_LAYERS:,}")
    width = net.integer("width", least=1, most=LARGEST_SIDE)
    height = net.integer("height", least=1, most=LARGEST_SIDE)
    if net.integer("channels", 3) != 3:
        raise net.key_error("channels", "is not supported: must be 3 (RGB)")
    if net.integer("inputs", 3 * width * height) != 3 * width * height:
        raise net.key_error("inputs", f"must be {width} x {height} x 3; remove the line")
    letterbox = bool(net.integer("letter_box", 0))
    net.check_other_keys()
    diou_beta = _diou_beta(rest)
    layers = tuple(_layer(section, index) for index, section in enumerate(rest))
    try:
        return Architecture(width, height, layers, letterbox, diou_beta)
    except ArchitectureError as error:
        line = "" if error.layer is None else f":{rest[error.layer].line}"
        raise CfgError(f"{shown(path, 200)}{line}: {error}") from None


# darknet's kinds of NMS → whether they use the distance of centres.
NMS_KINDS = {"default": False, "greedynms": False, "diounms": True}


def _diou_beta(sections) -> float | None:
    """The exponent of DIoU-NMS, or None for greedy NMS; the last yolo layer decides, as in darknet."""
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
            raise CfgError(f"{shown(path, 200)}:{number}: `{shown(line)}` must be a [section] or key=value")
    return sections


def _lines(path: Path) -> list[str]:
    with naming(path, CfgError):
        content = read_whole(path, MOST_BYTES, "cfg file", CfgError)
    text = _decoded(content).replace("\r\n", "\n")
    if "\0" in text:
        line = text[:text.index("\0")].count("\n") + 1
        raise CfgError(f"{shown(path, 200)}:{line}: has a NUL byte, so it is not a cfg file; give a text file")
    return text.split("\n" if "\n" in text else "\r")


def _decoded(content: bytes) -> str:
    """The text of a cfg. Its words are ASCII; comments may be in any encoding that extends ASCII."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _layer(section: _Section, index: int):
    reader = _READERS.get(section.name)
    if reader is None:
        advice = ADVICE.get(section.name, f"must be one of: {', '.join(_READERS)}")
        raise section.error(f"is not a supported layer; {advice}")
    layer = reader(section, index)
    section.check_other_keys()
    return layer


def _references(section: _Section, key: str, index: int) -> tuple[int, ...]:
    """The layers of a list, negative ones counted back from this layer."""
    layers = tuple(layer if layer >= 0 else index + layer for layer in section.numbers(key, _integer))
    for layer in layers:
        if not 0 <= layer < index:
            raise section.error(f"layer {index} refers to layer {layer}, must refer to an earlier one")
    return layers


def _product(kind, section: _Section, index: int):
    """The record of a product of two layers."""
    sources = _references(section, "from", index)
    if len(sources) != 1:
        raise section.key_error("from", "must name one layer")
    return kind(sources[0], _activation(section, "linear"))


def _activation(section: _Section, default: str) -> str:
    return section.word("activation", default, ACTIVATIONS)


def _stride(section: _Section) -> int:
    stride = section.integer("stride", 1, least=1)
    across, down = (section.integer(f"stride_{axis}", stride, least=1) for axis in "xy")
    if across != down:
        raise section.error(f"`stride_x={across}` and `stride_y={down}` must be equal")
    return across


def _convolutional(section: _Section, index: int) -> records.Convolutional:
    size = section.integer("size", 1, least=1, most=LARGEST_WINDOW)
    padding = section.integer("padding", 0, most=LARGEST_WINDOW)
    dilation = section.integer("dilation", 1, least=1, most=LARGEST_WINDOW)
    layer = records.Convolutional(
        filters=section.integer("filters", 1, least=1),
        size=size,
        stride=_stride(section),
        padding=size // 2 if section.integer("pad", 0) else padding,
        groups=section.integer("groups", 1, least=1),
        batch_normalize=bool(section.integer("batch_normalize", 0) or section.integer("cbn", 0)),
        activation=_activation(section, "logistic"),
    )
    if dilation == 1 or size == 1:
        return layer
    if layer.stride > 1 or layer.size % 2 == 0 or layer.padding != layer.size // 2:
        raise section.key_error("dilation", "is supported only with an odd size, pad=1 and stride=1")
    return records.DilatedConvolutional(**{**vars(layer), "padding": layer.padding * dilation}, dilation=dilation)


def _route(section: _Section, index: int) -> records.Route:
    layers = _references(section, "layers", index)
    return records.Route(layers, section.integer("groups", 1, least=1), section.integer("group_id", 0))


def _shortcut(section: _Section, index: int) -> records.Shortcut | records.MultiShortcut:
    section.word("weights_type", "none", ("none",))
    section.text("weights_normalization", "none")
    sources, activation = _references(section, "from", index), _activation(section, "linear")
    return records.Shortcut(*sources, activation) if len(sources) == 1 else records.MultiShortcut(sources, activation)


def _maxpool(section: _Section, index: int, kind=records.MaxPool) -> records.MaxPool:
    stride = section.integer("stride", 1, least=1)
    size = section.integer("size", stride, least=1, most=LARGEST_WINDOW)
    return kind(size, _stride(section), section.integer("padding", size - 1, most=2 * LARGEST_WINDOW))


def _yolo(section: _Section, index: int) -> records.Yolo:
    numbers = section.numbers("anchors", _real)
    pairs = list(zip(numbers[::2], numbers[1::2]))
    num = section.integer("num", len(pairs), least=1)
    if len(numbers) % 2 or len(pairs) < num:
        raise section.error(f"has {len(numbers)} anchor numbers, must have two for each of num={num}")
    if min(numbers) <= 0:
        raise section.key_error("anchors", "must have sides longer than 0")
    mask = section.numbers("mask", _integer) if "mask" in section.values else range(num)
    if any(not 0 <= i < num for i in mask):
        raise section.key_error("mask", f"must have indexes between 0 and {num - 1}")
    return records.Yolo(
        anchors=tuple(pairs[i] for i in mask),
        classes=section.integer("classes", 20, least=1),
        scale_x_y=section.real("scale_x_y", 1.0),
        new_coords=bool(section.integer("new_coords", 0)),
    )


_READERS = {
    "convolutional": _convolutional,
    "route": _route,
    "shortcut": _shortcut,
    "scale_channels": lambda section, index: _product(records.ScaleChannels, section, index),
    "sam": lambda section, index: _product(records.Sam, section, index),
    "activation": lambda section, index: records.Activation(_activation(section, "linear")),
    "maxpool": _maxpool,
    "local_avgpool": lambda section, index: _maxpool(section, index, records.LocalAvgPool),
    "avgpool": lambda section, index: records.AvgPool(),
    "reorg3d": lambda section, index: records.Reorg(section.integer("stride", 1, least=1)),
    "upsample": lambda section, index: records.Upsample(section.integer("stride", 2, least=1)),
    "dropout": lambda section, index: records.Dropout(),
    "empty": lambda section, index: records.Dropout(),
    "contrastive": lambda section, index: records.Loss(),
    "cost": lambda section, index: records.Loss(),
    "yolo": _yolo,
}
