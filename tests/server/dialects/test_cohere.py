"""Cohere's own client, unchanged but for the address."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.support.serving import Running
from tests.support.vectors import DIM, TEXTS, assert_same, differ, plain, png, ranking, same_direction

cohere = pytest.importorskip("cohere", reason="pip install cohere, to test what its client sends")


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    with cohere.ClientV2(api_key="a-key", base_url=server.url) as client:
        yield client


def data_uri(seed: int) -> str:
    return "data:image/png;base64," + base64.b64encode(png(seed)).decode()


class TestEmbed:
    def test_texts(self, server: Running, client: Any) -> None:
        answer = client.embed(model="nano", texts=TEXTS, input_type="search_document", embedding_types=["float"])
        assert_same(answer.embeddings.float_, plain(server, TEXTS, task="retrieval.passage"))
        assert answer.texts == TEXTS and answer.id
        assert (
            answer.meta.billed_units.input_tokens
            == server.embed(TEXTS, task="retrieval.passage")["usage"]["total_tokens"]
        )

    def test_texts_without_a_type_are_floats(self, server: Running, client: Any) -> None:
        answer = client.embed(model="nano", texts=TEXTS, input_type="search_query")
        assert_same(answer.embeddings.float_, plain(server, TEXTS, task="retrieval.query"))

    @pytest.mark.parametrize(
        ("model", "input_type", "task"),
        [
            ("nano", "search_query", "retrieval.query"),
            ("nano", "clustering", "text-matching"),
            ("nano", "classification", None),
            ("tiny-v3", "clustering", "separation"),
            ("tiny-v3", "classification", "classification"),
            ("tiny-clip", "search_query", "retrieval.query"),
            ("tiny-clip", "search_document", None),
        ],
    )
    def test_kinds_of_input(self, server: Running, client: Any, model: str, input_type: str, task: str | None) -> None:
        answer = client.embed(model=model, texts=TEXTS, input_type=input_type)
        assert_same(answer.embeddings.float_, plain(server, TEXTS, model=model, task=task))

    def test_every_type_at_once(self, server: Running, client: Any) -> None:
        kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
        found = client.embed(model="nano", texts=TEXTS, input_type="search_query", embedding_types=kinds).embeddings
        expected = plain(server, TEXTS, task="retrieval.query")
        assert_same(found.float_, expected)
        assert_same([np.frombuffer(base64.b64decode(each), "<f4") for each in found.base64], expected)
        assert same_direction(found.int8, expected)
        assert same_direction(np.array(found.uint8) - 128, expected)
        assert np.array_equal(np.unpackbits(np.array(found.ubinary, np.uint8), axis=1), expected > 0)
        assert (np.array(found.binary) + 128).tolist() == found.ubinary
        for numbers in (found.int8, found.uint8, found.binary, found.ubinary):
            assert all(isinstance(each, int) for row in numbers for each in row)

    def test_size(self, server: Running, client: Any) -> None:
        answer = client.embed(model="nano", texts=TEXTS, input_type="search_query", output_dimension=64)
        assert_same(answer.embeddings.float_, plain(server, TEXTS, task="retrieval.query", dimensions=64))

    def test_images(self, server: Running, client: Any) -> None:
        answer = client.embed(model="nano", images=[data_uri(1), data_uri(2)], input_type="image")
        images = [{"image": base64.b64encode(png(seed)).decode()} for seed in (1, 2)]
        assert_same(answer.embeddings.float_, plain(server, images))
        assert answer.meta.billed_units.images == 2

    def test_inputs_of_one_part(self, server: Running, client: Any) -> None:
        inputs = [
            {"content": [{"type": "text", "text": TEXTS[0]}]},
            {"content": [{"type": "image_url", "image_url": {"url": data_uri(1)}}]},
        ]
        answer = client.embed(model="nano", inputs=inputs, input_type="search_document", embedding_types=["float"])
        image = {"image": base64.b64encode(png(1)).decode()}
        assert_same(answer.embeddings.float_, plain(server, [TEXTS[0], image], task="retrieval.passage"))

    def test_more_texts_than_fit_one_request_of_the_client(self, server: Running, client: Any) -> None:
        texts = [f"text {number}" for number in range(100)]  # its client sends 96 at a time
        answer = client.embed(model="nano", texts=texts, input_type="search_query", embedding_types=["float"])
        found = np.array(answer.embeddings.float_)
        assert found.shape == (100, DIM)
        assert not differ(found[[0, 99]], plain(server, [texts[0], texts[99]], task="retrieval.query"))

    def test_which_end_is_cut(self, server: Running, client: Any) -> None:
        long = "a" * 100 + "b" * 100
        options = {"model": "tiny-v3", "input_type": "classification", "texts": [long]}
        end = client.embed(**options, truncate="END").embeddings.float_
        start = client.embed(**options, truncate="START").embeddings.float_
        assert not differ(end, plain(server, [long], model="tiny-v3", task="classification", truncate=True))
        size = 128 - server.embed("", model="tiny-v3", task="classification")["usage"]["total_tokens"]
        assert not differ(start, plain(server, [long[-size:]], model="tiny-v3", task="classification"))
        assert differ(start, end)
        assert not differ(client.embed(**options).embeddings.float_, end)  # by default

    def test_fewer_tokens(self, client: Any) -> None:
        options = {"model": "nano", "input_type": "search_query", "texts": [TEXTS[0]]}
        answer = client.embed(**options, max_tokens=5)
        assert answer.meta.billed_units.input_tokens == 5
        with pytest.raises(cohere.BadRequestError) as caught:
            client.embed(**options, max_tokens=5, truncate="NONE")
        assert "texts.0: has more than 5 tokens" in caught.value.body["message"]
        assert 'truncate: "END"' in caught.value.body["message"]

    def test_async(self, server: Running) -> None:
        async def scenario() -> Any:
            async with cohere.AsyncClientV2(api_key="a-key", base_url=server.url) as client:
                return await client.embed(model="nano", texts=TEXTS, input_type="search_query")

        assert_same(asyncio.run(scenario()).embeddings.float_, plain(server, TEXTS, task="retrieval.query"))


class TestRerank:
    DOCUMENTS = ("bread from the oven", "old ships in a harbour", "the sea at night")

    def test_ranking(self, server: Running, client: Any) -> None:
        answer = client.rerank(model="nano", query="harbour", documents=self.DOCUMENTS, top_n=2)
        expected = ranking(server, "harbour", list(self.DOCUMENTS), top_n=2)
        assert [row.index for row in answer.results] == [row["index"] for row in expected]
        assert [row.relevance_score for row in answer.results] == pytest.approx(
            [row["relevance_score"] for row in expected], abs=1e-6
        )
        assert answer.meta.billed_units.search_units == 1

    def test_documents_are_cut(self, server: Running, client: Any) -> None:
        documents = ["a harbour of old ships"]
        (whole,) = client.rerank(model="nano", query="harbour", documents=documents).results
        (cut,) = client.rerank(model="nano", query="harbour", documents=documents, max_tokens_per_doc=3).results
        expected = ranking(server, "harbour", documents, max_doc_length=3)
        assert cut.relevance_score == pytest.approx(expected[0]["relevance_score"], abs=1e-6)
        assert abs(cut.relevance_score - whole.relevance_score) > 1e-4

    def test_a_trained_reranker(self, guarded: Any) -> None:
        with cohere.ClientV2(api_key=guarded.key, base_url=guarded.server.url) as client:
            found = client.rerank(model="tiny-m0", query="q", documents=["a", "b"]).results
        expected = ranking(guarded.server, "q", ["a", "b"], model="tiny-m0")
        assert [row.index for row in found] == [row["index"] for row in expected]


class TestErrors:
    def test_a_model_that_is_not_served(self, client: Any) -> None:
        with pytest.raises(cohere.NotFoundError) as caught:
            client.embed(model="embed-v4.0", texts=["a"], input_type="search_query")
        assert set(caught.value.body) == {"message", "id"}
        assert "embed-v4.0" in caught.value.body["message"] and "nano" in caught.value.body["message"]

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"input_type": "search", "texts": ["a"]}, "input_type: must be one of"),
            ({"input_type": "search_query"}, "exactly one of texts, images and inputs, got none"),
            ({"input_type": "search_query", "texts": ["a"], "images": ["b"]}, "got texts and images"),
            ({"input_type": "search_query", "texts": ["a"], "output_dimension": 999}, "output_dimension: must be"),
            ({"input_type": "image", "images": ["a", "b"]}, "image 0"),
            ({"input_type": "search_query", "texts": ["a"], "embedding_types": ["int4"]}, "embedding_types"),
        ],
    )
    def test_what_cannot_be_done(self, client: Any, fields: dict[str, Any], says: str) -> None:
        with pytest.raises(cohere.UnprocessableEntityError) as caught:
            client.embed(model="nano", **fields)
        assert says in caught.value.body["message"]

    def test_spans_are_refused_and_not_left_out(self, server: Running) -> None:
        body = {"model": "nano", "query": "a", "documents": ["b"], "relevant_spans": {"mode": "all"}}
        assert server.post("/v2/rerank", body).status_code == 422

    def test_keys(self, guarded: Any) -> None:
        with cohere.ClientV2(api_key=guarded.key, base_url=guarded.server.url) as client:
            assert client.embed(model="nano", texts=["a"], input_type="search_query").embeddings.float_
        with (
            cohere.ClientV2(api_key="wrong", base_url=guarded.server.url) as client,
            pytest.raises(cohere.UnauthorizedError) as caught,
        ):
            client.embed(model="nano", texts=["a"], input_type="search_query")
        assert caught.value.body["message"] == "Invalid API key."
