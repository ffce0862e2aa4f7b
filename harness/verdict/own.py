"""Reads the rows of a user's own TOML files: bounds (`[[target]]`) and prices (`[[price]]`).

A row has the fields of `Target` or `Price`. Whatever would silently judge less than it seems to is an error: one
sentence with the row, what is wrong and what to do, for the caller to put the file's name before.
"""
from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from harness.files import Unreadable, read_file
from harness.text import is_plain, shown
from harness.verdict import targets
from harness.verdict.cost import PRICES, PURCHASES, Price
from harness.verdict.metrics import MEASURED
from harness.verdict.targets import Table, Target, published_beside

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 2**20  # bytes: about 4,000 rows
LONGEST = 1_000  # characters of a text
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
NAMES = ("platform", "backend", "instance", "region")  # fields that are names
Row = TypeVar("Row", Target, Price)


class OwnError(ValueError):
    """The file cannot be used; the message is one sentence without the file's name."""


def read_table(path: Path) -> Table:
    """The published rows with those of a file of `[[target]]`. Raises OwnError."""
    rows, content = _read(path, "target", Target, _target_fault)
    return Table(tuple(rows), path.name, hashlib.sha256(content).hexdigest())


def read_prices(path: Path) -> tuple[Price, ...]:
    """The prices of a file of `[[price]]`. Raises OwnError."""
    rows, _ = _read(path, "price", Price, _price_fault)
    regions = {(row.instance, row.purchase): row.region for row in rows}
    for row in rows:
        if row.region != regions[row.instance, row.purchase]:
            raise OwnError(f"{row.purchase} prices of {row.instance} are of several regions: keep the one you pay in")
    return tuple(rows)


def _target_fault(target: Target) -> str:
    """Why a row cannot be judged as it stands; '' if it can."""
    if target.check not in MEASURED:
        return f"check is {shown(target.check)}, must be one of {', '.join(MEASURED)}"
    if target.metric not in MEASURED[target.check]:
        return f"metric is {shown(target.metric)}, must be one of {', '.join(MEASURED[target.check])}"
    if fault := targets.fault(target):
        return fault
    if target.images_per_second is not None and target.check != "cost":
        return "images_per_second is for rows of cost alone: leave it out"
    if target.images_per_second is not None and not 0 < target.images_per_second < math.inf:
        return f"images_per_second is {target.images_per_second:g}, must be a finite number above 0"
    published = published_beside(target)
    if published and not target.reason:
        follows = "" if bool(published.images_per_second) == bool(target.images_per_second) else (
            ", of which one follows the price by its images_per_second and the other does not")
        return f"it is looser than the published {published}{follows}: add a reason, or take the published bound"
    return ""


def _price_fault(price: Price) -> str:
    """Why a price would not be used, or should not; '' if all is well."""
    if price.purchase not in PURCHASES:
        return f"purchase is {shown(price.purchase)}, must be {' or '.join(PURCHASES)}"
    if not 0 < price.dollars_per_hour < math.inf:
        return f"dollars_per_hour is {price.dollars_per_hour:g}, must be a finite number above 0"
    if date.fromisoformat(price.date) > date.today() + timedelta(days=1):  # it may be tomorrow elsewhere
        return f"date is {price.date}, which is to come: give the day on which you looked the price up"
    same = [one.date for one in PRICES if one.key[:3] == price.key[:3]]
    if same and price.date <= max(same):
        return f"it is not newer than the built-in price of {max(same)}: look up today's, or leave it out"
    return ""


# ---- rows of any kind


def _read(path: Path, name: str, kind: type[Row], fault: Callable[[Row], str]) -> tuple[list[Row], bytes]:
    """The rows of a file, each sound and with a key of its own, and the file's content."""
    try:
        content = read_file(path.expanduser(), LARGEST)
        found = tomllib.loads(content.decode("utf-8"))
    except FileNotFoundError:
        raise OwnError("there is no such file; check the path") from None
    except Unreadable as error:
        raise OwnError(f"{error}; name another file") from None
    except (ValueError, RecursionError) as error:  # tomllib's errors, and those of UTF-8, are ValueErrors
        raise OwnError(f"is not TOML ({shown(error, 200)}); correct it") from None
    rows = _rows(found, name)
    made = [_made(row, f"row {place}", kind, fault) for place, row in enumerate(rows, 1)]
    _require_once(made)
    return made, content


def _rows(found: dict[str, Any], name: str) -> list[dict]:
    for key in found:
        if key != name:
            raise OwnError(f"key {shown(key)} is unknown; rows start with [[{name}]]")
    rows = found.get(name)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise OwnError(f"has no row; each starts with [[{name}]]")
    return rows


def _made(row: dict[str, Any], place: str, kind: type[Row], fault: Callable[[Row], str]) -> Row:
    """The row of a file as a `kind`. Raises OwnError."""
    known = {one.name: one for one in fields(kind)}
    words = " ".join(shown(row[name]) for name in list(known)[:2] if name in row)
    place = f"{place} ({words})" if words else place
    for name in row:
        if name not in known:
            raise OwnError(f"{place}: key {shown(name)} is unknown, must be one of {', '.join(known)}")
    for name, one in known.items():
        if one.default is MISSING and name not in row:
            raise OwnError(f"{place}: {name} is missing; add it")
    try:
        made = kind(**{name: (_number if known[name].type.startswith("float") else _text)(name, value)
                       for name, value in row.items()})
        why = fault(made)
    except _WrongValue as error:
        why = str(error)
    if why:
        raise OwnError(f"{place}: {why}")
    return made


class _WrongValue(ValueError):
    """The value of a field is wrong; the message has the field, the value and what it must be."""


def _text(name: str, value: Any) -> str:
    if name == "date":
        return _date(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or not is_plain(value):
        raise _WrongValue(f"{name} is {_value(value)}, must be a text of at most {LONGEST:,} printable characters")
    if name in NAMES and not NAME.fullmatch(value):
        raise _WrongValue(f"{name} is {_value(value)}, must be a name of letters, digits, dots, dashes and underscores")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _WrongValue(f"{name} is {_value(value)}, must be a number without quotes")
    try:
        return float(value)
    except OverflowError:
        raise _WrongValue(f"{name} is too large, must be a number") from None


def _date(value: Any) -> str:
    """A date as TOML has it, with or without quotes."""
    text = value.isoformat() if type(value) is date else value
    try:
        if date.fromisoformat(text).isoformat() == text:  # newer Pythons read 20260119 and 2026-W04 too
            return text
    except (TypeError, ValueError):
        pass
    raise _WrongValue(f"date is {_value(value)}, must be a date such as 2026-01-19")


def _value(value: Any) -> str:
    return shown(repr(value), 60)


def _require_once(rows: Sequence[Row]) -> None:
    """Raises OwnError for two rows of which only one would be judged."""
    first: dict[tuple, int] = {}
    for place, row in enumerate(rows, 1):
        if row.key in first:
            raise OwnError(f"row {place} ({' '.join(row.key)}) is there already as row {first[row.key]}; keep one")
        first[row.key] = place
