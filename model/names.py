"""The names of a detector's classes in the order of their indexes: COCO's, or those of a file with one a line."""
from __future__ import annotations

from pathlib import Path

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
LONGEST = 200  # characters
MOST_BYTES = 1 << 20


class NamesError(ValueError):
    """The names cannot be used; the message names the option and the file."""


def default_names(classes: int) -> tuple[str, ...]:
    """COCO's names for a detector of as many classes, which most are, else none."""
    return COCO if classes == len(COCO) else ()


def read_names(path) -> list[str]:
    """The names in a file with one a line, such as darknet's obj.names; empty lines are none. Raises NamesError."""
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise NamesError(f"--names {path}: has more than {MOST_BYTES:,} bytes; give one name a line")
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise NamesError(f"--names {path}: cannot be read ({error.strerror}); give a text file") from None
    except UnicodeDecodeError as error:
        raise NamesError(f"--names {path}: is not a text file: {error}; save it as UTF-8") from None
    names = [line.strip() for line in lines if line.strip()]
    for number, name in enumerate(names, 1):
        if len(name) > LONGEST or not name.isprintable():
            raise NamesError(f"--names {path}: name {number} is longer than {LONGEST} characters or cannot be printed; "
                             "correct it")
    return names


def checked_names(path, classes: int) -> tuple[str, ...]:
    """As `read_names`, for a detector of so many classes. Raises NamesError unless there is one name for each."""
    names = read_names(path)
    if len(names) != classes:
        raise NamesError(f"--names {path}: {len(names)} class names for a detector of {classes} classes; give as many")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NamesError(f"--names {path}: {twice!r} stands there twice; names must differ")
    return tuple(names)
