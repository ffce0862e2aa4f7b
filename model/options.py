"""The options that describe a detector, shared by `python -m model` and the gate, and how any option is read.

An option stands in one place: a field of a dataclass, whose fields together are a group of options.
"""
from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from model import readers
from model.decoding import DEFAULT, PROFILES, RESIZE
from model.formats import RANDOM
from model.image_headers import MAX_PIXELS
from model.quoting import shown

LONGEST_VALUE = 200  # characters of a value in an error


class OptionError(Exception):
    """A value cannot be used; the message names the option, the value and the bound. argparse passes it on as it is."""


class Option(NamedTuple):
    """`read` turns the text into the value, or raises ValueError with the bound; None: a switch. `default` is text.

    One that `repeats` may be given several times, and its value is a tuple.
    """

    flag: str
    read: Callable[[str], Any] | None
    metavar: str | None
    help: str
    default: str | None = None
    repeats: bool = False


class Given(NamedTuple):
    """An option as it was typed and as it was read."""

    text: str
    value: Any

    def __str__(self):
        return self.text


def option(flag: str, read: Callable[[str], Any], metavar: str, help: str, default: str | None = None,
           repeats: bool = False):
    """A field of a group for an option with a value."""
    return field(metadata={"option": Option(flag, read, metavar, help, default, repeats)})


def switch(flag: str, help: str):
    """A field of a group for an option without a value."""
    return field(metadata={"option": Option(flag, None, None, help)})


def rows(group: type) -> dict[str, Option]:
    """Field → option, of a dataclass whose fields are options."""
    return {one.name: one.metadata["option"] for one in fields(group)}


def add_option(add: Callable, name: str, row: Option, error: type[Exception] = OptionError, **settings) -> None:
    """Adds an option by argparse's or pytest's `add`, to be found under `name`; a value that is refused raises `error`.

    What is parsed is a `Given`, which `values` and `chosen` open.
    """
    if row.read is None:
        return add(row.flag, dest=name, action="store_true", help=row.help)
    default = None if row.default is None else Given(row.default, row.read(row.default))
    if row.repeats:
        settings = {**settings, "action": "append"}
    add(row.flag, dest=name, type=_reader(row, error), metavar=row.metavar, default=default, help=row.help, **settings)


def values(namespace: Namespace) -> Namespace:
    """What argparse or pytest has parsed, each option as its value."""
    return Namespace(**{name: _value(one) for name, one in vars(namespace).items()})


def _value(given: Any) -> Any:
    if isinstance(given, list) and all(isinstance(one, Given) for one in given):  # of an option that repeats
        return tuple(one.value for one in given)
    return given.value if isinstance(given, Given) else given


def chosen(group: type, namespace: Namespace):
    """The group of options as argparse or pytest has parsed it."""
    given = values(namespace)
    return group(**{name: getattr(given, name) for name in rows(group)})


def _reader(row: Option, error: type[Exception]) -> Callable[[str], Given]:
    def read(text: str) -> Given:
        try:
            if not text.strip():  # as from an environment variable that is not set
                raise ValueError("must not be empty; give a value or leave the option out")
            return Given(text, row.read(text))
        except (ValueError, OSError) as refused:
            # Printable, short, and without a URL's user and password.
            typed = shown(re.sub(r"(?<=://).*@", "…@", text), LONGEST_VALUE) or "''"
            raise error(f"{row.flag} {typed}: {refused}") from None

    return read


def with_flag(message: str, group: type) -> str:
    """The message of a room that knows no options; one that starts with an option's name gets its dashes."""
    found = re.match(r"(\w+) \S+: ", message)
    row = rows(group).get(found[1]) if found else None
    return f"{row.flag}{message[len(found[1]):]}" if row else message


# ---- the detector


@dataclass(frozen=True)
class DetectorOptions:
    """The detector; None where the cfg, the profile or the embedded default decides."""

    cfg: Path | None = option(
        "--cfg", readers.file, "FILE", "darknet cfg (default: YOLOv4 for COCO, 80 classes, 608 pixels)")
    weights: Path | str | None = option(
        "--weights", readers.weights_file, "FILE",
        f"darknet .weights or PyTorch .pth, .pt or .safetensors; `{RANDOM}` for untrained weights")
    size: int | None = option(
        "--size", readers.whole(32, 8192), "PIXELS", "width and height of the network's input (default: the cfg's)")
    class_names: Path | None = option(  # pytest 8 cannot have an option that is stored as `names`
        "--names", readers.file, "FILE",
        "class names in order, one a line; the gate finds the dataset's categories by them (default: COCO's names for "
        "80 classes)")
    profile: str = option(
        "--profile", readers.one_of(*PROFILES), "NAME",
        "pre- and post-processing: resize, score and NMS settings. "
        + "; ".join(f"{name}: {what}" for name, (what, _) in PROFILES.items()) + " (default: %(default)s)", DEFAULT)
    resize: str | None = option(
        "--resize", readers.one_of(*RESIZE), "HOW",
        f"how images are resized: {' or '.join(RESIZE)} (default: the profile's)")
    score_threshold: float | None = option(
        "--score-threshold", readers.between(0, 1), "SCORE",
        "lowest score of a detection, 0 to 1 (default: the profile's)")
    iou_threshold: float | None = option(
        "--iou-threshold", readers.between(0, 1), "IOU",
        "IoU above which NMS suppresses the lower-scoring box, 0 to 1 (default: the profile's)")
    max_pixels: int | None = option(
        "--max-pixels", readers.whole(1), "N",
        f"largest image that is decoded, width × height (default: {MAX_PIXELS:,})")

    @property
    def profile_changes(self) -> dict[str, Any]:
        """The values given in place of the profile's."""
        values = {name: getattr(self, name) for name in ("resize", "score_threshold", "iou_threshold", "max_pixels")}
        return {name: value for name, value in values.items() if value is not None}
