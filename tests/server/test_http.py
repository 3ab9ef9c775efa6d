"""A running server from outside: errors, keys, overload, clients that go away, processes that die, ending."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import PIL.Image
import pytest
from tests.support.commands import polylens
from tests.support.serving import Running, serving
from tests.support.waiting import HANG, until

HEAD = {"Content-Type": "application/json"}


def png(width: int = 60, height: int = 40) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bomb() -> bytes:
    """A small PNG that would be 40,000 by 40,000 pixels."""
    rows = zlib.compress(b"\0" * 10_000_000)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (40_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_cut_short() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (400, 400), "red").save(buffer, "JPEG")
    return buffer.getvalue()[:-400]


N = {"model": "nano"}

BAD_JSON: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 422),
    ("cut off", b'{"model": "nano", "input": "a', 422),
    ("not JSON", b"model=nano", 422),
    ("a list", b"[1, 2]", 422),
    ("null", b"null", 422),
    ("NaN", b'{"model": "nano", "input": NaN}', 422),
    ("infinity as a dimension", b'{"model": "nano", "input": "a", "dimensions": 1e999}', 422),
    ("very deep", b'{"model": "nano", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
    ("invalid UTF-8", b'{"model": "nano", "input": "\xff\xfe"}', 422),
    ("half a surrogate pair", b'{"model": "nano", "input": "\\ud83d"}', 422),
    ("a huge number", b'{"model": "nano", "input": "a", "dimensions": ' + b"9" * 5_000 + b"}", 422),
    ("the same field twice", b'{"model": "nano", "input": "a", "input": "b"}', 200),
]

BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("no model", {"input": "a"}, 422, "model"),
    ("no input", {"model": "nano"}, 422, "input"),
    ("a model that is not here", {"model": "gpt-4", "input": "a"}, 400, "INPUT_MODEL_NOT_FOUND"),
    ("a model that is a number", {"model": 3, "input": "a"}, 422, "model"),
    ("an empty list", {**N, "input": []}, 422, "input"),
    ("null", {**N, "input": None}, 422, "null"),
    ("null in a list", {**N, "input": ["a", None]}, 422, "input.1"),
    ("a number", {**N, "input": 1.5}, 422, "a number"),
    ("a boolean", {**N, "input": [True]}, 422, "a boolean"),
    ("an empty object", {**N, "input": {}}, 422, "exactly one"),
    ("an unknown object", {**N, "input": [{"audio": "x"}]}, 422, "audio"),
    ("two things at once", {**N, "input": [{"text": "a", "image": "b"}]}, 422, "text and image"),
    ("a text that is a number", {**N, "input": [{"text": 1}]}, 422, "input.0.text"),
    ("lists in lists in lists", {**N, "input": [[["a"]]]}, 422, "input.0"),
    ("texts in a list in a list", {**N, "input": [["a"]]}, 422, "input.0"),
    ("negative token ids", {**N, "input": [[-1]]}, 422, "tokenizer"),
    ("too many inputs", {**N, "input": ["a"] * 2_049}, 413, "2048"),
    ("a text that is too long", {**N, "input": "word " * 9_000}, 400, "8192"),
    ("no base64", {**N, "input": [{"image": "not base64 at all!"}]}, 422, "base64"),
    ("base64 of nothing that is an image", {**N, "input": ["a", {"image": b64(b"hello" * 20)}]}, 422, "image 1"),
    ("an empty image", {**N, "input": [{"image": ""}]}, 422, "image 0"),
    ("a path", {**N, "input": [{"image": "/etc/passwd"}]}, 422, "base64"),
    ("a file URL", {**N, "input": [{"image": "file:///etc/passwd"}]}, 422, "image 0"),
    ("an image cut short", {**N, "input": [{"image": b64(jpeg_cut_short())}]}, 422, "image 0"),
    ("a decompression bomb", {**N, "input": [{"image": b64(bomb())}]}, 422, "too large"),
    ("a strip", {**N, "input": [{"image": b64(png(600, 2))}]}, 422, "200 times"),
    ("a broken PDF", {**N, "input": {"pdf": b64(b"%PDF-1.4 nothing" * 4)}}, 422, "PDF"),
    ("dimensions 0", {**N, "input": "a", "dimensions": 0}, 422, "dimensions"),
    ("dimensions below 0", {**N, "input": "a", "dimensions": -5}, 422, "dimensions"),
    ("too many dimensions", {**N, "input": "a", "dimensions": 257}, 422, "256"),
    ("dimensions that are a word", {**N, "input": "a", "dimensions": "many"}, 422, "dimensions"),
    ("dimensions that are true", {**N, "input": "a", "dimensions": True}, 422, "dimensions"),
    ("half a dimension", {**N, "input": "a", "dimensions": 1.5}, 422, "dimensions"),
    ("an unknown task", {**N, "input": "a", "task": "poetry"}, 422, '"field": "task"'),
    ("one image that is none", {**N, "input": {"image": "xx"}}, 422, '"field": "input"'),
    ("a task that is a list", {**N, "input": "a", "task": ["code"]}, 422, "task"),
    ("an unknown type", {**N, "input": "a", "embedding_type": "int4"}, 422, "embedding_type"),
    ("no type at all", {**N, "input": "a", "embedding_type": []}, 422, "embedding_type"),
    ("normalized that is a word", {**N, "input": "a", "normalized": "yes"}, 422, "normalized"),
    ("sizes of multi-vectors", {**N, "input": "a", "return_multivector": True, "dimensions": 64}, 422, "dimensions"),
    ("multi-vectors of clip", {"model": "tiny-clip", "input": "a", "return_multivector": True}, 422, "multi-vectors"),
    ("tokens without multi-vectors", {**N, "input": "a", "return_tokenized_input": True}, 422, "return_multivector"),
    ("late chunking of images", {**N, "input": [{"image": b64(png())}], "late_chunking": True}, 422, "late_chunking"),
    ("late chunking of nothing", {**N, "input": ["a", ""], "late_chunking": True}, 422, "text 1"),
    ("an image for a text model", {"model": "tiny-v3", "input": [{"image": b64(png())}]}, 422, "texts only"),
]


class TestBadRequests:
    @pytest.mark.parametrize(("body", "status"), [row[1:] for row in BAD_JSON], ids=[row[0] for row in BAD_JSON])
    def test_bodies(self, server: Running, body: bytes, status: int) -> None:
        response = server.http.post("/v1/embeddings", content=body, headers=HEAD)
        assert response.status_code == status, response.text
        if status == 422:
            assert set(response.json()) == {"detail", "code", "request_id", "errors"}

    @pytest.mark.parametrize(("body", "status", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
    def test_fields(self, server: Running, body: dict[str, Any], status: int, says: str) -> None:
        response = server.post("/v1/embeddings", body)
        answer = response.json()
        assert response.status_code == status, answer
        assert says in json.dumps(answer, ensure_ascii=False)
        told = answer["detail"] if status == 400 else answer
        assert isinstance(answer["detail"], dict if status == 400 else str)
        assert re.fullmatch("[0-9a-f]{32}", told["request_id"])
        assert response.headers["x-request-id"] == told["request_id"]
        if status == 422:
            assert set(answer["errors"][0]) == {"field", "message", "type", "input"}

    def test_a_body_that_is_too_long(self, server: Running) -> None:
        def endless() -> Iterator[bytes]:
            yield b'{"model": "nano", "input": "'
            for _ in range(70):
                yield b"a" * 1024 * 1024

        assert server.http.post("/v1/embeddings", content=endless(), headers=HEAD).status_code == 413
        with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as connection:
            connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 413")

    def test_texts_that_are_odd_are_texts(self, server: Running) -> None:
        odd = ["", " ", "\x00", "\ufeff", "e\u0301", "👩‍👩‍👧", "\u202eabc", "a" * 5_000, "<|image_pad|>", "\n\n"]
        assert len(server.embed(odd)["data"]) == len(odd)

    def test_paths_and_methods_that_there_are_not(self, server: Running) -> None:
        assert server.http.get("/v2/embeddings").status_code == 404
        response = server.http.put("/v1/embeddings")
        assert response.status_code == 405 and isinstance(response.json()["detail"], str)

    def test_openai_gets_its_own_form_as_well(self, server: Running) -> None:
        plain = server.post("/v1/embeddings", {"model": "none", "input": "a"}).json()
        assert "error" not in plain
        for body, headers in (
            ({"model": "none", "input": "a", "encoding_format": "base64"}, {}),
            ({"model": "none", "input": "a"}, {"x-stainless-lang": "python"}),
        ):
            answer = server.post("/v1/embeddings", body, headers=headers).json()
            assert answer["error"]["message"] == answer["detail"]["message"]
            assert answer["error"]["code"] == "INPUT_MODEL_NOT_FOUND"


class _Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(png())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pictures() -> Iterator[str]:
    site = ThreadingHTTPServer(("127.0.0.1", 0), _Pictures)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.server_port}/a.png"
    site.shutdown()
    thread.join()
    site.server_close()


class TestUrls:
    def test_an_image_is_fetched_where_that_is_allowed(self, server: Running, pictures: str) -> None:
        fetched, sent = server.embed([{"image": pictures}]), server.embed([{"image": b64(png())}])
        assert fetched["data"] == sent["data"]
        assert server.embed([{"url": pictures}])["data"] == sent["data"]

    def test_elsewhere_it_is_not(self, server: Running) -> None:
        response = server.post("/v1/embeddings", {"model": "nano", "input": ["a", {"image": "http://10.0.0.1/a.png"}]})
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "input.1"


class TestLists:
    def test_models(self, server: Running) -> None:
        listed = server.http.get("/v1/models").json()["data"]
        assert [row["id"] for row in listed] == [f"jina-ai/{n}" for n in ("nano", "tiny-v4", "tiny-clip", "tiny-v3")]
        for name in ("nano", "jina-ai/nano", "jina-embeddings-v4", "jina-ai/jina-embeddings-v4"):
            assert server.http.get(f"/v1/models/{name}").json() == listed[0]
        assert server.http.get("/v1/models/none").status_code == 404
        assert listed[3]["input_modalities"] == ["text"]

    def test_health(self, server: Running) -> None:
        until(lambda: server.http.get("/ready").status_code == 200, lambda: server.http.get("/ready").text)
        for path in ("/health", "/live", "/ready", "/ping"):
            assert server.http.get(path).status_code == 200
        assert server.http.get("/ready").json()["models"]["nano"] == "ready"

    def test_metrics_are_prometheus(self, server: Running) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        server.embed("a")
        names = {family.name for family in text_string_to_metric_families(server.http.get("/metrics").text)}
        assert {"polylens_requests", "polylens_request_seconds", "polylens_engine_tokens"} <= names

    def test_the_page_of_the_interface(self, server: Running) -> None:
        document = server.http.get("/openapi.json").json()
        assert "/v1/embeddings" in document["paths"]
        page = server.http.get("/docs").text
        assert all(f"<code>{path}</code>" in page for path in document["paths"])
        assert "<code>late_chunking</code>" in page
        assert "://" not in page and "<script" not in page  # it needs no other host, and runs nothing

    def test_no_page_may_call_from_elsewhere(self, server: Running) -> None:
        answer = server.http.get("/v1/models", headers={"Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in answer.headers


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, list[str]]]:
    home = tmp_path_factory.mktemp("guarded")
    made = [
        subprocess.run(
            [sys.executable, "-m", "polylens.cli", "key", name, "--keys", str(home / "keys")],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for name in ("alice", "bob", "carol")
    ]
    options = ["--keys", str(home / "keys"), "--requests-per-minute", "8", "--cors-origin", "https://a.example"]
    with serving(*options, home=home) as running:
        yield running, made


class TestKeysAndLimits:
    def test_all_of_it(self, guarded: tuple[Running, list[str]]) -> None:
        server, (alice, bob, carol) = guarded
        body = {"model": "nano", "input": "a"}
        refused = server.post("/v1/embeddings", body)
        assert (refused.status_code, refused.json()["code"]) == (401, "AUTH_MISSING_API_KEY")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert server.http.get("/v1/models").status_code == 401
        assert server.http.get("/health").status_code == 200
        as_alice, as_bob, as_carol = ({"Authorization": f"Bearer {key}"} for key in (alice, bob, carol))
        trained = server.post(
            "/v1/train",
            {
                "model": "nano",
                "access": "private",
                "input": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
            },
            headers=as_alice,
        ).json()["classifier_id"]
        few_shot = {"classifier_id": trained, "input": ["a"]}
        assert server.post("/v1/classify", few_shot, headers=as_alice).status_code == 200
        assert server.post("/v1/classify", few_shot, headers=as_bob).status_code == 404
        assert server.http.delete(f"/v1/classifiers/{trained}", headers=as_bob).status_code == 404
        assert server.http.get("/v1/classifiers", headers=as_bob).json() == []
        first = server.post("/v1/embeddings", body, headers=as_carol)
        assert int(first.headers["x-ratelimit-remaining-requests"]) == 7
        answers: list[httpx2.Response] = []
        while not answers or answers[-1].status_code == 200:  # on a busy machine some are allowed again meanwhile
            answers.append(server.post("/v1/embeddings", body, headers=as_alice))
        assert len(answers) > 6  # of the eight she has asked two questions already
        last = answers[-1]
        assert (last.status_code, last.json()["code"]) == (429, "RATE_REQUEST_LIMIT_EXCEEDED")
        assert 1 <= int(last.headers["retry-after"]) <= 60
        assert server.post("/v1/embeddings", body, headers=as_bob).status_code == 200
        shared = server.http.get("/health", headers={"Origin": "https://a.example"})
        assert shared.headers["access-control-allow-origin"] == "https://a.example"
        log = server.log.read_text(encoding="utf-8")
        assert '"owner": "alice"' in log and alice not in log and bob not in log


BULK_TOKENS = 'polylens_engine_admitted_tokens{model="nano",queue="bulk"}'


class TestUnderStress:
    """A server of its own for each: these break things on purpose."""

    @pytest.fixture
    def own(self, tmp_path: Path) -> Iterator[Running]:
        with serving("--cache-mb", "0", home=tmp_path) as running:
            running.embed("warm")
            yield running

    def test_a_long_request_does_not_starve_short_ones(self, own: Running) -> None:
        long = [f"number {number} " * 8 for number in range(1_024)]
        body = {"model": "nano", "input": long}
        answers: list[httpx2.Response] = []
        thread = threading.Thread(target=lambda: answers.append(own.post("/v1/embeddings", body)))
        thread.start()
        until(lambda: _figure(own, BULK_TOKENS) > 0)
        done = sum(own.embed(f"short {number}")["usage"]["total_tokens"] > 0 for number in range(3))
        assert done == 3 and thread.is_alive()  # answered while the long one was still under way
        thread.join()
        assert len(answers[0].json()["data"]) == 1_024

    def test_a_client_that_goes_away_costs_nothing_more(self, own: Running) -> None:
        body = json.dumps({"model": "nano", "input": [f"number {n} " * 20 for n in range(2_000)]}).encode()
        address = urlsplit(own.url)
        before = _figure(own, "polylens_engine_tokens_total")
        with socket.create_connection((address.hostname, address.port)) as connection:
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            until(lambda: _figure(own, "polylens_engine_tokens_total") > before)
        until(lambda: '"status": 499' in own.log.read_text(encoding="utf-8"))
        own.embed("one more, so that the batch that ran is over")
        assert _figure(own, "polylens_engine_tokens_total") - before < 100_000  # of some 200,000

    def test_overload_is_refused_at_once_and_passes(self, tmp_path: Path) -> None:
        with serving("--cache-mb", "0", "--max-wait", "0.5", home=tmp_path) as own:
            own.embed("warm")

            async def all_at_once() -> list[httpx2.Response]:
                async with httpx2.AsyncClient(base_url=own.url, timeout=HANG, trust_env=False) as client:
                    bodies = [{"model": "nano", "input": [f"{i} {j} " * 60 for j in range(64)]} for i in range(40)]
                    return list(await asyncio.gather(*(client.post("/v1/embeddings", json=body) for body in bodies)))

            answers = asyncio.run(all_at_once())
            statuses = {answer.status_code for answer in answers}
            assert statuses == {200, 503}
            refused = next(answer for answer in answers if answer.status_code == 503)
            assert refused.json()["code"] == "SERVICE_UNAVAILABLE"
            assert int(refused.headers["retry-after"]) >= 1
            assert own.embed("afterwards")["data"]

    def test_the_models_process_may_die_at_any_time(self, own: Running) -> None:
        found = subprocess.run(["pgrep", "-P", str(own.process.pid)], capture_output=True, text=True, check=True).stdout
        expected = own.embed("the same")["data"]
        for pid in found.split():
            os.kill(int(pid), signal.SIGKILL)
        assert own.embed("the same")["data"] == expected
        assert own.http.get("/ready").status_code == 200
        assert _figure(own, "polylens_engine_restarts_total") >= 1

    def test_sigterm_finishes_what_runs_and_takes_nothing_new(self, own: Running) -> None:
        body = {"model": "nano", "input": [f"number {number} " * 8 for number in range(400)]}
        answers: list[httpx2.Response] = []
        thread = threading.Thread(target=lambda: answers.append(own.post("/v1/embeddings", body)))
        thread.start()
        until(lambda: _figure(own, BULK_TOKENS) > 0)
        own.process.terminate()
        thread.join()
        assert len(answers[0].json()["data"]) == 400
        assert own.process.wait() == 0
        with pytest.raises(httpx2.ConnectError):
            own.http.get("/health")


class TestStarting:
    def test_lazily(self, models: dict[str, Path], tmp_path: Path) -> None:
        with serving("--lazy", "--model", "nano", "--model", str(models["tiny-v3"]), home=tmp_path) as running:
            assert running.http.get("/ready").json()["models"] == {"nano": "idle", "tiny-v3": "idle"}
            assert len(running.embed("a", model="tiny-v3")["data"]) == 1
            assert running.http.get("/ready").json()["models"] == {"nano": "idle", "tiny-v3": "ready"}

    def test_where_the_home_cannot_be_written_all_but_training_works(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        samples = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
        body = {"model": "nano", "input": samples}
        with serving(home=tmp_path, variables={"HOME": str(tmp_path / "file" / "home")}) as running:
            assert len(running.embed("a")["data"]) == 1
            assert running.http.get("/v1/classifiers").json() == []
            refused = running.post("/v1/train", body)
            assert (refused.status_code, refused.json()["code"]) == (507, "SERVICE_STORAGE_FULL")
            assert "--classifiers" in refused.json()["detail"]
            assert "file/home" in running.log.read_text(encoding="utf-8").splitlines()[0]  # where they would be kept
        kept = tmp_path / "kept"
        with serving(home=tmp_path, variables={"POLYLENS_CLASSIFIERS": str(kept)}) as running:
            assert not kept.exists()
            trained = running.post("/v1/train", body)
            assert trained.status_code == 200 and len(list(kept.glob("*.npz"))) == 1

    def test_a_port_that_is_taken(self, server: Running) -> None:
        port = str(urlsplit(server.url).port)
        ended = polylens("serve", "--port", port)
        assert ended.returncode == 2
        assert ended.stderr.startswith("polylens: cannot listen on 127.0.0.1:") and ended.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (["--model", "no-such-model"], 3, "no model 'no-such-model'"),
            (["--alias", "a=b"], 3, "no model 'b' is served"),
            (["--alias", "ab"], 2, "PUBLISHED=NAME"),
            (["--keys", "/nowhere"], 2, "/nowhere"),
            (["--device", "quantum"], 2, "quantum"),
            (["--dtype", "fp8"], 2, "dtype must be one of"),
            (["--dtype", "float16"], 2, "float16 overflows"),
        ],
    )
    def test_wrong_options(self, arguments: list[str], code: int, says: str) -> None:
        ended = polylens("serve", "--port", "0", *arguments)
        assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
        assert says in ended.stderr


def _figure(running: Running, name: str) -> float:
    """The value of a metric; of one with labels, of the first of its lines."""
    for line in running.http.get("/metrics").text.splitlines():
        if line.startswith(name):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no metric {name}")
