"""A served reranker orders what was found, and the pictures of the playground: over HTTP and in a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import tiny_m0
from tests.support.browsing import expect, watched
from tests.support.papers import picture
from tests.support.root import ROOT
from tests.support.serving import Running, serving

import polylens
from polylens.library.reranking import Reranking
from polylens.server.search_page.routes import MAX_RERANK_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

SAMPLES = ROOT / "samples"
FILES = ("invoice-2024-0417.pdf", "red-bicycle.jpg", "lighthouse-night.png", "radio-procedure.txt")
QUERY = "invoice for the mast"
PNG = base64.b64encode(picture()).decode()
PATIENT = {"seconds": MAX_RERANK_SECONDS}  # all pages are scored, however slowly that goes
NUMBER = re.compile(r"\d\.\d+")

HAND_OVER_ADDRESSES = """
([kind, text]) => {
  const given = new DataTransfer();
  given.setData(kind === "drop" ? "text/uri-list" : "text/plain", text);
  const how = { bubbles: true, cancelable: true };
  const events = kind === "drop"
    ? ["dragover", "drop"].map((name) => new DragEvent(name, { ...how, dataTransfer: given }))
    : [new ClipboardEvent("paste", { ...how, clipboardData: given })];
  for (const event of events) document.body.dispatchEvent(event);
}
"""


class Pictures(BaseHTTPRequestHandler):
    """Another host, which has a picture at every address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(picture())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "papers"
    folder.mkdir()
    for name in FILES:
        shutil.copy(SAMPLES / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_m0.write(tmp_path_factory.mktemp("models") / "tiny-m0")


@pytest.fixture(scope="module")
def server(folder: Path, scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ["--model", "nano", "--model", str(scorer), "--library", str(folder), "--dtype", "float32"]
    fetching = ["--fetch", "allow", "--fetch-host", "127.0.0.1"]
    with serving(*options, *fetching, home=tmp_path_factory.mktemp("home")) as running:
        running.settled(files=4)
        yield running


def search(server: Running, **fields: Any) -> Any:
    response = server.post("/library/search", {"query": QUERY, **fields})
    assert response.status_code == 200, response.text
    return response.json()


class TestOverHttp:
    def test_as_in_python(self, server: Running, folder: Path, scorer: Path) -> None:
        plain, found = search(server), search(server, rerank={"pages": 3, **PATIENT})
        assert plain["reranked"] is None and {row["rerank_score"] for row in plain["results"]} == {None}
        reranker = polylens.load_reranker(scorer, dtype="float32", device="cpu")
        library = polylens.Library(folder, polylens.load("nano", dtype="float32", device="cpu"))
        python = library.search(QUERY, rerank=Reranking(reranker, pages=3))
        assert [row["file"] for row in found["results"]] == [hit.file for hit in python]
        assert [row["rerank_score"] for row in found["results"]] == [
            None if hit.rerank_score is None else pytest.approx(hit.rerank_score, abs=2e-4) for hit in python
        ]
        assert found["reranked"].keys() == {"model", "pages", "scored", "seconds"}
        assert (found["reranked"]["model"], found["reranked"]["scored"]) == (reranker.model_id, 3)
        assert 0 < found["reranked"]["seconds"] <= found["seconds"]

    def test_by_the_vectors_of_a_model_that_was_named(self, server: Running) -> None:
        found = search(server, rerank={"model": "nano", **PATIENT})
        text = (SAMPLES / "radio-procedure.txt").read_text()
        body = {"model": "nano", "query": QUERY, "documents": [{"text": text}]}
        [expected] = server.post("/v1/rerank", body).json()["results"]
        [radio] = [row for row in found["results"] if row["file"] == "radio-procedure.txt"]
        assert radio["rerank_score"] == pytest.approx(expected["relevance_score"], abs=2e-4)
        assert found["reranked"]["model"].startswith("nano@")

    def test_once_the_time_is_spent(self, server: Running) -> None:
        found = search(server, rerank={"seconds": 1e-9})
        assert (found["reranked"]["pages"], found["reranked"]["scored"]) == (len(found["results"]), 1)

    def test_by_a_picture(self, server: Running) -> None:
        found = search(server, query=None, image=f"data:image/png;base64,{PNG}", rerank=PATIENT)
        assert found["reranked"]["scored"] == len(found["results"])

    @pytest.mark.parametrize(
        ("fields", "status", "says"),
        [
            ({"rerank": {"pages": 0}}, 422, "pages"),
            ({"rerank": {"pages": 101}}, 422, "pages"),
            ({"rerank": {"seconds": 0}}, 422, "seconds"),
            ({"rerank": "m0"}, 422, "rerank"),
            ({"rerank": {"model": "none"}}, 400, "Model 'none' not found"),
            ({"rerank": {}, "like": {"file": FILES[0], "page": 1}}, 422, "needs a query or an image"),
        ],
    )
    def test_refused(self, server: Running, fields: dict[str, Any], status: int, says: str) -> None:
        response = server.post("/library/search", {"query": QUERY, **fields})
        assert response.status_code == status and says in response.text

    def test_the_library_says_which_models_rerank(self, server: Running) -> None:
        assert server.http.get("/library").json()["rerankers"] == ["tiny-m0"]


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    with watched(browser, server, viewport={"width": 1120, "height": 740}) as page:
        yield page


def scores(page: Page, where: str) -> list[float]:
    return [float(each.inner_text()) for each in page.locator(f"{where} .ranks dt + dd").all()]


def unhurried(page: Page) -> list[Any]:
    """Gives the rerank stage more seconds than the page does; returns the list of what the page sent, which grows."""
    sent: list[Any] = []

    def pass_on(route: Route) -> None:
        asked = json.loads(route.request.post_data or "")
        sent.append(asked)
        patient = {**asked["rerank"], **PATIENT} if asked["rerank"] else None
        route.continue_(post_data=json.dumps({**asked, "rerank": patient}))

    page.route("**/library/search", pass_on)
    return sent


def test_the_search_page_reranks(page: Page) -> None:
    sent = unhurried(page)
    page.goto(f"/?q={QUERY}&grouped=no")
    page.locator("#ranking summary").click()
    choice = page.get_by_label("Rerank")
    expect(choice).to_have_value("")
    choice.select_option("tiny-m0")
    expect(page.locator("#count")).to_have_text(
        re.compile(r"^\d pages, best first, in \d+\.\d\d s; tiny-m0 reranked the first \d pages in \d+\.\d\d s$")
    )
    assert sent[-1]["rerank"] == {"model": "tiny-m0", "pages": 20, "seconds": 10}
    page.locator("#ranking summary").click()  # the menu lies over the first result
    for each in page.get_by_role("button", name="Why?").all():
        each.click()
    expect(page.locator("#results .ranks dt").first).to_have_text("Reranker")
    assert scores(page, "#results") == sorted(scores(page, "#results"), reverse=True)
    page.reload()
    expect(page.get_by_label("Rerank")).to_have_value("tiny-m0")
    page.get_by_role("button", name="More like this: red-bicycle.jpg").click()
    expect(page.get_by_label("Rerank")).to_be_disabled()
    expect(page.locator("#results > .card")).to_have_count(len(FILES) - 1)  # the new list, without that page
    page.get_by_role("button", name="Why?").first.click()
    expect(page.locator("#results .ranks dt").first).to_have_text("All together")


def test_the_playground_ranks_pictures(page: Page, elsewhere: str) -> None:
    page.goto("/?tab=playground")
    page.get_by_role("radio", name="Rank").check()
    expect(page.locator("#model")).to_have_value("jina-ai/tiny-m0")
    expect(page.get_by_label("Task")).to_be_hidden()
    names = ["red-bicycle.jpg", "lighthouse-night.png", "mountain-lake.png"]
    page.get_by_label("Picture", exact=True).set_input_files([SAMPLES / name for name in names])
    expect(page.locator("#inputs img")).to_have_count(3)
    page.locator("#model").select_option("jina-ai/nano")
    page.get_by_role("textbox", name="Query").fill("a red bicycle")
    page.get_by_role("textbox", name="Query").press("Enter")
    expect(page.locator("#ranked .card")).to_have_count(3)
    expect(page.locator("#ranked .ranked-name").first).to_contain_text("red-bicycle.jpg")
    expect(page.locator("#playground-status")).to_have_text(
        re.compile(r"^3 documents, best first, by nano in \d+\.\d\d s$")
    )
    assert scores(page, "#ranked") == sorted(scores(page, "#ranked"), reverse=True)
    page.get_by_text("Addresses of pictures").click()
    page.get_by_label("One per line").fill(f"{elsewhere}/a.png\n\n{elsewhere}/b.png")
    page.get_by_role("button", name="Add", exact=True).click()
    page.evaluate(HAND_OVER_ADDRESSES, ["drop", f"{elsewhere}/c.png"])
    page.evaluate(HAND_OVER_ADDRESSES, ["paste", f"{elsewhere}/d.png\n"])
    page.get_by_role("button", name="Text", exact=True).click()
    page.keyboard.type("a bicycle that is red")
    expect(page.locator("#curl")).to_contain_text('{"text":"a bicycle that is red"}')
    page.get_by_role("button", name="Rank").click()
    expect(page.locator("#ranked .card")).to_have_count(8)
    expect(page.locator("#ranked .elsewhere")).to_have_count(4)
    page.get_by_role("button", name="Remove 1", exact=True).click()
    expect(page.locator("#ranked .card")).to_have_count(0)
    expect(page.locator("#playground-status")).to_have_text("Press Enter in the query, or Rank.")
    page.reload()
    expect(page.get_by_role("radio", name="Rank")).to_be_checked()


def test_the_request_of_a_ranking_is_python(page: Page) -> None:
    page.goto("/?tab=playground&tool=rank")
    for text in ("a ship", "a plate"):
        page.get_by_role("button", name="Text", exact=True).click()
        page.keyboard.type(text)
    page.get_by_role("textbox", name="Query").fill("the harbour")
    expect(page.locator("#python")).to_contain_text('"query": "the harbour"')
    done = subprocess.run(
        [sys.executable, "-c", page.locator("#python").inner_text()], capture_output=True, text=True, check=True
    )
    assert len(NUMBER.findall(done.stdout)) == 2


def test_what_is_no_address(page: Page) -> None:
    page.goto("/?tab=playground&tool=rank")
    page.get_by_text("Addresses of pictures").click()
    page.get_by_label("One per line").fill("https://example.org/a.png\nmy picture")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#playground-problem")).to_have_text(
        "“my picture” is no address: one begins with http:// or https://."
    )
