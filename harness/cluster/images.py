"""The encoded images of a shard on the node that detects them: sent along, or read from a path or a URL there."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.places import reason


class UnreadableImage(OSError):
    """An image cannot be read on a node; the message names its file."""


class Images:
    """Image ids, and for each its encoded bytes, or the path or URL of its file, read when it is asked for."""

    def __init__(self, image_ids: Sequence[int], images: Sequence[str | bytes]):
        self.image_ids = list(image_ids)
        self._images = dict(zip(image_ids, images))
        self._digests: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.image_ids)

    def image_bytes(self, image_id: int) -> bytes:
        """The encoded image. Raises UnreadableImage."""
        held = self._images[image_id]
        content = held if isinstance(held, bytes) else read(held)
        self._digests[image_id] = hashlib.sha256(content).digest()
        return content

    @property
    def sha256(self) -> str:
        """As `sha256` of this module, of the images that were read so far."""
        return _joined(self._digests[image] for image in self.image_ids if image in self._digests)


def read(place: str) -> bytes:
    """The content of a file by its path or URL. Raises UnreadableImage."""
    try:
        if "://" not in place:
            return Path(place).read_bytes()
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(place)
        return filesystem.cat_file(path)
    except Exception as error:  # every file system of fsspec has its own
        raise UnreadableImage(f"{place}: cannot be read on this node ({reason(error)}); give --ray-images send, or a "
                              "URL that every node can read") from None


def sha256(images: Iterable[bytes]) -> str:
    """A digest of encoded images in this order."""
    return _joined(hashlib.sha256(one).digest() for one in images)


def _joined(digests: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()
