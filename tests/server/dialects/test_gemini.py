"""Google's own client, `google-genai`, unchanged but for the address."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.serving import Running
from tests.support.vectors import TEXTS, assert_same, differ, plain, png

genai = pytest.importorskip("google.genai", reason="pip install google-genai, to test what its client sends")


def connected(url: str, key: str = "a-key") -> Any:
    return genai.Client(api_key=key, http_options={"base_url": url})


@pytest.fixture
def client(server: Running) -> Iterator[Any]:
    client = connected(server.url)
    yield client
    client.close()


def values(answer: Any) -> list[list[float]]:
    return [each.values for each in answer.embeddings]


class TestClient:
    def test_one(self, server: Running, client: Any) -> None:
        assert_same(values(client.models.embed_content(model="nano", contents=TEXTS[0])), plain(server, TEXTS[:1]))

    def test_several(self, server: Running, client: Any) -> None:
        assert_same(values(client.models.embed_content(model="models/nano", contents=TEXTS)), plain(server, TEXTS))

    @pytest.mark.parametrize(
        ("name", "task"),
        [
            ("RETRIEVAL_QUERY", "retrieval.query"),
            ("RETRIEVAL_DOCUMENT", "retrieval.passage"),
            ("SEMANTIC_SIMILARITY", "text-matching"),
            ("QUESTION_ANSWERING", "retrieval.query"),
            ("CLASSIFICATION", None),
        ],
    )
    def test_tasks(self, server: Running, client: Any, name: str, task: str | None) -> None:
        answer = client.models.embed_content(model="nano", contents=TEXTS, config={"task_type": name})
        assert_same(values(answer), plain(server, TEXTS, task=task))

    def test_size(self, server: Running, client: Any) -> None:
        config = genai.types.EmbedContentConfig(output_dimensionality=64, task_type="RETRIEVAL_QUERY")
        answer = client.models.embed_content(model="nano", contents=TEXTS, config=config)
        assert_same(values(answer), plain(server, TEXTS, dimensions=64, task="retrieval.query"))

    def test_a_title_is_the_first_line(self, server: Running, client: Any) -> None:
        config = {"task_type": "RETRIEVAL_DOCUMENT", "title": "Harbours"}
        answer = client.models.embed_content(model="nano", contents=["ships"], config=config)
        assert_same(values(answer), plain(server, ["Harbours\nships"], task="retrieval.passage"))

    def test_a_picture(self, server: Running, client: Any) -> None:
        part = genai.types.Part.from_bytes(data=png(1), mime_type="image/png")
        answer = client.models.embed_content(model="nano", contents=[genai.types.Content(parts=[part])])
        assert_same(values(answer), plain(server, [{"image": base64.b64encode(png(1)).decode()}]))

    @pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # its own
    def test_async(self, server: Running) -> None:
        async def scenario() -> Any:
            client = connected(server.url)
            try:
                return await client.aio.models.embed_content(model="nano", contents=TEXTS)
            finally:
                await client.aio.aclose()
                client.close()

        assert_same(values(asyncio.run(scenario())), plain(server, TEXTS))

    def test_a_model_that_is_not_served(self, client: Any) -> None:
        with pytest.raises(genai.errors.ClientError) as caught:
            client.models.embed_content(model="gemini-embedding-001", contents="a")
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
        assert "gemini-embedding-001" in caught.value.message and "nano" in caught.value.message

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            ({"output_dimensionality": 999}, "requests.0.outputDimensionality: must be between 1 and 256"),
            ({"task_type": "POETRY"}, "requests.0.taskType: must be one of"),
        ],
    )
    def test_what_cannot_be_done(self, client: Any, config: dict[str, Any], says: str) -> None:
        with pytest.raises(genai.errors.ClientError) as caught:
            client.models.embed_content(model="nano", contents="a", config=config)
        assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
        assert says.partition(": ")[0] in caught.value.message and says.partition(": ")[2] in caught.value.message

    def test_keys(self, guarded: Any) -> None:
        client = connected(guarded.server.url, guarded.key)
        assert client.models.embed_content(model="nano", contents="a").embeddings
        client.close()
        client = connected(guarded.server.url, "wrong")
        with pytest.raises(genai.errors.ClientError) as caught:
            client.models.embed_content(model="nano", contents="a")
        assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
        client.close()


class TestRequests:
    """What this client does not send, and others do."""

    def test_one_content(self, server: Running) -> None:
        for version in ("v1beta", "v1"):
            body = {
                "content": {"parts": [{"text": TEXTS[0]}]},
                "taskType": "RETRIEVAL_QUERY",
                "outputDimensionality": 64,
            }
            answer = server.post(f"/{version}/models/nano:embedContent", body).json()
            expected = server.embed(TEXTS[0], task="retrieval.query", dimensions=64)
            assert_same([answer["embedding"]["values"]], plain(server, TEXTS[0], task="retrieval.query", dimensions=64))
            assert answer["usageMetadata"]["promptTokenCount"] == expected["usage"]["total_tokens"]

    def test_a_name_with_a_slash(self, server: Running) -> None:
        body = {"content": {"parts": [{"text": "a"}]}}
        assert server.post("/v1beta/models/jina-ai/nano:embedContent", body).status_code == 200

    def test_each_of_a_batch_has_its_own_task_and_size(self, server: Running) -> None:
        """The order stays, though those of one kind are computed together."""
        kinds = [("RETRIEVAL_QUERY", None), ("RETRIEVAL_DOCUMENT", 64), ("RETRIEVAL_QUERY", None), (None, None)]
        requests = [
            {
                "model": "models/nano",
                "content": {"parts": [{"text": text}]},
                "embedContentConfig": {"taskType": name, "outputDimensionality": size},
            }
            for text, (name, size) in zip(TEXTS, kinds, strict=True)
        ]
        answer = server.post("/v1beta/models/nano:batchEmbedContents", {"requests": requests}).json()
        tasks = {"RETRIEVAL_QUERY": "retrieval.query", "RETRIEVAL_DOCUMENT": "retrieval.passage", None: None}
        for row, text, (name, size) in zip(answer["embeddings"], TEXTS, kinds, strict=True):
            assert_same([row["values"]], plain(server, text, task=tasks[name], dimensions=size))
        assert differ(answer["embeddings"][0]["values"], answer["embeddings"][2]["values"])

    def test_an_error_names_the_place_in_the_batch(self, server: Running) -> None:
        contents = [{"parts": [{"text": "a"}]}, {"parts": [{"text": "b"}]}, {"parts": [{"text": "c" * 900}]}]
        kinds = ["RETRIEVAL_QUERY", "CLASSIFICATION", "RETRIEVAL_QUERY"]
        requests = [
            {"content": content, "taskType": kind, "autoTruncate": False}
            for content, kind in zip(contents, kinds, strict=True)
        ]
        response = server.post("/v1beta/models/tiny-v3:batchEmbedContents", {"requests": requests})
        assert response.status_code == 400
        assert response.json()["error"]["message"].startswith("requests.2.content: has more than 128 tokens")
        requests[2].pop("autoTruncate")  # by default it is cut
        assert server.post("/v1beta/models/tiny-v3:batchEmbedContents", {"requests": requests}).status_code == 200

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ({}, "content.parts"),
            ({"parts": []}, "content.parts"),
            ({"parts": [{"text": "a"}, {"functionCall": {}}]}, "content.parts.1"),
            ({"parts": [{"inlineData": {"data": "!!"}}]}, "base64"),
            ({"parts": [{"text": "a"}, {"inlineData": {"data": base64.b64encode(png(1)).decode()}}]}, "read together"),
        ],
    )
    def test_contents_that_are_none(self, server: Running, content: Any, says: str) -> None:
        response = server.post("/v1beta/models/nano:embedContent", {"content": content})
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT") and says in error["message"]

    def test_the_key_in_the_address(self, guarded: Any) -> None:
        body = {"content": {"parts": [{"text": "a"}]}}
        path = "/v1beta/models/nano:embedContent"
        with guarded.server.http.__class__(base_url=guarded.server.url, trust_env=False) as http:
            assert http.post(path, json=body, params={"key": guarded.key}).status_code == 200
            assert http.post(path, json=body, headers={"Authorization": f"Bearer {guarded.key}"}).status_code == 200
            assert http.post(path, json=body, params={"key": "wrong"}).status_code == 401
            assert http.post(path, json=body).status_code == 401
            assert (
                http.post(
                    "/v1/embeddings", json={"model": "nano", "input": "a"}, params={"key": guarded.key}
                ).status_code
                == 401
            )
        assert guarded.key not in guarded.server.log.read_text(encoding="utf-8")
