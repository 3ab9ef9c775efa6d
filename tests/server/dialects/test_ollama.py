"""Ollama's own client, unchanged but for the address."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.support.serving import Running
from tests.support.vectors import TEXTS, assert_same, plain

from polylens import __version__

ollama = pytest.importorskip("ollama", reason="pip install ollama, to test what its client sends")


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    with closing(ollama.Client(host=server.url)) as client:
        yield client


class TestEmbed:
    @pytest.mark.parametrize("model", ["nano", "nano:latest"])
    def test_several(self, server: Running, client: Any, model: str) -> None:
        answer = client.embed(model=model, input=TEXTS)
        assert_same(answer.embeddings, plain(server, TEXTS))
        assert answer.model == model
        assert answer.prompt_eval_count == server.embed(TEXTS)["usage"]["total_tokens"]
        assert answer.total_duration > 0

    def test_one(self, server: Running, client: Any) -> None:
        assert_same(client.embed(model="nano", input=TEXTS[0]).embeddings, plain(server, TEXTS[:1]))

    def test_size(self, server: Running, client: Any) -> None:
        found = client.embed(model="nano", input=TEXTS, dimensions=64).embeddings
        assert_same(found, plain(server, TEXTS, dimensions=64))

    def test_texts_are_cut_unless_told_otherwise(self, server: Running, client: Any) -> None:
        long = "a" * 900
        found = client.embed(model="tiny-v3", input=[long]).embeddings
        assert_same(found, plain(server, [long], model="tiny-v3", truncate=True))
        with pytest.raises(ollama.ResponseError) as caught:
            client.embed(model="tiny-v3", input=[long], truncate=False)
        assert caught.value.status_code == 400
        assert "input.0: has more than 128 tokens" in caught.value.error

    def test_nothing_asks_that_the_model_be_loaded(self, client: Any) -> None:
        assert list(client.embed(model="nano", input=[]).embeddings) == []
        with pytest.raises(ollama.ResponseError):
            client.embed(model="llama", input=[])

    def test_the_older_endpoint(self, server: Running, client: Any) -> None:
        assert_same([client.embeddings(model="nano", prompt=TEXTS[0]).embedding], plain(server, TEXTS[:1]))

    def test_async(self, server: Running) -> None:
        async def scenario() -> Any:
            client = ollama.AsyncClient(host=server.url)
            try:
                return await client.embed(model="nano", input=TEXTS)
            finally:
                await client.close()

        assert_same(asyncio.run(scenario()).embeddings, plain(server, TEXTS))


class TestLists:
    def test_models(self, client: Any) -> None:
        models = {model.model: model for model in client.list().models}
        assert set(models) == {f"{name}:latest" for name in ("nano", "tiny-v4", "tiny-clip", "tiny-v3")}
        nano = models["nano:latest"]
        assert nano.size > 1_000_000 and len(nano.digest) == 64 and nano.details.family == "jina_v4"
        assert nano.modified_at is not None
        for name in models:
            assert client.embed(model=name, input="a").embeddings

    def test_version(self, server: Running) -> None:
        assert server.http.get("/api/version").json() == {"version": __version__}


class TestErrors:
    def test_a_model_that_is_not_served(self, client: Any) -> None:
        with pytest.raises(ollama.ResponseError) as caught:
            client.embed(model="nomic-embed-text", input="a")
        assert caught.value.status_code == 404
        assert "nomic-embed-text" in caught.value.error and "nano" in caught.value.error

    def test_what_cannot_be_done(self, client: Any) -> None:
        with pytest.raises(ollama.ResponseError) as caught:
            client.embed(model="nano", input="a", dimensions=999)
        assert caught.value.status_code == 400 and "dimensions: must be between 1 and 256" in caught.value.error

    def test_keys(self, guarded: Any) -> None:
        for key, status in ((guarded.key, 200), ("wrong", 401)):
            with closing(ollama.Client(host=guarded.server.url, headers={"Authorization": f"Bearer {key}"})) as client:
                if status == 200:
                    assert client.embed(model="nano", input="a").embeddings
                    assert [model.model for model in client.list().models] == ["nano:latest"]
                    continue
                with pytest.raises(ollama.ResponseError) as caught:
                    client.embed(model="nano", input="a")
                assert (caught.value.status_code, caught.value.error) == (401, "Invalid API key.")
