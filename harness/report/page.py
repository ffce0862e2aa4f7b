"""Renders the report: one HTML file without anything from elsewhere, made of the files of a folder alone.

A section whose file is missing or damaged is one line that says so. Text from files is escaped by the template engine,
and the page's own policy (a hash of its one script) keeps any other script from running.
"""
from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.compare.record import Run
from harness.files import write as write_file
from harness.report import sections
from harness.report.decision import decision
from harness.report.folder import Folder, LeftOut
from harness.text import printable, shown

PAGE = "report.html"
TEMPLATES = Path(__file__).with_name("templates")
LARGEST = 5_000_000  # bytes of the page


class Section(NamedTuple):
    """A part of the page: its anchor, its heading and a shorter one, and what makes the values of its template."""

    name: str
    heading: str
    short: str
    build: Callable[[Folder], dict[str, Any]]


class Part(NamedTuple):
    """A section as the page shows it; `missing` says why there is nothing to show."""

    name: str
    heading: str
    short: str
    content: Markup
    missing: str


SECTIONS = (
    Section("verdicts", "Verdicts", "Verdicts", sections.verdicts),
    Section("against", "Change against the baseline", "Changes", sections.against),
    Section("history", "History", "History", sections.history),
    Section("soak", "Speed and temperature over time", "Over time", sections.soak),
    Section("sweep", "Sweep over loads", "Sweep", sections.sweep),
    Section("curves", "Precision and recall", "Precision", sections.curves),
    Section("mistakes", "What costs accuracy", "Mistakes", sections.mistakes),
    Section("gallery", "Images to look at", "Images", sections.gallery),
    Section("environment", "Environment, and how to repeat it", "Environment", sections.environment),
)


def write(path: Path, beside: Sequence[Run] = ()) -> Iterator[str]:
    """Write the report of a folder into it; a line in words for each section that is left out, then where it is.

    `beside` are this run and others to compare it with. Raises Unwritable.
    """
    page, left_out = render(Folder(path), beside)
    yield from (printable(f"{path}: {line}") for line in left_out)
    write_file(path / PAGE, page.encode("utf-8", "replace"))
    yield printable(f"written: {path / PAGE}")


def render(folder: Folder, beside: Sequence[Run] = ()) -> tuple[str, list[str]]:
    """The page, and in words which sections are left out because of damage."""
    environment = _environment()
    first, parts = _first(folder), [_part(one, folder, environment) for one in _sections(beside)]
    head = environment.get_template("decision.html").render(first=first.content, missing=first.missing)
    style, script = (Markup((TEMPLATES / name).read_text("utf-8")) for name in ("style.css", "script.js"))
    page = environment.get_template("page.html").render(
        title=shown(folder.path.resolve().name), head=Markup(head), parts=parts, style=style, script=script,
        style_hash=_hash(style), script_hash=_hash(script))
    shown_parts = [("The first screen", first.missing), *((part.heading, part.missing) for part in parts)]
    return page, [f"{name} is left out: {missing}" for name, missing in shown_parts if "damaged" in missing]


def _sections(beside: Sequence[Run]) -> Iterator[Section]:
    """All sections, and before the last one the comparison of platforms where one was asked for."""
    yield from SECTIONS[:-1]
    if beside:
        yield Section("platforms", "Beside other runs", "Other runs", lambda folder: sections.platforms(beside))
    yield SECTIONS[-1]


class _First(NamedTuple):
    content: Any
    missing: str


def _first(folder: Folder) -> _First:
    try:
        return _First(decision(folder), "")
    except Exception as error:  # of any file; the page is still made of the others
        return _First(None, _why(error))


def _part(section: Section, folder: Folder, environment: Environment) -> Part:
    try:
        values = section.build(folder)
        content = environment.get_template(f"{section.name}.html").render(values)
    except Exception as error:  # whatever is in a file, the other sections are shown
        return Part(section.name, section.heading, section.short, Markup(""), _why(error))
    return Part(section.name, section.heading, section.short, Markup(content), "")


def _why(error: Exception) -> str:
    if isinstance(error, LeftOut):
        return str(error)
    return f"what is stored is damaged ({type(error).__name__}: {shown(error, 200)}): run the gate again with --report."


@cache  # it keeps the templates that it has compiled
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)


def _hash(content: str) -> str:
    """What a content security policy knows an inline style or script by."""
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
