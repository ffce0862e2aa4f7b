"""Readers of options: each turns the text of an option into its value, or raises ValueError with the bound."""
from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from model.formats import RANDOM


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers in these bounds."""
    if most is None:
        return _number(int, lambda number: number >= least, f"at least {least:,}, a whole number")
    return _number(int, lambda number: least <= number <= most, f"a whole number between {least:,} and {most:,}")


def between(least: float, most: float) -> Callable[[str], float]:
    """A reader of numbers in these bounds."""
    return _number(float, lambda number: least <= number <= most, f"a number between {least:g} and {most:g}")


def above_zero(most: float = math.inf, unit: str = "") -> Callable[[str], float]:
    """A reader of finite numbers above 0, at most `most`; `unit` is only for the message."""
    limit = "" if math.isinf(most) else f", at most {most:,.10g}{unit}"
    return _number(float, lambda number: 0 < number <= most and math.isfinite(number), f"a number above 0{limit}")


def _number(convert: Callable, is_allowed: Callable, bounds: str) -> Callable:
    def read(text: str):
        with suppress(ValueError):
            number = convert(text)
            if is_allowed(number):
                return number
        raise ValueError(f"must be {bounds}")

    return read


def one_of(*names: str) -> Callable[[str], str]:
    """A reader of one of these names."""
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return read


def several(text: str) -> tuple[str, ...]:
    """Names separated by commas, each once."""
    names = tuple(text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise ValueError("must be names separated by commas, each once")
    return names


def file(text: str) -> Path:
    """An existing file."""
    path = os.path.expanduser(text)
    if os.path.isdir(path):
        raise ValueError("is a folder; name a file")
    if not os.path.exists(path):
        raise ValueError("there is no such file; check the path")
    return Path(path).resolve()


def folder(text: str) -> Path:
    """An existing folder."""
    path = os.path.expanduser(text)
    if not os.path.exists(path):
        raise ValueError("there is no such folder; check the path")
    if not os.path.isdir(path):
        raise ValueError("is a file; name a folder")
    return Path(path).resolve()


def place(text: str) -> Path:
    """An existing file or folder."""
    return folder(text) if os.path.isdir(os.path.expanduser(text)) else file(text)


def weights_file(text: str) -> Path | str:
    """An existing file, or the word for untrained weights."""
    return RANDOM if text == RANDOM else file(text)


def factory(text: str) -> str:
    """MODULE:FACTORY or FILE.py:FACTORY, the file's path made absolute."""
    place, _, function = text.rpartition(":")
    if not place or not function.isidentifier():
        raise ValueError("must be MODULE:FACTORY or FILE.py:FACTORY, for example detector.py:make")
    if place.endswith(".py"):
        return f"{file(place)}:{function}"
    if not all(part.isidentifier() for part in place.split(".")):
        raise ValueError(f"{place} must be a module's name or a file that ends in .py")
    return text


def argument(text: str) -> tuple[str, str]:
    """KEY=VALUE, an argument of a factory."""
    key, found, value = text.partition("=")
    if not found or not key.isidentifier():
        raise ValueError("must be KEY=VALUE, and KEY the name of an argument of the factory")
    return key, value
