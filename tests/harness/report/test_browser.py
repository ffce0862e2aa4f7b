"""The page in headless Chromium: it shows, filters and enlarges, by mouse and by keyboard, and makes no request.

Needs the package playwright and an installed Chromium (CHROMIUM names it, where it is not on the PATH); `make browser`
has the first and insists on the second. Screenshots at phone and desktop width, light and dark, go to .screenshots.
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.report.page import PAGE, write
from tests.harness.report import folders
from tests.harness.report.test_page import HOSTILE

ROOT = Path(__file__).parents[3]
SCREENSHOTS = ROOT / ".screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE, DESKTOP = {"width": 400, "height": 800}, {"width": 1400, "height": 1000}


def missing() -> str:
    """Why the page cannot be opened here; '' where it can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "needs playwright: make browser"
    return "" if chromium() else "needs Chromium: apt-get install chromium, or CHROMIUM=PATH"


def chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


pytestmark = pytest.mark.skipif(bool(missing()) and not os.environ.get("REQUIRE_BROWSER"), reason=missing())


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    assert not missing(), missing()
    with sync_playwright() as playwright:
        own = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield own
        own.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function: names, size, colour scheme → the page, whose console and network must have stayed silent."""
    complaints, contexts = [], []

    def open_page(name=str, size=DESKTOP, scheme="light"):
        folder = folders.write(tmp_path / "report", name)
        list(write(folder))
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: complaints.append(f"request: {request.url[:80]}")
                if request.url != (folder / PAGE).as_uri() and not request.url.startswith("data:") else None)
        page.goto((folder / PAGE).as_uri())
        return page

    yield open_page
    assert complaints == []
    for context in contexts:
        context.close()


def shown(page) -> int:
    return page.locator(".card:visible").count()


def test_the_gallery_is_filtered_by_class_and_kind(opened):
    page = opened()
    assert shown(page) == 2 and page.locator(".filters output").inner_text() == "2 of 2 images"
    page.select_option("select[name=kind]", "missed")
    assert shown(page) == 2 and page.locator(".found.dim").count() > 0
    page.select_option("select[name=class]", label="bottle")
    page.select_option("select[name=kind]", "class")
    assert shown(page) == 0 and page.locator(".filters output").inner_text() == "0 of 2 images"
    page.select_option("select[name=kind]", "")
    assert shown(page) == 2


def test_what_is_right_can_be_hidden(opened):
    page = opened()
    assert page.locator(".found.hit:visible").count() == 2
    page.uncheck("input[name=right]")
    assert page.locator(".found.hit:visible").count() == 0


def test_a_class_leads_to_its_images(opened):
    page = opened()
    page.locator("#mistakes table a", has_text="can").first.click()
    assert page.locator("select[name=class] option:checked").inner_text() == "can"
    assert page.url.endswith("#gallery")


def test_an_image_is_enlarged_by_keyboard(opened):
    page = opened()
    button = page.locator(".card .image").first
    before = button.bounding_box()["width"]
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true" and button.bounding_box()["width"] > 1.4 * before


def test_a_curve_is_picked_out_by_mouse_and_keyboard(opened):
    page = opened()
    buttons = page.locator(".classes button")
    buttons.nth(1).hover()
    assert page.locator("path.curve.chosen").get_attribute("data-k") == "1"
    buttons.nth(0).focus()
    page.keyboard.press("Space")
    page.mouse.move(0, 0)
    page.locator("select[name=kind]").focus()
    assert page.locator("path.curve.chosen").get_attribute("data-k") == "0"
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"


def test_everything_that_can_be_used_is_reached_by_the_tab_key(opened):
    page = opened()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    controls = page.locator("a[href], button, select, input, summary").count()
    seen = set()
    for _ in range(2 * controls + 40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("""() => { const one = document.activeElement;
            return one === document.body ? -1 : [...document.querySelectorAll('*')].indexOf(one) }"""))
    reached = page.evaluate("""seen => [...document.querySelectorAll('a[href], button, select, input, summary')]
        .filter(one => !seen.includes([...document.querySelectorAll('*')].indexOf(one))).map(one => one.outerHTML)""",
                            list(seen))
    assert reached == []


def test_on_paper_everything_is_open(opened):
    page = opened()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden() and len(page.pdf()) > 10_000


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_name_runs_nothing(opened, kind):
    page = opened(lambda word: f"{word} {HOSTILE[kind]}")
    assert page.locator("section").count() == 9 and page.evaluate("document.title").startswith("Release gate")
    assert page.locator("img").count() == 2


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(opened, size, scheme):
    page = opened(size=size, scheme=scheme)
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{size['width']}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    assert page.locator("h1").bounding_box()["y"] < 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened, scheme):
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5."""
    page = opened(scheme=scheme)
    faint = page.evaluate("""() => {
        const light = colour => { const own = colour.match(/[\\d.]+/g).slice(0, 3).map(one => one / 255)
            .map(one => one <= .04045 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4);
            return .2126 * own[0] + .7152 * own[1] + .0722 * own[2]; };
        const behind = one => { while (one) { const own = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)$|transparent/.test(own)) return own; one = one.parentElement; } return 'rgb(255, 255, 255)'; };
        const all = 'h1, h2, h3, p, li, td, th, dt, dd, a, summary, small, .mark, output, label';
        return [...document.querySelectorAll(all)]
            .filter(one => one.offsetParent && one.innerText.trim()).map(one => {
                const both = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => b - a);
                return [one.outerHTML.slice(0, 90), (both[0] + .05) / (both[1] + .05)]; })
            .filter(([, own]) => own < 4.5);
    }""")
    assert faint == []
