"""The project keeps its own rules: docstrings of modules, and the lowest versions that are tested."""
from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_file_says_what_it_is_for():
    folders = ("model", "harness", "fixtures", "tests", "benchmarks")
    silent = [path for folder in folders for path in (ROOT / folder).rglob("*.py")
              if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


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
