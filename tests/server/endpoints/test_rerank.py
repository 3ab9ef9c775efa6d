"""POST /v1/rerank on a running server, against the vectors that a ranking rests on."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support.serving import Running

import polylens

DOCUMENTS = ["a ship in the harbour", "the price of bread", "ein Hafen im Norden", "def add(a, b): return a + b"]


def png(colour: str = "red") -> str:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (56, 56), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def dense(server: Running, value: Any, model: str, **fields: Any) -> np.ndarray[Any, Any]:
    return np.array([row["embedding"] for row in server.embed(value, model=model, **fields)["data"]])


class TestRerank:
    def test_maxsim_a_query_token(self, server: Running, models: dict[str, Path]) -> None:
        body = {"model": "tiny-v4", "query": "harbour", "documents": DOCUMENTS}
        results = server.post("/v1/rerank", body).json()["results"]
        embedder = polylens.load(models["tiny-v4"], dtype="float32", device="cpu")
        query = embedder.encode_text("harbour", task="retrieval.query", return_multivector=True)
        passages = embedder.encode_text(DOCUMENTS, task="retrieval.passage", return_multivector=True)
        expected = [(query @ passage.T).max(axis=1).mean() for passage in passages]
        assert [row["index"] for row in results] == np.argsort(expected)[::-1].tolist()
        assert [row["relevance_score"] for row in results] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)

    @pytest.mark.parametrize("model", ["tiny-clip", "tiny-v3"])
    def test_cosine_where_there_are_no_multi_vectors(self, server: Running, model: str) -> None:
        body = {"model": model, "query": "harbour", "documents": DOCUMENTS}
        results = server.post("/v1/rerank", body).json()["results"]
        query = dense(server, "harbour", model, task="retrieval.query")
        expected = dense(server, DOCUMENTS, model, task="retrieval.passage") @ query[0]
        assert [row["index"] for row in results] == np.argsort(expected)[::-1].tolist()
        assert [row["relevance_score"] for row in results] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)

    def test_scores_are_rounded_as_published(self, server: Running) -> None:
        body = {"model": "nano", "query": "harbour", "documents": DOCUMENTS}
        scores = [row["relevance_score"] for row in server.post("/v1/rerank", body).json()["results"]]
        assert scores == [round(score, 8) for score in scores]

    @pytest.mark.parametrize(
        "names", [("top_n", "max_doc_length", "truncation"), ("top_k", "max_tokens_per_doc", "truncate")]
    )
    def test_names_of_the_fields(self, server: Running, names: tuple[str, str, str]) -> None:
        top_n, max_doc_length, truncation = names
        body = {"model": "nano", "query": "harbour", "documents": ["a harbour of old ships", "bread"], top_n: 1}
        (whole,) = server.post("/v1/rerank", body).json()["results"]
        (cut,) = server.post("/v1/rerank", {**body, max_doc_length: 3}).json()["results"]
        assert cut["relevance_score"] != whole["relevance_score"]
        response = server.post("/v1/rerank", {**body, max_doc_length: 3, truncation: False})
        assert response.status_code == 400
        assert "documents.0: has more than 3 tokens" in response.text

    def test_a_broken_image_is_named(self, server: Running) -> None:
        body = {"model": "nano", "query": "a", "documents": ["b", {"image": base64.b64encode(b"none").decode()}]}
        problem = server.post("/v1/rerank", body).json()
        assert problem["detail"].startswith("document 1: ") and problem["errors"][0]["field"] == "documents.1"
        problem = server.post("/v1/rerank", {**body, "query": body["documents"][1]}).json()
        assert problem["detail"].startswith("query: ") and problem["errors"][0]["field"] == "query"

    def test_documents_of_every_kind_and_what_comes_back(self, server: Running) -> None:
        documents = ["a ship", {"text": "bread"}, {"image": png()}]
        body = {"model": "nano", "query": {"image": png()}, "documents": documents, "top_n": 2}
        answer = server.post("/v1/rerank", body).json()
        assert len(answer["results"]) == 2 and answer["results"][0]["index"] == 2
        assert answer["results"][0]["document"] == {"image": png()}
        assert answer["usage"]["total_tokens"] > 0
        body["return_documents"] = False
        assert all("document" not in row for row in server.post("/v1/rerank", body).json()["results"])

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"documents": []}, "documents"),
            ({"documents": "one"}, "documents"),
            ({"top_n": 0}, "top_n"),
            ({"query": None}, "query"),
            ({"documents": [{"pdf": "x"}]}, "PDF"),
            ({"documents": ["a", 3]}, "documents.1"),
        ],
    )
    def test_refused(self, server: Running, change: dict[str, Any], says: str) -> None:
        response = server.post("/v1/rerank", {"model": "nano", "query": "a", "documents": ["b"], **change})
        assert response.status_code == 422
        assert says in response.text
