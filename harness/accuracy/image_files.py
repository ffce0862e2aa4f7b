"""Size and orientation of image files, from their headers alone."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class ImageSize(NamedTuple):
    """Width and height in pixels as stored, and the EXIF orientation, 1 to 8."""

    width: int
    height: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as shown."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)


def image_size(path: Path) -> ImageSize | None:
    """The size in a file's header; None where Pillow cannot read it, which is for the detector to judge."""
    try:
        with _any_size(), Image.open(path) as image:
            return ImageSize(*image.size, _orientation(image.info.get("exif")))
    except Exception:  # broken headers raise errors of every kind
        return None


def _orientation(exif: bytes | None) -> int:
    # Not image.getexif(), which reads XMP too, unlike decoders.
    tags = Image.Exif()
    tags.load(exif or b"")
    value = tags.get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow open what it takes for a decompression bomb: nothing is decoded here."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
