"""The ledger of an evaluation: the detections of its images in shards, each published whole or not at all.

A ledger is a folder, or a URL of fsspec, that many processes on many machines may write to at once. Under the hash of
everything that decides the detections (its key) lie

    <hash of the key>/key.json                 the key in words, for people
    <hash of the key>/shard-00007-of-00050     the detections of its images
    <hash of the key>/control-<name>           those of the control images by one worker

A file is one line of JSON (what it is, by whom, the SHA-256 of the rest) and an archive of
`harness.accuracy.stored`. A file that is damaged or another's is named and made again; nothing of it counts. A shard
that two workers have made is one file, whoever was last.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.accuracy.sanity import content as bytes_of
from harness.accuracy.stored import DetectionsError, Stored, digest, opened, packed
from harness.files import Unwritable, own_folder, write
from harness.places import PlaceError, Url, is_url, reason

SHARD_IMAGES = 32  # at least; a whole number of batches
LONGEST_HEADER = 1 << 16  # bytes
KEY = "key.json"
CONTROL = re.compile(r"control-[\w.-]+", re.ASCII)


class Shard(NamedTuple):
    """A part of the images, by its number from 1 of `total`."""

    number: int
    total: int
    image_ids: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"shard-{self.number:05d}-of-{self.total:05d}"

    def __str__(self) -> str:
        return f"shard {self.number} of {self.total} (images {self.image_ids[0]} to {self.image_ids[-1]})"


class ShardError(ValueError):
    """Detections cannot be a shard's; the message says why."""


class Found(NamedTuple):
    """Detections that a ledger holds, and what their file says: `by` is the worker, `about` what it added."""

    detections: dict[int, Stored]
    by: str
    about: dict[str, Any]


