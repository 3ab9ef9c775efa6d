"""A server with a reranker alone: POST /v1/rerank against the same model in Python, and everything else refused."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from starlette.applications import Starlette
from tests.support import tiny_m0
from tests.support.serving import Running, serving
from tests.support.waiting import until

import polylens
from polylens.errors import FieldError, InputError
from polylens.runtime.reranker import PairReranker
from polylens.server.endpoints.embedding_service import IMAGES_AT_ONCE
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.schemas import RerankRequest
from polylens.server.search_page.service import LibraryService
from polylens.server.settings import Settings
from polylens.server.state import Server

ROUNDING = 1e-5  # float32 in another batch; scores of different pairs are 1e-3 and more apart
TEXT_TOKENS = 300  # the server's limit for one text; bytes are the model's tokens
TEXTS = ["a ship in the harbour", "the price of bread", "ein Hafen im Norden"]


def picture(seed: int, width: int = 84, height: int = 56) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def base64_of(image: PIL.Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_m0.write(tmp_path_factory.mktemp("models") / "tiny-m0")


@pytest.fixture(scope="module")
def ranker(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ["--dtype", "float32", "--alias", "jina-reranker-m0=tiny-m0", "--max-text-tokens", str(TEXT_TOKENS)]
    with serving("--model", str(folder), *options, home=tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def reranker(folder: Path) -> PairReranker:
    loaded = polylens.load_reranker(folder, device="cpu", dtype="float32")
    assert isinstance(loaded, PairReranker)
    return loaded


def ranked(server: Running, query: Any, documents: list[Any], **fields: Any) -> Any:
    """The answer to a request that must succeed."""
    response = server.post("/v1/rerank", {"model": "tiny-m0", "query": query, "documents": documents, **fields})
    assert response.status_code == 200, response.text
    return response.json()


class TestScores:
    @pytest.mark.parametrize("query", ["where is the harbour?", {"text": "where is the harbour?"}, {"image": 9}])
    def test_texts_and_images_on_either_side(self, ranker: Running, reranker: PairReranker, query: Any) -> None:
        asked: Any = query if isinstance(query, str) else query.get("text") or picture(9)
        sent = query if isinstance(asked, str) else {"image": base64_of(asked)}
        documents: list[Any] = [TEXTS[0], {"text": TEXTS[1]}, {"image": base64_of(picture(1))}]
        documents.append("data:image/png;base64," + base64_of(picture(2, 28, 140)))
        expected = reranker.rerank(asked, [*TEXTS[:2], picture(1), picture(2, 28, 140)])
        results = ranked(ranker, sent, documents)["results"]
        assert [row["index"] for row in results] == [each.index for each in expected]
        scores = [row["relevance_score"] for row in results]
        assert scores == pytest.approx([each.score for each in expected], abs=ROUNDING)
        assert scores == [round(score, 8) for score in scores]
        echoed = {row["index"]: row["document"] for row in results}
        assert echoed == {0: {"text": TEXTS[0]}, 1: documents[1], 2: documents[2], 3: {"image": documents[3]}}

    def test_the_published_request_for_images(self, ranker: Running) -> None:
        """The form in which the published page of jina-reranker-m0 asks."""
        body = {
            "model": "jina-reranker-m0",
            "query": "small language model data extraction",
            "documents": [
                {"image": base64_of(picture(1))},
                {"text": "data extraction"},
                {"image": base64_of(picture(2))},
            ],
            "return_documents": False,
        }
        answer = ranker.post("/v1/rerank", body).json()
        assert (answer["model"], answer["object"]) == ("jina-reranker-m0", "list")
        assert sorted(row["index"] for row in answer["results"]) == [0, 1, 2]
        assert all(set(row) == {"index", "relevance_score"} for row in answer["results"])

    def test_tokens_are_those_that_the_model_sees(self, ranker: Running, reranker: PairReranker) -> None:
        processor, total = reranker.processor, 0
        for document in (TEXTS[0], picture(1)):
            side = processor.document(document, max_length=None, max_pixels=None)
            query = processor.query("harbour", max_length=None, max_pixels=None)
            total += processor.pair(query, side, max_length=None).num_tokens
        answer = ranked(ranker, "harbour", [TEXTS[0], {"image": base64_of(picture(1))}])
        assert answer["usage"] == {"total_tokens": total}

    def test_top_n_and_ties(self, ranker: Running) -> None:
        results = ranked(ranker, "harbour", ["same"] * 5, top_n=3)["results"]
        assert [row["index"] for row in results] == [0, 1, 2]

    def test_sagemakers_form(self, ranker: Running) -> None:
        data = {"query": "harbour", "documents": TEXTS, "top_n": 2}
        answer = ranker.post("/invocations", {"data": data}).json()
        expected = ranked(ranker, "harbour", TEXTS, top_n=2)
        assert answer["data"][0]["results"] == expected["results"]


class TestLengths:
    def test_long_documents_are_cut_unless_told_otherwise(self, ranker: Running, reranker: PairReranker) -> None:
        documents = ["short", "x" * 400]
        expected = {each.index: each.score for each in reranker.rerank("q", ["short", "x" * TEXT_TOKENS])}
        for fields in ({}, {"truncation": None}, {"truncation": True}):
            found = {r["index"]: r["relevance_score"] for r in ranked(ranker, "q", documents, **fields)["results"]}
            assert found == pytest.approx(expected, abs=ROUNDING)
        body = {"model": "tiny-m0", "query": "q", "documents": documents, "truncation": False}
        response = ranker.post("/v1/rerank", body)
        assert response.status_code == 400
        assert response.json()["detail"]["message"].startswith(f"documents.1: has more than {TEXT_TOKENS} tokens")

    def test_a_smaller_limit_for_documents(self, ranker: Running, reranker: PairReranker) -> None:
        expected = reranker.rerank("q", ["abcdef"], max_doc_length=3)[0].score
        (row,) = ranked(ranker, "q", ["abcdef"], max_doc_length=3)["results"]
        assert row["relevance_score"] == pytest.approx(expected, abs=ROUNDING)

    def test_a_long_query(self, ranker: Running, reranker: PairReranker) -> None:
        query = "q" * 400
        (row,) = ranked(ranker, query, ["short"])["results"]
        expected = reranker.rerank(query[:TEXT_TOKENS], ["short"])[0].score
        assert row["relevance_score"] == pytest.approx(expected, abs=ROUNDING)
        body = {"model": "tiny-m0", "query": query, "documents": ["short"], "truncation": False}
        response = ranker.post("/v1/rerank", body)
        assert response.status_code == 400
        assert response.json()["detail"]["message"].startswith(f"query: has more than {TEXT_TOKENS} tokens")

    def test_texts_that_are_too_long_together(self, folder: Path) -> None:
        documents = ["short", "x" * 3_000]
        with pytest.raises(FieldError, match=r"^documents.1: has, together with the query, more than 10240 tokens"):
            in_process(folder, query="q" * 8_000, documents=documents, truncation=False)


def in_process(folder: Path, prepare: Callable[[Served], None] = lambda _: None, **fields: Any) -> Any:
    """The value of a request's result, from the parts of a server without HTTP.

    Args:
        folder: The reranker.
        prepare: Called with the served model.
        fields: The fields of the request, besides the model.
    """
    server = Server(Settings(models=(str(folder),), dtype="float32", threads=1, lazy=True))
    prepare(next(iter(server.models)))

    async def ask() -> Any:
        async with server.running(Starlette()):
            with server.responder.memory.request("a") as context:
                result = await server.rerank.post(RerankRequest(model="tiny-m0", **fields), context)
        return result.value

    return asyncio.run(ask())


class Counted:
    """A processor that counts the pairs that were joined and have no score yet."""

    def __init__(self, served: Served) -> None:
        self._real, self._submit = served.header.pairs, served.scheduler.submit_pair
        self.alive = self.most = 0
        served.scheduler.submit_pair = self.submit  # type: ignore[method-assign]
        object.__setattr__(served.header, "processing", self)

    def pair(self, *sides: Any, **limits: Any) -> Any:
        self.alive += 1
        self.most = max(self.most, self.alive)
        return self._real.pair(*sides, **limits)

    def submit(self, *arguments: Any, **options: Any) -> Any:
        future = self._submit(*arguments, **options)
        future.add_done_callback(self.scored)
        return future

    def scored(self, _: Any) -> None:
        self.alive -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class TestMemory:
    @pytest.mark.parametrize("query", ["q", {"image": base64_of(picture(9))}])
    def test_few_images_are_in_memory_as_patches(self, folder: Path, query: Any) -> None:
        counted: list[Counted] = []
        images = [{"image": base64_of(picture(seed, 28, 28))} for seed in range(3 * IMAGES_AT_ONCE)]
        documents = [*images, "a text"] if isinstance(query, dict) else images
        value = in_process(folder, lambda served: counted.append(Counted(served)), query=query, documents=documents)
        assert len(value["results"]) == len(documents)
        assert 1 < counted[0].most <= IMAGES_AT_ONCE and counted[0].alive == 0


class TestRefused:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/embeddings", {"model": "tiny-m0", "input": "a"}),
            ("/v1/classify", {"model": "tiny-m0", "input": "a", "labels": ["b", "c"]}),
            ("/v1/train", {"model": "tiny-m0", "input": [{"text": each, "label": each} for each in "ab"]}),
            ("/v1/segment", {"content": "a", "tokenizer": "tiny-m0"}),
            ("/v1/segment", {"content": "a"}),
            ("/", {"content": "a"}),
            ("/invocations", {"data": [{"text": "a"}], "parameters": {"model": "tiny-m0"}}),
            ("/invocations", {"data": [{"text": "a"}]}),
        ],
    )
    def test_what_needs_vectors_names_the_endpoint_that_ranks(self, ranker: Running, path: str, body: Any) -> None:
        response = ranker.post(path, body)
        assert response.status_code == 422
        assert "reranker" in response.json()["detail"] and "/v1/rerank" in response.json()["detail"]

    def test_a_broken_image_is_named(self, ranker: Running) -> None:
        broken = {"image": base64.b64encode(base64.b64decode(base64_of(picture(1)))[:-60]).decode()}
        body = {"model": "tiny-m0", "query": "a", "documents": ["b", broken]}
        problem = ranker.post("/v1/rerank", body).json()
        assert problem["detail"].startswith("document 1: ") and problem["errors"][0]["field"] == "documents.1"
        problem = ranker.post("/v1/rerank", {**body, "query": broken}).json()
        assert problem["detail"].startswith("query: ") and problem["errors"][0]["field"] == "query"

    def test_addresses_on_private_networks(self, ranker: Running) -> None:
        body = {"model": "tiny-m0", "query": "a", "documents": [{"image": "http://127.0.0.1/page.png"}]}
        response = ranker.post("/v1/rerank", body)
        assert response.status_code == 422 and "is not fetched" in response.json()["detail"]


class TestTheRestOfTheServer:
    def test_models(self, ranker: Running) -> None:
        (row,) = ranker.http.get("/v1/models").json()["data"]
        assert row["id"] == "jina-ai/tiny-m0" and row["input_modalities"] == ["text", "image"]
        assert (row["output_modalities"], row["tasks"], row["matryoshka_dims"]) == (["scores"], [], [])
        assert "rerank" in row["supported_features"] and "/v1/rerank" in row["description"]

    def test_it_greets_and_is_ready(self, ranker: Running) -> None:
        assert ranker.http.get("/").json()["models"] == ["tiny-m0", "jina-reranker-m0"]
        until(lambda: ranker.http.get("/ready").status_code == 200)  # the model is loaded while the server answers
        assert 'polylens_engine_tokens_total{model="tiny-m0"}' in ranker.http.get("/metrics").text

    def test_beside_a_model_with_vectors(self, folder: Path) -> None:
        models = Registry(Settings(models=(str(folder), "nano")))
        assert models.find_embedder().name == "nano" and models.find("tiny-m0").scores_pairs
        with pytest.raises(InputError, match="tiny-m0 is a reranker"):
            models.find_embedder("tiny-m0")

    def test_a_library_takes_a_model_with_vectors(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="all models of this server are rerankers; add --model nano"):
            LibraryService(tmp_path, Registry(Settings(models=(str(folder),))))
        service = LibraryService(tmp_path, Registry(Settings(models=(str(folder), "nano"))))
        assert service._served.name == "nano"
