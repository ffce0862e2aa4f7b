"""The runs of the past in a folder or at a URL: one entry a run, published whole or not at all, and never changed.

An entry is a folder with the run record and its detections, as `--report` writes them. Its name says what runs are
chosen by, so that a list of names is enough to choose:

    20261126T014058Z_67709ce1a2b3_0c1d2e3f4a5b-6c7d8e_baseline_9f8e7d6c5b4a3928
    end of the run   commit       digest of the key   |        start of the SHA-256 of run.json
                     (12 digits, `-dirty` behind them, or none) baseline or other

In a folder an entry is renamed into place. At a URL its run.json is written last: without it there is no entry yet.
The working copy on this machine holds what a URL did not take, until it does, and what was fetched from it. Nothing is
ever removed from a history.
"""
from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.accuracy.stored import FILE as DETECTIONS
from harness.accuracy.stored import LARGEST as LARGEST_DETECTIONS
from harness.accuracy.stored import Stored, unpacked
from harness.compare.record import FILE, LARGEST, Run, RunError, parsed, read
from harness.files import Unwritable, is_being_written, is_draft, own_folder, write, write_folder
from harness.history import key
from harness.places import PlaceError, Url, is_url, reason
from harness.text import shown

WORKING_COPY = Path(__file__).resolve().parents[2] / ".cache" / "history"  # of URLs, each in a folder of its own
WAITING = "waiting"  # the folder of a working copy for what the URL did not take
BASELINE, OTHER = "baseline", "other"
NAME = re.compile(r"(\d{8}T\d{6}Z)_(?:([0-9a-f]{12})(?:-dirty)?|none)_([0-9a-f]{12}-[0-9a-f]{6})_"
                  rf"({BASELINE}|{OTHER})_([0-9a-f]{{16}})", re.ASCII)
DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
SHORT = 12  # digits of a commit
AT_ONCE = 64  # entries that are fetched from a URL before the next are asked for
CHANGED = f"{FILE} does not have the SHA-256 of its name"


class Entry(NamedTuple):
    """What the name of an entry says of its run; `commit` has 12 digits, or is '' where git said nothing."""

    name: str
    date: str
    commit: str
    key: str
    is_baseline: bool
    sha256: str


class Listing(NamedTuple):
    """The entries of a history, the oldest first, and a line for everything else that is there."""

    entries: list[Entry]
    left_out: list[str]


class Runs(NamedTuple):
    """Runs, the oldest first, and a line for each that was to be read and could not be."""

    runs: list[Run]
    left_out: list[str]


class History:
    """The history in a folder, or at a URL of fsspec (s3://bucket/prefix). Nothing is read or written before asked for.

    Raises PlaceError for what is neither a folder nor a URL.
    """

    def __init__(self, place: str | Path):
        self.place = str(place)
        self._remote = _Remote(self.place) if is_url(self.place) else None
        self._folder = self._remote.copy if self._remote else Path(os.path.expanduser(self.place)).absolute()

    def add(self, content: bytes, detections: bytes = b"") -> Run:
        """Publishes the run with this record and these packed detections, and returns it by the name of its entry.

        Raises RunError for what is not a run, Unwritable, and PlaceError where the URL did not take it: then it waits
        for the next run that is added.
        """
        run = parsed(content, self._folder, "")
        name = named(run)
        run = replace(run, name=name, folder=self._folder / name)
        files = {**({DETECTIONS: detections} if detections else {}), FILE: content}
        if not self._remote:
            write_folder(run.folder, files)
        else:
            write_folder(self._folder / WAITING / name, files)
            self._remote.publish_waiting()
        return run

    def listing(self) -> Listing:
        """What there is, without a look into it. Raises PlaceError where that cannot be listed."""
        names = self._remote.names() if self._remote else _names(self._folder)
        found = {name: NAME.fullmatch(name) for name in sorted(names)}
        entries = [_entry(match) for match in found.values() if match]
        lines = [_stranger(name) for name, match in found.items() if not match and not is_being_written(name)]
        waiting = self._remote.waiting() if self._remote else []
        return Listing(entries, lines + [f"{one}: waits to be uploaded to {self._remote.url}" for one in waiting])

    def runs(self, wanted: Callable[[Entry], bool] | None = None, most: int | None = None) -> Runs:
        """The runs that are wanted, of those the `most` newest, by default all. Raises PlaceError.

        A run at a URL has its detections beside it only after `detections` has asked for them.
        """
        entries, left_out = self.listing()
        chosen = [entry for entry in reversed(entries) if wanted is None or wanted(entry)]
        found, lines = [], []
        for entry, run in self._each(chosen):
            if isinstance(run, Run):
                found.append(run)
            else:
                lines.append(f"{self.place}/{entry.name}: {shown(run, 300)}; left out")
            if len(found) == most:
                break
        return Runs(found[::-1], left_out + lines[::-1])

    def detections(self, run: Run) -> dict[int, Stored]:
        """Image id → detections of one of these runs. Raises DetectionsError, and PlaceError for a URL."""
        path = run.folder / DETECTIONS
        if self._remote and not path.exists():
            write(path, self._remote.fetched(f"{run.folder.name}/{DETECTIONS}", LARGEST_DETECTIONS))
        return unpacked(path, run.detections)

    def _each(self, entries: list[Entry]) -> Iterator[tuple[Entry, Run | str]]:
        """Each entry with its run, or with why it cannot be read."""
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start:start + AT_ONCE]
            faults = self._remote.fetch(some) if self._remote else {}
            for entry in some:
                yield entry, faults.get(entry.name) or _read(self._folder, entry)


