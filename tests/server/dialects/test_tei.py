"""Hugging Face's `InferenceClient`, and the requests of clients of Text Embeddings Inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tests.support.serving import Running
from tests.support.vectors import DIM, TEXTS, assert_same, differ, plain, ranking
from tokenizers import Tokenizer


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would ask the hub for names of programs that it reports there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)


class TestInferenceClient:
    @pytest.mark.parametrize("path", ["/embed", "/models/nano/pipeline/feature-extraction"])
    def test_features(self, server: Running, path: str) -> None:
        client = InferenceClient(model=server.url + path, token="a-key")
        found = client.feature_extraction(TEXTS)
        assert found.dtype == np.float32 and found.shape == (len(TEXTS), DIM)
        assert_same(found, plain(server, TEXTS))
        assert client.feature_extraction(TEXTS[0]).shape == (1, DIM)  # a list of one, as there

    def test_another_model(self, server: Running) -> None:
        client = InferenceClient(model=f"{server.url}/models/tiny-v3/pipeline/feature-extraction")
        found = client.feature_extraction(TEXTS, prompt_name="classification")
        assert_same(found, plain(server, TEXTS, model="tiny-v3", task="classification"))

    @pytest.mark.parametrize(
        ("prompt", "task"),
        [
            ("query", "retrieval.query"),
            ("document", "retrieval.passage"),
            ("passage", "retrieval.passage"),
            ("text-matching", "text-matching"),
        ],
    )
    def test_prompts(self, server: Running, prompt: str, task: str) -> None:
        client = InferenceClient(model=f"{server.url}/embed")
        assert_same(client.feature_extraction(TEXTS, prompt_name=prompt), plain(server, TEXTS, task=task))

    def test_options(self, server: Running) -> None:
        client = InferenceClient(model=f"{server.url}/models/tiny-clip/pipeline/feature-extraction")
        found = client.feature_extraction(TEXTS, normalize=False, dimensions=16)
        expected = plain(server, TEXTS, model="tiny-clip", normalized=False, dimensions=16)
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()

    def test_texts_are_refused_unless_they_may_be_cut(self, server: Running) -> None:
        client = InferenceClient(model=f"{server.url}/models/tiny-v3/pipeline/feature-extraction")
        long = "a" * 100 + "b" * 100
        with pytest.raises(HfHubHTTPError) as caught:
            client.feature_extraction(long)
        assert caught.value.response.status_code == 413
        assert caught.value.response.json()["error_type"] == "Validation"
        assert "inputs.0: has more than 128 tokens" in caught.value.response.json()["error"]
        right = client.feature_extraction(long, truncate=True)
        left = client.feature_extraction(long, truncate=True, truncation_direction="left")
        assert not differ(right, plain(server, [long], model="tiny-v3", truncate=True))
        size = 128 - server.embed("", model="tiny-v3")["usage"]["total_tokens"]
        assert not differ(left, plain(server, [long[-size:]], model="tiny-v3"))
        assert differ(left, right)

    @pytest.mark.parametrize("path", ["/similarity", "/models/nano/pipeline/sentence-similarity"])
    def test_similarity(self, server: Running, path: str) -> None:
        found = InferenceClient(model=server.url + path).sentence_similarity(TEXTS[0], TEXTS[1:])
        vectors = plain(server, TEXTS, task="text-matching")
        assert found == pytest.approx((vectors[1:] @ vectors[0]).tolist(), abs=1e-5)

    def test_a_model_that_is_not_served(self, server: Running) -> None:
        client = InferenceClient(model=f"{server.url}/models/bge-m3/pipeline/feature-extraction")
        with pytest.raises(HfHubHTTPError) as caught:
            client.feature_extraction("a")
        assert caught.value.response.status_code == 404
        assert "bge-m3" in caught.value.response.json()["error"]

    def test_keys(self, guarded: Any) -> None:
        url = f"{guarded.server.url}/embed"
        assert InferenceClient(model=url, token=guarded.key).feature_extraction("a").shape == (1, DIM)
        with pytest.raises(HfHubHTTPError) as caught:
            InferenceClient(model=url, token="wrong").feature_extraction("a")
        assert caught.value.response.status_code == 401
        assert caught.value.response.json() == {"error": "Invalid API key.", "error_type": "Unauthorized"}


class TestRequests:
    """What this client does not send, and others do."""

    def test_token_ids(self, server: Running, models: dict[str, Path]) -> None:
        tokenizer = Tokenizer.from_file(str(models["tiny-v4"] / "tokenizer.json"))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        expected = plain(server, TEXTS, model="tiny-v4")
        assert_same(server.post("/embed", {"inputs": ids, "model": "tiny-v4"}).json(), expected)
        assert_same(server.post("/embed", {"inputs": ids[1], "model": "tiny-v4"}).json(), expected[1:2])

    def test_a_data_uri_is_a_text(self, server: Running) -> None:
        text = "data:image/png;base64,xxxx"
        assert_same(server.post("/embed", {"inputs": text}).json(), plain(server, [{"text": text}]))

    def test_ranking(self, server: Running) -> None:
        texts = ["bread from the oven", "old ships in a harbour"]
        expected = ranking(server, "harbour", texts)
        rows = server.post("/rerank", {"query": "harbour", "texts": texts, "raw_scores": False}).json()
        assert [set(row) for row in rows] == [{"index", "score"}] * 2
        assert [row["index"] for row in rows] == [row["index"] for row in expected] == [1, 0]
        assert [row["score"] for row in rows] == pytest.approx([row["relevance_score"] for row in expected], abs=1e-6)
        rows = server.post("/rerank", {"query": "harbour", "texts": texts, "return_text": True}).json()
        assert [row["text"] for row in rows] == texts[::-1]

    def test_the_reranker_ranks_where_there_is_one(self, guarded: Any) -> None:
        rows = guarded.server.post("/rerank", {"query": "q", "texts": ["a", "b"]}).json()
        expected = ranking(guarded.server, "q", ["a", "b"], model="tiny-m0")
        assert rows == [{"index": row["index"], "score": row["relevance_score"]} for row in expected]

    def test_long_texts_of_a_ranking(self, server: Running) -> None:
        body = {"query": "q", "texts": ["a", "b" * 400], "model": "tiny-v3"}
        refused = server.post("/rerank", body)
        assert refused.status_code == 413 and "texts.1: has more than 128 tokens" in refused.json()["error"]
        assert server.post("/rerank", {**body, "truncate": True}).status_code == 200

    def test_raw_scores_are_refused_and_not_made_up(self, server: Running) -> None:
        refused = server.post("/rerank", {"query": "q", "texts": ["a"], "raw_scores": True})
        assert refused.status_code == 422 and "raw_scores" in refused.json()["error"]

    def test_info(self, server: Running) -> None:
        info = server.http.get("/info").json()
        assert info["model_id"] == "nano" and info["model_type"] == {"embedding": {}}
        assert info["max_input_length"] > 0 and info["max_client_batch_size"] == 2_048
        assert server.http.get("/health").status_code == 200

    def test_an_error_of_a_sentence_names_it(self, server: Running) -> None:
        body = {"inputs": {"source_sentence": "a", "sentences": ["b", "\ud83d"]}}
        refused = server.http.post("/similarity", content=str(body).replace("'", '"'), headers={"Content-Type": "x"})
        assert refused.status_code == 422 and set(refused.json()) == {"error", "error_type"}
