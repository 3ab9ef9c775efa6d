"""The search page in a real browser against a real server: `apt-get install chromium`, `pip install playwright`.

With POLYLENS_SCREENSHOTS set, the pictures of the documentation are taken as well.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import PIL.Image
import pytest
from tests.support.browsing import expect, watched
from tests.support.root import ROOT
from tests.support.serving import Running, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

SAMPLES = ROOT / "samples"
FILES = {  # of the samples, and the folder in which each is put
    "tide-forecast-slides.pdf": "",
    "galley-recipes.pdf": "",
    "keepers-letter.jpg": "",
    "lighthouse-night.png": "",
    "red-bicycle.jpg": "",
    "radio-procedure.txt": "",
    "invoice-2024-0417.pdf": "reports",
    "sicherheit-am-steg.pdf": "reports/old",
}
OLD = "2020-05-17T12:00:00"  # when the last of them was modified
TIDES = "new moon and full moon spring tide"  # tide-forecast-slides.pdf, page 2 of 6
PHONE = {"width": 360, "height": 740}

HAND_OVER = """
([kind, name, encoded]) => {
  const bytes = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
  const given = new DataTransfer();
  given.items.add(new File([bytes], name, { type: name.endsWith("png") ? "image/png" : "application/pdf" }));
  const how = { bubbles: true, cancelable: true };
  const events = {
    drop: [new DragEvent("dragover", { ...how, dataTransfer: given }),
           new DragEvent("drop", { ...how, dataTransfer: given })],
    paste: [new ClipboardEvent("paste", { ...how, clipboardData: given })],
  };
  for (const event of events[kind]) document.body.dispatchEvent(event);
}
"""

FAINT_TEXTS = """
() => {
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const layers = (element) => {
    const colours = [];
    for (let each = element; each; each = each.parentElement) colours.unshift(getComputedStyle(each).backgroundColor);
    return colours;
  };
  const known = new Map();  // few colours lie above each other in many places
  const painted = (colours) => {
    const key = colours.join("; ");
    if (!known.has(key)) {
      for (const colour of ["white", ...colours]) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
      known.set(key, [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3));
    }
    return known.get(key);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (element) => {
    const ground = layers(element);
    const two = [painted(ground), painted([...ground, getComputedStyle(element).color])].map(luminance);
    return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
  };
  return [...document.querySelectorAll("body *")]
    .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((each) => each.checkVisibility() && !each.closest("noscript, :disabled, [aria-disabled=true], .letters"))
    .filter((each) => contrast(each) < 4.5)
    .map((each) => `${each.tagName} ${each.textContent.trim().slice(0, 30)}: ${contrast(each).toFixed(2)}`);
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose library is indexed."""
    folder = tmp_path_factory.mktemp("samples") / "papers"
    for name, inside in FILES.items():
        (folder / inside).mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / name, folder / inside / name)
    os.utime(folder / inside / name, (datetime.fromisoformat(OLD).timestamp(),) * 2)
    (folder / "broken.pdf").write_text("not a PDF")
    with serving("--library", str(folder), home=tmp_path_factory.mktemp("home")) as running:
        running.settled(files=len(FILES), failed=1)
        yield running


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    with watched(browser, server, viewport={"width": 1280, "height": 900}) as page:
        yield page


def find(page: Page, query: str = TIDES) -> None:
    """Types a query and waits for what is found."""
    page.goto("/")
    page.get_by_role("searchbox", name="Search for").fill(query)
    expect(page.locator(".card").first).to_be_visible()


def open_best(page: Page) -> None:
    page.locator(".card .open").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#page-image")).to_have_js_property("complete", True)


def light(page: Page) -> None:
    """Asks of an opened page why it was found."""
    page.get_by_role("button", name="Why this page").click()


def give(page: Page, how: str, name: str) -> None:
    """Drops or pastes a sample."""
    page.evaluate(HAND_OVER, [how, name, base64.b64encode((SAMPLES / name).read_bytes()).decode()])


def address(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def picture(page: Page, name: str) -> None:
    """A picture for the documentation, if they are wanted."""
    if not os.environ.get("POLYLENS_SCREENSHOTS"):
        return
    page.wait_for_load_state("networkidle")
    folder = ROOT / "docs" / "images"
    folder.mkdir(exist_ok=True)
    PIL.Image.open(io.BytesIO(page.screenshot())).save(folder / name, quality=85, method=6)
    assert (folder / name).stat().st_size < 150_000


def test_typing_finds_pages(page: Page) -> None:
    find(page)
    best = page.locator(".card").first
    expect(best.get_by_role("heading")).to_have_text("tide-forecast-slides.pdf, page 2 of 6 · English")
    expect(best.locator(".snippet mark").first).to_have_text("moon")
    expect(page.locator("#count")).to_have_text(re.compile(r"^\d+ pages in \d files, best first, in \d\.\d\d s$"))
    assert address(page) == {"q": [TIDES]}
    picture(page, "search.webp")


def test_why_a_page_was_found(page: Page) -> None:
    find(page)
    best = page.locator(".card").first
    why = best.get_by_role("button", name="Why?")
    why.click()
    expect(why).to_have_attribute("aria-expanded", "true")
    expect(best.locator(".scores dt")).to_have_text(["All together", "Place by place", "Whole page", "Exact words"])
    expect(best.locator(".scores .ranks")).to_have_text(re.compile(r"^All together0\.\d\d"))
    expect(best.get_by_role("img", name="Heat map, Whole query: strongest at the")).to_be_visible()
    why.click()
    expect(best.locator(".scores")).to_have_count(0)
    expect(best.locator("canvas")).to_have_count(0)
    text = page.locator(".card", has=page.locator(".file", has_text="radio-procedure.txt"))
    text.get_by_role("button", name="Why?").click()
    expect(text.locator(".scores .ranks")).to_be_visible()  # a text has scores, and no picture to light


def test_everything_with_the_keyboard(page: Page) -> None:
    page.goto("/")
    page.keyboard.type(TIDES)  # the field has the focus
    page.keyboard.press("Enter")
    expect(page.locator(".card").first).to_be_visible()
    best = page.locator(".card .open").first
    for _ in range(20):
        page.keyboard.press("Tab")
        if best.evaluate("each => each === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="tide-forecast-slides.pdf")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-page")).to_have_text("Page 3 of 6")
    page.get_by_role("button", name="Why this page").press("Enter")
    expect(page.locator(".word").first).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "tide":
            break
    expect(page.locator("#heat")).to_have_attribute("data-choice", "6")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(best).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


def test_turning_pages(page: Page) -> None:
    find(page)
    open_best(page)
    picture(page, "viewer.webp")
    expect(page.locator("#viewer-file")).to_have_text("tide-forecast-slides.pdf")
    expect(page.locator("#viewer-page")).to_have_text("Page 2 of 6")
    expect(page.locator("#page-text")).to_contain_text("The moon lifts the ocean")
    page.get_by_role("button", name="Previous page").click()
    expect(page.locator("#viewer-page")).to_have_text("Page 1 of 6")
    expect(page.get_by_role("button", name="Previous page")).to_have_attribute("aria-disabled", "true")
    for number in range(2, 7):
        page.get_by_role("button", name="Next page").click()
        expect(page.locator("#viewer-page")).to_have_text(f"Page {number} of 6")
    expect(page.get_by_role("button", name="Next page")).to_have_attribute("aria-disabled", "true")
    assert address(page) == {"q": [TIDES], "file": ["tide-forecast-slides.pdf"], "page": ["6"]}
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the file").click()
    assert download.value.path().read_bytes() == (SAMPLES / "tide-forecast-slides.pdf").read_bytes()


def test_escape_back_forward_and_reload(page: Page) -> None:
    find(page)
    dialog = page.get_by_role("dialog")
    open_best(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert address(page) == {"q": [TIDES]}
    page.go_forward()
    expect(dialog).to_be_visible()
    page.reload()
    expect(page.locator("#viewer-page")).to_have_text("Page 2 of 6")
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(page.locator(".card").first).to_be_visible()
    page.go_back()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#q")).to_have_value("")


BACK_AND_FORWARD = """
() => new Promise((done) => {
  const once = { once: true };
  addEventListener("popstate", () => {
    history.forward();
    addEventListener("popstate", () => requestAnimationFrame(() => setTimeout(done, 100)), once);
  }, once);
  history.back();
})
"""


def test_forward_before_the_closing_is_told(page: Page) -> None:
    """Chromium tells of a dialog's closing with its next frame, when the page may be open again."""
    find(page)
    open_best(page)
    for _ in range(5):  # four times in five, the frame is too late
        page.evaluate(BACK_AND_FORWARD)
        expect(page.get_by_role("dialog")).to_be_visible()
        assert "file" in address(page)


def test_closing_twice_goes_back_once(page: Page) -> None:
    find(page)
    open_best(page)
    page.locator("#close").evaluate("button => { button.click(); button.click(); }")
    expect(page.get_by_role("dialog")).to_be_hidden()
    open_best(page)  # which closing must go on to do
    page.locator("#close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert address(page) == {"q": [TIDES]}


def test_a_page_by_its_address(page: Page) -> None:
    page.goto("/?q=ginger&file=galley-recipes.pdf&page=2")
    expect(page.locator("#viewer-page")).to_have_text("Page 2 of 2")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert address(page) == {"q": ["ginger"]}


def test_heat_map(page: Page) -> None:
    find(page, "lighthouse keeper cracked lens")
    page.locator(".card .open", has_text="keepers-letter.jpg").click()
    heat = page.locator("#heat")
    expect(heat).to_be_hidden()
    light(page)
    expect(heat).to_be_visible()
    expect(heat).to_have_attribute("data-choice", "whole")
    expect(heat).to_have_attribute("aria-label", re.compile(r"^Heat map, Whole query: strongest at the \w+ \w+$"))
    drawn = "each => each.toDataURL()"
    whole = heat.evaluate(drawn)
    assert [each.inner_text() for each in page.locator(".word").all()][:2] == ["Whole query", "lighthouse"]
    page.get_by_role("button", name="lighthouse", exact=True).hover()
    expect(heat).to_have_attribute("data-choice", "0")
    assert heat.evaluate(drawn) != whole
    page.locator("#viewer-file").hover()
    expect(heat).to_have_attribute("data-choice", "whole")
    assert heat.evaluate(drawn) == whole
    page.get_by_role("button", name="lens", exact=True).click()
    page.locator("#viewer-file").hover()
    expect(heat).to_have_attribute("data-choice", "3")
    expect(page.get_by_role("button", name="lens", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="lens", exact=True).click()
    page.locator("#viewer-file").hover()
    page.locator("#viewer-file").focus()
    expect(heat).to_be_hidden()


def test_heat_map_covers_the_picture(page: Page) -> None:
    find(page)
    open_best(page)
    light(page)
    expect(page.locator("#heat")).to_be_visible()
    for _ in range(2):
        assert page.locator("#heat").bounding_box() == page.locator("#page-image").bounding_box()
        page.get_by_role("button", name="Fit the whole page").click()


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_is_searched_for(page: Page, how: str) -> None:
    page.goto("/")
    give(page, how, "lighthouse-night.png")
    expect(page.locator(".card .file").first).to_have_text("lighthouse-night.png")
    expect(page.locator(".token")).to_contain_text("Picture")
    page.reload()
    expect(page.locator(".card .file").first).to_have_text("lighthouse-night.png")
    with page.expect_request("**/library/search") as both:
        page.locator("#q").fill(TIDES)
    sent = json.loads(both.value.post_data or "")
    assert sent["query"] == TIDES
    assert sent["image"].startswith("data:image/jpeg;base64,")
    page.get_by_role("button", name="Remove: Picture").click()
    expect(page.locator(".card .file").first).to_have_text("tide-forecast-slides.pdf")
    expect(page.locator(".token")).to_have_count(0)


def test_a_picture_by_the_file_button(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Search by a picture").set_input_files(SAMPLES / "red-bicycle.jpg")
    expect(page.locator(".card .file").first).to_have_text("red-bicycle.jpg")


def test_what_is_no_picture_is_refused(page: Page) -> None:
    page.goto("/")
    give(page, "drop", "galley-recipes.pdf")
    expect(page.get_by_role("alert").first).to_have_text(
        "galley-recipes.pdf is not a picture that this browser can read."
    )


def test_what_is_dropped_while_the_page_loads_is_refused_as_well(page: Page) -> None:
    held: list[Route] = []
    page.route("**/library/login", lambda route: held.append(route))
    page.goto("/", wait_until="commit")
    until(lambda: page.evaluate("1") and held)  # asking lets Playwright tell of the request
    give(page, "drop", "galley-recipes.pdf")
    problem = page.locator("#problem")
    expect(problem).to_have_text("galley-recipes.pdf is not a picture that this browser can read.")
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    expect(problem).to_have_text("galley-recipes.pdf is not a picture that this browser can read.")


def test_more_like_this(page: Page) -> None:
    find(page)
    page.get_by_role("button", name="More like this: tide-forecast-slides.pdf, page 2").click()
    expect(page.locator(".token")).to_contain_text("Like tide-forecast-slides.pdf, page 2")
    expect(page.locator("#q")).to_have_value("")
    expect(page.locator(".card .file").first).to_have_text("tide-forecast-slides.pdf")
    assert address(page) == {"like": ["tide-forecast-slides.pdf"], "like_page": ["2"]}
    page.go_back()
    expect(page.locator("#q")).to_have_value(TIDES)


def rank_by(page: Page, name: str) -> Locator:
    """The choice of a ranking, whose menu is opened if it is closed."""
    if not page.locator("#ranking").evaluate("each => each.open"):
        page.locator("#ranking summary").click()
    return page.get_by_role("radio", name=name)


def test_what_ranks_is_switched_with_the_keyboard(page: Page) -> None:
    find(page)
    rank_by(page, "All together").focus()
    for by, name in [("late", "Place by place"), ("dense", "Whole page"), ("text", "Exact words")]:
        with page.expect_response("**/library/search") as answer:
            page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name=name)).to_be_focused()
        assert json.loads(answer.value.request.post_data or "")["by"] == by
        assert address(page) == {"q": [TIDES], "by": [by]}
    page.reload()
    expect(page.locator("#ranking summary")).to_have_text("Ranking: Exact words")
    expect(rank_by(page, "Exact words")).to_be_checked()
    expect(page.locator(".card .file").first).to_have_text("tide-forecast-slides.pdf")
    page.locator(".card").first.get_by_role("button", name="Why?").click()
    expect(page.locator(".scores .ranks dt")).to_have_text("Exact words")
    rank_by(page, "Exact words").focus()
    page.keyboard.press("ArrowRight")  # round to the first
    expect(page.get_by_role("radio", name="All together")).to_be_checked()
    assert address(page) == {"q": [TIDES]}


def test_a_stage_that_did_not_find_a_page_says_so(page: Page) -> None:
    find(page)
    scan = page.locator(".card", has_text="lighthouse-night.png")
    scan.get_by_role("button", name="Why?").click()
    expect(scan.locator(".scores")).to_have_text(re.compile(r"Exact words–no word of the query is in its text$"))


def test_full_text_needs_words(page: Page) -> None:
    page.goto("/?q=zebra&by=text")
    expect(page.locator("#count")).to_have_text(re.compile("^No page has any of these words in its text"))
    page.get_by_label("Pictures", exact=True).check()
    expect(page.locator("#count")).to_have_text(re.compile("^No page that matches the filters has any of these words"))
    page.goto("/?by=text")
    give(page, "drop", "lighthouse-night.png")
    expect(page.locator("#count")).to_have_text("Full text needs words, and a picture has none; rank by another stage")
    page.get_by_role("button", name="Rank by all together").click()
    expect(page.locator(".card .file").first).to_have_text("lighthouse-night.png")
    page.goto(f"/?q={TIDES}&by=text")
    page.get_by_role("button", name="More like this: tide-forecast-slides.pdf, page 2").click()
    expect(page.locator(".card").first).to_be_visible()
    expect(rank_by(page, "All together")).to_be_checked()


def test_filters(page: Page) -> None:
    find(page)
    page.get_by_label("Pictures", exact=True).check()
    expect(page.locator(".card")).to_have_count(3)
    page.get_by_label("Pictures", exact=True).uncheck()
    page.get_by_label("Folder").select_option("reports")
    expect(page.locator(".card .where").filter(has_not_text="· reports")).to_have_count(0)
    invoice = page.locator(".card", has=page.locator(".file", has_text="invoice-2024-0417.pdf"))
    expect(invoice.locator(".where")).to_have_text(re.compile("· reports$"))
    assert files(page) == {"invoice-2024-0417.pdf", "sicherheit-am-steg.pdf"}
    page.reload()
    expect(page.get_by_label("Folder")).to_have_value("reports")


def files(page: Page) -> set[str]:
    """Of the results, once there are those of the filters."""
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    return {each.inner_text() for each in page.locator(".card .file").all()}


def test_numbers_of_pages_stand_beside_the_filters(page: Page, server: Running) -> None:
    facets = server.http.get("/library").json()["facets"]
    page.goto("/")
    expect(page.locator("label.chip span", has_text="PDF")).to_have_attribute("data-pages", str(facets["kinds"]["pdf"]))
    expect(page.get_by_label("PDF", exact=True)).to_have_attribute(
        "aria-description", f"{facets['kinds']['pdf']} pages"
    )
    expect(page.locator("label.chip", has_text="Slides")).to_be_hidden()  # there are none
    assert page.get_by_label("Folder").locator("option").all_inner_texts() == ["All", "reports (3)", "reports/old (2)"]
    assert page.get_by_label("Modified").locator("option").all_inner_texts() == [
        "Any time",
        *(f"Past {name} ({number})" for name, number in facets["modified"].items()),
        "Between …",
    ]
    assert facets["modified"]["year"] == sum(facets["kinds"].values()) - 2
    page.goto("/?q=steg&kind=slides")  # an address may ask for what is not there
    expect(page.get_by_label("Slides")).to_be_checked()


def test_languages_by_keyboard(page: Page) -> None:
    find(page)
    menu = page.locator("#languages summary")
    menu.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#language-choices label")).to_have_text(["English", "German"])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    german = page.get_by_role("checkbox", name="German", exact=True)
    expect(german).to_be_focused()
    expect(german).to_have_attribute("aria-description", "2 pages")
    page.keyboard.press("Space")
    assert files(page) == {"sicherheit-am-steg.pdf"}
    expect(page.locator(".card .where").first).to_have_text(re.compile(r"^page \d of 2 · German · reports/old$"))
    expect(page.locator(".card .snippet").first).to_have_attribute("lang", "de")
    assert address(page) == {"q": [TIDES], "language": ["de"]}
    expect(german).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(menu).to_have_text("Language: German")
    expect(german).to_be_hidden()
    page.reload()
    expect(menu).to_have_text("Language: German")
    expect(page.locator(".card")).to_have_count(1)
    page.go_back()
    expect(menu).to_have_text("Language")
    menu.click()
    page.locator("#results").click(position={"x": 1, "y": 1})
    expect(german).to_be_hidden()


def test_languages_have_their_names_in_the_readers_own(browser: Browser, server: Running) -> None:
    with watched(browser, server, locale="fr-FR") as page:
        page.goto(f"/?q={TIDES}&language=de&language=fi")  # of the second there is no page
        expect(page.locator("#languages summary")).to_have_text("Language: allemand, finnois")
        expect(page.locator(".card .where").first).to_have_text(re.compile("· allemand ·"))
        page.locator("#languages summary").click()
        page.get_by_role("checkbox", name="allemand").uncheck()
        expect(page.locator("#count")).to_have_text("No page is in the language fi; remove a filter")


def test_what_is_typed_while_the_page_loads_is_searched_for(page: Page) -> None:
    held: list[Route] = []
    page.route("**/app.js", lambda route: held.append(route))
    page.goto("/", wait_until="commit")
    page.get_by_role("searchbox", name="Search for").fill(TIDES)
    until(lambda: page.evaluate("1") and held)  # asking lets Playwright tell of the request
    held[0].continue_()
    expect(page.locator(".card").first).to_be_visible()
    assert address(page) == {"q": [TIDES]}


def test_dates(page: Page) -> None:
    find(page)
    modified = page.get_by_label("Modified")
    with page.expect_response("**/library/search") as answer:
        modified.select_option("week")
    sent = json.loads(answer.value.request.post_data or "")
    assert (sent["since"], sent["until"]) == (str(date.today() - timedelta(days=7)), None)
    assert address(page) == {"q": [TIDES], "modified": ["week"]}
    expect(page.locator(".card .file", has_text="sicherheit")).to_have_count(0)
    page.reload()
    expect(modified).to_have_value("week")
    modified.select_option("between")
    expect(page.get_by_label("From", exact=True)).to_be_focused()
    page.get_by_label("From", exact=True).fill(OLD[:10])
    page.get_by_label("to", exact=True).fill(OLD[:10])  # both days are part of it
    expect(page.locator(".card")).to_have_count(1)
    assert files(page) == {"sicherheit-am-steg.pdf"}
    assert address(page) == {"q": [TIDES], "since": [OLD[:10]], "until": [OLD[:10]]}
    page.reload()
    expect(page.get_by_label("From", exact=True)).to_have_value(OLD[:10])
    page.get_by_label("to", exact=True).fill("2020-05-16")
    expect(page.get_by_label("From", exact=True)).to_have_value("2020-05-16")  # two days do not cross
    expect(page.locator("#count")).to_have_text(
        "No page is of a file modified since 2020-05-16 and until 2020-05-16; remove a filter"
    )
    modified.select_option("")
    expect(page.get_by_label("From", exact=True)).to_be_hidden()
    assert address(page) == {"q": [TIDES]}


def test_text_results_are_read_in_place(page: Page) -> None:
    find(page, "radio")
    page.get_by_label("Text", exact=True).check()
    expect(page.locator(".card")).to_have_count(1)
    page.locator(".card .open").click()
    expect(page.locator("#passage mark").first).to_have_text(re.compile("radio", re.I))
    expect(page.get_by_role("button", name="Why this page")).to_be_hidden()


def test_why_nothing_was_found(page: Page) -> None:
    with page.expect_response("**/library/search") as answer:
        page.goto(f"/?q={TIDES}&folder=reports&kind=text")
    reason = answer.value.json()["reason"]
    expect(page.locator("#count")).to_have_text(reason[0].upper() + reason[1:])
    expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()
    page.get_by_role("button", name="Remove the filters").click()
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#q")).to_be_focused()
    assert address(page) == {"q": [TIDES]}


@pytest.mark.parametrize("matches", ["words", "meaning"])
def test_the_page_says_what_its_model_can_find(page: Page, matches: str) -> None:
    def answer(route: Route) -> None:
        served = route.fetch().json()
        assert served["matches"] == "words"  # nano
        route.fulfill(json={**served, "matches": matches})

    page.route("**/library", answer)
    page.goto("/")
    said = {"words": "and not by what they mean", "meaning": "need not be on the page"}
    expect(page.get_by_text(said.pop(matches))).to_be_visible()
    (other,) = said.values()
    expect(page.get_by_text(other)).to_be_hidden()


def test_errors_are_shown_in_the_words_of_the_server(browser: Browser, server: Running) -> None:
    def fail(route: Route) -> None:
        route.fulfill(status=200, content_type="text/plain", body="no JSON")

    with watched(browser, server) as page:
        page.route("**/library/search", fail)
        page.goto("/?q=tide")
        expect(page.locator("#problem")).to_be_visible()
        expect(page.locator("#nothing")).to_be_hidden()  # it is not known whether there is anything
        page.unroute("**/library/search")
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator(".card").first).to_be_visible()
        expect(page.locator("#problem")).to_be_hidden()


def test_state_of_the_library(page: Page, server: Running) -> None:
    page.goto("/")
    pages = server.http.get("/library").json()["pages"]
    expect(page.locator("#library-line")).to_have_text(f"papers 8 files, {pages} pages, indexed with nano")
    expect(page.locator("#updating")).to_be_hidden()
    page.get_by_role("link", name=re.compile("^1 file not searchable")).click()
    expect(page.get_by_role("heading", name="Not searchable")).to_be_visible()
    expect(page.locator("#missing-files li")).to_contain_text(["broken.pdf"])
    page.go_back()
    expect(page.locator("#q")).to_be_visible()


def test_progress_of_the_index(page: Page, server: Running) -> None:
    library = server.http.get("/library").json()
    updating = {"phase": "indexing", "file": "atlas.pdf", "done_pages": 5, "total_pages": 20, "eta_seconds": 12.4}
    page.route("**/library", lambda route: route.fulfill(json={**library, "updating": updating}))
    page.goto("/")
    bar = page.get_by_role("progressbar", name="Indexing atlas.pdf, 5 of 20 pages, about 12 s left")
    expect(bar).to_have_js_property("position", 0.25)
    updating.update(phase="scanning", total_pages=0)
    expect(page.get_by_role("progressbar", name="Looking at atlas.pdf")).to_have_js_property("position", -1)
    updating.update(phase="finishing", file="", total_pages=20)
    finishing = page.get_by_role("progressbar", name="Finishing the index, about 12 s left")
    expect(finishing).to_have_js_property("position", 0.25)


def test_playground(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Playground").click()
    expect(page.locator(".cell")).to_have_count(9)
    expect(page.locator(".cell").nth(0)).to_have_text("1.00")
    said = subprocess.run(
        [sys.executable, "-c", page.locator("#python").inner_text()], capture_output=True, text=True, check=True
    )
    assert re.match(r"0 \[-?0\.\d+, .*\]\n1 \[", said.stdout)
    page.get_by_label("Picture", exact=True).set_input_files(SAMPLES / "sailing-boat.png")
    expect(page.locator(".cell")).to_have_count(16)
    page.get_by_label("Vector size").select_option("64")
    page.get_by_label("Task").select_option("retrieval.query")
    expect(page.locator("#playground-status")).to_have_text("4 vectors of 64 numbers")
    for shown in (page.locator("#curl"), page.locator("#python")):
        expect(shown).to_contain_text('"dimensions": 64')
        expect(shown).to_contain_text('"task": "retrieval.query"')
        expect(shown).to_contain_text('{"image":"data:image/jpeg;base64,')
    page.get_by_label("Text 3").fill("it's a harbour")
    expect(page.locator("#curl")).to_contain_text(r"it'\''s a harbour")
    page.get_by_role("button", name="Remove 1").click()
    expect(page.locator(".cell")).to_have_count(9)
    page.go_back()
    expect(page.locator("#q")).to_be_visible()


def rank(page: Page) -> None:
    """Ranks a picture and a text in the playground."""
    page.goto("/?tab=playground&tool=rank")
    page.get_by_text("Addresses of pictures").click()
    give(page, "drop", "sailing-boat.png")
    page.get_by_role("button", name="Text", exact=True).click()
    page.keyboard.type("a boat with a very long_name_that_has_no_place_to_break_a_line_but_within_it")
    page.get_by_role("textbox", name="Query").fill("ein Segelboot")
    page.get_by_role("textbox", name="Query").press("Enter")
    expect(page.locator("#ranked .card")).to_have_count(2)


def test_the_request_is_copied_whole(browser: Browser, server: Running) -> None:
    with watched(browser, server, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto("/?tab=playground")
        expect(page.locator(".cell")).to_have_count(9)
        give(page, "paste", "sailing-boat.png")
        expect(page.locator(".cell")).to_have_count(16)
        page.get_by_role("button", name="the curl command").click()
        expect(page.get_by_role("button", name="Copied the curl command")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
    assert subprocess.run(["bash", "-n"], input=copied, text=True, check=True).returncode == 0
    assert len(copied) > 5_000


def test_a_narrow_screen_does_not_scroll_sideways(browser: Browser, server: Running) -> None:
    with watched(browser, server, viewport=PHONE, device_scale_factor=2) as page:
        find(page, "full moon")
        width = "() => Math.max(document.documentElement.scrollWidth, document.querySelector('dialog').scrollWidth)"
        assert page.evaluate(width) <= PHONE["width"]
        picture(page, "phone.webp")
        page.get_by_role("button", name="Filters").click()
        page.locator("#languages summary").click()
        page.get_by_label("Modified").select_option("between")
        page.locator("#ranking summary").click()
        expect(page.get_by_role("radio", name="Exact words")).to_be_visible()
        assert page.evaluate(width) <= PHONE["width"]
        page.locator("#modified").select_option("")
        open_best(page)
        light(page)
        expect(page.locator("#heat")).to_be_visible()
        assert page.evaluate(width) <= PHONE["width"]
        page.goto("/?tab=playground")
        expect(page.locator(".cell")).to_have_count(9)
        for text in ["a harbour", "the pier", "its cranes", "two ferries", "fog"]:
            page.get_by_role("button", name="Text", exact=True).click()
            page.keyboard.type(text)
        expect(page.locator(".cell")).to_have_count(64)
        expect(page.get_by_role("button", name="Text", exact=True)).to_be_disabled()
        assert page.evaluate(width) <= PHONE["width"]
        rank(page)
        assert page.evaluate(width) <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(browser: Browser, server: Running, scheme: Any) -> None:
    with watched(browser, server, color_scheme=scheme) as page:
        find(page)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", ground)[0]) > 128) == (scheme == "light")
        page.get_by_label("PDF", exact=True).check()
        page.locator("#languages summary").click()
        page.get_by_role("checkbox", name="English").check()
        page.locator(".card").first.get_by_role("button", name="Why?").click()
        assert page.evaluate(FAINT_TEXTS) == []
        open_best(page)
        light(page)
        expect(page.locator(".word").first).to_be_visible()
        assert page.evaluate(FAINT_TEXTS) == []
        page.goto("/?tab=playground")
        expect(page.locator(".cell")).to_have_count(9)
        assert page.evaluate(FAINT_TEXTS) == []
        rank(page)
        assert page.evaluate(FAINT_TEXTS) == []


def test_motion_is_left_out_where_it_is_not_wanted(browser: Browser, server: Running) -> None:
    with watched(browser, server, reduced_motion="reduce") as page:
        find(page)
        assert page.locator(".card").first.evaluate("each => getComputedStyle(each).transitionProperty") == "none"
