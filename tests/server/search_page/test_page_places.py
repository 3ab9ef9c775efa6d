"""What the search page makes of an answer: cut-outs, marks, one measure of match, files, long lists.

The server and its answers are real, of a tiny model; fields that depend on what a model has learned are set on their
way to the browser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import tiny
from tests.support.browsing import expect, watched
from tests.support.papers import make_image, make_pdf
from tests.support.serving import Running, serving
from tests.support.waiting import until

import polylens
from polylens.library.library import Library

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

QUERY = "tide harbour"
ARABIC = "مواعيد المد والجزر في الميناء القديم"
PLACE = {"left": 0.1, "top": 0.3, "width": 0.06, "height": 0.05, "text": "tide"}
WORDS = [
    ["The", 0.1, 0.3, 0.08, 0.04],
    ["tide", 0.2, 0.3, 0.1, 0.04],
    ["of", 0.32, 0.3, 0.05, 0.04],
    ["the", 0.1, 0.4, 0.08, 0.04],
    ["harbour", 0.2, 0.4, 0.2, 0.04],
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    folder = home / "papers"
    make_pdf(folder / "tides.pdf", "the tide of the old harbour", "the tide at noon", "a harbour at night")
    make_pdf(folder / "fees.pdf", "fees of the harbour")
    make_image(folder / "boat.png", "teal", (300, 900))
    (folder / "jadwal.txt").write_text(ARABIC, encoding="utf-8")
    model = tiny.write(home / "tiny")
    Library(folder, polylens.load(str(model))).update()
    with serving("--model", str(model), "--library", str(folder), home=home) as running:
        yield running


@pytest.fixture(params=[1120, 390])
def page(request: pytest.FixtureRequest, browser: Browser, server: Running) -> Iterator[Page]:
    with watched(browser, server, viewport={"width": request.param, "height": 844}) as page:
        yield page


def change(page: Page, path: str, edit: Callable[[Any, Any], None], **instead: Any) -> list[Any]:
    """Edits the JSON of each answer to requests of a path; returns the list of what was sent, which grows.

    Args:
        page: The browser's page.
        path: Of the requests.
        edit: Called with the answer and what was sent.
        instead: Fields that the server is sent other than the page sends them.
    """
    sent: list[Any] = []

    def pass_on(route: Route) -> None:
        asked = json.loads(route.request.post_data or "null")
        sent.append(asked)
        response = route.fetch(post_data=json.dumps({**asked, **instead}) if asked else None)
        answer = response.json()
        edit(answer, asked)
        route.fulfill(response=response, json=answer)

    page.route(path, pass_on)
    return sent


def give(page: Page, **fields: Any) -> list[Any]:
    """Sets fields of every result."""

    def edit(answer: Any, _asked: Any) -> None:
        for row in answer["results"]:
            row.update(fields)

    return change(page, "**/library/search", edit)


def box(found: Locator) -> Any:
    """Where an element is, in pixels: "x", "y", "width" and "height"."""
    box = found.bounding_box()
    assert box is not None
    return box


def comes_to_cover(inner: Locator, outer: Locator, place: Any) -> None:
    """Waits until an element lies where a place is: a page that just opened still moves."""
    until(lambda: covers(inner, outer, place), lambda: f"{box(inner)} within {box(outer)} at {place}")


def covers(inner: Locator, outer: Locator, place: Any) -> bool:
    """Whether an element lies where a place, in shares of another element, is; to two pixels."""
    if inner.bounding_box() is None or outer.bounding_box() is None:  # not drawn yet, or drawn anew
        return False
    one, other = box(inner), box(outer)
    expected = {
        "x": other["x"] + place["left"] * other["width"],
        "y": other["y"] + place["top"] * other["height"],
        "width": place["width"] * other["width"],
        "height": place["height"] * other["height"],
    }
    return all(abs(one[name] - value) < 2 for name, value in expected.items())


def card(page: Page, file: str) -> Locator:
    return page.locator("#results > .card", has=page.locator(".file", has_text=file))


def open_card(page: Page, file: str) -> None:
    card(page, file).locator(".open").click()
    expect(page.locator("#page-image")).to_have_js_property("complete", True)
    expect(page.locator(".paper")).not_to_have_class("paper waiting")


def test_the_place_that_matched_is_cut_out_and_marked(page: Page) -> None:
    give(page, places=[PLACE, {**PLACE, "top": 0.95}], places_from="words")
    page.goto(f"/?q={QUERY}")
    shown = card(page, "tides.pdf")
    expect(shown.locator(".cut")).to_have_class("cut placed")
    marks = shown.locator(".marks span")
    expect(marks).to_have_count(2)
    comes_to_cover(marks.first, shown.locator(".cut img"), PLACE)
    mark, window = box(marks.first), box(shown.locator(".crop"))
    assert window["y"] <= mark["y"] and mark["y"] + mark["height"] <= window["y"] + window["height"]
    assert window["x"] <= mark["x"] and mark["x"] + mark["width"] <= window["x"] + window["width"]
    assert mark["width"] / len(PLACE["text"]) > 7  # pixels a letter: it can be read
    assert box(shown.locator(".cut img"))["width"] >= window["width"]  # there is no field beside the page


def test_without_places_the_page_begins_at_its_top(page: Page) -> None:
    give(page, places=[], places_from=None)  # the model cannot give them, or the index has none
    page.goto(f"/?q={QUERY}")
    shown = card(page, "tides.pdf")
    expect(shown.locator(".cut")).to_have_class("cut placed")
    expect(shown.locator(".marks span")).to_have_count(0)
    sheet, window = box(shown.locator(".cut img")), box(shown.locator(".crop"))
    assert 0 <= window["y"] - sheet["y"] < 0.1 * sheet["height"]
    assert sheet["width"] > window["width"]


def test_a_tall_picture_is_seen_whole(page: Page) -> None:
    page.goto(f"/?q={QUERY}")
    shown = card(page, "boat.png")
    expect(shown.locator(".cut")).to_have_class("cut placed")
    picture, window = box(shown.locator(".cut img")), box(shown.locator(".crop"))
    assert abs(picture["height"] - window["height"]) < 2 and picture["width"] < window["width"]


@pytest.mark.parametrize(
    ("match", "words", "title"),
    [
        (0.93, "Very good match", "Match 0.93 of 1"),
        (0.5, "Good match", "Match 0.50 of 1"),
        (0.1, "Hardly a match", "Match 0.10 of 1"),
        (0.0, "Hardly a match", "Match 0.00 of 1"),
    ],
)
def test_one_measure_of_match(browser: Browser, server: Running, match: float, words: str, title: str) -> None:
    with watched(browser, server, viewport={"width": 1120, "height": 740}) as page:
        give(page, match=match)
        page.goto(f"/?q={QUERY}")
        shown = card(page, "tides.pdf").locator(".match")
        expect(shown).to_have_text(words)
        expect(shown).to_have_attribute("title", title)
        bar = shown.locator(".bar")
        assert abs(box(bar.locator("i"))["width"] - match * (box(bar)["width"] - 2)) < 2


def test_only_good_matches(page: Page) -> None:
    change(page, "**/library", lambda library, _: library.update(min_score=0.62))

    def cut(answer: Any, asked: Any) -> None:
        if asked.get("min_score"):
            answer.update(results=[], reason="nothing fits well: the best of 6 pages has a match of 0.12")

    sent = change(page, "**/library/search", cut)
    page.goto(f"/?q={QUERY}")
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#library-line")).to_contain_text("6 pages")  # the state is there
    assert sent[-1]["min_score"] is None
    page.get_by_role("checkbox", name="Only good matches").check()
    expect(page.get_by_role("heading", name="Nothing fits well")).to_be_visible()
    assert sent[-1]["min_score"] == 0.62 and "good=yes" in page.url
    expect(page.locator("#count")).to_have_text("Nothing fits well: the best of 6 pages has a match of 0.12")
    page.reload()
    expect(page.get_by_role("checkbox", name="Only good matches")).to_be_checked()
    page.get_by_role("button", name="Show weaker matches too").click()
    expect(page.locator(".card").first).to_be_visible()
    expect(page.get_by_role("checkbox", name="Only good matches")).not_to_be_checked()
    assert sent[-1]["min_score"] is None


def test_pages_of_a_file_together_or_apart(page: Page) -> None:
    sent = change(page, "**/library/search", lambda *_: None, group=None)  # the list of all pages
    page.goto(f"/?q={QUERY}")
    expect(page.locator("#results > .card")).to_have_count(4)
    assert sent[-1]["group"] == "file"
    shown = card(page, "tides.pdf")
    best = shown.locator(".open").get_attribute("data-page")
    others = shown.locator(".other")
    expect(others).to_have_count(2)
    others.first.click()
    expect(page.get_by_role("dialog", name="tides.pdf")).to_be_visible()
    assert page.locator("#viewer-page").inner_text() in {f"Page {n} of 3" for n in (1, 2, 3) if str(n) != best}
    page.keyboard.press("Escape")
    page.get_by_role("checkbox", name="Group by file").uncheck()
    expect(page.locator("#results > .card")).to_have_count(6)
    assert sent[-1]["group"] is None and "grouped=no" in page.url
    page.reload()
    expect(page.locator("#results > .card")).to_have_count(6)
    page.go_back()
    expect(page.locator("#results > .card")).to_have_count(4)


def test_pages_that_the_server_puts_below_their_file(page: Page) -> None:
    def group(answer: Any, _asked: Any) -> None:
        [row] = [each for each in answer["results"] if each["file"] == "fees.pdf"]
        others = [{**row, "page": number, "text": "", "picture": False} for number in range(2, 9)]
        answer["results"] = [{**row, "pages": 9, "others": others}]

    change(page, "**/library/search", group)
    page.goto(f"/?q={QUERY}")
    shown = card(page, "fees.pdf")
    expect(shown.locator(".other")).to_have_count(5)
    expect(shown.locator(".rest")).to_have_text("and 2 more")
    expect(page.locator("#count")).to_contain_text("8 pages in 1 file, best first")


def test_more_results(page: Page) -> None:
    def lengthen(answer: Any, asked: Any) -> None:
        [row] = [each for each in answer["results"] if each["file"] == "fees.pdf"]
        rows = [{**row, "file": f"fees-{number}.pdf", "picture": False} for number in range(30)]
        first = asked.get("offset", 0)
        part = rows[first : first + asked["top"]]
        answer.update(results=part, next=first + len(part) if first + len(part) < len(rows) else None)

    sent = change(page, "**/library/search", lengthen, offset=0)  # the list of the four files, which is lengthened
    page.goto(f"/?q={QUERY}")
    expect(page.locator(".card")).to_have_count(24)
    expect(page.locator("#count")).to_contain_text("First 24 pages, best first")
    page.get_by_role("button", name="More results").press("Enter")
    expect(page.locator(".card")).to_have_count(30)
    assert (sent[-1]["offset"], sent[-1]["query"]) == (24, QUERY)
    expect(page.locator(".card .open").nth(24)).to_be_focused()
    expect(page.get_by_role("button", name="More results")).to_be_hidden()
    expect(page.locator("#count")).to_contain_text("30 pages, best first")


def with_words(page: Page) -> None:
    """Gives pages with a picture words that stand on them."""

    def edit(answer: Any, _asked: Any) -> None:
        if answer["picture"]:
            answer["words"] = WORDS

    change(page, "**/library/text?*", edit)


def test_an_opened_page_has_marks_and_text_that_can_be_selected(page: Page) -> None:
    give(page, places=[PLACE], places_from="words")
    with_words(page)
    page.goto(f"/?q={QUERY}")
    open_card(page, "tides.pdf")
    image = page.locator("#page-image")
    marks = page.locator("#paper .marks span")
    expect(marks).to_have_count(1)
    comes_to_cover(marks, image, PLACE)
    letters = page.locator("#paper .letters")
    expect(letters.locator("span")).to_have_count(5)
    assert letters.evaluate(
        "each => { getSelection().selectAllChildren(each); return getSelection().toString(); }"
    ) == ("The tide of\nthe harbour")
    for number, (text, left, top, width, height) in enumerate(WORDS):
        span = letters.locator("span").nth(number)
        span.evaluate("(each, text) => (each.textContent = text)", text)  # without the space that follows
        comes_to_cover(span, image, {"left": left, "top": top, "width": width, "height": height})


def test_marks_on_a_page_that_was_not_found(page: Page) -> None:
    with_words(page)
    page.goto("/?q=harbour&file=tides.pdf&page=2&folder=none")
    image = page.locator("#page-image")
    marks = page.locator("#paper .marks span")
    expect(marks).to_have_count(1)
    [[_, left, top, width, height]] = [word for word in WORDS if word[0] == "harbour"]
    comes_to_cover(marks, image, {"left": left, "top": top, "width": width, "height": height})
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#viewer-page")).to_have_text("Page 3 of 3")
    expect(marks).to_have_count(1)


def test_places_of_looks_are_framed(page: Page) -> None:
    give(page, places=[{**PLACE, "text": None}], places_from="looks")
    page.goto(f"/?q={QUERY}")
    expect(card(page, "boat.png").locator(".of-looks span")).to_have_count(1)
    open_card(page, "boat.png")
    expect(page.locator("#paper .of-looks span")).to_have_count(1)


def test_a_text_from_right_to_left(page: Page) -> None:
    page.goto(f"/?q={ARABIC.split()[1]}")
    snippet = card(page, "jadwal.txt").locator(".snippet")
    expect(snippet).to_have_css("direction", "rtl")
    expect(snippet.locator("mark")).to_have_text(ARABIC.split()[1])


def test_what_is_not_searchable(page: Page) -> None:
    counts = {"files": 2, "partly": 1, "other_kinds": 412}
    change(page, "**/library", lambda library, _: library.update(unsearchable=counts))
    parts = {
        0: {
            "files": [{"file": "locked.pdf", "reason": "is encrypted", "part": None}],
            "kinds": [{"kind": ".mp3", "count": 412, "advice": "keep a transcript beside it as .txt"}],
            "next": 1,
        },
        1: {"files": [{"file": "b.pdf", "reason": "cannot be drawn", "part": "page 2"}], "kinds": [], "next": None},
    }
    page.route("**/library/unsearchable?*", lambda route: route.fulfill(json=parts[int(route.request.url[-1])]))
    page.goto("/")
    page.get_by_role(
        "link", name="2 files not searchable, 1 file only in part, 412 files of kinds that are not read"
    ).click()
    expect(page.locator("#missing-kinds li")).to_have_text(".mp3 412 files: keep a transcript beside it as .txt")
    expect(page.locator("#missing-files li")).to_have_text("locked.pdfIs encrypted")
    page.get_by_role("button", name="More files").click()
    second = page.locator("#missing-files li").nth(1)
    expect(second).to_have_text("b.pdf without page 2Cannot be drawn")
    expect(second).to_be_focused()
    expect(page.get_by_role("button", name="More files")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.go_back()
    expect(page.locator("#q")).to_be_visible()


def test_a_folder_of_which_everything_is_searchable(page: Page) -> None:
    page.goto("/?tab=missing")
    expect(page.locator("#missing-status")).to_have_text("Everything in the folder is searchable.")
