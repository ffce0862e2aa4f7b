"""The documents: a short README, links that lead somewhere, parts made from the code, versions that agree with it."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from model.neuron.machine.doctor import DRIVER
from model.neuron.machine.packages import PYTHON37, ROUTES
from model.neuron.machine.system import BUILD_TOOLS
from tests import generated
from tests.test_documented_commands import DOCUMENTS, ROOT, fences

README = ROOT / "README.md"
LONGEST_README = 150  # lines
PAGES = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def prose(text: str) -> str:
    """The text without blocks and quoted code."""
    return re.sub(r"^ *```.*?^ *```$|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """The targets of links and of images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(path: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere; those to other sites are not tried."""
    found = []
    for link in links(text):
        place, _, anchor = link.partition("#")
        if re.match(r"\w+://", link):
            continue
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or ROOT not in target.parents:
            found.append(f"{path.name}: {link}: there is no such file")
        elif anchor and anchor not in anchors(text if target == path else target.read_text("utf-8")):
            found.append(f"{path.name}: {link}: there is no such heading")
    return found


def test_the_readme_is_short():
    assert len(README.read_text("utf-8").splitlines()) <= LONGEST_README


@PAGES
def test_links_lead_somewhere(path):
    assert broken(path, path.read_text("utf-8")) == []


@pytest.mark.parametrize(("text", "words"), [
    ("[x](docs/no.md)", "no such file"), ("![x](docs/no.svg)", "no such file"), ("[x](../../etc)", "no such file"),
    ("[x](docs/verdicts.md#no)", "no such heading"), ("[x](#no)", "no such heading"),
])
def test_a_link_that_leads_nowhere_is_noticed(text, words):
    found, = broken(README, text)
    assert words in found


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(README.read_text("utf-8"))}
    assert [path.name for path in DOCUMENTS if path != README and path not in linked] == []


def test_every_drawing_is_shown():
    shown = {(path.parent / link).resolve() for path in DOCUMENTS for link in links(path.read_text("utf-8"))}
    drawings = [path for path in (ROOT / "docs").iterdir() if path.suffix in (".svg", ".jpg", ".png")]
    assert drawings and [path.name for path in drawings if path not in shown] == []


def test_every_drawing_can_be_read():
    for path in (ROOT / "docs").iterdir():
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        elif path.suffix in (".jpg", ".png"):
            with Image.open(path) as image:
                image.load()


@PAGES
def test_the_generated_parts_are_those_of_the_code(path):
    text = path.read_text("utf-8")
    assert generated.renewed(text) == text, "run: python -m tests.generated"


def test_every_generated_part_is_shown_once():
    pages = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    shown = re.findall(r"^<!-- generated: (\w+) -->$", pages, re.MULTILINE)
    assert sorted(shown) == sorted(generated.PARTS)


def test_a_stale_part_is_noticed():
    page = "<!-- generated: targets -->\n| old |\n<!-- end -->\nmine\n"
    assert generated.renewed(page) != page
    assert generated.renewed(page).endswith("<!-- end -->\nmine\n")


@PAGES
def test_a_workflow_is_shown_as_it_is(path):
    workflows = [file.read_text("utf-8") for file in (ROOT / ".github" / "workflows").glob("*.yml")]
    blocks = [content for language, content in fences(path.read_text("utf-8")) if language == "yaml"]
    assert all(any(block.strip() and block in workflow for workflow in workflows) for block in blocks)


def test_the_versions_for_inf1_are_those_that_the_doctor_asks_for():
    page = (ROOT / "docs" / "inferentia.md").read_text("utf-8")
    assert re.findall(r"pip install -r (\S+)", page) == [route.file.name for route in ROUTES.values()]
    assert f"'aws-neuronx-dkms={'.'.join(map(str, DRIVER))}.*'" in page
    assert f"'aws-neuronx-dkms-{'.'.join(map(str, DRIVER))}.*'" in page
    assert f"pyenv install {PYTHON37}\n" in page
    for manager, packages in BUILD_TOOLS.items():
        line = next(line for line in page.splitlines() if line.startswith(f"sudo {manager} install -y ")
                    and packages.split()[-1] in line)
        assert set(packages.split()) <= set(line.split())
