"""The page is whole, small and harmless whatever a run has stored, and says what it leaves out."""
from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.report import sections
from harness.report.folder import AGAINST, CURVES, GALLERY, HISTORY, JOURNAL, OUTCOME, RESULTS, RUN, SWEEP, Folder
from harness.report.page import LARGEST, PAGE, SECTIONS, render, write
from harness.verdict.verdict import PASS
from tests.harness.report import folders
from tests.harness.soaks import journal, started

ROOT = Path(__file__).parents[3]
VOID = {"meta", "img", "input", "link", "br"}
# Section → the file that it is made of.
FILES = {"against": AGAINST, "history": HISTORY, "soak": JOURNAL, "sweep": SWEEP, "curves": CURVES,
         "mistakes": "errors.json", "gallery": "errors.json", "environment": RUN}


class Parsed(HTMLParser):
    """The page's elements with their attributes, its text, and whether each element is closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        assert len(attributes) == len(dict(attributes))
        self._open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.words += [] if self._open and self._open[-1] in ("style", "script") else [data]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def parsed(folder: Path) -> Parsed:
    return Parsed(render(Folder(folder))[0])


@pytest.fixture
def folder(tmp_path) -> Path:
    return folders.write(tmp_path / "report")


def test_the_page_has_every_section_and_leaves_out_none(folder):
    page = parsed(folder)
    assert [attributes["id"] for tag, attributes in page.elements if tag == "section"] == [one.name for one in SECTIONS]
    assert "Not shown" not in page.text


def test_it_is_one_file_that_needs_nothing_from_elsewhere(folder):
    page = parsed(folder)
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base", "form")
                and tag != "form"]
    assert all(value.startswith("#") for value in page.values("href"))
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert not set().union(*(attributes for _, attributes in page.elements)) & {"style", "action", "srcset", "onclick"}
    source = render(Folder(folder))[0]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", source)


def test_its_policy_lets_its_own_style_and_script_run_and_nothing_else(folder):
    page = render(Folder(folder))[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    for tag in ("style", "script"):
        content, = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy.replace("&#39;", "'")
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_what_is_linked_is_there(folder):
    page = parsed(folder)
    anchors = page.values("id")
    assert len(anchors) == len(set(anchors)) and {link[1:] for link in page.values("href")} <= set(anchors)


def test_an_image_that_changed_leads_to_its_card(folder):
    page = parsed(folder)
    assert [link for link in page.values("href") if link.startswith("#image-")] == ["#image-1", "#image-0", "#image-1"]
    assert "Since the baseline: 3 objects lost, 0 gained." in page.text


def test_the_mistake_that_costs_more_than_before_is_on_the_first_screen(folder):
    sentence = "The mistake that costs more than before is missed objects (AP50 lost: 0.010 to 0.060)."
    assert sentence in parsed(folder).text


def test_rows_that_nobody_judged_are_counted_as_such_everywhere(folder):
    text = parsed(folder).text
    assert "cost: 1 not judged" in text and "1 PASS, 1 FAIL, 1 INVALID, 1 not judged. Each value" in text


@pytest.mark.parametrize(("baselines", "legend"), [(0, ["other run"]), (1, ["baseline", "other run"])])
def test_the_legend_names_only_what_is_drawn(tmp_path, baselines, legend):
    content = folders.history(count=2)
    for place, run in enumerate(content["runs"]):
        run["is_baseline"] = place < baselines
    drawing = sections.history(Folder(folders.write(tmp_path, history={**content, "steps": []})))["plots"][0]
    assert [words for _, words in drawing.legend] == legend


def test_every_plot_image_and_control_has_a_name(folder):
    page = parsed(folder)
    plots = [attributes for tag, attributes in page.elements if tag == "svg" and "plot" in attributes.get("class", "")]
    assert len(plots) > 6 and all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    assert all("alt" in attributes for tag, attributes in page.elements if tag == "img")
    assert page.values("lang") == ["en"] and Counter(tag for tag, _ in page.elements)["h1"] == 1


HOSTILE = {
    "markup": "</script></title><img src=x onerror=alert(1)>'\"`",
    "a template": "{{7*7}}{% raw %}${7*7}",
    "a comment": "<!-- --!> ]]> <![CDATA[",
    "a command to CI": "x\n::error file=x::pwned\n##[error]",
    "right to left": "\u202eevil\u2066\u05d0\u05d1",
    "control characters": "a\x00b\x1b[31m\x7f\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    "a surrogate": "\ud800",
    "a path": "../../../etc/passwd",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_name_changes_nothing_but_text(tmp_path, kind):
    """The elements are those of harmless names: whatever a name says, it is text."""
    harmless = parsed(folders.write(tmp_path / "harmless", lambda word: f"{word} x"))
    hostile = parsed(folders.write(tmp_path / "hostile", lambda word: f"{word} {HOSTILE[kind]}"))
    shape = [[(tag, sorted(attributes)) for tag, attributes in page.elements] for page in (harmless, hostile)]
    assert shape[0] == shape[1]
    assert "Not shown" not in hostile.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028\u2029]", hostile.text)


def test_a_template_in_a_name_is_not_run(tmp_path):
    assert "cup {{7*7}}" in parsed(folders.write(tmp_path / "report", lambda word: f"{word} {{{{7*7}}}}")).text


def test_names_of_a_megabyte_are_cut(tmp_path):
    page, _ = render(Folder(folders.write(tmp_path / "report", lambda word: word + "x" * 2**20)))
    assert len(page) < 500_000


def test_a_run_of_5000_images_makes_a_page_that_can_be_sent(folder):
    names = [f"class {place}" for place in range(80)]
    content = folders.mistakes(images=5000, stored=40)
    content["classes"] = [{**content["classes"][0], "name": name} for name in names]
    (folder / "errors.json").write_text(json.dumps(content))
    (folder / CURVES).write_text(json.dumps(folders.curves(classes=names)))
    image = folders.jpeg((400, 300), noise=True)
    assert len(image) > 40_000
    for number in range(40):
        (folder / GALLERY / f"{number}.jpg").write_bytes(image[:60_000])
    lines = list(write(folder))
    assert lines == [f"written: {folder / PAGE}"]
    assert 2_000_000 < (folder / PAGE).stat().st_size < LARGEST
    assert Counter(tag for tag, _ in parsed(folder).elements)["img"] == 40


@pytest.mark.parametrize("name", FILES)
def test_what_is_missing_is_named_and_the_others_are_shown(folder, name):
    (folder / FILES[name]).unlink()
    page = parsed(folder)
    assert f"Not shown: {FILES[name]} is not in this folder." in page.text
    assert page.text.count("Not shown") == list(FILES.values()).count(FILES[name])


DAMAGE = {
    "cut short": lambda content: content[:len(content) // 2 - 3], "empty": lambda content: b"",
    "a list": lambda content: b"[]\n", "binary": lambda content: b"\xff\x00" * 100, "a number": lambda content: b"7\n",
    "not a number": lambda content: b'{"rows": NaN}', "nested": lambda content: b"[" * 100_000,
    "other fields": lambda content: b'{"classes": 7, "runs": {}, "rows": "x", "points": 1}',
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_the_others_are_shown(folder, name, damage):
    if (name, damage) == ("soak", "cut short"):
        pytest.skip("a soak that was cut short is shown as far as it got")
    path = folder / FILES[name]
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    page, lines = render(Folder(folder))
    text = Parsed(page).text
    assert any("is left out: " in line and "damaged" in line for line in lines)
    own = [one for one, file in FILES.items() if file == FILES[name]]
    assert text.count("Not shown") == len(own)


def test_a_soak_that_ended_in_its_first_window_is_not_damaged(folder):
    (folder / JOURNAL).unlink()
    journal(folder / JOURNAL, [started()])
    page, lines = render(Folder(folder))
    assert "Not shown: no window of the soak has detections." in Parsed(page).text and not lines


@pytest.mark.parametrize("place", ["a folder", "a pipe", "a link to nothing"])
def test_what_is_not_a_file_is_not_read(folder, place):
    path = folder / CURVES
    path.unlink()
    makers = {"a folder": path.mkdir, "a pipe": lambda: os.mkfifo(path),
              "a link to nothing": lambda: path.symlink_to("nowhere")}
    makers[place]()
    assert "Not shown: precision_recall.json" in parsed(folder).text


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "x.png", "", 7, None])
def test_an_image_from_elsewhere_is_not_shown(folder, name):
    content = folders.mistakes()
    content["gallery"][0]["image"] = name
    (folder / "errors.json").write_text(json.dumps(content))
    page = parsed(folder)
    assert len(page.values("src")) == 1 and "is not the name of an image that a run has stored" in page.text


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff" + b"x" * 70_000])
def test_an_image_that_is_none_is_named(folder, content):
    (folder / GALLERY / "0.jpg").write_bytes(content)
    page = parsed(folder)
    assert len(page.values("src")) == 1 and "gallery/0.jpg is" in page.text


def test_a_gallery_of_none_but_damaged_images_is_left_out_and_named(folder):
    for place in (folder / GALLERY).iterdir():
        place.write_bytes(b"GIF89a")
    page, lines = render(Folder(folder))
    assert "Not shown: gallery/0.jpg is damaged." in Parsed(page).text
    assert lines == ["Images to look at is left out: gallery/0.jpg is damaged."]


def test_files_of_an_earlier_run_are_not_shown(folder):
    (folder / OUTCOME).write_text(json.dumps(folders.outcome(files=[CURVES])))
    text = parsed(folder).text
    assert "sweep.json in this folder is that of an earlier run." in text
    assert "precision_recall.json in this folder" not in text and "against.json in this folder" not in text


def test_a_run_that_did_not_reach_its_end_shows_its_rows(folder):
    for name in (RUN, OUTCOME):
        (folder / name).unlink()
    text = parsed(folder).text
    assert "Not decided" in text and "accuracy AP is 0.312, must be ≥ 0.480." in text


def test_an_empty_folder_makes_a_page_that_says_so(tmp_path):
    text = parsed(tmp_path).text
    assert "May it be released? Unknown results.json is not in this folder." in text
    assert text.count("Not shown") == len(SECTIONS)


def banner(folder: Path) -> str:
    page = render(Folder(folder))[0]
    return " ".join(re.sub(r"<[^>]*>", " ", re.search(r'<div class="banner.*?</div>', page, re.DOTALL)[0]).split())


PASSED = [row for row in folders.rows(ap=PASS) if row["verdict"] == PASS]
ENDS = {
    "a FAIL": (folders.rows(), {}, "No accuracy AP is 0.312, must be ≥ 0.480."),
    "an INVALID": (folders.rows(ap=PASS), {"red": [["latency", "P99_seconds", ""]]},
                   "Not proven latency P99 is not decided (too few samples), must be ≤ 51.8 ms: not decided."),
    "an interrupt": (PASSED, {"red": [], "exit_code": 2, "words": "exit code 2: the run was stopped"},
                     "Not proven exit code 2: the run was stopped"),
    "a release": (PASSED, {"red": [], "exit_code": 0}, "Yes Every row of the target table was judged and is met."),
    "own bounds": (PASSED, {"red": [], "exit_code": 0, "bounds": ["5 of 13 bounds are your own, of mine.toml"]},
                   "Yes Every row of the target table was judged and is met. Bounds: 5 of 13 bounds are your own, of "
                   "mine.toml."),
    "no --release": (PASSED, {"red": [], "exit_code": 0, "release": False, "lost": 3, "easier": ["--limit 4"]},
                     "Not yet Every row that was judged is met, and this was not a run for a release (--release). 3 "
                     "rows were not judged. Easier than a release: --limit 4."),
    "a rehearsal": (PASSED, {"red": [], "exit_code": 0, "is_rehearsal": True, "release": False},
                    "Not decided here Nothing that this machine can decide speaks against it: this was a rehearsal"),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_first_screen_says_whether_it_may_be_released_and_why_not(tmp_path, end):
    rows, changes, words = ENDS[end]
    folder = folders.write(tmp_path, run=folders.run_record(rows), outcome=folders.outcome(**changes))
    assert banner(folder).startswith(f"May it be released? {words}")


def test_a_check_that_nobody_judged_is_not_called_invalid(folder):
    assert "not judged It is cheap enough cost: 1 not judged" in parsed(folder).text


def test_the_first_screen_says_what_changed(folder):
    text = parsed(folder).text
    assert ("Worse than the last 3 runs: throughput from 100.0 images/s to 80.0 images/s, -20.0 % (-25.0 % "
            "to -15.0 %).") in text
    assert "The class that lost most is cup (-0.100 AP)." in text
    assert "Most objects were lost in 1.jpg (3), 2.jpg (3)." in text
    assert "Also changed: kernel 5 → 6." in text


def test_the_first_screen_says_where_accuracy_is_lost(folder):
    text = parsed(folder).text
    assert "AP50 is 0.550. It loses most to missed objects (0.060), nothing there (0.050), found twice (0.040)." in text
    assert "The images that cost most are 0.jpg, 1.jpg, 2.jpg." in text


def test_without_a_baseline_the_first_screen_says_so(folder):
    (folder / AGAINST).unlink()
    assert "Nothing to compare with: this run was not measured against a baseline (--against)." in parsed(folder).text


def command(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "harness.report", *map(str, arguments)], cwd=ROOT, capture_output=True,
                          text=True, timeout=120)


def test_the_command_writes_the_page(folder):
    ended = command(folder)
    assert (ended.returncode, ended.stdout) == (0, f"written: {folder / PAGE}\n"), ended.stderr
    (folder / SWEEP).write_text("{")
    ended = command(folder, "--beside", "aws-inf1-soak")
    assert ended.returncode == 1 and "Sweep over loads is left out: sweep.json is damaged" in ended.stdout
    page = (folder / PAGE).read_text()
    assert 'id="platforms"' in page and "Beside other runs" in page


def test_a_folder_that_is_none_is_an_error():
    ended = command("nowhere")
    assert (ended.returncode, ended.stderr) == (2, "error: nowhere is not a folder; name the report folder of a run\n")


def test_results_alone_are_enough_for_the_verdicts(tmp_path):
    (tmp_path / RESULTS).write_text(json.dumps(folders.rows()))
    assert "1 PASS, 1 FAIL, 1 INVALID, 1 not judged" in parsed(tmp_path).text
