"""POST /v1/read and GET /r/URL: pages of a web server on this machine, and files that are sent."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import docx
import httpx2
import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support.commands import run
from tests.support.serving import Running

from polylens.server.endpoints.read import address_in

SENTENCE = "The moon pulls the water of the oceans towards it, and the sun does the same with about half the strength."
PAGE = f"""<!doctype html><html><head><title>Tides</title><meta name="description" content="How they rise.">
<meta property="article:published_time" content="2026-03-01"></head><body>
<nav><a href="/">Home</a> <a href="/shop">Shop</a></nav>
<article><h1>Tides</h1><p>{SENTENCE} Read the <a href="tables?year=2026">tide tables</a> before the first voyage.</p>
<p>{SENTENCE}</p><p><img src="/gauge.png" alt="A gauge"></p></article><footer>Imprint</footer></body></html>"""


def pdf() -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file)
    for text in ("The first page", "The second page"):
        canvas.drawString(72, 720, text)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def sent(data: bytes) -> str:
    """A file as the requests carry it."""
    return f"data:;base64,{base64.b64encode(data).decode()}"


class Site(BaseHTTPRequestHandler):
    """A small web site."""

    asked: list[str] = []  # noqa: RUF012  one list for all requests

    def do_GET(self) -> None:
        self.asked.append(self.path)
        pages = {
            "/guide/tides": ("text/html; charset=utf-8", PAGE.encode()),
            "/guide/tides?a=1&b=%20": ("text/html", PAGE.encode()),
            "/paper": ("application/pdf", pdf()),
            "/latin": ("text/html; charset=iso-8859-1", "<p>Käse und Brot sind hier zu haben.</p>".encode("latin-1")),
            "/photo": ("image/png", b"\x89PNG"),
            "/empty": ("text/html", b"<script>render()</script>"),
        }
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/guide/tides")
            self.end_headers()
            return
        kind, body = pages.get(self.path, ("text/plain", b"nothing here"))
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def read(server: Running, body: dict[str, Any], **headers: str) -> Any:
    """The `data` of an answer, which must be one."""
    response = server.post("/v1/read", body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["code"], answer["status"]) == (200, 20000)
    return answer["data"]


def got(server: Running, address: str, **headers: str) -> httpx2.Response:
    return server.http.get(f"/r/{address}", headers={name.replace("_", "-"): value for name, value in headers.items()})


class TestUrls:
    def test_a_page_as_mere_text(self, server: Running, site: str) -> None:
        response = got(server, f"{site}/guide/tides")
        assert response.headers["content-type"].startswith("text/plain")
        assert response.headers["x-content-type-options"] == "nosniff"
        head, _, content = response.text.partition("Markdown Content:\n")
        assert head == f"Title: Tides\n\nURL Source: {site}/guide/tides\n\nPublished Time: 2026-03-01\n\n"
        assert content.startswith("# Tides\n\n") and "Shop" not in content and "Imprint" not in content
        assert f"[tide tables]({site}/guide/tables?year=2026)" in content
        assert f"![A gauge]({site}/gauge.png)" in content

    def test_as_json(self, server: Running, site: str) -> None:
        data = got(server, f"{site}/guide/tides", Accept="application/json").json()["data"]
        assert data == read(server, {"url": f"{site}/guide/tides"})
        assert (data["title"], data["description"], data["url"]) == ("Tides", "How they rise.", f"{site}/guide/tides")
        assert data["publishedTime"] == "2026-03-01"
        assert data["usage"]["tokens"] > 20
        assert "links" not in data and "images" not in data and "pages" not in data

    def test_parameters_and_redirects_are_the_sites(self, server: Running, site: str) -> None:
        data = got(server, f"{site}/guide/tides?a=1&b=%20", Accept="application/json").json()["data"]
        assert Site.asked[-1] == "/guide/tides?a=1&b=%20"
        assert data["url"] == f"{site}/guide/tides?a=1&b=%20"
        moved = read(server, {"url": f"{site}/moved"})
        assert moved["url"] == f"{site}/guide/tides" and f"{site}/guide/tables" in moved["content"]

    @pytest.mark.parametrize(
        ("path", "address"),
        [
            ("https://a.example/b?c=d", "https://a.example/b?c=d"),
            ("HTTP:/a.example", "http://a.example"),
            ("http%3A%2F%2Fa.example%2Fb", "http://a.example/b"),
            ("a.example", "https://a.example"),
        ],
    )
    def test_the_address_in_the_path(self, path: str, address: str) -> None:
        assert address_in(path) == address

    def test_formats_by_header_and_by_field(self, server: Running, site: str) -> None:
        url = f"{site}/guide/tides"
        whole = got(server, url, X_Return_Format="markdown").text
        assert f"[Shop]({site}/shop)" in whole and "Imprint" in whole
        text = got(server, url, X_Respond_With="text").text
        assert text.startswith("Home Shop\n\nTides\n\n") and "[" not in text
        source = got(server, url, X_Return_Format="html")
        assert source.text == PAGE and source.headers["content-type"].startswith("text/plain")
        assert read(server, {"url": url, "returnFormat": "text"})["text"] == text
        assert read(server, {"url": url, "return_format": "html"}, X_Return_Format="text")["html"] == PAGE

    def test_links_and_images_on_request(self, server: Running, site: str) -> None:
        url = f"{site}/guide/tides"
        text = got(server, url, X_With_Links_Summary="true", X_With_Images_Summary="true").text
        assert f"\n\nImages:\n- ![Image 1: A gauge]({site}/gauge.png)\n\n" in text
        assert text.endswith(f"Links/Buttons:\n- [tide tables]({site}/guide/tables?year=2026)\n")
        data = read(server, {"url": url, "withLinksSummary": True}, X_With_Images_Summary="true")
        assert data["links"] == {"tide tables": f"{site}/guide/tables?year=2026"}
        assert data["images"] == {"Image 1: A gauge": f"{site}/gauge.png"}

    def test_selectors(self, server: Running, site: str) -> None:
        url = f"{site}/guide/tides"
        assert got(server, url, X_Target_Selector="nav").text.endswith(
            f"Markdown Content:\n[Home]({site}/) [Shop]({site}/shop)\n"
        )
        assert (
            "The moon" not in read(server, {"url": url, "return_format": "markdown", "remove_selector": "p"})["content"]
        )

    def test_a_pdf_has_pages(self, server: Running, site: str) -> None:
        data = read(server, {"url": f"{site}/paper"})
        assert data["pages"] == [
            {"number": 1, "content": "The first page"},
            {"number": 2, "content": "The second page"},
        ]
        assert data["content"] == "The first page\n\nThe second page"

    def test_the_encoding_of_the_response_counts(self, server: Running, site: str) -> None:
        assert "Käse" in read(server, {"url": f"{site}/latin"})["content"]

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/nothing", "answers with status 404"),
            ("/photo", "is 'image/png', expected"),
            ("/empty", "has no text"),
        ],
    )
    def test_what_a_site_does_not_give(self, server: Running, site: str, path: str, message: str) -> None:
        for response in (server.post("/v1/read", {"url": f"{site}{path}"}), got(server, f"{site}{path}")):
            assert response.status_code == 422, response.text
            assert message in response.json()["detail"]
            assert response.json()["errors"][0]["field"] == "url"

    def test_the_rules_of_the_server_hold(self, server: Running) -> None:
        for address in ("https://example.org/", "http://10.0.0.1/", "http://[::1]/", "file:///etc/passwd"):
            response = server.post("/v1/read", {"url": address})
            assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "url"), address


class TestFiles:
    def test_a_word_file_by_its_name_or_its_parts(self, server: Running) -> None:
        file = io.BytesIO()
        document = docx.Document()
        document.add_heading("Report", 1)
        document.add_paragraph("All is well.")
        document.save(file)
        bare = base64.b64encode(file.getvalue()).decode()
        for body in ({"file": bare, "name": "report.docx"}, {"file": sent(file.getvalue())}):
            data = read(server, body)
            assert (data["title"], data["content"]) == ("Report", "# Report\n\nAll is well.")

    def test_a_page_that_is_sent(self, server: Running) -> None:
        data = read(
            server, {"html": "<p>see <a href='b'>b</a></p>", "url": "https://a.example/x/", "return_format": "markdown"}
        )
        assert (data["content"], data["url"]) == ("see [b](https://a.example/x/b)", "https://a.example/x/")

    def test_a_pdf_under_its_published_field(self, server: Running) -> None:
        assert len(read(server, {"pdf": sent(pdf())})["pages"]) == 2

    @pytest.mark.parametrize(
        ("body", "field", "message"),
        [
            ({}, "url", "is missing; send url, html"),
            ({"file": "%%%"}, "file", "must be a data: URI or base64"),
            ({"file": sent(b"MZ" * 20), "name": "a.exe"}, "file", "judging by its name"),
            ({"file": sent(b"no PDF, but long enough"), "name": "../../a.pdf"}, "file", "a.pdf is not a PDF"),
            ({"html": "<p>a</p>", "return_format": "screenshot"}, "return_format", "must be one of content, markdown"),
            ({"html": "<p>a</p>", "target_selector": "[["}, "html", "is not CSS"),
            (
                {"file": sent(b"a text that is long enough"), "name": "a.txt", "return_format": "html"},
                "return_format",
                "none",
            ),
        ],
    )
    def test_what_cannot_be_read(self, server: Running, body: dict[str, Any], field: str, message: str) -> None:
        response = server.post("/v1/read", body)
        assert response.status_code == 422, response.text
        error = response.json()["errors"][0]
        assert error["field"] == field
        assert message in error["message"]

    def test_no_address_at_all(self, server: Running) -> None:
        assert server.http.get("/r/").status_code == 422


def test_the_command_reads_the_same(server: Running, site: str) -> None:
    variables = {"POLYLENS_FETCH": "allow", "POLYLENS_FETCH_HOSTS": "127.0.0.1"}
    printed = run("read", f"{site}/guide/tides", environment=variables)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.decode().strip() == read(server, {"url": f"{site}/guide/tides"})["content"]