def named(run: Run) -> str:
    """The name of a run's entry. Raises RunError for a run whose date is not one."""
    date = DATE.fullmatch(run.date)
    if not date:
        raise RunError(f"date {shown(run.date)}: must be like 2026-11-26T01:40:58Z; store what this release has "
                       "measured")
    end = "{}{}{}T{}{}{}Z".format(*date.groups())
    dirty = "" if run.commit.get("clean") is True else "-dirty"
    commit = f"{run.commit['hash'][:SHORT]}{dirty}" if run.commit else "none"
    kind = BASELINE if run.is_baseline else OTHER
    return f"{end}_{commit}_{key.digest(run.key)}_{kind}_{_sha256(run.content)}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _entry(match: re.Match) -> Entry:
    end, commit, digest, kind, sha256 = match.groups()
    return Entry(match[0], end, commit or "", digest, kind == BASELINE, sha256)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise PlaceError(f"{folder}: the history cannot be read ({reason(error)}); name a folder that can be") from None


def _stranger(name: str) -> str:
    what = "was left by a run that was killed while it was published" if is_draft(name) else "is not an entry"
    return f"{shown(name)}: {what}; left out"


def _read(folder: Path, entry: Entry) -> Run | str:
    """The run of an entry, or why it cannot be read."""
    try:
        run = read(folder / entry.name, entry.name)
    except RunError as error:
        return error.why
    if _sha256(run.content) != entry.sha256:
        return CHANGED
    return run if key.digest(run.key) == entry.key else "its name has another key than its record"


def _files(entry: Path) -> dict[str, bytes]:
    """The files of an entry, the record last; less where another run has just published it."""
    files = {}
    for name in (DETECTIONS, FILE):
        with suppress(FileNotFoundError):
            files[name] = (entry / name).read_bytes()
    return files


def _settle(entry: Path, copies: Path) -> None:
    """Moves an entry that was uploaded to the copies, or removes it if it is there."""
    with suppress(OSError):
        os.rename(entry, copies / entry.name)
    shutil.rmtree(entry, ignore_errors=True)


class _Remote(Url):
    """The entries at a URL, and their working copy."""

    def __init__(self, url: str):
        super().__init__(url)
        self.copy = WORKING_COPY / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def names(self) -> list[str]:
        """Raises PlaceError."""
        with self._reached() as (filesystem, root):
            filesystem.invalidate_cache()  # others write there too
            try:
                paths = [path.rstrip("/") for path in filesystem.ls(root, detail=False)]
            except FileNotFoundError as error:
                if not error.errno and str(error).strip("/") != root.strip("/"):  # there is no such bucket
                    raise
                return []
        return [path.rpartition("/")[2] for path in paths if path != root.rstrip("/")]

    def waiting(self) -> list[Path]:
        """The entries that the URL has not taken yet."""
        return sorted(path for path in (self.copy / WAITING).glob("*") if NAME.fullmatch(path.name))

    def publish_waiting(self) -> None:
        """Uploads what waits, the record of each entry last. Raises PlaceError."""
        then = f"; the run waits in {self.copy / WAITING} for the next one, which uploads both"
        with self._reached("written", then) as (filesystem, root):
            for entry in self.waiting():
                for name, content in _files(entry).items():
                    filesystem.pipe_file(f"{root}/{entry.name}/{name}", content)
                _settle(entry, self.copy)

    def fetch(self, entries: list[Entry]) -> dict[str, str]:
        """Fetches the records that are not here yet; why not, by the name of each that cannot be. Raises PlaceError."""
        missing = [entry for entry in entries if not self._has(entry)]
        with self._reached() as (filesystem, root):
            paths = [f"{root}/{entry.name}/{FILE}" for entry in missing]
            found = filesystem.cat_ranges(paths, [0] * len(paths), [LARGEST] * len(paths), on_error="return")
        kept = {entry.name: self._kept(entry, content) for entry, content in zip(missing, found)}
        return {name: why for name, why in kept.items() if why}

    def fetched(self, path: str, most: int) -> bytes:
        """The content of a file. Raises PlaceError."""
        with self._reached() as (filesystem, root):
            return filesystem.cat_file(f"{root}/{path}", end=most)

    def _has(self, entry: Entry) -> bool:
        with suppress(OSError):
            return _sha256((self.copy / entry.name / FILE).read_bytes()) == entry.sha256
        return False

    def _kept(self, entry: Entry, content: bytes | Exception) -> str:
        """Keeps a record that was fetched; why it cannot be, in words."""
        if isinstance(content, FileNotFoundError):
            return f"has no {FILE}: it is being published, or its run was killed meanwhile"
        if isinstance(content, Exception):
            return f"cannot be fetched ({reason(content)})"
        if _sha256(content) != entry.sha256:
            return CHANGED
        try:
            write(own_folder(self.copy / entry.name) / FILE, content)
        except Unwritable as error:
            return str(error)
        return ""

    @contextmanager
    def _reached(self, what: str = "read", then: str = "") -> Iterator[tuple[Any, str]]:
        """The file system and the path in it; what goes wrong there is raised as PlaceError, which ends with `then`."""
        try:
            yield self.place
        except Exception as error:  # every file system of fsspec has its own
            raise PlaceError(f"{self.url}: the history cannot be {what} ({reason(error)}); check the URL, your "
                             f"credentials and the network{then}") from None
