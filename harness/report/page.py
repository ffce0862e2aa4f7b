"""Renders the report: one HTML file without anything from elsewhere, made of the files of a folder alone.

A section whose file is missing or damaged is one line that says so. Text from files is escaped by the template engine,
and the page's own policy (a hash of its one script) keeps any other script from running.
"""
from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.compare.record import Run
from harness.files import write as write_file
from harness.report import sections
from harness.report.decision import decision
from harness.report.folder import Damaged, Folder, LeftOut, damaged
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
    first, missing = _made(decision, folder)
    parts = [(one, *_made(partial(_content, one), folder)) for one in _sections(beside)]
    style, script = (Markup((TEMPLATES / name).read_text("utf-8")) for name in ("style.css", "script.js"))
    page = _rendered("page.html", title=shown(folder.path.resolve().name), parts=parts, style=style, script=script,
                     head=_rendered("decision.html", first=first, missing=missing), style_hash=_hash(style),
                     script_hash=_hash(script))
    left_out = [("The first screen", missing), *((section.heading, why) for section, _, why in parts)]
    return str(page), [f"{heading} is left out: {why}" for heading, why in left_out if isinstance(why, Damaged)]


def _sections(beside: Sequence[Run]) -> Iterator[Section]:
    """All sections, and before the last one the comparison of platforms where one was asked for."""
    yield from SECTIONS[:-1]
    if beside:
        yield Section("platforms", "Beside other runs", "Other runs", lambda folder: sections.platforms(beside))
    yield SECTIONS[-1]


def _content(section: Section, folder: Folder) -> Markup:
    return _rendered(f"{section.name}.html", **section.build(folder))


def _made(make: Callable[[Folder], Any], folder: Folder) -> tuple[Any, LeftOut | None]:
    """(what is made of the folder, None), or (None, why there is nothing to show)."""
    try:
        return make(folder), None
    except LeftOut as error:
        return None, error
    except Exception as error:  # whatever is in a file, the rest of the page is shown
        return None, damaged("what is stored", error)


def _rendered(template: str, **values: Any) -> Markup:
    return Markup(_environment().get_template(template).render(values))


@cache  # it keeps the templates that it has compiled
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)


def _hash(content: str) -> str:
    """What a content security policy knows an inline style or script by."""
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
