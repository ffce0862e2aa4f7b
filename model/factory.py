"""A detector that a user's own factory makes: how it is named, loaded and called.

Runs on Python 3.7 and needs only NumPy. docs/any-detector.md is the contract.
"""
from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module, util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.detections import Detections

MOST_WHOLE = 2**31  # classes are int32
LONGEST_TEXT = 1000  # characters of a text that a detector gives
SIZES = ([0], [0, 4])  # shapes of boxes where there is no detection: [] and an empty [n, 4]


class FactoryError(ValueError):
    """A factory cannot be used, or what it made gives something else than was agreed; the message says what to do."""


class Factory(NamedTuple):
    """A factory, as MODULE:FUNCTION or FILE.py:FUNCTION, and the (key, text) that it is called with."""

    spec: str
    arguments: tuple = ()

    @property
    def place(self) -> str:
        """The module's name or the file's path."""
        return self.spec.rpartition(":")[0]

    @property
    def is_file(self) -> bool:
        return self.place.endswith(".py")

    def digest(self) -> str:
        """A hash of what is called with what: of the file itself where it is one."""
        source = Path(self.place).read_bytes().hex() if self.is_file else self.place
        return hashlib.sha256(json.dumps([source, *self]).encode()).hexdigest()

    @property
    def title(self) -> str:
        """As `str`, with a file's name in place of its path: it lies elsewhere on another machine."""
        return os.path.basename(self.spec) + self._called_with()

    def _called_with(self) -> str:
        arguments = ", ".join(f"{key}={text}" for key, text in self.arguments)
        return f" ({arguments})" if arguments else ""

    def __str__(self):
        return self.spec + self._called_with()


class FactoryDetector(AbstractContextManager):
    """What a factory made, with the methods of `model.detector.Detector` that need no graph of this project.

    `metadata` says what it gives of names, flops, label and identity (None where it does not), and `checks_placement`,
    whether it has a `fallback`. `versions` are those of Python, NumPy and what it names. Raises FactoryError.
    """

    def __init__(self, factory: Factory):
        self._factory = factory
        self._made = _made(factory)
        self.metadata, self.versions = self._facts(), self._versions()

    def detect(self, images: Sequence[bytes]) -> list:
        """One `Detections` per encoded image, in order. Raises FactoryError, and whatever the detector raises."""
        found = _located(self._made, list(images))
        if isinstance(found, (str, bytes, Mapping)) or not hasattr(found, "__len__"):
            raise FactoryError(f"the detector returned a {type(found).__name__} for {len(images)} images, must be a "
                               "list of (boxes, scores, classes), one for each")
        if len(found) != len(images):
            raise FactoryError(f"the detector returned {len(found)} responses for {len(images)} images, must be one "
                               "for each")
        return [_detections(f"image {number} of {len(images)}", one) for number, one in enumerate(found, 1)]

    def fallback(self, image: bytes) -> str:
        """Why it does not run as promised, by its own word after a first image; '' where it does or does not say."""
        self.detect([image])
        return _text("fallback()", self._made.fallback()) if self.metadata["checks_placement"] else ""

    def counters(self) -> dict:
        """Its counters by name, empty where it has none. Raises FactoryError."""
        if not hasattr(self._made, "counters"):
            return {}
        found = self._made.counters()
        if not isinstance(found, Mapping) or not all(_is_number(one) for one in found.values()):
            raise FactoryError("counters(): must return a dictionary of finite numbers")
        return {_text("a name of counters()", name): float(one) for name, one in found.items()}

    def close(self) -> None:
        """Ends what the detector has open, if it says how."""
        getattr(self._made, "close", lambda: None)()

    def __exit__(self, *error):
        self.close()

    def _facts(self) -> dict:
        names, flops = getattr(self._made, "names", None), getattr(self._made, "flops", None)
        if isinstance(names, str):
            raise FactoryError("names: is one text, must be a list of texts")
        if names is not None:
            names = [_text("a name of names", name) for name in names]
            if len(set(names)) < len(names):
                raise FactoryError("names: a class occurs twice")
        if flops is not None and not (_is_number(flops) and flops > 0):
            raise FactoryError(f"flops: {flops!r} must be a number above 0, or left out")
        texts = {name: _text(name, getattr(self._made, name)) if hasattr(self._made, name) else None
                 for name in ("label", "identity")}
        return {"factory": str(self._factory), "names": names, "flops": None if flops is None else float(flops),
                "checks_placement": callable(getattr(self._made, "fallback", None)), **texts}

    def _versions(self) -> dict:
        given = getattr(self._made, "versions", {})
        if not isinstance(given, Mapping):
            raise FactoryError("versions: must be a dictionary of texts")
        return {"python": platform.python_version(), "numpy": np.__version__,
                **{_text("a name of versions", name): _text(f"versions[{name!r}]", one) for name, one in given.items()}}


