"""The project keeps its own rules: what a room may import, and what the README says of the targets."""
from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from harness.verdict import loads as shapes
from harness.verdict import targets
from tests.fixtures import misbehaving

ROOT = Path(__file__).resolve().parent.parent

# Room → what none of its files may import.
FORBIDDEN = {
    "model": {"harness", "fixtures", "tests", "benchmarks", "pytest"},
    "harness": {"model", "fixtures", "tests", "benchmarks", "pytest", "tensorflow", "keras"},
    "fixtures": {"tests", "benchmarks"},
}


def imported(path: Path) -> set:
    """The top-level names that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room):
    wrong = {str(path.relative_to(ROOT)): imported(path) & FORBIDDEN[room] for path in (ROOT / room).rglob("*.py")}
    assert not {path: names for path, names in wrong.items() if names}


def test_every_file_says_what_it_is_for():
    folders = ("model", "harness", "fixtures", "tests", "benchmarks")
    silent = [path for folder in folders for path in (ROOT / folder).rglob("*.py")
              if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


@pytest.mark.parametrize("table", [targets, shapes, misbehaving], ids=["targets", "shapes", "misbehaving"])
def test_the_readme_shows_the_table(table):
    assert table.markdown_table() in (ROOT / "README.md").read_text(encoding="utf-8")


def requirements(name: str) -> dict:
    """Package → its version specifier, of a requirements file without those that it includes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([\w-]+)(?:\[\w+\])?([<>=!~].*)", line) for line in lines)
    return {one[1]: one[2] for one in found if one}


def test_the_lowest_versions_are_those_of_the_bounds():
    allowed = {}
    for name in ("requirements-base.txt", "requirements.txt", "requirements-test.txt"):
        allowed.update(requirements(name))
    lowest = requirements("requirements-lowest.txt")
    assert lowest.keys() == allowed.keys()
    for package, exactly in lowest.items():
        version, bound = exactly.removeprefix("=="), re.search(r">=([\d.]+)", allowed[package])[1]
        assert f"{version}.".startswith(f"{bound}."), f"{package}: {version} is tested and {bound} is allowed"
