"""The protocol as its own client speaks it, over stdio with a process and over HTTP with a server."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import pytest
from tests.server.mcp.conftest import SECRET
from tests.support.commands import polylens
from tests.support.serving import Running, serving
from tests.support.waiting import HANG

from polylens.library.library import Library
from polylens.server.http.access import add_key
from polylens.server.mcp.addresses import PageAddress, address_of

pytest.importorskip("mcp", reason="needs the extra mcp: pip install 'polylens[mcp]'")

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate

CHEESE = "notes/#1 käse?.md"
Connect = Callable[[], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def over_http(url: str, mode: str = "auto", key: str = "") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=HANG) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(folder: Path, log: Path, mode: str = "auto") -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "polylens.cli", "mcp", "--library", str(folder)],
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "POLYLENS_THREADS": "1"},
    )
    with log.open("w") as errors:
        async with Client(stdio_client(command, errlog=errors), mode=mode) as client:
            yield client


@pytest.fixture(scope="module")
def server(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving("--library", str(shelf), home=tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """`polylens mcp --transport http` for other machines, and a key to it."""
    home = tmp_path_factory.mktemp("home")
    key = add_key(home / "keys", "assistant")
    start = ("mcp", "--transport", "http", "--host", "0.0.0.0", "--keys", str(home / "keys"))
    with serving("--library", str(shelf), home=home, start=start, variables={"POLYLENS_THREADS": "1"}) as running:
        running.url = running.url.replace("0.0.0.0", "127.0.0.1")
        running.http = httpx2.Client(base_url=running.url, trust_env=False, timeout=HANG)
        yield running, key


def answered(connected: AbstractAsyncContextManager[Client], ask: Callable[[Client], Any]) -> Any:
    """What a client is answered, once it is connected; an error as it came, not as the group that its tasks make."""

    async def all_of_it() -> Any:
        async with connected as client:
            try:
                return await ask(client)
            except MCPError as error:
                failed = error
        raise failed

    return asyncio.run(all_of_it())


def called(server: Running, tool: str, **arguments: Any) -> Any:
    return answered(over_http(server.url), lambda client: client.call_tool(tool, arguments))


def refused(server: Running, tool: str, **arguments: Any) -> str:
    """The message of a call that fails."""
    result = called(server, tool, **arguments)
    assert result.is_error, result
    assert result.structured_content is None
    return result.content[0].text


class TestSearch:
    def test_a_result_says_file_page_passage_and_address(self, server: Running) -> None:
        result = called(server, "search", query="where is the cheese kept?", top=2)
        value = result.structured_content
        best = value["results"][0]
        assert (best["file"], best["page"], best["pages"], best["picture"]) == (CHEESE, 1, 1, False)
        assert "behind the red door" in best["snippet"]
        assert best["uri"] == "polylens://My%20shelf/notes/%231%20k%C3%A4se%3F.md#1"
        assert len(value["results"]) == 2
        assert json.loads(result.content[0].text) == value

    def test_it_is_the_search_of_the_page(self, server: Running) -> None:
        asked = {"query": "a bicycle", "top": 3}
        ours = called(server, "search", **asked).structured_content["results"]
        theirs = server.post("/library/search", asked).json()["results"]
        assert [(each["file"], each["page"], each["score"]) for each in ours] == [
            (each["file"], each["page"], each["score"]) for each in theirs
        ]

    def test_filters_hold(self, server: Running) -> None:
        found = called(server, "search", query="cheese", kinds=["image"]).structured_content["results"]
        assert [each["file"] for each in found] == ["red-bicycle.jpg"]
        none = called(server, "search", query="cheese", folder="elsewhere").structured_content
        assert none["results"] == [] and "elsewhere" in none["reason"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"query": " "}, "query: is empty"),
            ({}, "query: Field required"),
            ({"query": "cheese", "limit": 3}, "limit: Extra inputs are not permitted"),
            ({"query": "cheese", "top": 0}, "top: Input should be greater than or equal to 1"),
            ({"query": "cheese", "since": "soon"}, "since"),
            ({"query": "cheese", "rerank": True}, "no served model is trained to rerank"),
        ],
    )
    def test_what_cannot_be_asked(self, server: Running, arguments: dict[str, Any], message: str) -> None:
        assert message in refused(server, "search", **arguments)


class TestOpenPage:
    def test_a_page_of_a_pdf_has_its_text_and_its_picture(self, server: Running) -> None:
        head, text, picture = called(server, "open_page", file="invoice-2024-0417.pdf", width=400).content
        assert head.text == "invoice-2024-0417.pdf, page 1 of 1"
        assert "Invoice" in text.text or "INVOICE" in text.text
        assert picture.mime_type == "image/png"
        with PIL.Image.open(io.BytesIO(base64.b64decode(picture.data))) as image:
            assert image.width == 400

    def test_a_text_has_no_picture(self, server: Running) -> None:
        content = called(server, "open_page", file=CHEESE).content
        assert [part.type for part in content] == ["text", "text"]
        assert "behind the red door" in content[1].text

    def test_a_picture_alone_says_so(self, server: Running) -> None:
        _, note, picture = called(server, "open_page", file="red-bicycle.jpg").content
        assert note.text == "This page has no text layer, only its picture."
        assert picture.type == "image"
        assert len(called(server, "open_page", file="red-bicycle.jpg", picture=False).content) == 2

    @pytest.mark.parametrize("file", ["../secret.txt", "/etc/passwd", "notes/../../secret.txt", "none.pdf"])
    def test_only_files_of_the_index_are_opened(self, server: Running, file: str) -> None:
        assert refused(server, "open_page", file=file) == f"the index has no page 1 of {file!r}"

    def test_only_pages_of_the_file(self, server: Running) -> None:
        assert "no page 2 of" in refused(server, "open_page", file="invoice-2024-0417.pdf", page=2)


class TestModels:
    def test_embed_is_what_the_http_interface_computes(self, server: Running) -> None:
        value = called(server, "embed", input=["a bicycle", "cheese"], dimensions=64).structured_content
        expected = server.embed(["a bicycle", "cheese"], dimensions=64, truncate=True)
        assert [row["embedding"] for row in value["data"]] == [row["embedding"] for row in expected["data"]]
        assert value["usage"] == expected["usage"]

    def test_rerank_puts_the_answer_first(self, server: Running) -> None:
        value = called(
            server, "rerank", query="ships in the harbour", documents=["cheese", "the harbour at dawn"], top=1
        ).structured_content
        assert [(each["index"], each["document"]) for each in value["results"]] == [
            (1, {"text": "the harbour at dawn"})
        ]

    @pytest.mark.parametrize(
        ("tool", "arguments", "message"),
        [
            ("embed", {"input": []}, "input"),
            ("embed", {"input": ["a"], "model": "none"}, "Model 'none' not found"),
            ("embed", {"input": ["a"], "dimensions": 100_000}, "dimensions"),
            ("rerank", {"query": "a", "documents": []}, "documents"),
        ],
    )
    def test_what_they_refuse(self, server: Running, tool: str, arguments: dict[str, Any], message: str) -> None:
        assert message in refused(server, tool, **arguments)

    def test_what_they_compute_is_counted(self, server: Running) -> None:
        def tokens() -> float:
            lines = server.http.get("/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith("polylens_usage_tokens_total"))

        before = tokens()
        used = called(server, "embed", input=["counted once"]).structured_content["usage"]["total_tokens"]
        assert tokens() == before + used > before


class TestResources:
    def test_every_page_is_listed_and_can_be_read(self, server: Running) -> None:
        async def all_of_it(client: Client) -> dict[str, Any]:
            listed = await client.list_resources()
            assert listed.next_cursor is None
            return {each.name: (await client.read_resource(each.uri)).contents for each in listed.resources}

        found = answered(over_http(server.url), all_of_it)
        assert list(found) == [
            "harbour.txt, page 1",
            "invoice-2024-0417.pdf, page 1",
            f"{CHEESE}, page 1",
            "red-bicycle.jpg, page 1",
        ]
        kinds = {name: [part.mime_type for part in parts] for name, parts in found.items()}
        assert kinds["red-bicycle.jpg, page 1"] in (["image/png"], ["image/jpeg"])
        assert kinds[f"{CHEESE}, page 1"] == ["text/plain"]
        assert kinds["invoice-2024-0417.pdf, page 1"][0] == "text/plain"
        assert "Ships leave" in found["harbour.txt, page 1"][0].text

    def test_the_template_makes_the_addresses(self, server: Running) -> None:
        [template] = answered(over_http(server.url), lambda client: client.list_resource_templates()).resource_templates
        made = UriTemplate.parse(template.uri_template).expand({"file": CHEESE.split("/"), "page": "1"})
        assert made == address_of("My shelf", PageAddress(CHEESE, 1))
        contents = answered(over_http(server.url), lambda client: client.read_resource(made)).contents
        assert "behind the red door" in contents[0].text

    @pytest.mark.parametrize(
        "address",
        [
            "polylens://My%20shelf/../secret.txt#1",
            "polylens://My%20shelf/..%2Fsecret.txt#1",
            "polylens://My%20shelf/harbour.txt#2",
            "polylens://another/harbour.txt#1",
            "file:///etc/passwd",
            "polylens://My%20shelf/harbour.txt#one",
        ],
    )
    def test_no_other_address_is_read(self, server: Running, address: str) -> None:
        with pytest.raises(MCPError) as error:
            answered(over_http(server.url), lambda client: client.read_resource(address))
        assert error.value.code == -32602
        assert SECRET not in error.value.message

    def test_the_list_comes_in_parts(self, server: Running) -> None:
        view = Library(json.loads(server.http.get("/library").text)["folder"]).view()
        whole = view.pages(None, 100)
        parts, after = [], None
        while part := view.pages(after, 1):
            parts += part
            after = part[-1]
        assert parts == whole and len(whole) == 4
        with pytest.raises(MCPError, match="not the address of a page"):
            answered(over_http(server.url), lambda client: client.list_resources(cursor="7"))


class TestOverHttp:
    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    def test_both_generations_of_the_protocol(self, server: Running, mode: str) -> None:
        async def ask(client: Client) -> Any:
            assert "open_page" in (client.instructions or "")
            return await client.list_tools()

        tools = answered(over_http(server.url, mode), ask).tools
        assert [tool.name for tool in tools] == ["search", "open_page", "embed", "rerank"]
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        assert tools[0].input_schema["required"] == ["query"]

    def test_an_unknown_tool(self, server: Running) -> None:
        with pytest.raises(MCPError, match="there is no tool 'erase'; there are search, open_page, embed, rerank"):
            called(server, "erase")

    def test_there_is_no_stream_to_wait_for(self, server: Running) -> None:
        for method in ("GET", "DELETE"):
            response = server.http.request(method, "/mcp", headers={"Accept": "text/event-stream"})
            assert (response.status_code, response.headers["allow"]) == (405, "POST")

    def test_what_is_no_message(self, server: Running) -> None:
        accept = {"Accept": "application/json, text/event-stream"}
        assert server.http.post("/mcp", content=b"{", headers={**accept, "Content-Type": "application/json"}).is_error
        assert server.http.post("/mcp", content=b"{}", headers={**accept, "Content-Type": "text/plain"}).is_error

    def test_another_name_for_the_host_is_refused(self, server: Running) -> None:
        assert server.http.post("/mcp", json={}, headers={"Host": "evil.example"}).status_code == 400


class TestKeys:
    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    def test_with_the_key_everything_works(self, guarded: tuple[Running, str], mode: str) -> None:
        running, key = guarded
        arguments = {"query": "where is the cheese?", "top": 1}
        result = answered(over_http(running.url, mode, key), lambda client: client.call_tool("search", arguments))
        assert result.structured_content["results"][0]["file"] == CHEESE
        assert '"owner": "assistant"' in running.log.read_text()

    @pytest.mark.parametrize(("key", "code"), [("", "AUTH_MISSING_API_KEY"), ("pl_wrong", "AUTH_INVALID_API_KEY")])
    def test_without_it_nothing_does(self, guarded: tuple[Running, str], key: str, code: str) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        response = guarded[0].post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, code)
        assert response.headers["www-authenticate"] == "Bearer"
        with pytest.raises(ExceptionGroup) as failed:  # the package's client connects in a group of tasks
            answered(over_http(guarded[0].url, "auto", key), lambda client: client.list_tools())
        assert failed.group_contains(MCPError, match="error response")

    def test_nothing_else_is_served(self, guarded: tuple[Running, str]) -> None:
        running, key = guarded
        for path in ("/library", "/v1/models", "/", "/metrics", "/docs"):
            assert running.http.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 404
        assert running.http.get("/ready").status_code == 200


class TestOverStdio:
    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    def test_a_search_and_a_page(self, shelf: Path, tmp_path: Path, mode: str) -> None:
        async def ask(client: Client) -> tuple[Any, Any, Any, Any]:
            found = await client.call_tool("search", {"query": "where is the cheese kept?"})
            opened = await client.call_tool("open_page", {"file": "red-bicycle.jpg"})
            wrong = await client.call_tool("open_page", {"file": "../secret.txt"})
            empty = await client.call_tool("search", {"query": ""})
            return found, opened, wrong, empty

        log = tmp_path / "errors.log"
        found, opened, wrong, empty = answered(over_stdio(shelf, log, mode), ask)
        assert found.structured_content["results"][0]["file"] == CHEESE
        assert [part.type for part in opened.content] == ["text", "text", "image"]
        assert wrong.is_error and "no page 1 of '../secret.txt'" in wrong.content[0].text
        assert empty.is_error and "query: is empty" in empty.content[0].text
        assert log.read_text() == ""

    def test_what_cannot_be_served_is_said_on_stderr(self, tmp_path: Path) -> None:
        ended = polylens("mcp", "--library", tmp_path / "none")
        assert (ended.returncode, ended.stdout) == (6, "")
        assert "is not a folder" in ended.stderr
        ended = polylens("mcp", "--library", tmp_path, "--port", "80")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "--transport http" in ended.stderr

    def test_http_for_other_machines_needs_keys(self, tmp_path: Path) -> None:
        ended = polylens("mcp", "--library", tmp_path, "--transport", "http", "--host", "0.0.0.0", "--port", "0")
        assert (ended.returncode, "needs --keys" in ended.stderr) == (2, True)
