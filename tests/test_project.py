"""The project keeps its own rules: docstrings of modules, names of fixtures, the lowest versions that are tested."""
from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_file_says_what_it_is_for():
    folders = ("model", "harness", "fixtures", "tests", "benchmarks", "examples")
    silent = [path for folder in folders for path in (ROOT / folder).rglob("*.py")
              if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def functions(path: Path) -> list[ast.FunctionDef]:
    """Those of the module itself: fixtures in a class are a plugin's, which are registered where they are wanted."""
    return [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]


def decorators(function: ast.FunctionDef) -> str:
    return " ".join(map(ast.unparse, function.decorator_list))


def fixtures(path: Path) -> set[str]:
    return {one.name for one in functions(path) if "pytest.fixture" in decorators(one)}


GATES = set().union(*map(fixtures, (ROOT / "fixtures").glob("*.py")))  # names of fixtures


def test_only_what_is_planted_has_the_name_of_a_fixture_of_the_gate():
    own = (path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("planted"))
    assert {path.name: shadows for path in own if (shadows := GATES & fixtures(path))} == {}


def test_tests_of_the_other_rooms_use_no_fixture_of_the_gate():
    tests = (one for room in ("harness", "model") for path in (ROOT / "tests" / room).rglob("test_*.py")
             for one in functions(path) if one.name.startswith("test_"))
    wrong = {one.name: asked for one in tests
             if (asked := {a.arg for a in one.args.args if a.arg in GATES and a.arg not in decorators(one)})}
    assert wrong == {}


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
