"""The class names of a detector, in the order of their indexes: COCO's, or those in a file."""
from __future__ import annotations

from model.formats.files import naming, read_whole

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
    """The names cannot be used; the message names the file."""


def default_names(classes: int) -> tuple[str, ...]:
    """COCO's names for a detector with as many classes, else ()."""
    return COCO if classes == len(COCO) else ()


def checked_names(path, classes: int | None) -> tuple[str, ...]:
    """The names in a text file, one per line, as in darknet's obj.names, for so many classes (None: any number).

    Empty lines do not count. Raises NamesError unless each class has its own printable name.
    """
    with naming(path, NamesError):
        content = read_whole(path, MOST_BYTES, "names file", NamesError)
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise NamesError(f"is not a text file: {error}; save it as UTF-8") from None
        names = [line.strip() for line in lines if line.strip()]
        if any(line.startswith("names:") for line in lines):
            raise NamesError("is YAML; give a text file with one class name a line, those that it lists after names:")
        for number, name in enumerate(names, 1):
            if len(name) > LONGEST or not name.isprintable():
                raise NamesError(f"name {number} must be printable and have at most {LONGEST} characters; correct it")
        if classes not in (None, len(names)):
            raise NamesError(f"has {len(names)} class names for a detector of {classes} classes; give {classes}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise NamesError(f"has the class name {twice!r} twice; give each class its own name")
        return tuple(names)
