"""No text of the project uses a word that is out: strings, docstrings and comments of the code, and every document."""
from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.generated import without_parts
from tests.words import WORDS

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("model", "harness", "fixtures", "tests", "benchmarks", "examples")
# These name the words that they look for.
ABOUT_WORDS = ("tests/words.py", "tests/test_words.py")


class Text(NamedTuple):
    """A piece of text and the line of its file that it starts in."""

    line: int
    text: str


def texts(source: str) -> list[Text]:
    """The strings and comments of a Python file; strings and comments that follow each other are one text."""
    strings = [Text(node.lineno, node.value) for node in ast.walk(ast.parse(source))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return strings + _comments(source)


def _comments(source: str) -> list[Text]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = [Text(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    blocks = groupby(enumerate(found), lambda pair: pair[1].line - pair[0])
    joined = ([comment for _, comment in block] for _, block in blocks)
    return [Text(block[0].line, " ".join(comment.text.lstrip("# ") for comment in block)) for block in joined]


def prose(path: Path) -> list[Text]:
    """What a person can read in a file."""
    content = path.read_text(encoding="utf-8")
    return texts(content) if path.suffix == ".py" else [Text(1, without_parts(content))]


def places(found: list[Text]) -> list[str]:
    """Where a word that is out is used: line, the words around it, and what to say."""
    return [f"{text.line + text.text[:match.start()].count(chr(10))}: “{_around(text.text, match)}”: say {word.instead}"
            for text in found for word in WORDS for match in _loose(word.pattern).finditer(text.text)]


@cache
def _loose(pattern: str) -> re.Pattern:
    """In any case, with any white space for its spaces, as a text may be wrapped; not within a path or file name."""
    return re.compile(r"(?<![-/])(?:" + re.sub(r"(?<!there) ", r"\\s+", pattern) + r")(?![-/.]\w)", re.IGNORECASE)


def _around(text: str, match) -> str:
    return " ".join(text[max(match.start() - 25, 0):match.end() + 15].split())


def files() -> list[str]:
    """The paths of all files that hold text, from the root."""
    code = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    others = [ROOT / "conftest.py", ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "pytest.ini",
              ROOT / "tox.ini", ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / ".github").rglob("*.yml")]
    return sorted(path.relative_to(ROOT).as_posix() for path in code + others if path.is_file())


def test_no_file_uses_a_word_that_is_out():
    wrong = [f"{name}:{place}" for name in files() if name not in ABOUT_WORDS
             for place in places(prose(ROOT / name))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("source", "line"), [
    ('"""Draws the pictures."""', 1),
    ("x = 1  # of the quiet\n", None),
    ("# as in the quiet\n# run\n", 1),
    ("message = ('no answer from '\n           'the server')\n", 1),
    ("f'{n} answers'", 1),
    ("'the answer', 'a server that answers each request', 'it answers, and soon'", 1),
    ("'the detector\\'s answers'", 1),
    ("'which tells some of them apart'", None),
    ("raise ValueError(f'{x} is no number from 0')", 1),
    ("x = 'this is no longer so, and there is no file'", None),
    ("'at the\\nbegin'", 1),
    ("x = 2\n\n'it was found\\nagain'\n", 3),
    ("'the data\\n    set'", 1),
    ("answered = answering = 'was answered'", None),
    ("class Canary:\n    'The Canary.'", 2),
])
def test_a_word_that_is_out_is_noticed(source, line):
    found = places(texts(source))
    assert [place.partition(":")[0] for place in found] == ([] if line is None else [str(line)])


def test_a_word_in_a_document_is_noticed_and_generated_parts_are_not():
    page = "Fine.\n\nA data\nset.\n<!-- generated: words -->\npicture\n<!-- end -->\n"
    assert [place.partition(":")[0] for place in places([Text(1, without_parts(page))])] == ["3"]


def test_every_wording_is_found_by_its_own_pattern():
    plain = {word.wording.partition(" (")[0].replace("…", "file") for word in WORDS}
    assert [wording for wording in plain if not places([Text(1, f"so at the {wording} here")])] == []
