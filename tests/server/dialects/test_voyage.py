"""Voyage's own client, unchanged but for the address."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest
from tests.support.serving import Running
from tests.support.vectors import TEXTS, assert_same, picture, plain, png, ranking, same_direction

voyageai = pytest.importorskip("voyageai", reason="pip install voyageai, to test what its client sends")


def connected(url: str, key: str = "a-key") -> Any:
    return voyageai.Client(api_key=key, base_url=f"{url}/v1")


@pytest.fixture
def client(server: Running) -> Any:
    return connected(server.url)


class TestEmbed:
    @pytest.mark.parametrize(
        ("input_type", "task"), [(None, None), ("query", "retrieval.query"), ("document", "retrieval.passage")]
    )
    def test_texts(self, server: Running, client: Any, input_type: str | None, task: str | None) -> None:
        answer = client.embed(TEXTS, model="nano", input_type=input_type)
        assert_same(answer.embeddings, plain(server, TEXTS, task=task))
        assert answer.total_tokens == server.embed(TEXTS, task=task)["usage"]["total_tokens"]

    def test_numbers(self, server: Running, client: Any) -> None:
        expected = plain(server, TEXTS)
        found = {
            dtype: client.embed(TEXTS, model="nano", output_dtype=dtype).embeddings
            for dtype in ("float", "int8", "uint8", "binary", "ubinary")
        }
        assert_same(found["float"], expected)
        assert same_direction(found["int8"], expected)
        assert same_direction(np.array(found["uint8"]) - 128, expected)
        assert np.array_equal(np.unpackbits(np.array(found["ubinary"], np.uint8), axis=1), expected > 0)
        assert (np.array(found["binary"]) + 128).tolist() == found["ubinary"]

    def test_size(self, server: Running, client: Any) -> None:
        answer = client.embed(TEXTS, model="nano", output_dimension=64)
        assert_same(answer.embeddings, plain(server, TEXTS, dimensions=64))

    def test_texts_are_cut_unless_told_otherwise(self, client: Any) -> None:
        assert client.embed(["a" * 900], model="tiny-v3").total_tokens == 128
        with pytest.raises(voyageai.error.InvalidRequestError, match="has more than 128 tokens"):
            client.embed(["a" * 900], model="tiny-v3", truncation=False)

    def test_async(self, server: Running) -> None:
        async def scenario() -> Any:
            client = voyageai.AsyncClient(api_key="a-key", base_url=f"{server.url}/v1")
            return await client.embed(TEXTS, model="nano")

        assert_same(asyncio.run(scenario()).embeddings, plain(server, TEXTS))


class TestMultimodal:
    def test_one_part_each(self, server: Running, client: Any) -> None:
        answer = client.multimodal_embed([[TEXTS[0]], [picture(1)]], model="nano", input_type="document")
        image = {"image": base64.b64encode(png(1)).decode()}  # the client sends WebP without loss
        assert_same(answer.embeddings, plain(server, [TEXTS[0], image], task="retrieval.passage"))
        usage = server.embed([TEXTS[0], image], task="retrieval.passage")["usage"]
        assert answer.total_tokens == usage["total_tokens"]
        assert answer.text_tokens == usage["total_tokens"] - usage["image_tokens"]
        assert (answer.image_pixels, answer.video_pixels) == (84 * 56, 0)
        again = client.multimodal_embed([[TEXTS[0]], [picture(1)]], model="nano", input_type="document")
        assert again.image_pixels == 84 * 56  # from the cache, too

    def test_objects_and_numbers(self, server: Running, client: Any) -> None:
        uri = "data:image/png;base64," + base64.b64encode(png(1)).decode()
        inputs = [
            {"content": [{"type": "image_base64", "image_base64": uri}]},
            {"content": [{"type": "text", "text": "two"}, {"type": "text", "text": "lines"}]},
        ]
        image = {"image": base64.b64encode(png(1)).decode()}
        expected = plain(server, [image, "two\nlines"], dimensions=64)
        answer = client.multimodal_embed(inputs, model="nano", output_dimension=64)
        assert_same(answer.embeddings, expected)
        small = client.multimodal_embed(inputs, model="nano", output_dimension=64, output_dtype="int8")
        assert same_direction(small.embeddings, expected)

    def test_parts_that_the_model_cannot_read_together(self, client: Any) -> None:
        with pytest.raises(voyageai.error.InvalidRequestError, match=r"inputs\.1: .*nano cannot read together"):
            client.multimodal_embed([["a"], ["b", picture(1)]], model="nano")


class TestRerank:
    DOCUMENTS = ("bread from the oven", "old ships in a harbour", "the sea at night")

    @pytest.mark.parametrize("top_k", [None, 2])
    def test_ranking(self, server: Running, client: Any, top_k: int | None) -> None:
        answer = client.rerank("harbour", list(self.DOCUMENTS), model="nano", top_k=top_k)
        expected = ranking(server, "harbour", list(self.DOCUMENTS))[:top_k]
        assert [row.index for row in answer.results] == [row["index"] for row in expected]
        scores = [row["relevance_score"] for row in expected]
        assert [row.relevance_score for row in answer.results] == pytest.approx(scores, abs=1e-6)
        assert [row.document for row in answer.results] == [self.DOCUMENTS[row["index"]] for row in expected]
        assert answer.total_tokens > 0

    def test_the_published_form_is_not_touched(self, server: Running) -> None:
        body = {"model": "nano", "query": "a", "documents": ["b"]}
        assert "data" not in server.post("/v1/rerank", body).json()
        both = server.post("/v1/rerank", {**body, "top_k": 1}).json()
        assert both["data"] == both["results"]


class TestErrors:
    def test_a_model_that_is_not_served(self, client: Any) -> None:
        """Its client cannot print an object, which is what the published interface has under this status."""
        for ask in (
            lambda: client.embed(["a"], model="voyage-3.5"),
            lambda: client.rerank("a", ["b"], model="rerank-2.5"),
            lambda: client.multimodal_embed([["a"]], model="voyage-multimodal-3.5"),
        ):
            with pytest.raises(voyageai.error.InvalidRequestError) as caught:
                ask()
            assert "not found. Available models: nano" in str(caught.value)

    def test_what_cannot_be_done(self, client: Any) -> None:
        with pytest.raises(voyageai.error.MalformedRequestError, match="input_type: must be one of"):
            client.embed(["a"], model="nano", input_type="question")
        with pytest.raises(voyageai.error.InvalidRequestError, match="output_dimension: must be between"):
            client.multimodal_embed([["a"]], model="nano", output_dimension=999)

    def test_keys(self, guarded: Any) -> None:
        assert connected(guarded.server.url, guarded.key).embed(["a"], model="nano").embeddings
        wrong = connected(guarded.server.url, "wrong")
        for ask in (lambda: wrong.embed(["a"], model="nano"), lambda: wrong.multimodal_embed([["a"]], model="nano")):
            with pytest.raises(voyageai.error.AuthenticationError, match=r"Invalid API key\."):
                ask()
