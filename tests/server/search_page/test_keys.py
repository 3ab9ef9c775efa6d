"""A library on a server with keys: refused without them where others could read it, and the page asks for one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.support.browsing import expect, watched
from tests.support.commands import polylens
from tests.support.root import ROOT
from tests.support.serving import Running, serving
from tests.support.waiting import until

from polylens.server.app import _middleware
from polylens.server.http.access import add_key
from polylens.server.settings import Settings, is_loopback

PLACE = {"file": "red-bicycle.jpg", "page": 1}
QUESTIONS = [
    ("GET", "/library"),
    ("POST", "/library/search"),
    ("POST", "/library/why"),
    ("GET", "/library/page"),
    ("GET", "/library/text"),
    ("GET", "/library/file"),
    ("GET", "/library/unsearchable"),
    ("POST", "/library/login"),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A library on all interfaces, and a key to it."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "papers"
    folder.mkdir()
    shutil.copy(ROOT / "samples" / PLACE["file"], folder)
    key = add_key(home / "keys", "alice")
    with serving("--library", str(folder), "--host", "0.0.0.0", "--keys", str(home / "keys"), home=home) as running:
        running.url = running.url.replace("0.0.0.0", "127.0.0.1")
        running.http = httpx2.Client(base_url=running.url, trust_env=False, timeout=60)
        until(lambda: running.http.get("/library", headers=bearer(key)).json()["files"] == 1)
        yield running, key


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class TestWithoutKeys:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
    def test_a_library_for_other_machines_is_refused(self, host: str, tmp_path: Path) -> None:
        command = ["serve", "--library", str(tmp_path), "--port", "0"]
        ended = polylens(*command, "--host", host)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        assert f"--library on --host {host} needs --keys" in ended.stderr

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
    def test_only_names_of_this_machine_are_answered(self, host: str) -> None:
        assert is_loopback(host)
        (trusted,) = _middleware(Settings(library="x", host=host))
        names = set(trusted.kwargs["allowed_hosts"])
        assert {"127.0.0.1", "localhost", "[::1]"} <= names and "*" not in names

    def test_with_keys_any_name_leads_here(self) -> None:
        assert _middleware(Settings(library="x", host="0.0.0.0", keys=Path("k"))) == []


class TestWithKeys:
    @pytest.mark.parametrize(("method", "path"), QUESTIONS)
    def test_every_question_needs_one(self, guarded: tuple[Running, str], method: str, path: str) -> None:
        server, key = guarded
        parts = {"params": PLACE} if method == "GET" else {"json": {"query": "a bicycle", **PLACE}}
        assert server.http.request(method, path, **parts).status_code == 401
        assert server.http.request(method, path, headers=bearer("wrong"), **parts).status_code == 401
        assert server.http.request(method, path, headers=bearer(key), **parts).status_code == 200

    def test_the_page_itself_needs_none(self, guarded: tuple[Running, str]) -> None:
        server, _ = guarded
        assert server.http.get("/").status_code == server.http.get("/page/app.js").status_code == 200
        assert server.http.get("/library/login").json() == {"needed": True}

    def test_a_session_opens_pictures_and_files_and_nothing_else(self, guarded: tuple[Running, str]) -> None:
        server, key = guarded
        response = server.http.post("/library/login", headers=bearer(key))
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/library" in cookie
        assert key not in cookie
        session = {"Cookie": cookie.partition(";")[0]}
        for method, path in QUESTIONS:
            parts = {"params": PLACE} if method == "GET" else {"json": {"query": "a bicycle", **PLACE}}
            status = server.http.request(method, path, headers=session, **parts).status_code
            assert status == (200 if path in ("/library/page", "/library/file") else 401), path
        server.http.cookies.clear()

    def test_other_names_lead_here(self, guarded: tuple[Running, str]) -> None:
        server, key = guarded
        assert server.http.get("/library", headers={**bearer(key), "Host": "papers.example"}).status_code == 200


def test_the_page_asks_for_a_key(browser: object, guarded: tuple[Running, str]) -> None:
    server, key = guarded
    with watched(browser, server) as page:
        refused: list[str] = []
        page.on("response", lambda response: response.status == 401 and refused.append(response.url))
        page.goto("/?q=a+bicycle")
        field = page.get_by_label("API key")
        expect(field).to_be_focused()
        page.keyboard.press("Escape")
        expect(field).to_be_visible()
        field.fill("not ä key")
        field.press("Enter")
        expect(page.locator("#login-problem")).to_have_text("A key has letters, digits, - and _ only.")
        field.fill(key)
        field.press("Enter")
        expect(page.locator("#login")).to_be_hidden()
        expect(page.locator(".crop img")).to_have_js_property("complete", True)
        assert page.locator(".crop img").evaluate("image => image.naturalWidth") > 0
        page.reload()  # the key is still there
        expect(page.locator(".card .open")).to_have_count(1)
        expect(page.locator("#login")).to_be_hidden()
        page.locator(".card .open").first.click()
        with page.expect_download() as download:
            page.locator("#download").click()
        assert download.value.path().read_bytes() == (ROOT / "samples" / PLACE["file"]).read_bytes()
        assert refused == []
