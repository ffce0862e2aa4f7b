"""Checks the responses of the detector's process: the fields of each kind and their values.

A process that sends anything else is not trusted any more.
"""
from __future__ import annotations

import math
import re
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.detections import Detections
from model.worker.protocol import FrameError

# NumPy's names of plain numbers; other types could hold objects or have no size.
DTYPE = re.compile(r"[<>|=](b1|[iu][1248]|f[248])")
MOST_DIMENSIONS = 8
DETECTIONS = (("boxes", "float32", (4,)), ("scores", "float32", ()), ("classes", "int32", ()))


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_object(value: Any) -> bool:
    return type(value) is dict


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_array(value: Any) -> bool:
    """Whether the value is [NumPy's name of a plain number, shape]."""
    if not (type(value) is list and len(value) == 2 and type(value[1]) is list and len(value[1]) <= MOST_DIMENSIONS):
        return False
    dtype, shape = value
    return _is_text(dtype) and DTYPE.fullmatch(dtype) is not None and all(type(n) is int and n >= 0 for n in shape)


def _list_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and all(map(is_good, value))


def _object_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _is_object(value) and all(map(is_good, value.values()))


FIELDS = {
    "hello": {"python": _is_text},
    "call": {"result": lambda value: True},
    "load": {"metadata": _is_object, "versions": _object_of(_is_text), "import_seconds": _is_seconds,
             "load_seconds": _is_seconds},
    "detect": {"errors": _list_of(_is_text), "arrays": _list_of(_is_array)},
    "fallback": {"fallback": _is_text},
    "counters": {"counters": _object_of(_is_number)},
    "layers": {"layers": _list_of(_is_text)},
    "outputs": {"arrays": _list_of(_is_array)},
}
ERROR = {"type": _is_text, "message": _is_text, "traceback": _is_text}


def check(kind: str, number: int, header: dict, buffers: Sequence[bytes]) -> None:
    """Raises FrameError unless the header is a response of this kind to the request with this number."""
    if type(header.get("id")) is not int or header["id"] != number:
        raise FrameError(f"it belongs to request {shown(header.get('id'))}, not to {number}")
    fields = {name: value for name, value in header.items() if name != "id"}
    if "error" in fields:
        _check_fields("response", fields, {"error": _is_object})
        _check_fields("error", fields["error"], ERROR)
    else:
        _check_fields(f"response to {kind}", fields, FIELDS.get(kind, {}))
    expected = len(fields.get("arrays", ()))
    if len(buffers) != expected:
        raise FrameError(f"it has {len(buffers)} buffers, must have {expected} by its header")


def _check_fields(part: str, fields: dict, wanted: dict) -> None:
    for name in [*wanted, *fields]:
        if name not in fields:
            raise FrameError(f"its {part} has no {name}")
        if name not in wanted:
            raise FrameError(f"its {part} has the unknown field {shown(name)}")
        if not wanted[name](fields[name]):
            raise FrameError(f"its {part} has the invalid {name} {shown(fields[name])}")


def arrays(header: dict, buffers: Sequence[bytes]) -> list[np.ndarray]:
    """The arrays of a checked response, writable. Raises FrameError if a buffer has another size."""
    return [_array(np.dtype(dtype), shape, buffer) for (dtype, shape), buffer in zip(header["arrays"], buffers)]


def _array(dtype: np.dtype, shape: list[int], buffer: bytes) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    if size != len(buffer):
        raise FrameError(f"an array of {dtype} {shown(shape)} has {len(buffer):,} bytes, must have {size:,}")
    return np.frombuffer(bytearray(buffer), dtype).reshape(shape)  # a copy, because NumPy cannot write into bytes


def detections(header: dict, buffers: Sequence[bytes], images: int) -> list[Detections]:
    """The detections of so many images. Raises FrameError unless there is one valid `Detections` for each."""
    found, errors = arrays(header, buffers), header["errors"]
    if (len(errors), len(found)) != (images, len(DETECTIONS) * images):
        raise FrameError(f"it has {len(errors)} responses and {len(found)} arrays for {images} images")
    of_images = [Detections(*found[3 * i:3 * i + 3], error=error) for i, error in enumerate(errors)]
    for number, one in enumerate(of_images, 1):
        count = one.boxes.shape[:1]
        for array, (name, dtype, rest) in zip(one, DETECTIONS):
            if array.dtype != dtype or array.shape != (*count, *rest) or not count:
                raise FrameError(f"the {name} of image {number} are {array.dtype} {shown(list(array.shape))}, must be "
                                 f"{dtype} {shown([*(count or ['n']), *rest])}")
    return of_images


def shown(value: Any) -> str:
    """A value that the process has sent, as a few printable characters."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()[:80]