def _made(factory: Factory):
    function = getattr(_module(factory), factory.spec.rpartition(":")[2], None)
    if not callable(function):
        raise FactoryError(f"{factory.spec}: {factory.place} has no such function")
    try:
        made = _located(function, **dict(factory.arguments))
    except (Exception, SystemExit) as error:
        raise FactoryError(f"{factory}: the factory failed ({type(error).__name__}: {error})") from error
    if isinstance(made, type):
        raise FactoryError(f"{factory}: the factory returned the class {made.__name__}, must be an object of it")
    if not callable(made):
        raise FactoryError(f"{factory}: the factory returned a {type(made).__name__}, must be what is called with "
                           "images")
    return made


def _located(function, *arguments, **named):
    """What the function returns. An exception with a message says after it in which line it was raised."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]  # without this one
        if frames and len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (f"{error.args[0]}, in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}",)
        raise


def _module(factory: Factory):
    """The factory's module; what lies beside it can be imported, after everything else."""
    folder = os.path.dirname(factory.place) if factory.is_file else os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return _from_file(factory.place) if factory.is_file else import_module(factory.place)
    except (Exception, SystemExit) as error:
        advice = "; install it there, or name a Python that has it" if isinstance(error, ImportError) else ""
        raise FactoryError(f"{factory.spec}: cannot be imported by {sys.executable} ({type(error).__name__}: {error})"
                           f"{advice}") from error


def _from_file(path: str):
    """Runs a file as a module, under a name that no other module has."""
    name = f"detector_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    spec = util.spec_from_file_location(name, path)
    module = sys.modules[name] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _detections(whose: str, found) -> Detections:
    """One image's response as `Detections`, by falling score. Raises FactoryError."""
    if isinstance(found, (str, bytes, Mapping)) or not hasattr(found, "__len__") or len(found) not in (3, 4):
        kind = type(found).__name__ + (f" of {len(found)}" if hasattr(found, "__len__") else "")
        raise FactoryError(f"{whose}: the response is a {kind}, must be (boxes, scores, classes)")
    boxes, scores, classes = (_numbers(f"{whose}: {name}", one)
                              for name, one in zip(("boxes", "scores", "classes"), found))
    boxes = boxes.reshape(-1, 4) if list(boxes.shape) in SIZES else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1] or classes.shape != boxes.shape[:1]:
        raise FactoryError(f"{whose}: boxes {list(boxes.shape)}, scores {list(scores.shape)}, classes "
                           f"{list(classes.shape)}: must be [n, 4], [n], [n]")
    whole = np.abs(classes) < MOST_WHOLE
    whole &= classes == np.trunc(np.where(whole, classes, 0))
    if not whole.all():
        raise FactoryError(f"{whose}: class {classes[~whole][0]} must be a whole number (the order is boxes, scores, "
                           "classes)")
    order = np.argsort(-scores, kind="stable")
    error = _text(f"{whose}: the error", found[3]) if len(found) == 4 else ""
    return Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32),
                      classes[order].astype(np.int32), error)


def _numbers(what: str, given) -> np.ndarray:
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"they are {array.dtype}")
    except Exception as error:  # of any framework: a tensor on a GPU, for one, is none of NumPy's
        raise FactoryError(f"{what} cannot be read as numbers ({type(error).__name__}: {error}); give NumPy arrays"
                           ) from error
    return array.astype(np.float64)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value)) and not isinstance(value, (str, bytes))
    except (TypeError, ValueError, OverflowError):
        return False


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise FactoryError(f"{what}: must be text, is a {type(value).__name__}")
    return value[:LONGEST_TEXT]
