"""Office files on the search page: read as text, their pictures looked at, filters for their kinds."""

from __future__ import annotations

import io
from collections.abc import Iterator

import PIL.Image
import pytest
from tests.support import papers
from tests.support.browsing import expect, watched
from tests.support.serving import Running, serving

SLIDE = {"file": "tides.pptx", "page": 2}
PICTURE = {"file": "tides.pptx", "page": 5}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("library") / "papers"
    folder.mkdir()
    papers.make_docx(folder / "report.docx")
    papers.make_pptx(folder / "tides.pptx")
    papers.make_xlsx(folder / "fees.xlsx")
    with serving("--library", str(folder), home=tmp_path_factory.mktemp("home")) as running:
        running.settled(files=3)
        yield running


def test_what_the_page_is_told(server: Running) -> None:
    read, seen = (server.http.get("/library/text", params=place).json() for place in (SLIDE, PICTURE))
    assert (read["picture"], read["pages"]) == (False, 5) and read["text"].startswith("# Spring tide")
    assert (seen["picture"], seen["text"]) == (True, "Slide 2: Spring tide")
    assert server.http.get("/library/page", params=SLIDE).status_code == 404
    image = PIL.Image.open(io.BytesIO(server.http.get("/library/page", params=PICTURE).content))
    assert image.size == (160, 120)
    assert server.post("/library/why", {"query": "a ship", **PICTURE}).json()["rows"] > 0
    found = server.post("/library/search", {"query": "tide", "kinds": ["slides", "sheet"]}).json()["results"]
    assert {row["kind"] for row in found} == {"slides", "sheet"}
    assert server.post("/library/search", {"query": "tide", "kinds": ["song"]}).status_code == 422


@pytest.mark.parametrize("width", [1120, 360])
def test_on_the_page(browser: object, server: Running, width: int) -> None:
    with watched(browser, server, viewport={"width": width, "height": 740}) as page:
        page.goto("/?q=spring+tide+at+new+moon")
        expect(page.locator(".card .open").first).to_have_text("tides.pptx, page 2 of 5 · English")
        expect(page.locator(".card").first.locator(".written")).to_contain_text("At new moon")
        if width < 640:  # a telephone, where the filters are put away
            page.get_by_role("button", name="Filters").click()
        page.get_by_label("Sheets").check()
        expect(page.locator(".card .open").first).to_have_text("fees.xlsx, page 1 of 2")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.get_by_label("Sheets").uncheck()
        expect(page.locator(".card .open").first).to_have_text("tides.pptx, page 2 of 5 · English")
        page.locator(".card .open").first.click()
        expect(page.locator("#passage")).to_contain_text("Mention the flood of 1962.")
        expect(page.locator("#paper")).to_be_hidden()


@pytest.mark.parametrize("query", ["", "spring+tide"])
def test_turning_from_text_to_a_picture_and_back(browser: object, server: Running, query: str) -> None:
    """Without a search, a file's name does not tell which of its pages are pictures."""
    with watched(browser, server, viewport={"width": 1120, "height": 740}) as page:
        page.goto(f"/?q={query}&file=tides.pptx&page=4")
        expect(page.locator("#passage")).to_contain_text("Wave height")
        page.get_by_role("button", name="Next page").click()
        expect(page.locator("#page-image")).to_be_visible()
        expect(page.locator("#page-image")).to_have_js_property("naturalWidth", 160)
        expect(page.locator("#passage")).to_be_hidden()
        expect(page.get_by_role("button", name="Next page")).to_have_attribute("aria-disabled", "true")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#passage")).to_contain_text("Wave height")
        expect(page.locator("#page-image")).to_be_hidden()
