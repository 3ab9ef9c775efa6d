"""POST /v1/embeddings on a running server: every form of request and answer, the same vectors as in Python."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support.serving import Running

import polylens
from polylens.runtime.embedder import Embedder

ROUNDING = 2e-6  # float32: unit vectors whose sums ran in another order; measured up to 1e-6
TEXTS = ["a harbour", "Grüße aus 東京", "x"]


def png(seed: int = 0, width: int = 112, height: int = 84, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def vectors(answer: Any) -> np.ndarray[Any, Any]:
    assert [row["index"] for row in answer["data"]] == list(range(len(answer["data"])))
    return np.array([row["embedding"] for row in answer["data"]], dtype=np.float32)


@pytest.fixture(scope="module")
def embedders(models: dict[str, Path]) -> dict[str, Embedder]:
    return {name: polylens.load(folder, dtype="float32", device="cpu") for name, folder in models.items()}


class TestSameVectorsAsInPython:
    @pytest.mark.parametrize("model", ["tiny-v4", "tiny-clip", "tiny-v3"])
    @pytest.mark.parametrize("task", ["retrieval.query", "retrieval.passage", None])
    def test_texts(self, server: Running, embedders: dict[str, Embedder], model: str, task: str | None) -> None:
        ours = task
        if task is None and model == "tiny-v4":
            ours = "text-matching"  # the published interface's default
        if task == "retrieval.passage" and model == "tiny-clip":
            ours = "retrieval.passage"
        fields = {} if task is None else {"task": task}
        found = vectors(server.embed(TEXTS, model=model, **fields))
        expected = embedders[model].encode_text(TEXTS, task=ours)
        assert np.abs(found - expected).max() < ROUNDING

    @pytest.mark.parametrize("model", ["tiny-v4", "tiny-clip"])
    def test_images_and_texts_mixed(self, server: Running, embedders: dict[str, Embedder], model: str) -> None:
        images = [png(1), png(2, 60, 90)]
        sent = ["first", {"image": b64(images[0])}, {"text": "second"}, {"image": b64(images[1])}]
        found = vectors(server.embed(sent, model=model))
        inputs = ["first", polylens.Image(images[0]), "second", polylens.Image(images[1])]
        expected = embedders[model].encode(inputs, task="text-matching" if model == "tiny-v4" else None)
        assert np.abs(found - expected).max() < ROUNDING

    def test_multi_vectors(self, server: Running, embedders: dict[str, Embedder]) -> None:
        answer = server.embed(TEXTS, model="tiny-v4", task="retrieval.passage", return_multivector=True)
        expected = embedders["tiny-v4"].encode_text(TEXTS, task="retrieval.passage", return_multivector=True)
        for row, one in zip(answer["data"], expected, strict=True):
            assert row["object"] == "embeddings"
            assert np.abs(np.array(row["embeddings"]) - one).max() < ROUNDING

    def test_a_hundred_at_once_are_what_each_is_alone(self, server: Running) -> None:
        texts = [f"text number {number} " * (number % 7 + 1) for number in range(100)]
        together = vectors(server.embed(texts, model="tiny-v3"))
        alone = np.concatenate(
            [vectors(server.embed(text + "", model="tiny-v3", dimensions=48)) for text in texts[:10]]
        )
        assert np.abs(together[:10] - alone).max() < ROUNDING

    def test_late_chunking(self, server: Running, embedders: dict[str, Embedder]) -> None:
        found = vectors(server.embed(TEXTS, model="tiny-v3", task="retrieval.passage", late_chunking=True))
        expected = embedders["tiny-v3"].embed_chunks(TEXTS, task="retrieval.passage")
        assert np.abs(found - np.stack([each.dense for each in expected])).max() < ROUNDING

    def test_not_normalised(self, server: Running, embedders: dict[str, Embedder]) -> None:
        found = vectors(server.embed(TEXTS, model="tiny-clip", normalized=False, dimensions=16))
        expected = np.stack([e.dense[:16] * e.norm for e in embedders["tiny-clip"].embed(TEXTS)])
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


class TestForms:
    def test_every_form_of_a_text(self, server: Running) -> None:
        one = vectors(server.embed("hello"))
        for form in ({"text": "hello"}, ["hello"], [{"text": "hello"}]):
            assert np.array_equal(vectors(server.embed(form)), one)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
    def test_every_form_of_an_image(self, server: Running, kind: str) -> None:
        text = b64(png(kind=kind))
        uri = f"data:image/{kind.lower()};base64,{text}"
        forms: list[Any] = [
            {"image": text},
            {"image": uri},
            {"bytes": text},
            {"url": uri},
            uri,
            [uri],
            [{"bytes": text}],
        ]
        found = [vectors(server.embed(form)) for form in forms]
        assert all(np.array_equal(each, found[0]) for each in found[1:])
        assert found[0].shape == (1, 256)

    def test_a_text_that_looks_like_a_path_or_a_url_is_a_text(self, server: Running) -> None:
        for text in ("/etc/passwd", "http://127.0.0.1:1/a.png", "file:///etc/passwd", "data:text/plain,hello"):
            answer = server.embed([text])
            assert "image_tokens" not in answer["usage"]

    def test_token_ids(self, server: Running) -> None:
        ids = [byte for byte in b"hello"]  # the tiny tokenizer's ids are not bytes: whatever they spell is a text
        one, several = server.embed(ids, model="tiny-v4"), server.embed([ids, ids], model="tiny-v4")
        assert len(one["data"]) == 1 and len(several["data"]) == 2
        assert np.array_equal(vectors(one), vectors(several)[:1])

    def test_token_ids_of_another_tokenizer(self, server: Running) -> None:
        response = server.post("/v1/embeddings", {"model": "nano", "input": [99_999_999]})
        assert response.status_code == 422
        assert "model's own tokenizer" in response.json()["detail"]

    @pytest.mark.parametrize("dimensions", [64, "64", 7])
    def test_dimensions(self, server: Running, dimensions: Any) -> None:
        whole, cut = vectors(server.embed(TEXTS)), vectors(server.embed(TEXTS, dimensions=dimensions))
        size = int(dimensions)
        expected = whole[:, :size] / np.linalg.norm(whole[:, :size], axis=1, keepdims=True)
        assert np.abs(cut - expected).max() < ROUNDING

    @pytest.mark.parametrize("field", ["embedding_type", "encoding_type", "encoding_format"])
    def test_base64(self, server: Running, field: str) -> None:
        answer = server.embed(TEXTS, **{field: "base64"})
        found = np.stack([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in answer["data"]])
        assert np.array_equal(found, vectors(server.embed(TEXTS)))

    def test_bits(self, server: Running) -> None:
        floats = vectors(server.embed(TEXTS))
        unsigned = vectors(server.embed(TEXTS, embedding_type="ubinary"))
        signed = vectors(server.embed(TEXTS, embedding_type=["binary"]))
        assert np.array_equal(np.unpackbits(unsigned.astype(np.uint8), axis=1), floats > 0)
        assert np.array_equal(np.unpackbits((signed + 128).astype(np.uint8), axis=1), floats > 0)

    def test_several_types(self, server: Running) -> None:
        (row,) = server.embed("a", embedding_type=["float", "base64", "binary", "ubinary"])["data"]
        assert set(row["embedding"]) == {"float", "base64", "binary", "ubinary"}
        assert len(row["embedding"]["binary"]) == 256 // 8

    def test_multi_vectors_as_base64_with_their_tokens(self, server: Running) -> None:
        (row,) = server.embed("hello", return_multivector=True, return_tokenized_input=True, embedding_type="base64")[
            "data"
        ]
        assert "".join(row["tokenized_input"]) == "Query: hello"
        assert len(row["embeddings"]) == len(row["tokenized_input"])
        assert np.frombuffer(base64.b64decode(row["embeddings"][0]), "<f4").shape == (128,)

    @pytest.mark.parametrize(
        "task", ["text-matching", "retrieval.passage", "classification", "separation", "retrieval.query", None]
    )
    def test_tasks_that_clients_send_to_clip(self, server: Running, task: str | None) -> None:
        found = vectors(server.embed("hello", model="jina-clip-v2", **({} if task is None else {"task": task})))
        plain = vectors(server.embed("hello", model="tiny-clip"))
        assert np.array_equal(found, plain) == (task != "retrieval.query")

    def test_null_is_the_same_as_nothing(self, server: Running) -> None:
        names = (
            "task",
            "dimensions",
            "normalized",
            "truncate",
            "embedding_type",
            "late_chunking",
            "return_multivector",
        )
        assert server.embed("a", **dict.fromkeys(names)) == server.embed("a")


class TestLongTexts:
    def test_too_long_is_refused_and_says_so(self, server: Running) -> None:
        response = server.post("/v1/embeddings", {"model": "tiny-v3", "input": ["a", "b" * 200]})
        assert response.status_code == 400
        assert set(response.json()) == {"detail"}  # all of it in there, as measured at the published service
        told = response.json()["detail"]
        assert set(told) == {"message", "request_id", "code"} and told["code"] == "INPUT_TOKEN_LIMIT_EXCEEDED"
        assert told["message"].startswith("input.1: has more than 128 tokens")

    def test_truncate_cuts(self, server: Running) -> None:
        long, cut = (server.embed("b" * n, model="tiny-v3", truncate=True) for n in (200_000, 126))
        assert np.abs(vectors(long) - vectors(cut)).max() < ROUNDING
        assert long["usage"]["total_tokens"] == 128

    def test_what_was_cut_is_not_an_answer_to_who_did_not_ask_for_it(self, server: Running) -> None:
        server.embed("c" * 300, model="tiny-v3", truncate=True)
        assert server.post("/v1/embeddings", {"model": "tiny-v3", "input": "c" * 300}).status_code == 400


class TestUsage:
    def test_texts(self, server: Running) -> None:
        answer = server.embed(["abc", "d"], model="tiny-v4", task="retrieval.query")
        assert answer["usage"] == {"total_tokens": 18, "prompt_tokens": 18}  # "Query: " is seven bytes

    @pytest.mark.parametrize(
        ("model", "size", "tokens"),
        [
            ("tiny-clip", (333, 333), 4_000),
            ("tiny-clip", (720, 720), 16_000),
            ("tiny-clip", (1080, 1080), 36_000),
            ("tiny-v4", (28, 56), 20),
            ("tiny-v4", (29, 28), 20),
        ],
    )
    def test_images(self, server: Running, model: str, size: tuple[int, int], tokens: int) -> None:
        image = b64(png(width=size[0], height=size[1]))
        for _ in range(2):  # the second time out of the cache
            usage = server.embed([{"image": image}], model=model)["usage"]
            assert usage == {"total_tokens": tokens, "prompt_tokens": tokens, "image_tokens": tokens}


class TestShape:
    def test_the_published_one(self, server: Running) -> None:
        answer = server.embed(["a", "b"], model="jina-embeddings-v4")
        assert list(answer) == ["model", "object", "usage", "data"]
        assert (answer["model"], answer["object"]) == ("jina-embeddings-v4", "list")
        assert [set(row) for row in answer["data"]] == [{"object", "index", "embedding"}] * 2

    def test_the_cache_answers_the_same_bytes(self, server: Running) -> None:
        body = {"model": "nano", "input": ["something new for the cache", {"image": b64(png(77))}]}
        first, second = (server.post("/v1/embeddings", body).content for _ in range(2))
        assert first == second
        assert "polylens_cache_hits_total" in server.http.get("/metrics").text

    def test_headers(self, server: Running) -> None:
        response = server.post("/v1/embeddings", {"model": "nano", "input": "a"})
        assert response.headers["content-type"] == "application/json"
        assert len(response.headers["x-request-id"]) == 32


class TestPdf:
    def test_a_vector_a_page(self, server: Running) -> None:
        from reportlab.pdfgen.canvas import Canvas

        buffer = io.BytesIO()
        canvas = Canvas(buffer, pagesize=(300, 200))
        for page in ("first page", "second page"):
            canvas.drawString(40, 100, page)
            canvas.showPage()
        canvas.save()
        answer = server.embed({"pdf": b64(buffer.getvalue())})
        assert vectors(answer).shape == (2, 256)
        assert answer["usage"]["image_tokens"] == answer["usage"]["total_tokens"] > 0

    def test_it_must_be_alone(self, server: Running) -> None:
        response = server.post("/v1/embeddings", {"model": "nano", "input": [{"pdf": "eA=="}, "a"]})
        assert response.status_code == 422
        assert "only input" in response.json()["detail"]


class TestInvocations:
    def test_the_form_that_jinas_own_client_sends(self, server: Running) -> None:
        body = {
            "data": [{"text": "How is the weather today?"}, {"bytes": b64(png())}],
            "parameters": {"task": "text-matching", "dimensions": "16", "model": "tiny-clip"},
        }
        response = server.post("/invocations", body)
        rows = response.json()["data"]
        assert [len(row["embedding"]) for row in rows] == [16, 16]
        assert not np.isclose(np.linalg.norm(rows[0]["embedding"]), 1)  # as published for this model
        body["parameters"]["normalized"] = True
        rows = server.post("/invocations", body).json()["data"]
        assert np.isclose(np.linalg.norm(rows[0]["embedding"]), 1, atol=1e-5)

    def test_ranking(self, server: Running) -> None:
        for data in ({"query": "a cat", "documents": [{"text": "a cat"}, {"text": "b"}], "top_n": 1},):
            for form in (data, [data]):
                answer = server.post("/invocations", {"data": form}).json()
                assert [row["index"] for row in answer["data"][0]["results"]] == [0]

    def test_ping(self, server: Running) -> None:
        assert server.http.get("/ping").status_code == 200


def test_the_log_has_neither_inputs_nor_keys(server: Running) -> None:
    secret = "a sentence that nobody else must read"
    server.post("/v1/embeddings", {"model": "nano", "input": secret}, headers={"Authorization": "Bearer my-own-key"})
    assert server.post("/v1/files", {"purpose": "batch"}).status_code == 422  # the library that reads forms warns of it
    log = server.log.read_text(encoding="utf-8")
    assert "/v1/embeddings" in log
    assert secret not in log and "my-own-key" not in log
    assert all(json.loads(line) for line in log.splitlines())
