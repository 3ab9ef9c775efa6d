"""The published interface as it was measured: names of fields, forms of inputs, tasks left out, bodies of errors."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest
from tests.support.serving import Running
from tests.support.vectors import ROUNDING, png

TEXTS = ["a quiet harbour", "bread from the oven"]
PNG = base64.b64encode(png(3)).decode()


def vectors(answer: Any) -> np.ndarray[Any, Any]:
    return np.array([row["embedding"] for row in answer["data"]], dtype=np.float32)


def posted(server: Running, **fields: Any) -> Any:
    """The answer to exactly these fields."""
    response = server.post("/v1/embeddings", fields)
    assert response.status_code == 200, response.text
    return response.json()


def same(one: Any, other: Any) -> bool:
    return bool(np.abs(vectors(one) - vectors(other)).max() < ROUNDING)


class TestNames:
    """Names of fields that mean the same."""

    @pytest.mark.parametrize("name", ["input", "content", "texts"])
    def test_input(self, server: Running, name: str) -> None:
        assert same(posted(server, model="nano", **{name: TEXTS}), server.embed(TEXTS))

    @pytest.mark.parametrize("name", ["task", "task_type"])
    def test_task(self, server: Running, name: str) -> None:
        expected = server.embed(TEXTS, task="retrieval.passage")
        assert same(server.embed(TEXTS, **{name: "retrieval.passage"}), expected)
        assert not same(server.embed(TEXTS), expected)

    @pytest.mark.parametrize("name", ["dimensions", "output_dimensionality", "output_dimension"])
    def test_dimensions(self, server: Running, name: str) -> None:
        assert vectors(server.embed(TEXTS, **{name: 64})).shape == (2, 64)

    @pytest.mark.parametrize("name", ["truncate", "truncation"])
    def test_truncate(self, server: Running, name: str) -> None:
        body = {"model": "tiny-v3", "input": "b" * 500}
        assert server.post("/v1/embeddings", body).status_code == 400
        assert server.post("/v1/embeddings", {**body, name: False}).status_code == 400
        assert server.post("/v1/embeddings", {**body, name: True}).status_code == 200

    @pytest.mark.parametrize("name", ["embedding_type", "encoding_type", "encoding_format", "embedding_types"])
    def test_type(self, server: Running, name: str) -> None:
        (row,) = server.embed("a", **{name: "base64"})["data"]
        assert len(base64.b64decode(row["embedding"])) == 4 * 256

    def test_null_under_one_name_does_not_hide_another(self, server: Running) -> None:
        (row,) = server.embed("a", embedding_type=None, encoding_format="base64", dimensions=None, output_dimension=64)[
            "data"
        ]
        assert len(base64.b64decode(row["embedding"])) == 4 * 64

    def test_dtype_and_form_are_two_choices(self, server: Running) -> None:
        """As Voyage has them: which numbers, and whether they are base64."""
        for dtype, kind, size in (("int8", np.int8, 256), ("uint8", np.uint8, 256), ("ubinary", np.uint8, 32)):
            (numbers,) = server.embed("a", output_dtype=dtype)["data"]
            (packed,) = server.embed("a", output_dtype=dtype, encoding_format="base64")["data"]
            assert all(isinstance(each, int) for each in numbers["embedding"]) and len(numbers["embedding"]) == size
            assert np.frombuffer(base64.b64decode(packed["embedding"]), kind).tolist() == numbers["embedding"]
        assert same(server.embed("a", output_dtype="float"), server.embed("a"))


class TestTasks:
    def test_without_one_each_model_does_what_it_does_by_default(self, server: Running) -> None:
        assert same(server.embed(TEXTS, model="tiny-v4"), server.embed(TEXTS, model="tiny-v4", task="text-matching"))
        for task in ("retrieval.query", "retrieval.passage", "text-matching", "classification", "separation"):
            raw = server.embed(TEXTS, model="tiny-v3")  # neither adapter nor instruction
            assert not same(raw, server.embed(TEXTS, model="tiny-v3", task=task))

    def test_half_a_task_is_that_of_the_query(self, server: Running) -> None:
        half, query, passage = (
            server.embed(TEXTS, model="tiny-v4", task=task)
            for task in ("retrieval", "retrieval.query", "retrieval.passage")
        )
        assert same(half, query) and not same(half, passage)

    def test_clustering_is_what_v3_calls_separation(self, server: Running) -> None:
        found, expected = (server.embed(TEXTS, model="tiny-v3", task=task) for task in ("clustering", "separation"))
        assert same(found, expected) and not same(found, server.embed(TEXTS, model="tiny-v3"))
        assert same(server.embed(TEXTS, model="tiny-clip", task="clustering"), server.embed(TEXTS, model="tiny-clip"))
        assert server.post("/v1/embeddings", {"model": "nano", "input": "a", "task": "clustering"}).status_code == 422

    @pytest.mark.parametrize(
        ("field", "value", "task"),
        [
            ("input_type", "query", "retrieval.query"),
            ("input_type", "document", "retrieval.passage"),
            ("input_type", "search_query", "retrieval.query"),
            ("input_type", "search_document", "retrieval.passage"),
            ("input_type", "clustering", "text-matching"),
            ("input_type", "classification", None),  # nano has no such task: its default
            ("input_type", "image", None),
            ("input_type", "retrieval.passage", "retrieval.passage"),
            ("task_type", "RETRIEVAL_QUERY", "retrieval.query"),
            ("task_type", "RETRIEVAL_DOCUMENT", "retrieval.passage"),
            ("task_type", "SEMANTIC_SIMILARITY", "text-matching"),
            ("task", "QUESTION_ANSWERING", "retrieval.query"),
        ],
    )
    def test_tasks_under_the_names_of_others(self, server: Running, field: str, value: str, task: str | None) -> None:
        found = server.embed(TEXTS, **{field: value})
        assert same(found, server.embed(TEXTS, task=task))
        others = {"retrieval.query", "retrieval.passage", "text-matching"} - {task or "text-matching"}
        assert not any(same(found, server.embed(TEXTS, task=other)) for other in others)

    def test_clustering_of_v3_by_the_name_of_others(self, server: Running) -> None:
        expected = server.embed(TEXTS, model="tiny-v3", task="separation")
        assert same(server.embed(TEXTS, model="tiny-v3", input_type="clustering"), expected)
        assert same(server.embed(TEXTS, model="tiny-v3", task="CLUSTERING"), expected)

    def test_a_name_that_nobody_has(self, server: Running) -> None:
        response = server.post("/v1/embeddings", {"model": "nano", "input": "a", "input_type": "serach_query"})
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "input_type"
        assert "search_query" in response.json()["detail"] and "text-matching" in response.json()["detail"]


class TestItems:
    def test_images(self, server: Running) -> None:
        expected = server.embed({"image": PNG})
        uri = f"data:image/png;base64,{PNG}"
        for item in (
            {"image_base64": PNG},
            {"image_base64": uri},
            {"type": "image", "format": "base64", "value": uri},  # Elastic's
            {"type": "image", "format": "base64", "value": PNG},
            {"type": "image_url", "image_url": {"url": uri}},
            {"type": "image_url", "image_url": uri},
            {"content": [{"image": PNG}]},
        ):
            assert server.embed(item)["data"] == expected["data"], item

    def test_texts(self, server: Running) -> None:
        expected = server.embed("two\nlines")
        for item in (
            {"type": "text", "text": "two\nlines"},
            {"type": "text", "format": "text", "value": "two\nlines"},
            {"content": "two\nlines"},
            {"content": ["two", {"type": "text", "text": "lines"}]},
        ):
            assert server.embed([item])["data"] == expected["data"], item

    @pytest.mark.parametrize(
        ("item", "field", "says"),
        [
            ({"content": []}, "input.0.content", "1 to 64 parts"),
            ({"content": ["a"] * 65}, "input.0.content", "1 to 64 parts"),
            ({"content": ["a", {"pdf": "x"}]}, "input.0.content.1", "part of one input"),
            ({"content": ["a", {"content": ["a", {"image": PNG}]}]}, "input.0.content.1", "part of one input"),
            ({"content": ["a", 3]}, "input.0.content.1", "a number"),
            ({"type": "audio", "value": "x"}, "input.0.type", "text"),
            ({"image_url": {"address": "x"}}, "input.0.url", "null"),
            ({"content": ["a", {"image": PNG}]}, "input.0", "cannot read together"),
        ],
    )
    def test_what_is_none(self, server: Running, item: Any, field: str, says: str) -> None:
        response = server.post("/v1/embeddings", {"model": "nano", "input": [item]})
        assert response.status_code == 422, response.text
        (error,) = response.json()["errors"]
        assert error["field"] == field and says in error["message"]


class TestBodies:
    def test_nothing_is_null_where_it_can_be_left_out(self, server: Running) -> None:
        def nulls(value: Any) -> bool:
            if isinstance(value, dict):
                return any(map(nulls, value.values()))
            return any(map(nulls, value)) if isinstance(value, list) else value is None

        documents = {"model": "nano", "query": "a", "documents": TEXTS}
        for answer in (
            server.embed(TEXTS),
            server.embed(TEXTS, return_multivector=True),
            server.post("/v1/rerank", documents).json(),
            server.post("/v1/rerank", {**documents, "return_documents": False}).json(),
        ):
            assert not nulls(answer)
        assert set(server.post("/v1/rerank", {**documents, "return_documents": False}).json()["results"][0]) == {
            "index",
            "relevance_score",
        }

    def test_usage_of_a_ranking_has_the_total_alone_and_scores_eight_decimals(self, server: Running) -> None:
        answer = server.post("/v1/rerank", {"model": "nano", "query": "a", "documents": TEXTS})
        assert set(answer.json()["usage"]) == {"total_tokens"}
        scores = re.findall(r'"relevance_score":(-?[\d.e-]+)', answer.text)
        assert len(scores) == 2 and all(len(score.partition(".")[2]) <= 8 for score in scores)

    def test_the_body_of_an_error_depends_on_its_status(self, server: Running) -> None:
        unknown = server.post("/v1/embeddings", {"model": "none", "input": "a"})
        assert unknown.status_code == 400 and set(unknown.json()) == {"detail"}
        assert set(unknown.json()["detail"]) == {"message", "request_id", "code"}
        invalid = server.post("/v1/embeddings", {"model": "nano"})
        assert invalid.status_code == 422 and isinstance(invalid.json()["detail"], str)
        missing = server.http.get("/v1/models/none")
        assert missing.status_code == 404 and isinstance(missing.json()["detail"], str)
        for told in (unknown.json()["detail"], invalid.json(), missing.json()):
            assert re.fullmatch("[0-9a-f]{32}", told["request_id"])
