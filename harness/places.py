"""A place that files are kept in: a folder, or a URL of fsspec such as s3://bucket/prefix."""
from __future__ import annotations

import re
from functools import cached_property
from typing import Any


class PlaceError(OSError):
    """The place cannot be used; the message says why and what to do."""


class Url:
    """A URL that looks usable without asking the network. Raises PlaceError for one that does not."""

    def __init__(self, url: str):
        self._scheme = _usable_scheme(url)
        self.url = url.rstrip("/")

    @cached_property
    def place(self) -> tuple[Any, str]:
        """The file system of fsspec and the URL's path in it; both raise whatever that file system raises."""
        from fsspec.core import url_to_fs

        return url_to_fs(self.url, **({"auto_mkdir": True} if self._scheme in ("file", "local") else {}))


def is_url(place: str) -> bool:
    """Whether the place is a URL and not a folder. Raises PlaceError for what is neither."""
    if not place or re.match(r"\w{2,}:(?!//)", place):
        raise PlaceError("is neither a folder nor a URL; write a URL as s3://bucket/prefix")
    return "://" in place


def _usable_scheme(url: str) -> str:
    from fsspec.registry import get_filesystem_class, known_implementations

    scheme, _, rest = url.partition("://")
    if re.match(r"[^/]*:[^/]*@", rest):
        raise PlaceError("holds a password, which every log would show; give it in the environment or a configuration "
                         "file")
    if not rest.strip("/"):
        raise PlaceError(f"does not name a place; write {scheme}://bucket/prefix")
    try:
        get_filesystem_class(scheme)
    except ValueError:
        raise PlaceError(f"{scheme}:// is unknown; use s3://, gs:// or file://") from None
    except ImportError as error:
        package = known_implementations[scheme]["class"].split(".")[0]
        advice = "" if package == "fsspec" else f"; pip install {package}"  # fsspec's own say what they need
        raise PlaceError(f"{error} ({reason(error.__cause__ or error)}){advice}") from None
    return scheme


def reason(error: BaseException) -> str:
    """An error in a few words, whatever library it comes from."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:300] or type(error).__name__