def cut(image_ids: Sequence[int], batch: int, least: int = SHARD_IMAGES) -> list[Shard]:
    """The images in shards of at least `least`, each of whole batches, so that batches are those of an uncut run."""
    size = -(-least // batch) * batch
    parts = [tuple(image_ids[place:place + size]) for place in range(0, len(image_ids), size)]
    return [Shard(number, len(parts), part) for number, part in enumerate(parts, 1)]


def part_of(shards: Sequence[Shard], part: int, parts: int) -> list[Shard]:
    """The shards of part `part` (from 1) of `parts`: every `parts`-th, so that parts are equally long."""
    return list(shards[part - 1::parts])


def pack(image_ids: Iterable[int], detections: Mapping[int, Any]) -> bytes:
    """The detections of these images as a file's content. Raises ShardError for what could not be read again.

    Detections with an error, of other images, with NaN, or with scores that do not match their boxes are none to keep.
    """
    wanted = set(image_ids)
    if wanted != set(detections):
        raise ShardError(f"{len(wanted - set(detections))} of {len(wanted)} images have no detections")
    for image, own in detections.items():
        if error := getattr(own, "error", ""):
            raise ShardError(f"image {image}: {error}")
    try:
        content = packed(detections)
        stored = opened(content)
        changed = [image for image in stored if bytes_of(stored[image]) != bytes_of(detections[image])]
    except (ValueError, AttributeError) as error:  # DetectionsError too
        raise ShardError(str(error)) from error
    if changed:
        raise ShardError(f"image {changed[0]}: boxes, scores and classes must be float32 [n, 4], float32 [n], "
                         "int32 [n]")
    return content


@dataclass
class Ledger:
    """The shards of one key at a place. Raises PlaceError for what is neither a folder nor a URL.

    `key` is everything that decides the detections, by name, as JSON.
    """

    place: str
    key: Mapping[str, Any]

    def __post_init__(self):
        self.digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        store = _Remote if is_url(str(self.place)) else _Folder
        self._files = store(str(self.place), self.digest[:16])

    def __str__(self) -> str:
        return f"{self.place}/{self.digest[:16]}"

    def prepare(self) -> None:
        """Makes the place of the ledger and says there what its key is. Raises PlaceError."""
        self._files.write(KEY, json.dumps(self.key, indent=1, sort_keys=True).encode())

    def names(self) -> set[str]:
        """The files that are there. Raises PlaceError."""
        return self._files.names()

    def publish(self, name: str, content: bytes, by: str, about: Mapping[str, Any] | None = None) -> None:
        """Keeps the content that `pack` has made. Raises PlaceError."""
        header = {"key": self.digest, "name": name, "by": by, "sha256": digest(content), "about": dict(about or {})}
        self._files.write(name, json.dumps(header).encode() + b"\n" + content)

    def withdraw(self, names: Iterable[str]) -> None:
        """Removes files that are no longer to count. Raises PlaceError."""
        for name in names:
            self._files.remove(name)

    def read(self, name: str, image_ids: Iterable[int]) -> Found:
        """What a file holds. Raises ShardError for one that is damaged or another's, PlaceError where it is gone."""
        head, _, content = self._files.read(name).partition(b"\n")
        try:
            header = json.loads(head[:LONGEST_HEADER])
            by, said = str(header["by"]), dict(header["about"])
            mine = (header["key"], header["name"]) == (self.digest, name)
            whole = header["sha256"] == digest(content)
        except (ValueError, TypeError, KeyError):
            raise ShardError("is not a shard's file, or cut short") from None
        if not mine:
            raise ShardError("is of another detector, dataset or set of options")
        if not whole:
            raise ShardError("is damaged: its content does not have the SHA-256 of its first line")
        try:
            found = opened(content)
        except DetectionsError as error:
            raise ShardError(f"is damaged ({error})") from None
        if set(found) != set(image_ids):
            raise ShardError("has the detections of other images")
        return Found(found, by, said)

    def done(self, shards: Sequence[Shard]) -> tuple[dict[int, Found], list[str]]:
        """Number → content of every sound shard, and a line for each that is there and is not. Raises PlaceError."""
        there, found, lines = self.names(), {}, []
        for shard in shards:
            if shard.name in there:
                try:
                    found[shard.number] = self.read(shard.name, shard.image_ids)
                except ShardError as error:
                    lines.append(f"{self}/{shard.name}: {error}; it is made again")
        return found, lines

    def controls(self, image_ids: Sequence[int]) -> tuple[dict[str, Found], list[str]]:
        """As `done`: worker → its detections of the control images."""
        found, lines = {}, []
        for name in sorted(filter(CONTROL.fullmatch, self.names())):
            try:
                one = self.read(name, image_ids)
                found[one.by] = one
            except ShardError as error:
                lines.append(f"{self}/{name}: {error}; left out")
        return found, lines


def control_name(worker: str) -> str:
    """The name of the file of a worker's control images."""
    return "control-" + re.sub(r"[^\w.-]+", "-", worker, flags=re.ASCII).strip("-")


def merged(found: Mapping[int, Found]) -> dict[int, Stored]:
    """Image id → detections of all shards."""
    return {image: own for number in sorted(found) for image, own in found[number].detections.items()}


class _Folder:
    """The files of a ledger in a folder."""

    def __init__(self, place: str, name: str):
        self._folder = Path(os.path.expanduser(place)).absolute() / name

    def names(self) -> set[str]:
        with self._being("read"), suppress(FileNotFoundError):
            return set(os.listdir(self._folder))
        return set()

    def read(self, name: str) -> bytes:
        with self._being("read"):
            return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        try:
            write(own_folder(self._folder) / name, content)
        except Unwritable as error:
            raise PlaceError(str(error)) from None

    def remove(self, name: str) -> None:
        with self._being("removed"):
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _being(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PlaceError(f"{self._folder}: the shards cannot be {done} ({reason(error)}); name another place by "
                             "--shards") from None


class _Remote(Url):
    """The files of a ledger at a URL."""

    def __init__(self, place: str, name: str):
        super().__init__(place)
        self._name = name

    def names(self) -> set[str]:
        with self._being("read") as (filesystem, root), suppress(FileNotFoundError):
            filesystem.invalidate_cache()  # others write there too
            return {path.rpartition("/")[2] for path in filesystem.find(root)}
        return set()

    def read(self, name: str) -> bytes:
        with self._being("read") as (filesystem, root):
            return filesystem.cat_file(f"{root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        with self._being("written") as (filesystem, root):
            filesystem.pipe_file(f"{root}/{name}", content)

    def remove(self, name: str) -> None:
        with self._being("removed") as (filesystem, root):
            filesystem.rm_file(f"{root}/{name}")

    @contextmanager
    def _being(self, done: str) -> Iterator[tuple[Any, str]]:
        """The file system, and the folder of the ledger in it."""
        try:
            filesystem, root = self.place
            yield filesystem, f"{root}/{self._name}"
        except Exception as error:  # every file system of fsspec has its own
            raise PlaceError(f"{self.url}: the shards cannot be {done} ({reason(error)}); check the URL, your "
                             "credentials and the network, or name another place by --shards") from None
