"""Every file has a room, imports only what its room may, and no room imports itself by way of others.

An import inside a function counts as one at the top of a file does.
"""
from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.rooms import FORBIDDEN_LIBRARIES, ROOMS, room_of

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("model", "harness", "fixtures", "tests", "benchmarks", "examples")


def modules(root: Path) -> dict[str, str]:
    """Module name → path from the root, of every Python file of the project below it."""
    paths = [root / "conftest.py", *(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))]
    files = [path.relative_to(root) for path in paths if path.is_file()]
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__"): file.as_posix() for file in files}


def imported(source: str, known: dict) -> set[str]:
    """The modules that a file imports, anywhere in it: the project's in full, of others the first name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, "a relative import: write the whole name"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in whole}
        elif isinstance(node, (ast.Call, ast.Assign)):
            found |= set(_named(node))
    return {name if name in known else name.partition(".")[0] for name in found}


def _named(node) -> list[str]:
    """The modules that a call of import_module or a list of pytest's plugins names."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = node.args[:1] if name in ("import_module", "__import__") else []
    else:
        names = [getattr(target, "id", "") for target in node.targets]
        texts = ast.walk(node.value) if "pytest_plugins" in names else []
    return [text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)]


def imports(root: Path) -> list[tuple[str, str]]:
    """(file, what it imports): a file of the project by its path, any other module by its first name."""
    known = modules(root)
    return [(file, known.get(name, name)) for file in known.values()
            for name in sorted(imported((root / file).read_text(encoding="utf-8"), known))]


@cache
def project() -> tuple:
    return tuple(imports(ROOT))


def is_allowed(file: str, target: str) -> bool:
    """Whether the rooms let one file of the project import another."""
    room, other = room_of(file), room_of(target)
    return room == other or any(target == place or (place.endswith("/") and target.startswith(place))
                                for place in room.imports)


def wrong(found) -> list[str]:
    """The imports that no room allows, in words."""
    return [f"{file} imports {target}: not in the list of {room_of(file).place} in tests/rooms.py"
            for file, target in found if target.endswith(".py") and not is_allowed(file, target)]


def circles(found) -> list[str]:
    """The circles between rooms, each as a chain of their places."""
    arrows = defaultdict(set)
    for file, target in found:
        if target.endswith(".py") and room_of(file) != room_of(target) and not file.startswith("tests/"):
            arrows[room_of(file).place].add(room_of(target).place)
    return [" → ".join(chain) for start in list(arrows) for chain in _back_to(start, arrows)]


def _back_to(start, arrows) -> list[list[str]]:
    """The shortest way from a room to itself, if there is one."""
    ways, seen = [[start]], set()
    while ways:
        way = ways.pop(0)
        for place in sorted(arrows.get(way[-1], ())):
            if place == start:
                return [[*way, start]]
            if place not in seen:
                seen.add(place)
                ways.append([*way, place])
    return []


def test_every_file_has_a_room():
    assert [f"{file}: add a row to tests/rooms.py" for file in modules(ROOT).values()
            if room_of(file) is None and not file.endswith("__init__.py")] == []


def test_every_room_exists():
    assert [f"{room.place}: is not there" for room in ROOMS if not (ROOT / room.place).exists()] == []


def test_a_room_imports_only_what_it_may():
    assert wrong(project()) == []


def test_a_room_is_named_only_where_it_is_imported():
    used = {(room_of(file).place, place) for file, target in project() if target.endswith(".py")
            for place in room_of(file).imports if target.startswith(place)}
    assert [f"{room.place} no longer imports {place}: take it out" for room in ROOMS for place in room.imports
            if (room.place, place) not in used] == []


def test_no_room_imports_itself_by_way_of_others():
    assert circles(project()) == []


@pytest.mark.parametrize("place", FORBIDDEN_LIBRARIES)
def test_libraries_that_a_room_does_without(place):
    assert [f"{file} imports {name}" for file, name in project()
            if file.startswith(place) and name in FORBIDDEN_LIBRARIES[place]] == []


@pytest.mark.parametrize(("file", "line", "words"), [
    ("harness/stats/trend.py", "import model.detector", "imports model/detector.py"),
    ("model/detector.py", "from harness import text", "imports harness/text.py"),
    ("model/graph/build.py", "def f():\n    from model.backends import cpu", "imports model/backends/cpu.py"),
    ("harness/stats/trend.py", "from harness.soak.run import Plan", "imports harness/soak/run.py"),
    ("fixtures/cache/store.py", "import tests.rooms", "imports tests/rooms.py"),
    ("model/names.py", "def f():\n    import_module('fixtures.options')", "imports fixtures/options.py"),
    ("tests/gates/test_soak.py", "from model.detector import Detector", "imports model/detector.py"),
])
def test_an_import_that_a_room_may_not_have_is_noticed(file, line, words):
    known = modules(ROOT)
    found = [(file, known.get(name, name)) for name in imported(line, known)]
    assert len(wrong(found)) == 1 and words in wrong(found)[0]


def test_a_circle_is_noticed():
    back = ("model/graph/build.py", "model/backends/cpu.py")
    assert "model/graph/ → model/backends/ → model/graph/" in circles([*project(), back])


def test_a_file_without_a_room_is_noticed():
    assert room_of("model/somewhere.py") is None and room_of("tools/x.py") is None
